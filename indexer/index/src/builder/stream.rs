//! State of a flow that detects retransmissions and segments out of order. `FORMAT.md`, "Observations", is normative.

/// TCP flags (RFC 9293).
pub(super) mod tcp {
    pub(in super::super) const FIN: u8 = 0x01;
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const ACK: u8 = 0x10;
}

/// A flow that belongs to no conversation yet.
pub(super) const UNLINKED: u32 = u32::MAX;
/// One that never will.
pub(super) const WITHOUT: u32 = u32::MAX - 1;

/// A flow's place in its conversation, and in its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowStream {
    /// Time at which the highest byte was received; at first that of the last SYN.
    pub(super) highest_at: u64,
    /// The first byte after the SYN, or the first one seen.
    pub(super) base: u32,
    /// The byte behind the highest.
    pub(super) next: u32,
    hole: (u32, u32),
    pub(super) retransmissions: u32,
    pub(super) out_of_order: u32,
    /// Its conversation's number.
    pub(super) conversation: u32,
    /// Datagrams that were looked at.
    pub(super) datagrams: u8,
    /// Some byte was seen: `base` and `next` are known.
    pub(super) has_begun: bool,
    /// It has sent a SYN without ACK, and nothing else since.
    pub(super) awaits_answer: bool,
    /// True if it has opened the connection.
    pub(super) opens: bool,
    /// Its source is the lesser end of the conversation.
    pub(super) is_lesser: bool,
    /// Nothing of it is of use for labels any more.
    pub(super) is_labelled: bool,
    /// The front of its stream is held, and waits for more.
    pub(super) is_held: bool,
}

impl Default for FlowStream {
    fn default() -> Self {
        Self {
            highest_at: 0,
            base: 0,
            next: 0,
            hole: (0, 0),
            retransmissions: 0,
            out_of_order: 0,
            conversation: UNLINKED,
            datagrams: 0,
            has_begun: false,
            awaits_answer: false,
            opens: false,
            is_lesser: false,
            is_labelled: false,
            is_held: false,
        }
    }
}

/// A TCP segment with payload, SYN or FIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpSegment {
    pub(super) sequence: u32,
    pub(super) payload: u32,
    pub(super) flags: u8,
    pub(super) at: u64,
}

fn is_before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

impl FlowStream {
    /// Takes the flow's next segment. `near_ns` tells how late one may be that is only out of order.
    #[inline]
    pub(super) fn take(&mut self, segment: TcpSegment, near_ns: impl FnOnce() -> u64) {
        let TcpSegment { sequence, payload, flags, at } = segment;
        let controls = u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
        let end = sequence.wrapping_add(payload).wrapping_add(controls);
        if sequence == self.next && self.has_begun && flags & tcp::SYN == 0 {
            (self.next, self.highest_at) = (end, at);
            return;
        }
        let begins = flags & tcp::SYN != 0 && (!self.has_begun || self.base != sequence.wrapping_add(1));
        if begins || !self.has_begun {
            let base = sequence.wrapping_add(u32::from(flags & tcp::SYN != 0));
            *self = Self { highest_at: at, base, next: end, hole: (end, end), has_begun: true, ..*self };
        } else if is_before(sequence, self.next) {
            self.take_earlier(segment, end, near_ns);
        } else {
            if sequence != self.next {
                let from = if self.hole.0 == self.hole.1 { self.next } else { self.hole.0 };
                self.hole = (from, sequence);
            }
            (self.next, self.highest_at) = (end, at);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_earlier(&mut self, segment: TcpSegment, end: u32, near_ns: impl FnOnce() -> u64) {
        let TcpSegment { sequence, payload, flags, at } = segment;
        let is_keep_alive = payload <= 1
            && sequence == self.next.wrapping_sub(1)
            && flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
        if is_keep_alive {
            return;
        }
        let (from, to) = self.hole;
        let fills = !is_before(sequence, from) && is_before(sequence, to);
        if fills && end != self.next && at.saturating_sub(self.highest_at) < near_ns() {
            self.out_of_order += 1;
        } else {
            self.retransmissions += 1;
        }
        if fills && sequence == from {
            self.hole.0 = if is_before(end, to) { end } else { to };
        }
        if is_before(self.next, end) {
            (self.next, self.highest_at) = (end, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(stream: &mut FlowStream, sequence: u32, payload: u32, flags: u8, at: u64) {
        stream.take(TcpSegment { sequence, payload, flags, at }, || 1000);
    }

    fn counts(stream: &FlowStream) -> (u32, u32) {
        (stream.retransmissions, stream.out_of_order)
    }

    #[test]
    fn what_fills_a_hole_soon_is_out_of_order_and_later_sent_again() {
        let mut stream = FlowStream::default();
        let start = u32::MAX - 150;
        take(&mut stream, start, 0, tcp::SYN, 0);
        for (number, at) in [(0, 1), (3, 2), (1, 3), (2, 4), (2, 5), (4, 6), (6, 7), (5, 2000)] {
            take(&mut stream, start.wrapping_add(1 + number * 100), 100, tcp::ACK, at);
        }
        assert_eq!(counts(&stream), (2, 2), "1 and 2 are out of order; 2 again, and 5 too late");
        assert_eq!(stream.next, start.wrapping_add(701));
    }

    #[test]
    fn keep_alives_and_new_connections_are_not_sent_again() {
        let mut stream = FlowStream::default();
        take(&mut stream, 99, 0, tcp::SYN, 0);
        take(&mut stream, 99, 0, tcp::SYN, 1);
        assert_eq!(counts(&stream), (1, 0));
        take(&mut stream, 100, 50, tcp::ACK, 2);
        take(&mut stream, 149, 1, tcp::ACK, 3);
        take(&mut stream, 150, 0, tcp::ACK | tcp::FIN, 4);
        take(&mut stream, 150, 0, tcp::ACK | tcp::FIN, 5);
        assert_eq!(counts(&stream), (2, 0));
        take(&mut stream, 20, 0, tcp::SYN, 6);
        take(&mut stream, 21, 9, tcp::ACK, 7);
        assert_eq!((counts(&stream), stream.base), ((2, 0), 21));
    }
}
