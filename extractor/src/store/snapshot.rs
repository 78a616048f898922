//! Snapshot of a store's segments at the beginning of a query: listed once, then each opened, so that segments that expire or
//! are sealed meanwhile stay readable and no packet is seen twice.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use netrewind_store::{LinkType, SegmentName, SegmentState, Timestamp, locked};

use crate::answer::completeness::{Damage, RejectedIndex};
use crate::answer::control::Control;
use crate::history::timeline::RecordingTimeline;
use crate::plan::hour_judge::HourJudge;
use crate::store::hour_cache::KnownHours;
use crate::store::scan_cache::ScanCache;
use crate::store::segment::{Opening, Segment};
use crate::store::segment_cache::SegmentCache;
use crate::{ExtractError, Query, TimeRange, Unreadable};

/// Segments that are mapped before the first of them is examined, so that the disk works on all of them.
const MAPPED_AHEAD: usize = 64;
/// Segments that are scanned at a time to find their bounds.
const WALKED_AT_A_TIME: usize = 1024;
/// Interval at which a thread checks for finished walks.
const WAIT: Duration = Duration::from_millis(2);

/// Resources that a query may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    /// Threads beside the caller's.
    pub(crate) helpers: usize,
    /// Segments that stay mapped.
    pub(crate) held_max: usize,
}

/// A store's segments at one instant.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Segments that hold packets, by name; all with their bounds.
    pub(crate) segments: Vec<Segment>,
    /// Segments without packets of the range, but with packets that can decide about some in it.
    pub(crate) beside: Vec<Segment>,
    /// Segments without packets in the range asked for.
    pub(crate) outside: Vec<Segment>,
    /// Names of all that were listed and are there, ascending.
    pub(crate) names: Vec<SegmentName>,
    /// Those that were not sealed when they were listed.
    pub(crate) unsealed: Vec<SegmentName>,
    pub(crate) rejected: Vec<RejectedIndex>,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Places that could not be searched for segments.
    pub(crate) damaged: Vec<Damage>,
    held: usize,
}

impl Snapshot {
    /// Opens all segments of a store, and scans those without an index whose bounds are not known otherwise.
    pub(crate) fn take(
        segment_cache: &SegmentCache,
        query: &Query,
        scans: &ScanCache,
        workers: Workers,
        control: &dyn Control,
    ) -> Result<Self, ExtractError> {
        Self::take_those(segment_cache, query, scans, workers, control, &|_, _| true)
    }

    /// Likewise, of those that are wanted.
    pub(crate) fn take_those(
        segment_cache: &SegmentCache,
        query: &Query,
        scans: &ScanCache,
        workers: Workers,
        control: &dyn Control,
        is_wanted: &dyn Fn(&SegmentName, SegmentState) -> bool,
    ) -> Result<Self, ExtractError> {
        let Workers { helpers, held_max } = workers;
        let (mut listed, damaged) = segment_cache.listed();
        listed.retain(|(name, state)| is_wanted(name, *state));
        let hours = match query.use_index {
            true => segment_cache.hours_of(&listed, helpers),
            false => KnownHours::default(),
        };
        let names = Vec::with_capacity(listed.len());
        let unsealed = listed.iter().filter(|(_, state)| *state == SegmentState::Open);
        let unsealed = unsealed.map(|(name, _)| *name).collect();
        let mut snapshot = Self { names, damaged, unsealed, ..Self::default() };
        let mut unbounded = 0;
        let mut ordinals = 0..;
        for part in listed.chunks(MAPPED_AHEAD) {
            let mut mapped = Vec::with_capacity(part.len());
            let unknown = part.iter().filter(|(name, _)| hours.place_of(name).is_none());
            segment_cache.will_map(unknown.map(|(name, _)| *name));
            for ((name, _), ordinal) in part.iter().zip(&mut ordinals) {
                if control.cancelled() {
                    return Err(ExtractError::Cancelled);
                }
                let found = match hours.place_of(name) {
                    Some(place) => Some(segment_cache.of_hour(*name, ordinal, place)),
                    None => segment_cache.map(*name, ordinal, query.use_index),
                };
                // One that has expired since it was listed is not there.
                if let Some(found) = found {
                    snapshot.names.push(*name);
                    mapped.push(found);
                }
            }
            for opening in mapped.into_iter().map(|mapped| segment_cache.check(mapped)) {
                unbounded += usize::from(snapshot.add(opening, query.range(), held_max));
            }
            if unbounded >= WALKED_AT_A_TIME {
                unbounded = 0;
                snapshot.bound_all(scans, helpers, control)?;
                snapshot.settle_from(0, query.range(), held_max);
            }
        }
        snapshot.bound_all(scans, helpers, control)?;
        snapshot.settle_from(0, query.range(), held_max);
        Ok(snapshot)
    }

