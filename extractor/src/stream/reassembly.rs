//! Payload in order: by sequence number for TCP, as it came for the rest.

use std::collections::BTreeMap;

use netrewind_store::Timestamp;

use super::chunks::{Chunk, Speaker, Stream};
use super::payload::{Payload, TcpHeader, flag};

/// Limit on the bytes of TCP segments that wait in one direction for an earlier one. Beyond it, that one counts as not captured.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Segments that may wait, likewise.
const WAITING_SEGMENTS_MAX: usize = 4096;

/// Puts a conversation together.
pub(super) struct Reassembly {
    is_tcp: bool,
    bytes_max: usize,
    held_bytes: usize,
    stream: Stream,
    directions: [HalfStream; 2],
}

/// TCP stream of one end. Offsets count its bytes from the first one seen.
#[derive(Default)]
struct HalfStream {
    /// Sequence number and offset of the byte that comes next; `None` before the first segment.
    next: Option<(u32, u64)>,
    waiting: BTreeMap<u64, (Timestamp, Vec<u8>)>,
    waiting_bytes: usize,
}

impl Reassembly {
    pub(super) fn new(is_tcp: bool, bytes_max: usize) -> Self {
        Self { is_tcp, bytes_max, held_bytes: 0, stream: Stream::default(), directions: Default::default() }
    }

    /// True if there was more than is wanted.
    pub(super) fn is_full(&self) -> bool {
        self.stream.truncated
    }

    /// The next packet in order of time.
    pub(super) fn take(&mut self, at: Timestamp, payload: &Payload<'_>) {
        match payload.segment {
            Some(segment) => self.take_segment(at, segment, payload),
            None if payload.bytes.is_empty() => {}
            None => self.say(Chunk { from: payload.from, at, missing: 0, bytes: payload.bytes.to_vec() }),
        }
    }

    /// Ends the stream: bytes waiting behind a hole that was never filled are appended.
    pub(super) fn end(mut self) -> Stream {
        for speaker in [Speaker::Client, Speaker::Server] {
            while self.skip_to_waiting(speaker) {}
        }
        self.stream
    }

    fn take_segment(&mut self, at: Timestamp, segment: TcpHeader, payload: &Payload<'_>) {
        let speaker = payload.from;
        if segment.flags & flag::ACK != 0 && segment.flags & flag::RST == 0 {
            self.acknowledge(speaker.other(), segment.acknowledgment);
        }
        let syn = segment.flags & flag::SYN != 0;
        let first = segment.sequence.wrapping_add(u32::from(syn));
        let direction = &mut self.directions[speaker as usize];
        let (next, offset) = *direction.next.get_or_insert((first, 0));
        // A SYN elsewhere: the ports are reused for another stream.
        if syn && next != first {
            while self.skip_to_waiting(speaker) {}
            let direction = &mut self.directions[speaker as usize];
            direction.next = Some((first, direction.next.map_or(0, |(_, offset)| offset)));
            return;
        }
        if !payload.bytes.is_empty() {
            let distance = i64::from(first.wrapping_sub(next).cast_signed());
            self.place(speaker, at, offset, distance, payload.bytes);
        }
    }

    /// Bytes at a distance from the one that comes next.
    fn place(&mut self, speaker: Speaker, at: Timestamp, offset: u64, distance: i64, bytes: &[u8]) {
        let seen = usize::try_from(-distance).unwrap_or(0);
        // All of it was said before: it was sent again.
        let Some(new) = bytes.get(seen..).filter(|new| !new.is_empty()) else { return };
        let ahead = u64::try_from(distance).unwrap_or(0);
        let direction = &mut self.directions[speaker as usize];
        let waits = direction.waiting.entry(offset + ahead).or_insert_with(|| (at, Vec::new()));
        if waits.1.len() < new.len() {
            direction.waiting_bytes += new.len() - waits.1.len();
            waits.1 = new.to_vec();
        }
        self.say_what_is_due(speaker);
        let direction = &self.directions[speaker as usize];
        if direction.waiting_bytes > WAITING_BYTES_MAX || direction.waiting.len() > WAITING_SEGMENTS_MAX {
            self.skip_to_waiting(speaker);
        }
    }

    /// Takes an acknowledgment: the other end has everything before this sequence number, so missing bytes before it were not
    /// captured.
    fn acknowledge(&mut self, speaker: Speaker, acknowledgment: u32) {
        let direction = &mut self.directions[speaker as usize];
        let Some((next, offset)) = direction.next else {
            direction.next = Some((acknowledgment, 0));
            return;
        };
        let Ok(ahead) = u64::try_from(acknowledgment.wrapping_sub(next).cast_signed()) else { return };
        let acknowledged = offset + ahead;
        while direction_waits_below(&self.directions[speaker as usize], acknowledged) {
            self.skip_to_waiting(speaker);
        }
    }

    /// Goes on behind a hole, if something waits there.
    fn skip_to_waiting(&mut self, speaker: Speaker) -> bool {
        let direction = &mut self.directions[speaker as usize];
        let (Some((next, offset)), Some((&waiting, _))) =
            (direction.next, direction.waiting.first_key_value())
        else {
            return false;
        };
        let missing = waiting.saturating_sub(offset);
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let number = next.wrapping_add(missing as u32);
        direction.next = Some((number, offset + missing));
        self.say_next(speaker, missing);
        self.say_what_is_due(speaker);
        true
    }

