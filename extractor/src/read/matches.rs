//! Packets that reading a run has found.

use std::ops::Range;

use netrewind_store::SegmentBlock;

use super::place::Streak;
use crate::fragments::{FirstFragment, Later};

/// Blocks that are walked over side by side. Where the next record begins is known only once the header before it has
/// come from memory; so that these waits overlap, several chains of headers are followed at once.
pub(super) const LANES: usize = 16;

/// Result of reading a run.
#[derive(Debug, Default)]
pub(crate) struct RunMatches {
    /// The run's bytes, in which the packets stand.
    pub(crate) blocks: Vec<SegmentBlock>,
    /// The accepted packets in order of time and position, where they were to be collected, and in any case those that
    /// may be.
    pub(crate) streaks: Vec<Streak>,
    /// Later fragments among them.
    pub(crate) laters: Vec<Later>,
    /// First fragments, also of packets outside of the range.
    pub(crate) firsts: Vec<FirstFragment>,
    /// Number of packets accepted beyond doubt.
    pub(crate) packets: u64,
    /// Their bytes on the wire.
    pub(crate) bytes: u64,
    /// Number of packets looked at.
    pub(crate) judged: u64,
    /// Offsets of records that could not be read; the rest of each one's range is lost.
    pub(crate) damaged_at: Vec<u64>,
    /// Ranges of the segment that are not as they were recorded, where that was to be looked at.
    pub(crate) altered: Vec<Range<u64>>,
}
