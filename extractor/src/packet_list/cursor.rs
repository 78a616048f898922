//! Place in a packet list: a time, and how many of its packets were before.

use std::fmt;

use netrewind_store::Timestamp;
use netrewind_store::time::Span;

/// Packet at which a page of a list begins. As text without blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketCursor {
    /// Range of the list.
    pub(crate) range: Span,
    /// Time of the packet.
    pub(crate) at: Timestamp,
    /// Packets of the list with this very time that stand before it.
    pub(crate) before_at: u64,
    /// Packets of the list that stand before it.
    pub(crate) before: u64,
}

/// A text is no cursor of a packet list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: use the value of `next`, or of a packet's `cursor`, from a list of packets")]
pub struct NotAPacketCursor(String);

impl fmt::Display for PacketCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range: Span { from, to }, at, before_at, before } = self;
        write!(f, "{:x}-{:x}-{:x}-{before_at:x}-{before:x}", from.ns(), to.ns(), at.ns())
    }
}

impl std::str::FromStr for PacketCursor {
    type Err = NotAPacketCursor;
    fn from_str(text: &str) -> Result<Self, NotAPacketCursor> {
        let read = || {
            let number = |part: &str| u64::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+'));
            let mut numbers = text.split('-').map(number);
            let mut next = || numbers.next().flatten();
            let (from, to, at) = (Timestamp(next()?), Timestamp(next()?), Timestamp(next()?));
            let cursor = Self { range: Span { from, to }, at, before_at: next()?, before: next()? };
            let is_in_order = from <= at && at <= to && cursor.before_at <= cursor.before;
            (numbers.next().is_none() && is_in_order).then_some(cursor)
        };
        read().ok_or_else(|| NotAPacketCursor(text.to_owned()))
    }
}

netrewind_store::serde_as_text!(PacketCursor);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_disorder_is_refused() {
        let range = Span { from: Timestamp(10), to: Timestamp(1 << 62) };
        let cursor = PacketCursor { range, at: Timestamp(11), before_at: 2, before: 300 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let wrong = [
            "",
            "a",
            "a-ff-b-2-12c-0",
            "a-ff-9-0-0",
            "a-ff-100-0-0",
            "a-ff-b-3-2",
            "a-ff-b--2",
            "a-ff-b-+1-2",
        ];
        for text in wrong {
            assert!(text.parse::<PacketCursor>().is_err(), "{text}");
        }
    }
}
