//! Retention: a hard budget over everything in the store, the room that the disk has, and a greatest age.
//!
//! **Invariant:** the order of expiry is the order of writing, told by names, never by a packet's timestamp. Nothing expires for
//! room unless that makes enough room. A held segment never expires.

mod holds;
mod keeper;
mod keeper_state;
mod no_room;
pub mod room;
#[cfg(test)]
mod tests;

use std::time::Duration;

use netrewind_store::{SegmentName, Timestamp};

pub use keeper::{Attempt, FREED_LOOK_INTERVAL, Keeper};
pub(crate) use no_room::lacks_room;

/// Limits that a store is kept within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Bytes of disk for everything in the store; `None` for no limit but the disk.
    pub budget_bytes: Option<u64>,
    /// Age at which a segment expires; `None` for no limit.
    pub age_max: Option<Duration>,
}

/// A sealed segment that could expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryCandidate {
    /// Its name.
    pub name: SegmentName,
    /// Bytes that its removal frees.
    pub bytes: u64,
}

/// Sorts by age, oldest first. A name in the future was given before the wall clock was set back, so its segment is older than
/// all that have been written since.
pub fn sort_by_age(kept: &mut [ExpiryCandidate], now: Timestamp) {
    kept.sort_unstable_by_key(|segment| (segment.name.opened <= now, segment.name));
}

/// Number of the oldest segments that must expire to free `bytes`.
pub fn oldest_to_free(kept: &[ExpiryCandidate], bytes: u64) -> usize {
    let mut freed = 0;
    kept.iter()
        .take_while(|segment| {
            let is_needed = freed < bytes;
            freed += segment.bytes;
            is_needed
        })
        .count()
}

/// True if something written at that time has reached `age_max`.
pub fn is_too_old(written: Timestamp, now: Timestamp, age_max: Duration) -> bool {
    u128::from(now.ns_since(written)) >= age_max.as_nanos()
}

/// Current disk usage of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of disk, including space reserved for segments being written.
    pub bytes: u64,
    /// Segments, sealed and open.
    pub segments: u64,
    /// Time at which the oldest segment was opened.
    pub oldest: Option<Timestamp>,
    /// Bytes of disk that holds take: held segments, and the packets of cases.
    pub held_bytes: u64,
}
