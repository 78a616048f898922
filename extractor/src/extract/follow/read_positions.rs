//! Reading progress of each segment, and the segments that have grown.

use std::collections::BTreeMap;

use netrewind_store::store::Watcher;
use netrewind_store::{SegmentName, SegmentState, Store, Timestamp};

use crate::answer::completeness::RejectedIndex;
use crate::extract::prepare::QuerySegments;
use crate::history::timeline::RecordingTimeline;
use crate::store::scan_cache::ScanCache;
use crate::store::segment::{Opening, Segment};
use crate::store::segment_cache::SegmentCache;
use crate::{ExtractError, Span, Unreadable};

/// Limit on remembered segments; beyond it, the oldest is forgotten. Lanes that rotate once a minute make 1,440 a day.
const REMEMBERED_MAX: usize = 1 << 20;

/// Every segment that has been met.
#[derive(Debug)]
pub(crate) struct Known {
    watcher: Watcher,
    looks: u32,
    reached: BTreeMap<SegmentName, Reached>,
    /// Listed segments that may still grow.
    pending: Vec<(SegmentName, SegmentState)>,
    next_ordinal: u32,
}

/// Reading progress of a segment.
#[derive(Clone, Copy, Debug)]
struct Reached {
    ordinal: u32,
    end: u64,
    /// To the end of a sealed segment.
    is_whole: bool,
    bounds: Option<(Timestamp, Timestamp)>,
}

/// Segments to be read in a round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Opened, with their bounds and the place from which they are to be read.
    pub(crate) segments: Vec<Segment>,
    pub(crate) rejected: Vec<RejectedIndex>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Known {
    /// The segments that a query opened are known, and those that it could not open.
    pub(crate) fn new(
        store: &Store,
        segments: &QuerySegments,
        unreadable: &[Unreadable],
        scans: &ScanCache,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, ExtractError> {
        let mut reached = BTreeMap::new();
        for segment in segments.iter() {
            let is_whole = segment.is_sealed();
            let end = match is_whole {
                true => segment.medium.bytes(),
                false => scans.of(segment, stop).ok_or(ExtractError::Cancelled)?.end,
            };
            let (ordinal, bounds) = (segment.ordinal, segment.bounds);
            reached.insert(segment.name, Reached { ordinal, end, is_whole, bounds });
        }
        for place in unreadable {
            let unread = Reached { ordinal: 0, end: 0, is_whole: true, bounds: None };
            reached.entry(place.segment).or_insert(unread);
        }
        let next_ordinal = u32::try_from(segments.names.len()).unwrap_or(u32::MAX);
        Ok(Self { watcher: Watcher::new(store), looks: 0, reached, pending: Vec::new(), next_ordinal })
    }

    /// Lists the store, and opens the segments with more to read.
    pub(crate) fn update(
        &mut self,
        segment_cache: &SegmentCache,
        scans: &ScanCache,
        use_index: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Round, ExtractError> {
        self.looks = self.looks.wrapping_add(1);
        if self.watcher.refresh(self.looks) {
            let is_whole = |name| self.reached.get(&name).is_some_and(|reached| reached.is_whole);
            self.pending = self.watcher.segments().filter(|(name, _)| !is_whole(*name)).collect();
        }
        let mut round = Round::default();
        for (name, state) in std::mem::take(&mut self.pending) {
            if stop() {
                return Err(ExtractError::Cancelled);
            }
            let reached = self.reached(name);
            let is_unchanged = state == SegmentState::Open
                && matches!(segment_cache.store().mark(&name), Ok(Some(mark)) if mark.committed_bytes <= reached.end);
            let reached = match is_unchanged {
                true => reached,
                false => round.open(segment_cache, scans, name, reached, use_index, stop)?,
            };
            self.reached.insert(name, reached);
            if !reached.is_whole {
                self.pending.push((name, state));
            }
        }
        while self.reached.len() > REMEMBERED_MAX {
            self.reached.pop_first();
        }
        Ok(round)
    }

    fn reached(&mut self, name: SegmentName) -> Reached {
        let known = self.reached.get(&name).copied();
        known.unwrap_or_else(|| {
            self.next_ordinal = self.next_ordinal.saturating_add(1);
            Reached { ordinal: self.next_ordinal - 1, end: 0, is_whole: false, bounds: None }
        })
    }

    /// The latest timestamp that has been read.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.reached.values().filter_map(|reached| reached.bounds).map(|(_, last)| last).max()
    }

    /// The earliest timestamp that has been read.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.reached.values().filter_map(|reached| reached.bounds).map(|(first, _)| first).min()
    }

    /// Names of the segments that were read whole, or can still be read; ascending.
    pub(crate) fn names(&self) -> Vec<SegmentName> {
        let whole = self.reached.iter().filter(|(_, reached)| reached.is_whole).map(|(name, _)| *name);
        let mut names: Vec<_> = whole.chain(self.watcher.segments().map(|(name, _)| name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The times of all that was read.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let span = |(from, last): (Timestamp, Timestamp)| Span { from, to: last.plus_ns(1) };
        self.reached.values().filter_map(|reached| reached.bounds).map(span).collect()
    }

    /// A segment that expired after it was read is not a loss; the rest of one that was partly read is.
    pub(crate) fn leave_out_what_was_read(&self, timeline: &mut RecordingTimeline<'_>) {
        let sealed = &timeline.sealed;
        timeline.expired.retain(|name, span| match self.reached.get(name) {
            Some(Reached { is_whole: true, .. }) => false,
            Some(Reached { bounds: Some((_, newest)), .. }) => {
                let all = span.or(sealed.get(name).copied());
                let rest = all.map(|all| Span { from: newest.plus_ns(1), ..all });
                *span = rest;
                rest.is_none_or(|rest| rest.from < rest.to)
            }
            _ => true,
        });
    }
}

impl Round {
    /// Opens a segment, and adds it if it has more than was `reached`. Returns how far it will have been read.
    fn open(
        &mut self,
        segment_cache: &SegmentCache,
        scans: &ScanCache,
        name: SegmentName,
        reached: Reached,
        use_index: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Reached, ExtractError> {
        let opening = segment_cache.open(name, reached.ordinal, use_index && reached.end == 0);
        let mut segment = match opening {
            Opening::Nothing => return Ok(reached),
            Opening::Unreadable(place) => {
                self.unreadable.push(place);
                return Ok(Reached { is_whole: true, ..reached });
            }
            Opening::Ready(segment, rejection) => {
                self.rejected.extend(rejection);
                segment
            }
        };
        let is_whole = segment.is_sealed();
        let mut end = segment.medium.bytes();
        segment.begin = reached.end;
        if segment.index.is_none() {
            let scan = scans.of(&segment, stop).ok_or(ExtractError::Cancelled)?;
            end = scan.end;
            let rest = || scan.granules_from(reached.end);
            let first = rest().map(|granule| granule.first).min();
            segment.bounds = first.zip(rest().map(|granule| granule.last).max());
            if segment.bounds.is_none() {
                self.unreadable.extend(segment.damage(&scan));
            }
        }
        let bounds = [reached.bounds, segment.bounds].into_iter().flatten();
        let bounds = bounds.reduce(|all, new| (all.0.min(new.0), all.1.max(new.1)));
        if segment.bounds.is_some() {
            self.segments.push(*segment);
        }
        Ok(Reached { end: end.max(reached.end), is_whole, bounds, ..reached })
    }
}
