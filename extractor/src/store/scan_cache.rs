//! Scans of segments without an index, remembered between queries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use netrewind_store::{SegmentName, locked};

use super::scan::Scan;
use super::segment::Segment;

/// Limit on cached granules of scans, over all segments: 32 MB, which is 64 GiB of segments.
const REMEMBERED_GRANULES_MAX: usize = 1 << 20;

/// Cache of scans of segments without an index, of limited size. An open segment's scan continues where it ended.
#[derive(Debug, Default)]
pub(crate) struct ScanCache {
    known: Mutex<HashMap<SegmentName, Arc<Scan>>>,
    /// Segments that are being walked over.
    walked: Mutex<HashSet<SegmentName>>,
    /// Signals the end of a walk.
    walk_ended: Condvar,
}

/// Longest wait for another thread's walk before `stop` is asked again.
const WAIT_FOR_WALK: Duration = Duration::from_millis(2);

impl ScanCache {
    /// The scan of a segment up to where it was opened; `None` if `stop` returned true.
    pub(crate) fn of(&self, segment: &Segment, stop: &dyn Fn() -> bool) -> Option<Arc<Scan>> {
        let end = segment.medium.bytes();
        self.walk(segment, stop, &|walk| walk.end == end)
    }

    /// Likewise, or one that another query has made of more of it.
    pub(crate) fn covering(&self, segment: &Segment, stop: &dyn Fn() -> bool) -> Option<Arc<Scan>> {
        let end = segment.medium.bytes();
        self.walk(segment, stop, &|walk| walk.end >= end)
    }

    fn walk(
        &self,
        segment: &Segment,
        stop: &dyn Fn() -> bool,
        is_enough: &dyn Fn(&Scan) -> bool,
    ) -> Option<Arc<Scan>> {
        // Several at once would take as many times as long.
        while !locked(&self.walked).insert(segment.name) {
            if let Some(walk) = self.known(segment).filter(|walk| is_enough(walk)) {
                return Some(walk);
            }
            if stop() {
                return None;
            }
            drop(self.walk_ended.wait_timeout(locked(&self.walked), WAIT_FOR_WALK));
        }
        let _turn = ScanTurn(self, segment.name);
        let known = self.known(segment);
        if let Some(walk) = known.as_ref().filter(|walk| is_enough(walk)) {
            return Some(Arc::clone(walk));
        }
        segment.medium.read_in_order();
        let begun = known.filter(|walk| walk.end <= segment.medium.bytes());
        let begun = begun.map(Arc::unwrap_or_clone).unwrap_or_default();
        let mut walk = begun.extended(&segment.medium, stop)?;
        let is_lost = |walk: &Scan| segment.medium.first_lost(0..walk.end);
        while let Some(lost) = is_lost(&walk) {
            walk = Scan::default().extended(&segment.medium.front(lost), stop)?;
        }
        let walk = Arc::new(walk);
        segment.medium.read_as_told();
        self.remember(segment.name, &walk);
        Some(walk)
    }

    fn known(&self, segment: &Segment) -> Option<Arc<Scan>> {
        locked(&self.known).get(&segment.name).cloned()
    }

    fn remember(&self, name: SegmentName, walk: &Arc<Scan>) {
        let mut scans = locked(&self.known);
        if scans.get(&name).is_some_and(|known| known.end > walk.end) {
            return; // of a query that sees more
        }
        scans.insert(name, Arc::clone(walk));
        let mut granules: usize = scans.values().map(|walk| walk.granules.len()).sum();
        while granules > REMEMBERED_GRANULES_MAX
            && let Some(other) = scans.keys().min().copied()
        {
            // The oldest is dropped: the newest are the ones that grow and are queried.
            granules -= scans.remove(&other).map_or(0, |walk| walk.granules.len());
        }
    }
}

/// The right to walk over a segment.
struct ScanTurn<'w>(&'w ScanCache, SegmentName);

impl Drop for ScanTurn<'_> {
    fn drop(&mut self) {
        locked(&self.0.walked).remove(&self.1);
        self.0.walk_ended.notify_all();
    }
}
