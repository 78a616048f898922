//! Planning: from a query and a segment's index to the byte ranges that have to be read, and the number of packets they can
//! give.
//!
//! **Invariant:** pure: the segment's packets are not read, and the same query and index give the same plan.
//!
//! **Invariant:** skipped parts hold no packet of the answer: a template or flow that the filter judges *never*, a granule
//! outside the range of time, a flow that satisfies none of the terms that the filter demands.

use std::ops::ControlFlow;

use netrewind_filter::Verdict;
use netrewind_index::{Flow, Index};
use netrewind_store::{LinkType, Map, SegmentName};

use super::chosen::runs_of_chosen;
use super::divide::{Division, divide};
use super::flow_judge::{FLOWS_BETWEEN_QUESTIONS, FlowJudge, PlanError};
use super::fragment_flows::{add_fragments, add_later_fragments, relevant_fragments};
use super::likelihood::{Likelihood, likelihood};
use super::query_filter::{LinkTypeVerdict, QueryFilter};
use super::runs::{GranuleSet, PlannedRun, granules_in_time, group, runs_of};
use crate::answer::Estimate;
use crate::flows::Chosen;
use crate::fragments::{Relevant, can_be_later};
use crate::query::TimeRange;
use crate::store::scan::{Scan, ScanGranule};

/// Share of all granules, in tenths, above which the rest are read as well: little is left to skip.
const NEARLY_ALL_TENTHS: u64 = 9;

/// Totals of a segment's flows.
#[derive(Default)]
struct Sum {
    estimate: Estimate,
    /// It counts flows whose packets a joined filter may not accept.
    tells_too_much: bool,
}

/// Plans the segments of one query.
pub(crate) struct Planner<'q>(FlowJudge<'q>);

impl<'q> Planner<'q> {
    pub(crate) fn new(range: TimeRange, filters: &'q QueryFilter) -> Self {
        Self(FlowJudge::new(range, filters))
    }

    /// Verdict on all packets of a link type.
    pub(crate) fn link_type_verdict(&self, link_type: LinkType) -> LinkTypeVerdict {
        self.0.filters.link_type_verdict(link_type)
    }

