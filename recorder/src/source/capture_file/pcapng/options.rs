//! Options at the end of blocks.

use super::super::byte_order::ByteOrder;

/// The end of options.
const END: u16 = 0;
/// A comment, of whatever block.
const COMMENT: u16 = 1;

mod of_packet {
    pub(super) const FLAGS: u16 = 2;
    pub(super) const DROP_COUNT: u16 = 4;
    /// Bits of the flags that say received or sent.
    pub(super) const DIRECTION: u32 = 0b11;
}

mod of_statistics {
    pub(super) const START_TIME: u16 = 2;
    pub(super) const DROPPED_BY_INTERFACE: u16 = 5;
    pub(super) const DROPPED_BY_SYSTEM: u16 = 7;
}

/// The options of a block.
pub(super) struct BlockOptions<'a> {
    rest: &'a [u8],
    order: ByteOrder,
}

/// Options of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PacketOptions {
    pub(super) comments: u64,
    pub(super) has_direction: bool,
    /// Packets lost between this one and the one before.
    pub(super) lost_before: u64,
}

/// Options of an interface statistics block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterfaceStatistics {
    pub(super) comments: u64,
    /// Packets lost since the capture began, by the interface and by the system.
    pub(super) dropped: u64,
    /// Start of the capture, in the interface's ticks.
    pub(super) since: Option<u64>,
}

impl<'a> BlockOptions<'a> {
    /// Options that begin at `at` of a block's body.
    pub(super) fn behind(body: &'a [u8], at: usize, order: ByteOrder) -> Self {
        Self { rest: body.get(at..).unwrap_or_default(), order }
    }

    /// The next option; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u16, &'a [u8])>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let cut = "an interface description ends within an option";
        let code = self.order.u16_at(self.rest, 0).ok_or(cut)?;
        let length = usize::from(self.order.u16_at(self.rest, 2).ok_or(cut)?);
        let padded = length.next_multiple_of(4);
        let value = self.rest.get(4..4 + padded).ok_or(cut)?;
        self.rest = &self.rest[4 + padded..];
        match (code, length) {
            (END, 0) => Ok(None),
            (END, _) => Err(format!("the end of an interface's options has {length} bytes")),
            _ => Ok(Some((code, &value[..length]))),
        }
    }

    /// All options up to a damaged one: except for interface descriptions, nothing depends on them.
    fn readable(mut self) -> impl Iterator<Item = (u16, &'a [u8])> {
        std::iter::from_fn(move || self.next().ok().flatten())
    }

    /// Number of comments.
    pub(super) fn comments(self) -> u64 {
        self.readable().filter(|(code, _)| *code == COMMENT).count() as u64
    }

    /// Decodes the options of a packet.
    pub(super) fn beside(self) -> PacketOptions {
        let order = self.order;
        let mut beside = PacketOptions::default();
        for (code, value) in self.readable() {
            match code {
                COMMENT => beside.comments += 1,
                of_packet::FLAGS => {
                    let flags = order.u32_at(value, 0).unwrap_or(0);
                    beside.has_direction = flags & of_packet::DIRECTION != 0;
                }
                of_packet::DROP_COUNT => beside.lost_before = order.u64_at(value, 0).unwrap_or(0),
                _ => {}
            }
        }
        beside
    }

    /// Decodes the options of an interface statistics block.
    pub(super) fn statistics(self) -> InterfaceStatistics {
        let order = self.order;
        let mut counted = InterfaceStatistics::default();
        for (code, value) in self.readable() {
            match code {
                COMMENT => counted.comments += 1,
                of_statistics::START_TIME => {
                    let halves = order.u32_at(value, 0).zip(order.u32_at(value, 4));
                    counted.since = halves.map(|(high, low)| ticks_of(high, low));
                }
                of_statistics::DROPPED_BY_INTERFACE | of_statistics::DROPPED_BY_SYSTEM => {
                    let more = order.u64_at(value, 0).unwrap_or(0);
                    counted.dropped = counted.dropped.saturating_add(more);
                }
                _ => {}
            }
        }
        counted
    }
}

/// Joins the two halves of a time.
pub(super) fn ticks_of(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
