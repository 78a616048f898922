//! Fragments relevant to the packets of a segment: by its own index, and by those of segments near in time, as a packet's
//! fragments can lie in different lanes and on both sides of a segment's end.
//!
//! Segments of about the same time share the results: with hundreds overlapping, each is near all others, and searching all of
//! them for each would take a time that grows with their square.

use std::collections::HashMap;
use std::sync::Arc;

use netrewind_store::Timestamp;

use super::limits::REACH_NS;
use super::relevant::{Nested, Relevant};
use crate::ExtractError;
use crate::plan::flow_judge::PlanError;
use crate::plan::fragment_flows::nested_fragments;
use crate::plan::planner::Planner;
use crate::plan::query_filter::LinkTypeVerdict;
use crate::store::segment::Segment;

/// Longest time between a segment's packets and others that make them relevant: one reach to the fragment of the answer, one
/// from there.
const NEAR_NS: u64 = 2 * REACH_NS;
/// Later fragments may be in any view.
const ALL_VIEWS: u8 = u8::MAX;

/// Opens a segment by its number; `None` where it is gone.
pub(crate) type OpenSegment<'o> = dyn FnMut(usize) -> Result<Option<Arc<Segment>>, ExtractError> + 'o;

/// Facts of a segment that are known before it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentFacts {
    /// First and last timestamp.
    span: Option<(Timestamp, Timestamp)>,
    /// Bits of the views in which there can be later fragments, where its hour tells.
    later_views: Option<u8>,
    /// True if the filter accepts none of its packets by themselves.
    is_barren: bool,
}

impl SegmentFacts {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self { span: segment.bounds, later_views: segment.later_views(), is_barren: segment.is_barren }
    }

    /// Those of a segment that is gone.
    pub(crate) fn none() -> Self {
        Self { span: None, later_views: None, is_barren: false }
    }
}

/// Fragments of a segment, by its own index.
#[derive(Clone, Debug, Default)]
struct Scouted {
    /// Bits of the views in which there can be later fragments.
    later_views: u8,
    /// Fragments that the filter may accept; searched only if there are later ones nearby.
    relevant: Option<Arc<Relevant>>,
    /// Likewise, where there are later ones in several views.
    nested: Option<Arc<Nested>>,
}

/// Examines the segments of a query, each when it is needed.
#[derive(Debug)]
pub(crate) struct FragmentLookahead {
    /// Each segment, by number.
    segments: Vec<SegmentFacts>,
    /// Numbers by first timestamp, each with the latest timestamp of those up to it.
    by_first: Vec<(Timestamp, usize, Timestamp)>,
    scouted: HashMap<usize, Scouted>,
    /// Relevant fragments by window.
    windows: HashMap<LookaheadWindow, Arc<Relevant>>,
    /// Windows that ended well before this time are forgotten.
    forgotten_to: Timestamp,
}

/// A stretch of time in nanoseconds, both ends included, that many segments share: cells as long as the segment or longer, and at
/// least as long as others are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LookaheadWindow {
    from: u64,
    to: u64,
}

impl LookaheadWindow {
    fn around(first: Timestamp, last: Timestamp) -> Self {
        let span = last.ns().saturating_sub(first.ns());
        let cell = span.max(NEAR_NS).checked_next_power_of_two().unwrap_or(1 << (u64::BITS - 1));
        let from = first.ns() / cell * cell;
        let to = (last.ns() / cell).saturating_add(1).saturating_mul(cell).saturating_sub(1);
        Self { from, to: to.max(last.ns()) }
    }
}

impl FragmentLookahead {
    /// Lookahead into these segments.
    pub(crate) fn new(segments: Vec<SegmentFacts>) -> Self {
        let bounded = segments.iter().enumerate();
        let bounded =
            bounded.filter_map(|(number, facts)| facts.span.map(|(first, last)| (first, number, last)));
        let mut by_first: Vec<_> = bounded.collect();
        by_first.sort_unstable();
        let mut latest = Timestamp::MIN;
        for (_, _, last) in &mut by_first {
            latest = latest.max(*last);
            *last = latest;
        }
        Self {
            segments,
            by_first,
            scouted: HashMap::new(),
            windows: HashMap::new(),
            forgotten_to: Timestamp::MIN,
        }
    }

