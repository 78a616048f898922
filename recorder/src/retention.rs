//! What is kept, and what makes room: a hard budget over everything in the store, what the disk has, and a greatest age.
//!
//! **Invariant:** the order of expiry is the order of writing, told by names, never by a packet's timestamp. Nothing expires for
//! room unless that can make it.

mod hours;
mod keeper;
pub mod room;
#[cfg(test)]
mod tests;

use std::time::Duration;

use netrewind_segment::{SegmentName, Timestamp};

pub use hours::CatalogLimits;
pub use keeper::Keeper;
pub(crate) use keeper::lacks_room;

/// A sealed segment that could expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: SegmentName,
    /// Bytes that its removal frees.
    pub bytes: u64,
}

/// Sorts by age, oldest first. A name that is later than now was given before the wall clock was set back, so its segment
/// is older than all that have been written since.
pub fn sort_by_age(kept: &mut [Kept], now: Timestamp) {
    kept.sort_unstable_by_key(|segment| (segment.name.opened <= now, segment.name));
}

/// How many of the oldest must expire to free `bytes`.
pub fn oldest_to_free(kept: &[Kept], bytes: u64) -> usize {
    let mut freed = 0;
    kept.iter()
        .take_while(|segment| {
            let is_needed = freed < bytes;
            freed += segment.bytes;
            is_needed
        })
        .count()
}

/// Whether what was written then has reached `age_max`.
pub fn is_too_old(written: Timestamp, now: Timestamp, age_max: Duration) -> bool {
    u128::from(now.ns_since(written)) >= age_max.as_nanos()
}

/// What the store takes at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of disk, with all that is reserved for segments being written.
    pub bytes: u64,
    /// Segments, sealed and open.
    pub segments: u64,
    /// The opening of the oldest segment.
    pub oldest: Option<Timestamp>,
}
