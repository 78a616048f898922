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
//! from that packet's first fragment, and so on through [`limits::CHAIN_MAX`] packets. Without a first fragment each is judged as it
//! is, and so it is where the packets are looked at as received.
//!
//! **Invariant:** the verdict does not depend on which packets were read besides: the plan has all first fragments read
//! that can be the nearest to a fragment of the answer.

mod limits;
mod links;
mod lookahead;
mod relevant;

pub(crate) use limits::{FRAGMENT_WINDOW_NS, HELD_PACKETS_MAX, REACH_NS, can_be_later, reach};
pub(crate) use links::{FirstFragment, FirstVerdict, Later, Links};
pub(crate) use lookahead::{FragmentLookahead, SegmentFacts};
pub(crate) use relevant::{Nested, Pair, Relevant};
