//! Likelihood that another view finds packets after one has found none.

use std::ops::ControlFlow;

use netrewind_index::{Index, Template};

use super::flow_judge::{FlowJudge, PlanError};
use super::query_filter::{FilterExpression, QueryFilter};
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

/// Likelihood that this way finds packets of a segment in which `asked` has found none. Only templates that look different
/// are examined; packets that a joined filter may not accept are not revealed.
pub(crate) fn likelihood(
    judge: &mut FlowJudge<'_>,
    asked: &mut FlowJudge<'_>,
    index: &Index<Map>,
    stop: &dyn Fn() -> bool,
) -> Result<Likelihood, PlanError> {
    let mut templates = judge.judge_templates(index)?;
    let mut before = asked.judge_templates(index)?;
    if !templates.leave_only(|template| looks_different(template, judge.filters, asked.filters)) {
        return Ok(Likelihood::No);
    }
    let (range, links, asked_filters) = (judge.range, judge.filters.link_fragments(), asked.filters);
    let of_index = templates.templates;
    let mut found = Likelihood::No;
    judge.for_each_flow(&mut templates, stop, u64::MAX, &mut |_, _, flow, verdicts| {
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

/// True if packets of a template look different to the queries' own filters, or may do so.
pub(crate) fn looks_different(template: &Template, ours: &QueryFilter, theirs: &QueryFilter) -> bool {
    let look = |filters: &QueryFilter| filters.expressions().first().map(FilterExpression::selection);
    let (Some(one), Some(other)) = (look(ours), look(theirs)) else { return false };
    let mut description = netrewind_index::Description::default();
    template.describe_any(&mut description);
    let views = |selection: ViewSelection| template_views(selection, template, &description);
    match (views(one), views(other)) {
        (Some(one), Some(other)) => one != other,
        _ => true,
    }
}