    /// Adds a segment; true if its bounds are still to be found.
    fn add(&mut self, opening: Opening, range: TimeRange, held_max: usize) -> bool {
        match opening {
            Opening::Ready(segment, rejection) => {
                self.rejected.extend(rejection);
                let is_unbounded = segment.bounds.is_none();
                self.segments.push(*segment);
                self.settle_from(self.segments.len() - 1, range, held_max);
                is_unbounded
            }
            Opening::Unreadable(place) => {
                self.unreadable.push(place);
                false
            }
            Opening::Nothing => false,
        }
    }

    /// Releases the maps of segments that the range does not touch, and of those beyond `held_max`.
    fn settle_from(&mut self, number: usize, range: TimeRange, held_max: usize) {
        for segment in &mut self.segments[number..] {
            let Some((first, last)) = segment.bounds.filter(|_| !segment.is_released() && !segment.is_held)
            else {
                continue;
            };
            if range.meets(first, last) && self.held < held_max {
                segment.is_held = true;
                self.held += 1;
            } else {
                segment.release();
            }
        }
    }

    /// Finds the bounds of each segment, and leaves out empty ones.
    fn bound_all(
        &mut self,
        scans: &ScanCache,
        helpers: usize,
        control: &dyn Control,
    ) -> Result<(), ExtractError> {
        let unbounded: Vec<&mut Segment> =
            self.segments.iter_mut().filter(|segment| segment.bounds.is_none()).collect();
        if unbounded.is_empty() {
            return Ok(());
        }
        walk_over_all(unbounded, scans, helpers, control)?;
        // The damage of the others is found when their part is planned, if the query touches them at all.
        for segment in self.segments.iter().filter(|segment| segment.bounds.is_none()) {
            let walk = scans.of(segment, &|| false);
            self.unreadable.extend(walk.and_then(|walk| segment.damage(&walk)));
        }
        self.segments.retain(|segment| segment.bounds.is_some());
        Ok(())
    }

    /// Finds segments that are shorter than they were when they were sealed. One whose index fits is not.
    pub(crate) fn find_shortened(&mut self, timeline: &RecordingTimeline<'_>) {
        let is_sealed =
            |segment: &&Segment| segment.is_sealed() && segment.index.is_none() && !segment.is_released();
        for segment in self.segments.iter().chain(&self.beside).filter(is_sealed) {
            let bytes = segment.medium.bytes();
            let sealed = timeline.sealed_bytes.get(&segment.name).copied().unwrap_or(bytes);
            if bytes < sealed {
                let reason = format!("the file ends there, but had {sealed} bytes when it was sealed");
                self.unreadable.push(Unreadable { segment: segment.name, offset: bytes, reason });
            }
        }
    }