    /// The runs of chosen conversations: see [`runs_of_chosen`].
    pub(crate) fn runs_of_chosen(
        &self,
        index: &Index<Map>,
        segment: &SegmentName,
        chosen: &Chosen,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<PlannedRun>, PlanError> {
        runs_of_chosen(self.0.range, index, segment, chosen, stop)
    }

    /// Divides the flows of a segment by what its index tells: see [`divide`].
    pub(crate) fn divide(
        &mut self,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
        told: &mut dyn FnMut(u32, &Flow),
        untold: &mut dyn FnMut(u32, &Flow),
    ) -> Result<Division, PlanError> {
        divide(&mut self.0, index, stop, told, untold)
    }

    /// Likelihood that this plan finds packets where `asked` has found none: see [`likelihood`].
    pub(crate) fn likelihood(
        &mut self,
        asked: &mut Planner<'_>,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Likelihood, PlanError> {
        likelihood(&mut self.0, &mut asked.0, index, stop)
    }

    /// The fragments of a segment that the filter may accept: see [`relevant_fragments`].
    pub(crate) fn relevant_fragments(
        &mut self,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Relevant, PlanError> {
        relevant_fragments(&mut self.0, index, stop)
    }

    /// The runs of these granules of a segment without an index.
    pub(crate) fn runs_of_walk(
        &self,
        granules: impl Iterator<Item = ScanGranule>,
        link_type: LinkType,
    ) -> Vec<PlannedRun> {
        if self.0.filters.link_type_verdict(link_type) == LinkTypeVerdict::Nothing {
            return Vec::new();
        }
        let meets = |granule: &ScanGranule| self.0.wide.meets(granule.first, granule.last);
        group(granules.filter(meets).collect())
    }

    /// Bounds of a segment without an index; `None` if they would reveal packets that a joined filter may not accept.
    pub(crate) fn estimate_of_walk(&self, walk: &Scan, link_type: LinkType) -> Option<Estimate> {
        let Some((first, last)) = walk.bounds().filter(|(first, last)| self.0.range.meets(*first, *last))
        else {
            return Some(Estimate::default());
        };
        let verdict = self.0.filters.link_type_verdict(link_type);
        let certain = verdict == LinkTypeVerdict::Everything && self.0.range.covers(first, last);
        match verdict {
            LinkTypeVerdict::Nothing => Some(Estimate::default()),
            _ if self.0.filters.joined_link_type_verdict(link_type) != LinkTypeVerdict::Everything => None,
            _ => Some(Estimate {
                packets_min: if certain { walk.records } else { 0 },
                packets_max: walk.records,
                bytes_max: walk.wire_bytes,
                segments: 1,
            }),
        }
    }

    /// The runs of a segment by its index, with the fragments that are `relevant`.
    pub(crate) fn runs(
        &mut self,
        index: &Index<Map>,
        relevant: &Relevant,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<PlannedRun>, PlanError> {
        let range = if relevant.is_empty() { self.0.range } else { self.0.wide };
        let in_time = granules_in_time(index, range)?;
        match self.0.filters.link_type_verdict(index.link_type()) {
            LinkTypeVerdict::Nothing => return Ok(Vec::new()),
            LinkTypeVerdict::Everything => return runs_of(index, in_time.as_ref(), None),
            LinkTypeVerdict::Depends => {}
        }
        let mut templates = self.0.judge_templates(index)?;
        let granules = in_time.as_ref().map_or(index.granule_count(), GranuleSet::count);
        let bytes = u64::from(granules) * index.granule_bytes();
        let mut found = GranuleSet::none(index.granule_count());
        let mut numbers = Vec::new();
        let mut flows_seen = 0u32;
        let mut all = false;
        let range = self.0.range;
        self.0
            .for_each_flow(&mut templates, stop, bytes, &mut |cursor, id, flow, verdicts| {
                flows_seen += 1;
                if verdicts.all == Verdict::Never || !range.meets(flow.first, flow.last) {
                    return Ok(ControlFlow::Continue(()));
                }
                numbers.clear();
                cursor.granules_of(id, &mut numbers)?;
                numbers.iter().for_each(|&number| found.insert(number));
                all = flows_seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS)
                    && u64::from(found.count()) * 10 >= u64::from(index.granule_count()) * NEARLY_ALL_TENTHS;
                Ok(if all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .map(|walked_to_its_end| all |= !walked_to_its_end)?;
        if !all && !relevant.is_empty() {
            add_fragments(&self.0, &mut templates, relevant, &mut found, stop)?;
        }
        runs_of(index, in_time.as_ref(), (!all).then_some(&found))
    }

    /// Bounds of a segment by its index; `None` if they would reveal packets that a joined filter may not accept.
    pub(crate) fn estimate(
        &mut self,
        index: &Index<Map>,
        relevant: &Relevant,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Estimate>, PlanError> {
        let mut sum = self.add_up(index, stop, false)?;
        if !relevant.is_empty() {
            // The number of fragments may reveal packets that a joined filter does not accept.
            sum.tells_too_much |= self.0.filters.expressions().len() > 1;
            add_later_fragments(&mut self.0, &mut sum.estimate, index, relevant, stop)?;
        }
        Ok((!sum.tells_too_much).then_some(sum.estimate))
    }

    /// Exact size of a segment's answer, if its index gives it.
    pub(crate) fn count(
        &mut self,
        index: &Index<Map>,
        relevant: &Relevant,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Estimate>, PlanError> {
        if !relevant.is_empty() {
            return Ok(None); // fragments have to be read, by which others are judged
        }
        let Sum { estimate, .. } = self.add_up(index, stop, true)?;
        Ok((estimate.packets_min == estimate.packets_max).then_some(estimate))
    }

    /// Adds up the flows; only as long as their packets can be counted, if `only_exact`.
    fn add_up(
        &mut self,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
        only_exact: bool,
    ) -> Result<Sum, PlanError> {
        let mut sum = Sum::default();
        let covers_all = self.0.range.covers(index.first(), index.last());
        match self.0.filters.link_type_verdict(index.link_type()) {
            LinkTypeVerdict::Nothing => return Ok(sum),
            LinkTypeVerdict::Everything if covers_all => {
                let (packets, bytes_max) = (index.records(), index.wire_bytes());
                sum.estimate =
                    Estimate { packets_min: packets, packets_max: packets, bytes_max, segments: 1 };
                return Ok(sum);
            }
            _ => {}
        }
        let range = self.0.range;
        let links = self.0.filters.link_fragments();
        let mut templates = self.0.judge_templates(index)?;
        let of_index = templates.templates;
        self.0.for_each_flow(&mut templates, stop, u64::MAX, &mut |_, _, flow, verdicts| {
            let Sum { estimate, tells_too_much } = &mut sum;
            if verdicts.all != Verdict::Never && range.meets(flow.first, flow.last) {
                estimate.packets_max += flow.packets;
                estimate.bytes_max += flow.bytes;
                *tells_too_much |= verdicts.joined != Verdict::Always;
                // About a later fragment the first one decides.
                let is_certain = !links || !can_be_later(of_index, flow);
                if verdicts.all == Verdict::Always && is_certain && range.covers(flow.first, flow.last) {
                    estimate.packets_min += flow.packets;
                }
            }
            let is_exact = estimate.packets_min == estimate.packets_max;
            Ok(if only_exact && !is_exact { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        sum.estimate.segments = u64::from(sum.estimate.packets_max > 0);
        Ok(sum)
    }
}
