//! Likelihood that another view finds packets after one has found none.

use std::ops::ControlFlow;

use netrewind_index::{Index, Template};

use super::planner::{PlanError, Planner, Templates};
use super::selection::ViewSelection;
use super::template_views::template_views;
use crate::fragments::can_be_later;
use netrewind_filter::Verdict;
use netrewind_store::Map;

/// Likelihood by the evidence of indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likelihood {
    /// Nothing speaks for it.
    No,
    /// There may be packets.
    Perhaps,
    /// There are packets.
    Sure,
}

impl Planner<'_> {
    /// Likelihood that this way finds packets of a segment in which `asked` has found none. Only templates that look different
    /// are examined; packets that a joined filter may not accept are not revealed.
    pub(crate) fn likelihood(
        &mut self,
        asked: &mut Planner<'_>,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Likelihood, PlanError> {
        let mut templates = self.judge_templates(index)?;
        let mut before = asked.judge_templates(index)?;
        let look = |planner: &Planner<'_>| planner.filters.expressions().first().map(|own| own.selection());
        let (Some(ours), Some(theirs)) = (look(self), look(asked)) else { return Ok(Likelihood::No) };
        if !templates.leave_only(|template| looks_different(template, ours, theirs)) {
            return Ok(Likelihood::No);
        }
        let (range, links, asked_filters) = (self.range, self.filters.link_fragments(), asked.filters);
        let of_index = templates.templates;
        let mut found = Likelihood::No;
        self.for_each_flow(&mut templates, stop, u64::MAX, &mut |_, _, flow, verdicts| {
            let is_told = verdicts.all != Verdict::Never && verdicts.joined == Verdict::Always;
            if is_told && range.meets(flow.first, flow.last) {
                let is_certain = !links || !can_be_later(of_index, flow);
                let is_sure = verdicts.all == Verdict::Always && range.covers(flow.first, flow.last);
                if is_sure && is_certain {
                    found = Likelihood::Sure;
                } else if before.judge(flow, asked_filters).all == Verdict::Never {
                    // The index may be able to exclude there what it cannot exclude here.
                    found = Likelihood::Perhaps;
                }
            }
            Ok(if found == Likelihood::Sure { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}

impl Templates<'_> {
    /// Restricts the flows to those of some templates; false if there are none.
    fn leave_only(&mut self, is_wanted: impl Fn(&Template) -> bool) -> bool {
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

/// True if packets of a template look different, or may do so.
fn looks_different(template: &Template, one: ViewSelection, other: ViewSelection) -> bool {
    let mut description = netrewind_index::Description::default();
    template.describe_any(&mut description);
    let views = |selection| template_views(selection, template, &description);
    match (views(one), views(other)) {
        (Some(one), Some(other)) => one != other,
        _ => true,
    }
}
