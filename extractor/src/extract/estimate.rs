//! Estimates of an answer's size, before anything is read.

use std::sync::Arc;

use super::engine::Engine;
use super::output::AnswerForm;
use super::plan::PlannedQuery;
use super::prepare::{PreparedQuery, QuerySegments, prepare};
use super::run::WrittenQuery;
use crate::answer::Estimate;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::fragments::{FragmentLookahead, Relevant, SegmentFacts};
use crate::plan::flow_judge::PlanError;
use crate::plan::planner::Planner;
use crate::query::{AnswerLimits, Query};
use crate::sink::{CountSink, Wants};
use crate::store::segment::{Segment, lost_part_of};

/// Bounds of the size of an answer, without reading packets of segments that have an index. Exception: if the index would
/// reveal packets that a joined filter may not accept, they are read and counted. Chosen conversations do not matter here.
pub(crate) fn estimate_packets(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
) -> Result<Estimate, ExtractError> {
    let prepared = prepare(engine, query, Wants::default(), control)?;
    let (mut total, uncounted) = estimate_by_indexes(&prepared, control)?;
    if !uncounted.is_empty() {
        let PreparedQuery { segments, .. } = prepared;
        let QuerySegments { in_range, beside, outside, names } = segments;
        let (in_range, beside) = if prepared.filters.link_fragments() {
            // The first fragments that decide may be in any nearby segment.
            total = Estimate::default();
            (in_range, beside)
        } else {
            let numbered = in_range.into_iter().enumerate();
            let is_uncounted = |(number, _): &(usize, _)| uncounted.contains(number);
            (numbered.filter(is_uncounted).map(|(_, segment)| segment).collect(), Vec::new())
        };
        let segments = QuerySegments { in_range, beside, outside, names };
        total.add(&count_prepared(PreparedQuery { segments, ..prepared }, control)?);
    }
    if query.dedup.is_some() {
        total.packets_min = total.packets_min.min(1); // the first packet is no duplicate
    }
    Ok(bounded(total, query))
}

/// Adds up the bounds of all segments; returns the numbers of those that have to be read and counted.
fn estimate_by_indexes(
    prepared: &PreparedQuery<'_>,
    control: &dyn Control,
) -> Result<(Estimate, Vec<usize>), ExtractError> {
    let PreparedQuery { engine, query, range, filters, segments, .. } = prepared;
    let all: Vec<&Arc<Segment>> = segments.in_range.iter().chain(&segments.beside).collect();
    let mut total = Estimate::default();
    let mut uncounted = Vec::new();
    let mut planner = Planner::new(*range, filters);
    let facts = all.iter().map(|segment| SegmentFacts::of(segment));
    let mut lookahead = filters.link_fragments().then(|| FragmentLookahead::new(facts.collect()));
    let mut open = |number: usize| match all.get(number) {
        Some(segment) if segment.is_released() => {
            Ok(engine.segment_cache.reopen(segment, query.use_index).map(Arc::new))
        }
        segment => Ok(segment.copied().cloned()),
    };
    for (number, segment) in segments.in_range.iter().enumerate() {
        let stop = || control.cancelled();
        let relevant = match &mut lookahead {
            Some(lookahead) => lookahead.relevant(number, &mut planner, &mut open, &stop)?,
            None => Arc::default(),
        };
        match estimate_segment(engine, segment, &relevant, query, &mut planner, &stop)? {
            Some(estimate) => total.add(&estimate),
            None => uncounted.push(number),
        }
    }
    Ok((total, uncounted))
}

/// Counts the packets of the prepared segments, reading only where needed.
fn count_prepared(prepared: PreparedQuery<'_>, control: &mut dyn Control) -> Result<Estimate, ExtractError> {
    let form =
        AnswerForm { limits: AnswerLimits::default(), ..AnswerForm::of(prepared.query, Wants::default()) };
    let planned = PlannedQuery::plan(prepared, form, None, control);
    let answer = WrittenQuery::run(planned, &mut CountSink, control)?.into_answer();
    Ok(Estimate {
        packets_min: answer.packets,
        packets_max: answer.packets,
        bytes_max: answer.bytes,
        segments: u64::from(answer.packets > 0),
    })
}

/// Bounds of the packets of one segment; `None` if they have to be read and counted.
pub(super) fn estimate_segment(
    engine: &Engine,
    segment: &Segment,
    relevant: &Relevant,
    query: &Query,
    planner: &mut Planner<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Estimate>, ExtractError> {
    if segment.is_barren && relevant.is_empty() {
        return Ok(Some(Estimate::default()));
    }
    let reopened = match segment.is_released() {
        true => engine.segment_cache.reopen(segment, query.use_index),
        false => None,
    };
    let segment = match (&reopened, segment.is_released()) {
        (Some(reopened), _) => reopened,
        (None, true) => return Ok(Some(Estimate::default())), // it has expired since
        (None, false) => segment,
    };
    if let Some(index) = &segment.index {
        match planner.estimate(index, relevant, stop) {
            Ok(estimate) if lost_part_of(index).is_ok() => return Ok(estimate),
            Ok(_) => {}
            Err(PlanError::Cancelled) => return Err(ExtractError::Cancelled),
            Err(PlanError::Index(_)) => {} // reported when it is extracted
        }
    }
    let scan = engine.scans.of(segment, stop).ok_or(ExtractError::Cancelled)?;
    Ok(planner.estimate_of_walk(&scan, segment.link_type))
}

/// Applies the query's limits and form to an estimate.
pub(super) fn bounded(mut total: Estimate, query: &Query) -> Estimate {
    if let Some(limit) = query.limits.packets {
        total.packets_max = total.packets_max.min(limit);
        total.packets_min = total.packets_min.min(limit);
    }
    if query.limits.bytes.is_some() {
        total.packets_min = 0;
    }
    if query.decapsulate {
        total.packets_min = 0; // of fragments there may be none that can be written
    }
    total
}