    /// The fragments that are relevant to the packets of segment `number`, and perhaps to others nearby; `None` if each fragment
    /// can be filtered alone.
    pub(crate) fn relevant(
        &mut self,
        number: usize,
        planner: &mut Planner<'_>,
        open: &mut OpenSegment<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Arc<Relevant>, ExtractError> {
        let Some((first, last)) = self.segments.get(number).and_then(|facts| facts.span) else {
            return Ok(Arc::default());
        };
        self.forget_before(first);
        let window = LookaheadWindow::around(first, last);
        let relevant = match self.windows.get(&window) {
            Some(relevant) => Arc::clone(relevant),
            None => {
                let relevant = Arc::new(self.relevant_in(window, planner, open, stop)?);
                self.windows.insert(window, Arc::clone(&relevant));
                relevant
            }
        };
        Ok(if relevant.has_any(first, last) { relevant } else { Arc::default() })
    }

    fn relevant_in(
        &mut self,
        window: LookaheadWindow,
        planner: &mut Planner<'_>,
        open: &mut OpenSegment<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Relevant, ExtractError> {
        let mut relevant = Relevant::default();
        let near = self.near(Timestamp(window.from), Timestamp(window.to));
        let mut later_views = 0;
        for &other in &near {
            later_views |= self.later_views(other, open)?;
        }
        if later_views == 0 {
            return Ok(relevant);
        }
        for &other in &near {
            relevant.join(&*self.relevant_of(other, planner, open, stop)?);
        }
        if later_views.count_ones() > 1 && !relevant.is_empty() {
            for &other in &near {
                let nested = self.nested_of(other, open, stop)?;
                if let Some(span) = self.segments[other].span {
                    relevant.join(&nested.outside(&relevant, span));
                }
            }
        }
        relevant.keep_views(later_views);
        Ok(relevant)
    }

    /// Drops, at intervals, results that are not near any segment beginning at `first` or later.
    fn forget_before(&mut self, first: Timestamp) {
        if first.ns() < self.forgotten_to.ns().saturating_add(NEAR_NS) {
            return;
        }
        self.forgotten_to = first;
        let segments = &self.segments;
        self.scouted.retain(|&number, _| {
            let span = segments[number].span;
            span.is_some_and(|(_, last)| last.ns().saturating_add(2 * NEAR_NS) >= first.ns())
        });
        self.windows.retain(|window, _| window.to >= first.ns());
    }

    /// The numbers of the segments that are near in time to `first..=last`.
    fn near(&self, first: Timestamp, last: Timestamp) -> Vec<usize> {
        let from = first.ns().saturating_sub(NEAR_NS);
        let to = last.ns().saturating_add(NEAR_NS);
        let begun = self.by_first.partition_point(|(first, ..)| first.ns() <= to);
        let near = self.by_first[..begun].iter().rev().take_while(|(.., latest)| latest.ns() >= from);
        let ends_behind =
            |number: &usize| self.segments[*number].span.is_some_and(|(_, last)| last.ns() >= from);
        near.map(|(_, number, _)| *number).filter(ends_behind).collect()
    }

    fn later_views(&mut self, number: usize, open: &mut OpenSegment<'_>) -> Result<u8, ExtractError> {
        if let Some(later_views) = self.segments[number].later_views {
            return Ok(later_views);
        }
        if let Some(scouted) = self.scouted.get(&number) {
            return Ok(scouted.later_views);
        }
        let later_views = match open(number)? {
            None => 0,
            Some(segment) => match &segment.index {
                None => ALL_VIEWS,
                Some(index) => index.later_views().unwrap_or(ALL_VIEWS),
            },
        };
        self.scouted.insert(number, Scouted { later_views, ..Scouted::default() });
        Ok(later_views)
    }

    fn relevant_of(
        &mut self,
        number: usize,
        planner: &mut Planner<'_>,
        open: &mut OpenSegment<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Arc<Relevant>, ExtractError> {
        if let Some(Scouted { relevant: Some(relevant), .. }) = self.scouted.get(&number) {
            return Ok(Arc::clone(relevant));
        }
        if self.segments[number].is_barren {
            return Ok(Arc::default());
        }
        let mut relevant = Relevant::default();
        if let (Some(segment), Some((first, last))) = (open(number)?, self.segments[number].span)
            && planner.link_type_verdict(segment.link_type) != LinkTypeVerdict::Nothing
        {
            let known = match &segment.index {
                Some(index) => uncancelled(planner.relevant_fragments(index, stop))?,
                None => None,
            };
            match known {
                Some(known) => relevant = known,
                None => relevant.add_all(first, last), // nobody knows
            }
        }
        let relevant = Arc::new(relevant);
        self.scouted.entry(number).or_default().relevant = Some(Arc::clone(&relevant));
        Ok(relevant)
    }

    fn nested_of(
        &mut self,
        number: usize,
        open: &mut OpenSegment<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Arc<Nested>, ExtractError> {
        if let Some(Scouted { nested: Some(nested), .. }) = self.scouted.get(&number) {
            return Ok(Arc::clone(nested));
        }
        let known = match open(number)? {
            None => Some(Nested::default()), // it was examined while it existed, if it matters
            Some(segment) => match &segment.index {
                Some(index) => uncancelled(nested_fragments(index, stop))?,
                None => None,
            },
        };
        let nested = Arc::new(known.unwrap_or_else(Nested::unknown));
        self.scouted.entry(number).or_default().nested = Some(Arc::clone(&nested));
        Ok(nested)
    }
}

/// Result of the lookahead, without that of a damaged index: the damage is reported when the segment is planned.
fn uncancelled<T>(found: Result<T, PlanError>) -> Result<Option<T>, ExtractError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(PlanError::Index(_)) => Ok(None),
        Err(PlanError::Cancelled) => Err(ExtractError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn near_is_what_can_hold_a_fragment_of_the_same_packet() {
        let at = |n: u64| Timestamp(n * NEAR_NS);
        let span = |first, last| SegmentFacts { span: Some((at(first), at(last))), ..SegmentFacts::none() };
        let lookahead = FragmentLookahead::new(vec![
            span(5, 6),
            span(0, 50),
            SegmentFacts::none(),
            span(8, 9),
            span(11, 12),
            span(20, 21),
        ]);
        let mut near = lookahead.near(at(7), at(10));
        near.sort_unstable();
        assert_eq!(near, [0, 1, 3, 4]);
    }

    #[test]
    fn segments_that_overlap_share_few_windows() {
        let at = |n: u64| Timestamp(1_790_000_000_000_000_000 + n);
        // Two thousand segments of some milliseconds within four seconds.
        let windows: HashSet<_> = (0..2000)
            .map(|n| LookaheadWindow::around(at(n * 2_000_000), at(n * 2_000_000 + 9_000_000)))
            .collect();
        assert!(windows.len() <= 5, "{windows:?}");
        for (first, last) in [(0, 0), (5, u64::MAX), (at(3).ns(), at(90_000_000_000).ns())] {
            let LookaheadWindow { from, to } = LookaheadWindow::around(Timestamp(first), Timestamp(last));
            assert!(from <= first && last <= to, "{first}..={last}: {from}..={to}");
        }
    }
}