    fn say_what_is_due(&mut self, speaker: Speaker) {
        while self.directions[speaker as usize].is_due() {
            self.say_next(speaker, 0);
        }
    }

    /// Appends the first waiting piece to the stream; it begins at the end of the stream, or before.
    fn say_next(&mut self, speaker: Speaker, missing: u64) {
        let direction = &mut self.directions[speaker as usize];
        let (Some((next, offset)), Some((begins, (at, bytes)))) =
            (direction.next, direction.waiting.pop_first())
        else {
            return;
        };
        direction.waiting_bytes -= bytes.len();
        let seen = usize::try_from(offset.saturating_sub(begins)).unwrap_or(usize::MAX);
        let Some(new) = bytes.get(seen..).filter(|new| !new.is_empty()) else { return };
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let number = next.wrapping_add(new.len() as u32);
        direction.next = Some((number, offset + new.len() as u64));
        self.say(Chunk { from: speaker, at, missing, bytes: new.to_vec() });
    }

    fn say(&mut self, mut chunk: Chunk) {
        let room = self.bytes_max - self.held_bytes;
        if chunk.bytes.len() > room {
            chunk.bytes.truncate(room);
            self.stream.truncated = true;
        }
        self.held_bytes += chunk.bytes.len();
        match self.stream.chunks.last_mut() {
            Some(last) if self.is_tcp && last.from == chunk.from && chunk.missing == 0 => {
                last.bytes.append(&mut chunk.bytes);
            }
            _ if chunk.bytes.is_empty() => {}
            _ => self.stream.chunks.push(chunk),
        }
    }
}

fn direction_waits_below(direction: &HalfStream, acknowledged: u64) -> bool {
    direction.waiting.first_key_value().is_some_and(|(&begins, _)| begins < acknowledged)
}

impl HalfStream {
    /// True if the first waiting piece begins at the end of the stream, or before.
    fn is_due(&self) -> bool {
        let (Some((_, offset)), Some((&begins, _))) = (self.next, self.waiting.first_key_value()) else {
            return false;
        };
        begins <= offset
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u32 = u32::MAX - 50;

    fn segment(from: Speaker, sequence: u32, acknowledgment: u32, flags: u8, bytes: &[u8]) -> Payload<'_> {
        Payload { from, segment: Some(TcpHeader { sequence, acknowledgment, flags }), bytes }
    }

    fn followed<'a>(payloads: impl IntoIterator<Item = Payload<'a>>) -> Stream {
        let mut reassembly = Reassembly::new(true, 1 << 20);
        for (number, payload) in payloads.into_iter().enumerate() {
            reassembly.take(Timestamp(number as u64), &payload);
        }
        reassembly.end()
    }

    proptest! {
        /// Segments out of order, twice, overlapping, over the wrap of the sequence numbers: the text comes out once.
        #[test]
        fn whatever_the_order_the_text_comes_out_once(
            text in prop::collection::vec(any::<u8>(), 1..200),
            cuts in prop::collection::vec((0usize..200, 1usize..40), 0..60),
        ) {
            let whole = (0..text.len()).step_by(7).map(|at| (at, 7));
            let payloads = cuts.into_iter().chain(whole).filter(|&(at, _)| at < text.len()).map(|(at, count)| {
                let bytes = &text[at..(at + count).min(text.len())];
                segment(Speaker::Client, START.wrapping_add(at as u32), 0, 0, bytes)
            });
            let syn = segment(Speaker::Client, START.wrapping_sub(1), 0, flag::SYN, &[]);
            let stream = followed(std::iter::once(syn).chain(payloads));
            let said: Vec<u8> = stream.chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect();
            prop_assert_eq!(said, text);
            prop_assert!(stream.chunks.iter().all(|chunk| chunk.missing == 0));
        }
    }

    #[test]
    fn a_hole_that_the_other_end_acknowledged_was_not_captured() {
        use Speaker::{Client, Server};
        let stream = followed([
            segment(Client, 100, 0, flag::SYN, b""),
            segment(Client, 101, 0, 0, b"abc"),
            segment(Client, 109, 0, 0, b"xyz"),
            segment(Server, 500, 112, flag::ACK, b"ok"),
        ]);
        let said: Vec<_> =
            stream.chunks.iter().map(|chunk| (chunk.from, chunk.missing, chunk.bytes.as_slice())).collect();
        assert_eq!(said, [(Client, 0, &b"abc"[..]), (Client, 5, b"xyz"), (Server, 0, b"ok")]);
    }

    #[test]
    fn the_bound_holds_and_is_told() {
        let mut reassembly = Reassembly::new(true, 4);
        reassembly.take(Timestamp(1), &segment(Speaker::Client, 1, 0, 0, b"abc"));
        assert!(!reassembly.is_full());
        reassembly.take(Timestamp(2), &segment(Speaker::Client, 4, 0, 0, b"def"));
        assert!(reassembly.is_full());
        assert_eq!(reassembly.end().chunks[0].bytes, b"abcd");
    }
}
