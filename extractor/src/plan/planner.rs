//! Planning: from a query and a segment's index to the byte ranges that have to be read, and the number of packets they can
//! give.
//!
//! **Invariant:** pure: the segment's packets are not read, and the same query and index give the same plan.
//!
//! **Invariant:** skipped parts hold no packet of the answer: a template or flow that the filter judges *never*, a granule
//! outside the range of time, a flow that satisfies none of the terms that the filter demands.

use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_index::{Flow, FlowCursor, Index, IndexError, Template};
use netrewind_store::{LinkType, Map, Timestamp};

use super::judge::{Demands, Judged, Judgements, Verdicts};
use super::runs::{GranuleSet, PlannedRun, group};
use crate::answer::Estimate;
use crate::fragments::{Relevant, can_be_later, reach};
use crate::plan::query_filter::{LinkTypeVerdict, QueryFilter};
use crate::query::TimeRange;
use crate::store::scan::{Scan, ScanGranule};
use netrewind_filter::{AbstractPacket, Verdict};

/// Cost of judging a flow and reading its positions, in bytes that could be read instead: if reading everything is cheaper,
/// flows are not examined.
pub(super) const FLOW_COST_BYTES: u64 = 3_000;
/// Number of flows between two checks whether continuing is worth it.
pub(super) const FLOWS_BETWEEN_QUESTIONS: u32 = 512;
/// Share of all granules, in tenths, above which the rest are read as well: little is left to skip.
const NEARLY_ALL_TENTHS: u64 = 9;

/// Reason why there is no plan.
#[derive(Debug)]
pub(crate) enum PlanError {
    /// The index is damaged: plan without it.
    Index(IndexError),
    Cancelled,
}

impl From<IndexError> for PlanError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// Plans the segments of one query.
pub(crate) struct Planner<'q> {
    pub(super) range: TimeRange,
    /// Range of the packets that can decide about those of `range`.
    pub(super) wide: TimeRange,
    pub(super) filters: &'q QueryFilter,
    judgements: Judgements,
}

/// The templates of a segment, judged.
pub(super) struct Templates<'i> {
    judged: Vec<Arc<Judged>>,
    /// Templates of the index, by the same numbers.
    pub(super) templates: &'i [Template],
    scratch: Vec<Option<Vec<AbstractPacket>>>,
    /// Templates whose flows the index finds by their terms: of IPv4 and others, and of IPv6.
    pub(super) by_terms: [Lookup; 2],
    /// Templates whose flows have to be walked over.
    pub(super) walked: Vec<bool>,
    pub(super) index: &'i Index<Map>,
}

pub(super) struct Lookup {
    pub(super) wanted: Vec<bool>,
    pub(super) demands: Demands,
}

/// Totals of a segment's flows.
#[derive(Default)]
struct Sum {
    estimate: Estimate,
    /// It counts flows whose packets a joined filter may not accept.
    tells_too_much: bool,
}

