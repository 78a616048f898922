//! Places of packets: in the order of answers, and in the blocks that were read.

use netrewind_store::Timestamp;

use crate::store::segment::Segment;

/// The place of a packet in the order of answers: time, then lane, then the age of its segment, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketOrder {
    pub(crate) at: Timestamp,
    pub(crate) lane: u16,
    pub(crate) ordinal: u32,
    pub(crate) offset: u64,
}

/// Accepted packet, or a later fragment whose verdict depends on its first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) at: Timestamp,
    /// Offset of its record in the segment.
    pub(crate) offset: u64,
    /// The block of its run that has it.
    pub(crate) block: u32,
    /// Its index in the run's later fragments, or [`ACCEPTED`].
    pub(crate) later: u32,
}

/// The number of no later fragment.
pub(crate) const ACCEPTED: u32 = u32::MAX;

impl PacketOrder {
    /// The place of a packet of this segment.
    pub(crate) fn of(segment: &Segment, found: Match) -> Self {
        Self { at: found.at, lane: segment.name.lane, ordinal: segment.ordinal, offset: found.offset }
    }
}
