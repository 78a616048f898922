//! Judging of the flows of a segment: which of them can have packets in the answer.

use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_filter::{AbstractPacket, Verdict};
use netrewind_index::{Flow, FlowCursor, Index, IndexError, Template};
use netrewind_store::Map;

use super::judge::{Demands, Judged, Judgements, Verdicts};
use super::query_filter::QueryFilter;
use crate::fragments::reach;
use crate::query::TimeRange;

/// Cost of judging a flow and reading its positions, in bytes that could be read instead: if reading everything is cheaper,
/// flows are not examined.
pub(super) const FLOW_COST_BYTES: u64 = 3_000;
/// Number of flows between two checks whether continuing is worth it.
pub(super) const FLOWS_BETWEEN_QUESTIONS: u32 = 512;

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

/// Judges the flows of segments for one query.
pub(crate) struct FlowJudge<'q> {
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
    by_terms: [Lookup; 2],
    /// Templates whose flows have to be walked over.
    walked: Vec<bool>,
    pub(super) index: &'i Index<Map>,
}

struct Lookup {
    wanted: Vec<bool>,
    demands: Demands,
}

/// Visitor of flows, called with a flow's number and the filters' verdicts; the cursor stands where the flow was read.
pub(super) type VisitFlow<'v> =
    dyn FnMut(&mut FlowCursor<'_, Map>, u32, &Flow, Verdicts) -> Result<ControlFlow<()>, IndexError> + 'v;

impl<'q> FlowJudge<'q> {
    /// For the packets of a range.
    pub(crate) fn new(range: TimeRange, filters: &'q QueryFilter) -> Self {
        let wide = if filters.link_fragments() { reach(range) } else { range };
        Self { range, wide, filters, judgements: Judgements::default() }
    }

    /// Judges the templates of an index.
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

    /// Restricts the flows to those of some templates; false if there are none.
    pub(super) fn leave_only(&mut self, is_wanted: impl Fn(&Template) -> bool) -> bool {
        let mut any = false;
        for (number, template) in self.templates.iter().enumerate() {
            let has_verdict = self.walked[number] || self.by_terms.iter().any(|lookup| lookup.wanted[number]);
            let is_left = has_verdict && is_wanted(template);
            any |= is_left;
            self.walked[number] &= is_left;
            self.by_terms.iter_mut().for_each(|lookup| lookup.wanted[number] &= is_left);
        }
        any
    }
}
