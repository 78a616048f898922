//! Limits on how far apart the fragments of a packet may be, and on how many are kept.

use netrewind_index::{Flow, Template};
use netrewind_packet::Shape;

use crate::query::TimeRange;
use netrewind_store::time::SECOND_NS;

/// Longest time between two fragments of one packet. Ids of a busy pair of hosts come again within less: the nearest counts.
pub(crate) const FRAGMENT_WINDOW_NS: u64 = SECOND_NS;
/// Maximum number of nested first fragments from which a verdict is taken.
pub(crate) const CHAIN_MAX: u32 = 2;
/// Longest time between a packet and those that decide about it.
pub(crate) const REACH_NS: u64 = FRAGMENT_WINDOW_NS * CHAIN_MAX as u64;
/// Limit on packets of the answer that wait for a first fragment: 100 MB.
pub(crate) const HELD_PACKETS_MAX: usize = 4 << 20;
/// Limit on remembered first fragments: some 100 MB.
pub(crate) const FIRSTS_MAX: usize = 1 << 19;
/// Maximum number of distinct first fragments of one series at one instant.
pub(super) const FIRSTS_AT_ONCE_MAX: usize = 16;

/// True if packets of a flow can be later fragments.
pub(crate) fn can_be_later(templates: &[Template], flow: &Flow) -> bool {
    flow.has_fragments
        && templates
            .get(flow.template as usize)
            .is_none_or(|template| template.is_later_fragment() || template.shape == Shape::None)
}

/// The range in which packets can decide about packets of `range`.
pub(crate) fn reach(range: TimeRange) -> TimeRange {
    range.widened(REACH_NS)
}
