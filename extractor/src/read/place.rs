//! Places of packets: in the order of answers, and in the blocks that were read.

use netrewind_store::layout::RECORD_HEADER_BYTES;
use netrewind_store::{Record, SegmentBlock, Timestamp};

use crate::store::segment::Segment;

/// The place of a packet in the order of answers: time, then lane, then the age of its segment, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketOrder {
    pub(crate) at: Timestamp,
    pub(crate) lane: u16,
    pub(crate) ordinal: u32,
    pub(crate) offset: u64,
}

/// Accepted packets that follow each other in their segment as in the answer, none between them; or one later fragment, whose
/// verdict depends on its first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streak {
    /// Time of the first of them.
    pub(crate) at: Timestamp,
    /// Time of the last of them, which is none before.
    pub(crate) last: Timestamp,
    /// Offset of the first one's record in the segment.
    pub(crate) offset: u64,
    /// Their bytes on the wire.
    pub(crate) wire_bytes: u64,
    /// Bytes of their records.
    pub(crate) bytes: u32,
    pub(crate) packets: u32,
    /// The block of its run that has them.
    pub(crate) block: u32,
    /// Its index in the run's later fragments, or [`ACCEPTED`].
    pub(crate) later: u32,
}

/// The number of no later fragment.
pub(crate) const ACCEPTED: u32 = u32::MAX;

impl PacketOrder {
    /// The place of a segment's packet.
    pub(crate) fn of(segment: &Segment, at: Timestamp, offset: u64) -> Self {
        Self { at, lane: segment.name.lane, ordinal: segment.ordinal, offset }
    }
}

impl Streak {
    /// Streak of one packet, of which a block has the record.
    #[inline]
    pub(crate) fn of(record: &Record<'_>, block: u32) -> Self {
        let at = record.header.timestamp();
        Self {
            at,
            last: at,
            offset: record.offset,
            wire_bytes: record.header.len.into(),
            bytes: u32::try_from(record.header.record_bytes()).unwrap_or(u32::MAX),
            packets: 1,
            block,
            later: ACCEPTED,
        }
    }

    /// Offset of the first byte behind its records.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }

    /// Bytes of its packets that were captured.
    pub(crate) fn captured_bytes(&self) -> u64 {
        u64::from(self.bytes).saturating_sub(u64::from(self.packets) * RECORD_HEADER_BYTES as u64)
    }

    /// Puts `next` at its end; false if that does not follow.
    #[inline]
    pub(crate) fn goes_on_with(&mut self, next: &Self) -> bool {
        let follows = (self.block, self.later, self.end()) == (next.block, next.later, next.offset);
        let (bytes, packets) = (self.bytes.checked_add(next.bytes), self.packets.checked_add(next.packets));
        let (Some(bytes), Some(packets)) = (bytes, packets) else { return false };
        if !follows || self.later != ACCEPTED || next.at < self.last {
            return false;
        }
        (self.last, self.wire_bytes) = (next.last, self.wire_bytes + next.wire_bytes);
        (self.bytes, self.packets) = (bytes, packets);
        true
    }

    /// Its records in its block, up to one that cannot be found because pages were lost.
    pub(crate) fn records<'b>(&self, block: &'b SegmentBlock) -> impl Iterator<Item = Record<'b>> + use<'b> {
        let is_found = |record: &Record<'_>| {
            let header = record.offset..record.offset + RECORD_HEADER_BYTES as u64;
            block.first_lost_in(header).is_none()
        };
        block.records_from(self.offset).take(self.packets as usize).take_while(is_found)
    }

    /// Takes out the packets from the front that `are_before`, at least the first one. All of them if that cannot be found any
    /// more: whoever writes them finds the same.
    pub(crate) fn take_front(
        &mut self,
        block: &SegmentBlock,
        are_before: impl Fn(Timestamp, u64) -> bool,
    ) -> Self {
        let whole = *self;
        let mut records = self.records(block).map(|record| Self::of(&record, whole.block));
        let first = records.next();
        let mut front = first.unwrap_or(whole);
        let is_behind = |one: &Self| !(are_before(one.at, one.offset) && front.goes_on_with(one));
        let next = records.find(is_behind);
        if first.is_none() || front.packets >= whole.packets || front.bytes >= whole.bytes {
            self.packets = 0;
            return whole;
        }
        self.at = next.map_or(front.last, |next| next.at);
        self.offset = front.end();
        self.bytes -= front.bytes;
        self.packets -= front.packets;
        self.wire_bytes = self.wire_bytes.saturating_sub(front.wire_bytes);
        front
    }
}

/// Puts streaks in the order of answers, those of which each follows the one before as they are; `blocks` have their packets.
pub(crate) fn put_in_order(streaks: &mut Vec<Streak>, blocks: &[SegmentBlock]) {
    if streaks.is_sorted_by(|one, next| one.last <= next.at) {
        return;
    }
    let mut singles = Vec::new();
    for streak in streaks.drain(..) {
        match blocks.get(streak.block as usize).filter(|_| streak.packets > 1) {
            Some(block) => singles.extend(streak.records(block).map(|one| Streak::of(&one, streak.block))),
            None => singles.push(streak),
        }
    }
    singles.sort_by_key(|streak| streak.at); // stable: positions ascend already
    for one in singles {
        if !streaks.last_mut().is_some_and(|streak| streak.goes_on_with(&one)) {
            streaks.push(one);
        }
    }
}
