//! The runs of all segments of a query, in the order in which the answer needs them. A segment is planned when the order
//! reaches its first timestamp, not before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::vec::IntoIter;

use netrewind_index::IndexError;

use crate::answer::Estimate;
use crate::answer::completeness::RejectedIndex;
use crate::flows::Chosen;
use crate::fragments::{FragmentLookahead, Relevant, SegmentFacts};
use crate::plan::flow_judge::PlanError;
use crate::plan::planner::Planner;
use crate::plan::query_filter::QueryFilter;
use crate::plan::runs::PlannedRun;
use crate::query::TimeRange;
use crate::read::place::PacketOrder;
use crate::read::reader::Run;
use crate::store::scan_cache::ScanCache;
use crate::store::segment::{Opening, Segment, lost_part_of};
use crate::store::segment_cache::SegmentCache;
use crate::{ExtractError, Span, Unreadable};

/// Runs still to come.
pub(crate) struct RunQueue<'q> {
    next: BinaryHeap<Reverse<(PacketOrder, usize, QueueStep)>>,
    segments: Vec<Option<Arc<Segment>>>,
    runs: HashMap<usize, Planned>,
    /// Present if fragments are judged together with the first of their packet.
    lookahead: Option<FragmentLookahead>,
    range: TimeRange,
    planner: Planner<'q>,
    scans: &'q ScanCache,
    segment_cache: &'q SegmentCache,
    use_index: bool,
    /// True if segments whose packets the index counts are only counted.
    counts: bool,
    /// Restricts the runs to packets of these conversations.
    chosen: Option<&'q Chosen>,
    /// Findings on the way.
    pub(crate) report: PlanReport,
}

/// Findings of planning.
#[derive(Debug, Default)]
pub(crate) struct PlanReport {
    pub(crate) rejected: Vec<RejectedIndex>,
    pub(crate) unreadable: Vec<Unreadable>,
    /// The times of segments that expired before they were read.
    pub(crate) gone: Vec<Span>,
    /// Packets and their bytes on the wire that are in the answer without having been read.
    pub(crate) counted_packets: u64,
    pub(crate) counted_bytes: u64,
    pub(crate) segments_planned: u64,
    pub(crate) segments_read: u64,
    pub(crate) segments_from_archive: u64,
    /// Fragments that could not be judged together with the first of their packet.
    pub(crate) unlinked: u64,
}

/// Purpose of the runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// Indexes may skip work.
    pub(crate) use_index: bool,
    /// Only counts are wanted: segments whose packets the index counts are not read.
    pub(crate) counts: bool,
}

/// The rest of a segment's runs.
struct Planned {
    runs: IntoIter<PlannedRun>,
    links: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum QueueStep {
    /// Plan the segment.
    Plan,
    /// Its next run is due.
    Run,
}

impl<'q> RunQueue<'q> {
    pub(crate) fn new(
        segments: Vec<Arc<Segment>>,
        range: TimeRange,
        filters: &'q QueryFilter,
        scans: &'q ScanCache,
        segment_cache: &'q SegmentCache,
        purpose: Purpose,
    ) -> Self {
        let segments: Vec<_> = segments.into_iter().map(Some).collect();
        let first = |(number, segment): (usize, &Option<Arc<Segment>>)| {
            let segment = segment.as_ref()?;
            let (at, _) = segment.bounds?;
            Some(Reverse((place(segment, at, 0), number, QueueStep::Plan)))
        };
        let facts = |segment: &Option<Arc<Segment>>| {
            segment.as_ref().map_or_else(SegmentFacts::none, |segment| SegmentFacts::of(segment))
        };
        let facts = || segments.iter().map(facts).collect();
        let lookahead = filters.link_fragments().then(|| FragmentLookahead::new(facts()));
        Self {
            next: segments.iter().enumerate().filter_map(first).collect(),
            lookahead,
            segments,
            runs: HashMap::new(),
            range,
            planner: Planner::new(range, filters),
            scans,
            segment_cache,
            use_index: purpose.use_index,
            counts: purpose.counts,
            chosen: None,
            report: PlanReport::default(),
        }
    }