/// Visitor of flows, called with a flow's number and the filters' verdicts; the cursor stands where the flow was read.
type VisitFlow<'v> =
    dyn FnMut(&mut FlowCursor<'_, Map>, u32, &Flow, Verdicts) -> Result<ControlFlow<()>, IndexError> + 'v;

impl<'q> Planner<'q> {
    pub(crate) fn new(range: TimeRange, filters: &'q QueryFilter) -> Self {
        let wide = if filters.link_fragments() { reach(range) } else { range };
        Self { range, wide, filters, judgements: Judgements::default() }
    }

    /// The runs of these granules of a segment without an index.
    pub(crate) fn runs_of_walk(
        &self,
        granules: impl Iterator<Item = ScanGranule>,
        link_type: LinkType,
    ) -> Vec<PlannedRun> {
        if self.filters.outlook(link_type) == LinkTypeVerdict::Nothing {
            return Vec::new();
        }
        let meets = |granule: &ScanGranule| self.wide.meets(granule.first, granule.last);
        group(granules.filter(meets).collect())
    }

    /// Bounds of a segment without an index; `None` if they would reveal packets that a joined filter may not accept.
    pub(crate) fn estimate_of_walk(&self, walk: &Scan, link_type: LinkType) -> Option<Estimate> {
        let Some((first, last)) = walk.bounds().filter(|(first, last)| self.range.meets(*first, *last))
        else {
            return Some(Estimate::default());
        };
        let outlook = self.filters.outlook(link_type);
        let certain = outlook == LinkTypeVerdict::Everything && self.range.covers(first, last);
        match outlook {
            LinkTypeVerdict::Nothing => Some(Estimate::default()),
            _ if self.filters.joined_outlook(link_type) != LinkTypeVerdict::Everything => None,
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
        let range = if relevant.is_empty() { self.range } else { self.wide };
        let in_time = granules_in_time(index, range)?;
        match self.filters.outlook(index.link_type()) {
            LinkTypeVerdict::Nothing => return Ok(Vec::new()),
            LinkTypeVerdict::Everything => return runs_of(index, in_time.as_ref(), None),
            LinkTypeVerdict::Depends => {}
        }
        let mut templates = self.judge_templates(index)?;
        let granules = in_time.as_ref().map_or(index.granule_count(), GranuleSet::count);
        let bytes = u64::from(granules) * index.granule_bytes();
        let mut found = GranuleSet::none(index.granule_count());
        let mut numbers = Vec::new();
        let mut flows_seen = 0u32;
        let mut all = false;
        let range = self.range;
        self.for_each_flow(&mut templates, stop, bytes, &mut |cursor, id, flow, verdicts| {
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
            self.add_fragments(&mut templates, relevant, &mut found, stop)?;
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
            sum.tells_too_much |= self.filters.expressions().len() > 1;
            self.add_later_fragments(&mut sum.estimate, index, relevant, stop)?;
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
        let covers_all = self.range.covers(index.first(), index.last());
        match self.filters.outlook(index.link_type()) {
            LinkTypeVerdict::Nothing => return Ok(sum),
            LinkTypeVerdict::Everything if covers_all => {
                let (packets, bytes_max) = (index.records(), index.wire_bytes());
                sum.estimate =
                    Estimate { packets_min: packets, packets_max: packets, bytes_max, segments: 1 };
                return Ok(sum);
            }
            _ => {}
        }
        let range = self.range;
        let links = self.filters.link_fragments();
        let mut templates = self.judge_templates(index)?;
        let of_index = templates.templates;
        self.for_each_flow(&mut templates, stop, u64::MAX, &mut |_, _, flow, verdicts| {
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

    pub(super) fn judge_templates<'i>(&mut self, index: &'i Index<Map>) -> Result<Templates<'i>, IndexError> {
        let templates = index.templates()?;
        let judged: Vec<_> =
            templates.iter().map(|template: &Template| self.judgements.of(template, self.filters)).collect();
        let by_terms = [false, true].map(|is_ipv6| {
            let wanted = |judged: &Arc<Judged>| {
                judged.looked_at == Verdict::Maybe && judged.demands.is_some() && judged.is_ipv6 == is_ipv6
            };
            let mut demands = Demands::none();
            let chosen = judged.iter().filter(|judged| wanted(judged));
            chosen.filter_map(|judged| judged.demands.as_ref()).for_each(|more| demands.join(more));
            Lookup { wanted: judged.iter().map(wanted).collect(), demands }
        });
        let walked = judged
            .iter()
            .map(|judged| match judged.looked_at {
                Verdict::Never => false,
                Verdict::Always => true,
                Verdict::Maybe => judged.demands.is_none(),
            })
            .collect();
        Ok(Templates { templates, scratch: vec![None; judged.len()], judged, by_terms, walked, index })
    }

    /// Calls `visit` for the flows that can have packets in the answer, judged. False if not all of them were visited, because
    /// `visit` wanted no more, or because it would cost more than to read `bytes`.
    pub(super) fn for_each_flow(
        &self,
        templates: &mut Templates<'_>,
        stop: &dyn Fn() -> bool,
        bytes: u64,
        visit: &mut VisitFlow<'_>,
    ) -> Result<bool, PlanError> {
        let index = templates.index;
        let mut ids = Vec::new();
        let scans = templates.walked.contains(&true);
        if scans {
            index.bytes().read_around();
        }
        for Lookup { wanted, demands: Demands { terms, ends } } in &templates.by_terms {
            if terms.is_empty() || !index.may_have_any(wanted, terms)? {
                continue;
            }
            match ends {
                Some(ends) => ids.extend(index.flows_between(wanted, terms, ends)?),
                None => {
                    index.bytes().read_around();
                    ids.extend(index.flows_with_any(wanted, terms)?);
                }
            }
        }
        let too_dear = |flows: u64| flows.saturating_mul(FLOW_COST_BYTES) > bytes;
        if too_dear(ids.len() as u64) || (scans && too_dear(index.flow_count().into())) {
            return Ok(false);
        }
        let mut cursor = index.cursor();
        for (seen, &id) in (1u32..).zip(&ids) {
            if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
                return Err(PlanError::Cancelled);
            }
            let flow = cursor.flow(id)?;
            if self.visit_flow(templates, &mut cursor, id, &flow, visit)?.is_break() {
                return Ok(false);
            }
        }
        if !scans {
            return Ok(true);
        }
        let walked = std::mem::take(&mut templates.walked);
        let mut flows = index.flows_of(&walked);
        let mut seen = 0u32;
        while let Some(item) = flows.next() {
            seen = seen.wrapping_add(1);
            if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
                return Err(PlanError::Cancelled);
            }
            let (id, flow) = item?;
            if self.visit_flow(templates, flows.cursor(), id, &flow, visit)?.is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn visit_flow(
        &self,
        templates: &mut Templates<'_>,
        cursor: &mut FlowCursor<'_, Map>,
        id: u32,
        flow: &Flow,
        visit: &mut VisitFlow<'_>,
    ) -> Result<ControlFlow<()>, IndexError> {
        if !self.wide.meets(flow.first, flow.last) {
            return Ok(ControlFlow::Continue(()));
        }
        let verdicts = templates.judge(flow, self.filters);
        visit(cursor, id, flow, verdicts)
    }
}

impl Templates<'_> {
    pub(super) fn judge(&mut self, flow: &Flow, filters: &QueryFilter) -> Verdicts {
        let number = flow.template as usize;
        // A flow names a template of its index: the index has checked that.
        let (Some(template), Some(judged), Some(scratch)) =
            (self.templates.get(number), self.judged.get(number), self.scratch.get_mut(number))
        else {
            return Verdicts { all: Verdict::Maybe, joined: Verdict::Maybe };
        };
        if judged.verdicts.all != Verdict::Maybe {
            return judged.verdicts;
        }
        let scratch = scratch.get_or_insert_with(|| judged.scratch());
        judged.judge(template, flow, filters, scratch)
    }
}

/// The granules that can hold a packet of the range; `None` where all can.
pub(super) fn granules_in_time(
    index: &Index<Map>,
    range: TimeRange,
) -> Result<Option<GranuleSet>, IndexError> {
    if range.covers(index.first(), index.last()) {
        return Ok(None);
    }
    let mut granules = GranuleSet::none(index.granule_count());
    let to = range.end().unwrap_or(Timestamp::MAX);
    for number in index.granules_in(range.from..to)? {
        granules.insert(number);
    }
    Ok(Some(granules))
}

/// The runs of the granules that are in both sets; an absent set has all.
pub(super) fn runs_of(
    index: &Index<Map>,
    in_time: Option<&GranuleSet>,
    found: Option<&GranuleSet>,
) -> Result<Vec<PlannedRun>, PlanError> {
    let mut cursor = index.cursor();
    let mut granules = Vec::new();
    let mut add = |number: u32| -> Result<(), IndexError> {
        let granule = cursor.granule(number)?;
        if granule.records > 0 {
            let (start, end) = (granule.offset, cursor.granule_end(number)?);
            granules.push(ScanGranule { start, end, first: granule.first, last: granule.last });
        }
        Ok(())
    };
    let (smaller, other) = match (in_time, found) {
        (Some(in_time), found) => (Some(in_time), found),
        (None, found) => (found, None),
    };
    match smaller {
        None => (0..index.granule_count()).try_for_each(&mut add)?,
        Some(set) => {
            let both = |number: &u32| other.is_none_or(|other| other.contains(*number));
            set.iter().filter(both).try_for_each(&mut add)?;
        }
    }
    Ok(group(granules))
}