    /// Opens the segments of which so far only their hours have told, unless these tell that the answer has no packet of them.
    pub(crate) fn open_possible(
        &mut self,
        segment_cache: &SegmentCache,
        mut judge: HourJudge<'_>,
        held_max: usize,
        control: &dyn Control,
    ) -> Result<(), ExtractError> {
        let of_hours = self.segments.iter_mut().chain(&mut self.beside);
        let mut possible: Vec<&mut Segment> = Vec::new();
        for segment in of_hours.filter(|segment| segment.hour.is_some()) {
            segment.is_barren = !judge.may_have_packets(segment);
            if !segment.is_barren && self.held + possible.len() < held_max {
                possible.push(segment);
            }
        }
        for part in possible.chunks_mut(MAPPED_AHEAD) {
            if control.cancelled() {
                return Err(ExtractError::Cancelled);
            }
            segment_cache.will_map(part.iter().map(|segment| segment.name));
            let map = |segment: &&mut Segment| segment_cache.map(segment.name, segment.ordinal, true);
            let mapped: Vec<_> = part.iter().map(map).collect();
            for (segment, mapped) in part.iter_mut().zip(mapped) {
                // What has changed since its hour was checked is found, and told, when it is read.
                if let Some(Opening::Ready(opened, None)) = mapped.map(|mapped| segment_cache.check(mapped))
                    && opened.bounds == segment.bounds
                {
                    let interface = segment.interface;
                    **segment = Segment { interface, is_held: true, ..*opened };
                    self.held += 1;
                }
            }
        }
        Ok(())
    }

    /// The earliest timestamp kept.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.segments.iter().filter_map(|segment| segment.bounds).map(|(first, _)| first).min()
    }

    /// The latest timestamp committed.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.segments.iter().filter_map(|segment| segment.bounds).map(|(_, last)| last).max()
    }

    /// The link types of the store, ascending.
    pub(crate) fn link_types(&self) -> Vec<LinkType> {
        let mut link_types: Vec<_> = self.segments.iter().map(|segment| segment.link_type).collect();
        link_types.sort_unstable();
        link_types.dedup();
        link_types
    }

    /// Removes the segments that cannot have packets in the range, and returns those of them that can have some in `reached`.
    pub(crate) fn keep_in(&mut self, range: TimeRange, reached: TimeRange) -> Vec<Segment> {
        let meets = |segment: &Segment, range: TimeRange| {
            segment.bounds.is_some_and(|(first, last)| range.meets(first, last))
        };
        let is_beside = |segment: &mut Segment| !meets(segment, range);
        let rest = self.segments.extract_if(.., is_beside);
        let (beside, outside) = rest.partition(|segment| meets(segment, reached));
        self.outside = outside;
        beside
    }

    /// Segments with packets of the range, followed by those beside it.
    pub(crate) fn into_segments(self) -> Vec<Arc<Segment>> {
        self.segments.into_iter().chain(self.beside).map(Arc::new).collect()
    }
}

/// Scans segments to find their bounds, on some threads; this one only waits and checks for cancellation.
fn walk_over_all(
    segments: Vec<&mut Segment>,
    scans: &ScanCache,
    helpers: usize,
    control: &dyn Control,
) -> Result<(), ExtractError> {
    let stop = AtomicBool::new(false);
    let running = AtomicUsize::new(helpers.saturating_add(1).min(segments.len()));
    let work = Mutex::new(segments.into_iter());
    let waiting = std::thread::current();
    let walker = || {
        loop {
            let segment = locked(&work).next();
            let Some(segment) = segment else { break };
            let Some(walk) = scans.of(segment, &|| stop.load(Ordering::Relaxed)) else { break };
            segment.bounds = walk.bounds();
        }
        running.fetch_sub(1, Ordering::Release);
        waiting.unpark();
    };
    std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..running.load(Ordering::Relaxed)).map(|_| scope.spawn(walker)).collect();
        while running.load(Ordering::Acquire) > 0 && !walkers.iter().all(|walker| walker.is_finished()) {
            if control.cancelled() {
                stop.store(true, Ordering::Relaxed);
            }
            std::thread::park_timeout(WAIT);
        }
    });
    if control.cancelled() { Err(ExtractError::Cancelled) } else { Ok(()) }
}
