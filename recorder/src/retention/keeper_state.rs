//! State of the keeper from one look at the store to the next: needs of the lanes, and room that is still to become free.

use std::collections::BTreeMap;
use std::time::Duration;

use netrewind_store::time::SECOND_NS;

use super::room::{GROWTH_MAX, with_index};

/// Time within which expired space should become free: an answer to a query keeps a segment for two seconds after it ends.
const FREED_WITHIN: Duration = Duration::from_secs(3);
/// Time that the room kept free ahead suffices for, at the pace of the last segments: some file systems free removed space only
/// with their next commit.
const AHEAD_NS: u64 = SECOND_NS;

/// State kept from one look to the next.
#[derive(Debug, Default)]
pub(super) struct KeeperState {
    pub(super) lanes: BTreeMap<u16, Need>,
    pub(super) awaited: Option<Awaited>,
    /// Rounds of expiry since a segment was last created.
    pub(super) expiries: u32,
}

/// Needs of a lane for its next segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    pub(super) wanted_bytes: u64,
    /// Bytes of its last segment.
    pub(super) last_bytes: u64,
    /// Time at which that was sealed, by the monotonic clock, and the time since the one before.
    pub(super) sealed_ns: u64,
    pub(super) took_ns: u64,
}

/// Room of expired segments that is not free yet because others hold them open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) since_ns: u64,
    pub(super) freed_bytes: u64,
    /// Free bytes expected then.
    pub(super) expected_bytes: u64,
}

impl KeeperState {
    pub(super) fn created(&mut self, bytes: u64) {
        self.expiries = 0;
        if let Some(awaited) = &mut self.awaited {
            awaited.expected_bytes = awaited.expected_bytes.saturating_sub(bytes);
        }
    }

    /// Bytes of expired segments that are not free yet.
    pub(super) fn awaited_bytes(&self, now_ns: u64, free_bytes: u64) -> u64 {
        self.awaited.map_or(0, |Awaited { since_ns, freed_bytes, expected_bytes }| {
            let is_late = u128::from(now_ns.saturating_sub(since_ns)) >= FREED_WITHIN.as_nanos();
            if is_late { 0 } else { expected_bytes.saturating_sub(free_bytes).min(freed_bytes) }
        })
    }

    /// Bytes that the next segments of all lanes will need, judged by their last ones.
    pub(super) fn ahead_bytes(&self) -> u64 {
        let paced = |need: &Need| need.last_bytes.saturating_mul(AHEAD_NS / need.took_ns.max(1));
        let next =
            |need: &Need| need.last_bytes.saturating_mul(GROWTH_MAX).min(need.wanted_bytes).max(paced(need));
        self.lanes.values().filter(|need| need.last_bytes > 0).map(|need| with_index(next(need))).sum()
    }
}
