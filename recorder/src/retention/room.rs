//! Size of the next segment, and the space that must be freed for it. Pure.
//!
//! **Invariant:** nothing expires unless that makes enough room.

use crate::config::{INDEX_RESERVE_DIVISOR, SEGMENT_BYTES_MIN};

/// Segments of each lane that a disk has room for: one being written, one being sealed, the room for the next, and one to read.
/// On a smaller disk, segments are smaller.
pub const DISK_SEGMENTS_MIN: u64 = 4;
/// Largest growth from a lane's last segment to the next that is provided for. If a segment that large fits into the free space,
/// nothing expires for it.
pub const GROWTH_MAX: u64 = 4;

/// Space for the next segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be taken now.
    pub available_bytes: u64,
    /// Bytes that must be freed before any can be taken: usage is over its budget.
    pub over_bytes: u64,
    /// Bytes that could expire.
    pub expirable_bytes: u64,
}

/// A segment that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRoom {
    /// Its bytes.
    pub segment_bytes: u64,
    /// Bytes that must expire for it.
    pub to_free_bytes: u64,
}

/// Bytes of a segment together with the room for its index.
pub fn with_index(segment_bytes: u64) -> u64 {
    segment_bytes.saturating_add(segment_bytes / INDEX_RESERVE_DIVISOR)
}

/// `bytes`, halved again and again, down to the smallest segment.
pub fn halvings(bytes: u64) -> impl Iterator<Item = u64> {
    let next = |&bytes: &u64| (bytes > SEGMENT_BYTES_MIN).then(|| (bytes / 2).max(SEGMENT_BYTES_MIN));
    std::iter::successors(Some(bytes.max(SEGMENT_BYTES_MIN)), next)
}

/// The largest segment of at most `wanted_bytes` of which each of `lanes` can have [`DISK_SEGMENTS_MIN`] in `total_bytes`.
pub fn segment_bytes_max(wanted_bytes: u64, total_bytes: u64, lanes: u64) -> u64 {
    let share = total_bytes / DISK_SEGMENTS_MIN.saturating_mul(lanes.max(1));
    halvings(wanted_bytes).find(|&bytes| with_index(bytes) <= share).unwrap_or(SEGMENT_BYTES_MIN)
}

impl Space {
    /// Bytes available if everything expired that could.
    pub fn capacity_bytes(&self) -> u64 {
        self.available_bytes.saturating_add(self.expirable_bytes).saturating_sub(self.over_bytes)
    }

    /// The segment to make next, of at most `most` bytes, for a lane whose last one took `last_bytes`; `None` where even the
    /// smallest has no room, whatever expires.
    pub fn fit(&self, most: u64, last_bytes: u64) -> Option<SegmentRoom> {
        let most = most.max(SEGMENT_BYTES_MIN);
        let least = last_bytes.saturating_mul(GROWTH_MAX).clamp(SEGMENT_BYTES_MIN, most);
        let free_now = if self.over_bytes > 0 { 0 } else { self.available_bytes };
        let mut as_it_is = halvings(most).take_while(|&bytes| bytes >= least);
        if let Some(segment_bytes) = as_it_is.find(|&bytes| with_index(bytes) <= free_now) {
            return Some(SegmentRoom { segment_bytes, to_free_bytes: 0 });
        }
        let segment_bytes = halvings(least).find(|&bytes| with_index(bytes) <= self.capacity_bytes())?;
        let needed = with_index(segment_bytes).saturating_add(self.over_bytes);
        Some(SegmentRoom { segment_bytes, to_free_bytes: needed.saturating_sub(self.available_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(available: u64, expirable: u64) -> Space {
        Space { available_bytes: available, expirable_bytes: expirable, over_bytes: 0 }
    }

    fn fit(available: u64, expirable: u64, last: u64) -> Option<(u64, u64)> {
        let most = segment_bytes_max(1024 * MIB, (available + expirable) * MIB, 1);
        let fit = space(available * MIB, expirable * MIB).fit(most, last * MIB)?;
        Some((fit.segment_bytes / MIB, fit.to_free_bytes / MIB))
    }

    #[test]
    fn a_segment_is_fitted_to_what_is_free_before_anything_goes() {
        assert_eq!(fit(100_000, 0, 0), Some((1024, 0)));
        assert_eq!(fit(96, 0, 0), Some((16, 0)), "four of them have room");
        assert_eq!(fit(5, 200, 0), Some((4, 0)), "small, rather than history gone");
        assert_eq!(fit(5, 200, 3), Some((12, 8)), "but not much smaller than the last one was");
        assert_eq!(fit(0, 200, 100), Some((32, 36)), "and no larger than there can be four of");
        assert_eq!(fit(1, 1, 0), Some((1, 0)), "an eighth of a mebibyte goes for its index");
    }

    #[test]
    fn nothing_goes_where_that_would_not_be_enough() {
        assert_eq!(space(0, MIB).fit(1024 * MIB, 0), None);
        assert_eq!(space(MIB, 0).fit(1024 * MIB, 0), None);
        let over = Space { over_bytes: 10 * MIB, ..space(0, 9 * MIB) };
        assert_eq!(over.fit(4 * MIB, 0), None);
        let over = Space { over_bytes: 10 * MIB, ..space(0, 20 * MIB) };
        assert_eq!(over.fit(4 * MIB, 4 * MIB).map(|fit| fit.segment_bytes), Some(4 * MIB));
        for (available, expirable, last) in (0..40).flat_map(|a| (0..40).map(move |e| (a, e, (a * e) % 9))) {
            let space = space(available * MIB / 3, expirable * MIB / 3);
            let Some(fit) = space.fit(64 * MIB, last * MIB) else {
                assert!(space.capacity_bytes() < with_index(SEGMENT_BYTES_MIN));
                continue;
            };
            assert!(fit.to_free_bytes <= space.expirable_bytes, "{space:?} {fit:?}");
            assert!(with_index(fit.segment_bytes) <= space.available_bytes + fit.to_free_bytes);
            assert!((MIB..=64 * MIB).contains(&fit.segment_bytes));
        }
    }

    #[test]
    fn two_lanes_both_have_a_segment_of_the_last_three_mebibytes() {
        let most = segment_bytes_max(1024 * MIB, 3 * MIB, 2);
        let mut space = space(3 * MIB, 0);
        for _ in 0..2 {
            let fit = space.fit(most, 0).expect("room");
            assert_eq!(fit, SegmentRoom { segment_bytes: MIB, to_free_bytes: 0 });
            space.available_bytes -= with_index(fit.segment_bytes);
        }
        assert_eq!(space.fit(most, 0), None);
    }
}
