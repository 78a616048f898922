//! Fragments of IP packets: a later one shows neither ports nor the packet's contents, so it is filtered together with the first.
//!
//! A later fragment belongs to the first fragment of its series (addresses, protocol and id, in the same view) that is
//! nearest in time, at most [`FRAGMENT_WINDOW_NS`] before or behind it; of several that are equally near to any of them.
//!
//! - Where the first one shows deeper views than the later one, which then is a piece of a tunnel's packet, and the
//!   innermost view is asked for, the later one is accepted if the first is.
//! - Else it is accepted if it or the first is.
//!
//! A first fragment can be a later one itself, of a packet that was fragmented again inside: what it is judged as follows
//! from that packet's first fragment, and so on through [`CHAIN_MAX`] packets. Without a first fragment each is judged as it
//! is, and so it is where the packets are looked at as received.
//!
//! **Invariant:** the verdict does not depend on which packets were read besides: the plan has all first fragments read
//! that can be the nearest to a fragment of the answer.

mod links;
mod lookahead;
mod relevant;

pub(crate) use links::{FirstFragment, FirstVerdict, Later, Links};
pub(crate) use lookahead::FragmentLookahead;
pub(crate) use relevant::{Nested, Pair, Relevant, innermost_view};

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
const FIRSTS_AT_ONCE_MAX: usize = 16;

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
