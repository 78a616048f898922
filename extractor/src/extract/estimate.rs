//! Estimates of an answer's size, before anything is read.

use std::sync::Arc;

use super::{Extractor, Prepared};
use crate::ExtractError;
use crate::answer::Estimate;
use crate::answer::control::{Control, NoControl};
use crate::flows::Aim;
use crate::fragments::{FragmentLookahead, Relevant};
use crate::plan::planner::{PlanError, Planner};
use crate::query::{AnswerLimits, Query};
use crate::sink::{CountSink, Wants};
use crate::store::segment::{Segment, lost_part_of};

impl Extractor {
    /// Bounds of the answer's size, without reading packets of segments that have an index. Exception: if the index would
    /// reveal packets that a joined filter may not accept, they are read and counted.
    pub fn estimate(&self, query: &Query) -> Result<Estimate, ExtractError> {
        self.estimate_with(query, &mut NoControl)
    }

    /// As [`Self::estimate`], with control to give up.
    pub fn estimate_with(&self, query: &Query, control: &mut dyn Control) -> Result<Estimate, ExtractError> {
        if let Some(choice) = self.choose(query, Aim::Count, control)? {
            return Ok(bounded(Self::estimate_chosen(&choice), query));
        }
        let mut prepared = self.prepare(query, Wants::default(), control)?;
        let in_range = prepared.snapshot.segments.len();
        let segments = std::mem::take(&mut prepared.snapshot).into_segments();
        let mut total = Estimate::default();
        let mut untold = Vec::new();
        let mut planner = Planner::new(prepared.range, &prepared.filters);
        let spans = segments.iter().map(|segment| segment.bounds);
        let mut scouts = prepared.filters.link_fragments().then(|| FragmentLookahead::new(spans.collect()));
        let mut open = |number: usize| match segments.get(number) {
            Some(segment) if segment.is_released() => {
                Ok(segment.reopen(&self.segment_cache, query.use_index)?.map(Arc::new))
            }
            segment => Ok(segment.cloned()),
        };
        for (number, segment) in segments.iter().enumerate().take(in_range) {
            let stop = || control.cancelled();
            let relevant = match &mut scouts {
                Some(scouts) => scouts.relevant(number, &mut planner, &mut open, &stop)?,
                None => Arc::default(),
            };
            match self.estimate_segment(segment, &relevant, query, &mut planner, &stop)? {
                Some(estimate) => total.add(&estimate),
                None => untold.push(number),
            }
        }
        if !untold.is_empty() {
            let mut segments: Vec<Segment> = segments.into_iter().filter_map(Arc::into_inner).collect();
            if scouts.is_some() {
                // What decides about their fragments may lie in any segment near.
                total = Estimate::default();
                prepared.snapshot.beside = segments.split_off(in_range);
            } else {
                segments = segments
                    .into_iter()
                    .enumerate()
                    .filter(|(number, _)| untold.contains(number))
                    .map(|(_, segment)| segment)
                    .collect();
            }
            prepared.snapshot.segments = segments;
            total.add(&self.count_prepared(&mut prepared, query, control)?);
        }
        if query.dedup.is_some() {
            total.packets_min = total.packets_min.min(1); // the first packet is no duplicate
        }
        Ok(bounded(total, query))
    }

    /// Counts the packets of the prepared segments, reading only where needed.
    fn count_prepared(
        &self,
        prepared: &mut Prepared,
        query: &Query,
        control: &mut dyn Control,
    ) -> Result<Estimate, ExtractError> {
        let unlimited = Query { limits: AnswerLimits::default(), ..query.clone() };
        let answer = self.carry_out(prepared, &unlimited, Wants::default(), &mut CountSink, control)?;
        Ok(Estimate {
            packets_min: answer.packets,
            packets_max: answer.packets,
            bytes_max: answer.bytes,
            segments: u64::from(answer.packets > 0),
        })
    }

    pub(super) fn estimate_segment(
        &self,
        segment: &Segment,
        relevant: &Relevant,
        query: &Query,
        planner: &mut Planner<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Estimate>, ExtractError> {
        let reopened = match segment.is_released() {
            true => segment.reopen(&self.segment_cache, query.use_index)?,
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
        let walk = self.scans.of(segment, stop).ok_or(ExtractError::Cancelled)?;
        Ok(planner.estimate_of_walk(&walk, segment.link_type))
    }
}

/// Applies the query's limits and form to an estimate.
fn bounded(mut total: Estimate, query: &Query) -> Estimate {
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