    /// Restricts the runs to packets of chosen conversations, if any are; others need not be read.
    pub(crate) fn choosing(self, chosen: Option<&'q Chosen>) -> Self {
        Self { chosen, ..self }
    }

    /// Findings on the way.
    pub(crate) fn into_report(self) -> PlanReport {
        self.report
    }

    /// The next run, in the order of [`Run::place`].
    pub(crate) fn next(&mut self, stop: &dyn Fn() -> bool) -> Result<Option<Run>, ExtractError> {
        while let Some(Reverse((place, number, step))) = self.next.pop() {
            if stop() {
                return Err(ExtractError::Cancelled);
            }
            let Some(segment) = self.segments.get(number).cloned().flatten() else { continue };
            match step {
                QueueStep::Plan if segment.is_barren && self.relevant(number, stop)?.is_empty() => {
                    self.report.segments_planned += 1;
                    self.segments[number] = None;
                }
                QueueStep::Plan => {
                    let Some(mut segment) = self.held(number, segment)? else { continue };
                    let (mut runs, mut links) = self.plan(number, &segment, stop)?;
                    if !runs.is_empty() && self.segment_cache.drops_shortened(&segment) {
                        let Some(again) = self.opened_again(number, &segment)? else { continue };
                        segment = again;
                        (runs, links) = self.plan(number, &segment, stop)?;
                    }
                    self.report.segments_planned += 1;
                    self.report.segments_read += u64::from(!runs.is_empty());
                    let is_fetched = !runs.is_empty() && segment.medium.is_archived();
                    self.report.segments_from_archive += u64::from(is_fetched);
                    self.runs.insert(number, Planned { runs: runs.into_iter(), links });
                    self.push_next(number, &segment);
                }
                QueueStep::Run => {
                    let planned = self.runs.get_mut(&number);
                    let planned = planned.and_then(|planned| Some((planned.runs.next()?, planned.links)));
                    self.push_next(number, &segment);
                    if let Some((PlannedRun { ranges, .. }, links)) = planned {
                        return Ok(Some(Run { segment, ranges, place, links }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The segment with its maps; `None` if they had been released, and it has expired since.
    fn held(&mut self, number: usize, segment: Arc<Segment>) -> Result<Option<Arc<Segment>>, ExtractError> {
        if !segment.is_released() {
            return Ok(Some(segment));
        }
        self.opened_again(number, &segment)
    }

    /// The segment as it is now; `None` if it has expired since, or cannot be read any more.
    fn opened_again(
        &mut self,
        number: usize,
        segment: &Segment,
    ) -> Result<Option<Arc<Segment>>, ExtractError> {
        self.segments[number] = match self.segment_cache.reopened(segment, self.use_index) {
            Opening::Ready(segment, _) => Some(Arc::new(*segment)),
            Opening::Unreadable(place) => {
                self.report.unreadable.push(place);
                None
            }
            Opening::Nothing => {
                let gone = segment.bounds.filter(|(first, last)| self.range.meets(*first, *last));
                self.report.gone.extend(gone.map(|(from, last)| Span { from, to: last.plus_ns(1) }));
                None
            }
        };
        Ok(self.segments[number].clone())
    }

    fn push_next(&mut self, number: usize, segment: &Segment) {
        let run_queue = self.runs.get(&number).and_then(|planned| planned.runs.as_slice().first());
        match run_queue {
            Some(run) => {
                let offset = run.ranges.first().map_or(0, |range| range.start);
                self.next.push(Reverse((place(segment, run.first, offset), number, QueueStep::Run)));
            }
            None => {
                self.runs.remove(&number);
                self.segments[number] = None; // its map goes once its last packet is out
            }
        }
    }

    /// The runs of a segment, and whether fragments in them are noted.
    fn plan(
        &mut self,
        number: usize,
        segment: &Segment,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Vec<PlannedRun>, bool), ExtractError> {
        if let Some(index) = &segment.index {
            let relevant = self.relevant(number, stop)?;
            if self.counts && lost_part_of(index).is_ok() && self.count(segment, &relevant, stop)? {
                return Ok((Vec::new(), false));
            }
            let planned = match self.chosen {
                // Without fragments no packet decides about another.
                Some(chosen) if relevant.is_empty() => {
                    self.planner.runs_of_chosen(index, &segment.name, chosen, stop)
                }
                _ => self.planner.runs(index, &relevant, stop),
            };
            match planned.and_then(|runs| belongs(segment, runs)) {
                Ok(runs) => return Ok((runs, !relevant.is_empty())),
                Err(PlanError::Cancelled) => return Err(ExtractError::Cancelled),
                Err(PlanError::Index(error)) => self.reject(segment, &error),
            }
        }
        let walk = self.scans.covering(segment, stop).ok_or(ExtractError::Cancelled)?;
        let end = segment.medium.bytes();
        self.report.unreadable.extend(segment.damage(&walk));
        if self.lookahead.is_none() && self.chosen.is_some_and(|chosen| !chosen.may_be_in(&segment.name)) {
            return Ok((Vec::new(), false));
        }
        Ok((
            self.planner.runs_of_walk(walk.granules_within(segment.begin, end), segment.link_type),
            self.lookahead.is_some(),
        ))
    }

    /// The fragments that decide about others in a segment.
    fn relevant(&mut self, number: usize, stop: &dyn Fn() -> bool) -> Result<Arc<Relevant>, ExtractError> {
        let Some(mut lookahead) = self.lookahead.take() else { return Ok(Arc::default()) };
        let (segments, segment_cache, use_index) = (&self.segments, self.segment_cache, self.use_index);
        let open = &mut |number: usize| match segments.get(number).and_then(Option::as_ref) {
            Some(segment) if segment.is_released() => {
                Ok(segment_cache.reopen(segment, use_index).map(Arc::new))
            }
            segment => Ok(segment.cloned()),
        };
        let relevant = lookahead.relevant(number, &mut self.planner, open, stop);
        self.lookahead = Some(lookahead);
        relevant
    }

    /// Counts a segment's packets by its index alone; false if that is not possible.
    fn count(
        &mut self,
        segment: &Segment,
        relevant: &Relevant,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, ExtractError> {
        let Some(index) = &segment.index else { return Ok(false) };
        match self.planner.count(index, relevant, stop) {
            Ok(Some(_)) if lost_part_of(index).is_err() => Ok(false),
            Ok(Some(Estimate { packets_max, bytes_max, .. })) => {
                self.report.counted_packets += packets_max;
                self.report.counted_bytes += bytes_max;
                Ok(true)
            }
            Err(PlanError::Cancelled) => Err(ExtractError::Cancelled),
            // Faults of the index show again when the runs are planned.
            Ok(None) | Err(PlanError::Index(_)) => Ok(false),
        }
    }

    fn reject(&mut self, segment: &Segment, error: &IndexError) {
        self.report.rejected.push(RejectedIndex {
            segment: segment.name,
            reason: error.to_string(),
            is_unreadable: false,
        });
    }
}

/// Examines the segment itself before it is read, and whether the index could be read.
fn belongs(segment: &Segment, runs: Vec<PlannedRun>) -> Result<Vec<PlannedRun>, PlanError> {
    if let Some(index) = &segment.index {
        lost_part_of(index)?;
    }
    match &segment.index {
        Some(index) if !runs.is_empty() => index.matches_segment(&segment.medium)?,
        _ => {}
    }
    Ok(runs)
}

fn place(segment: &Segment, at: netrewind_store::Timestamp, offset: u64) -> PacketOrder {
    PacketOrder { at, lane: segment.name.lane, ordinal: segment.ordinal, offset }
}
