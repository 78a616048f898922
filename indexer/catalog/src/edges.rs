//! Instants at which an hour meets the hours beside it.

use netrewind_flows::join::last_moment;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::FlowCounters;
use netrewind_store::catalog::Manifest;
use netrewind_store::time::SECOND_NS;

/// Longest overlap of the packets of two hours' segments: lanes that write at the same time overlap by the age of a segment.
/// Hours that overlap by more have all their records joined again.
pub const OVERLAP_NS: u64 = 90 * SECOND_NS;

/// Start and end of an hour, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Edges {
    /// Start of the hour.
    pub base: u64,
    /// Instant up to which there may be packets of the hour before.
    pub begins: u64,
    /// Instant from which on there may be packets of the hour after.
    pub ends: u64,
}

impl Edges {
    /// Edges of an hour.
    pub fn of(manifest: &Manifest) -> Self {
        let (first, last) = manifest.bounds().unwrap_or_default();
        Self {
            base: manifest.hour.start().ns(),
            begins: first.ns().saturating_add(OVERLAP_NS),
            ends: last.ns().saturating_sub(OVERLAP_NS),
        }
    }

    /// Two flags: the conversation may have begun before the hour, and may continue after it. A loose piece belongs to one that
    /// may have begun before.
    pub fn sides(self, key: &FlowKey, body: &FlowCounters, is_loose: bool) -> (bool, bool) {
        let may_have_begun = body.first() <= self.begins.saturating_add(key.idle_ns(false));
        (may_have_begun || is_loose, last_moment(key, body) >= self.ends)
    }
}
