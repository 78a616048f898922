//! Flows of fragments in an index.

use std::net::IpAddr;
use std::ops::ControlFlow;

use netrewind_index::{Constraint, Flow, FlowCursor, Index, IndexError, KeyConstraint, KeyField, Template};
use netrewind_packet::Shape;
use netrewind_store::{Map, Timestamp};

use super::flow_judge::{FLOW_COST_BYTES, FLOWS_BETWEEN_QUESTIONS, FlowJudge, PlanError, Templates};
use super::runs::GranuleSet;
use crate::answer::Estimate;
use crate::fragments::{Nested, Pair, Relevant, can_be_later};
use netrewind_filter::Verdict;

/// Limit on addresses that are looked up; with more, flows are scanned.
const TERMS_MAX: usize = 256;

/// Takes a flow that has fragments.
type VisitFragments<'v> =
    dyn FnMut(&mut FlowCursor<'_, Map>, u32, &Flow, &mut Templates<'_>) -> Result<(), IndexError> + 'v;

/// The fragments of a segment that the filter may accept.
pub(crate) fn relevant_fragments(
    judge: &mut FlowJudge<'_>,
    index: &Index<Map>,
    stop: &dyn Fn() -> bool,
) -> Result<Relevant, PlanError> {
    let mut relevant = Relevant::default();
    let lost_keys = index.has_packets_without_key()?;
    let mut templates = judge.judge_templates(index)?;
    let of_index = templates.templates;
    let walked =
        judge.for_each_flow(&mut templates, stop, index.segment_bytes(), &mut |_, _, flow, verdicts| {
            if let Some(template) = of_index.get(flow.template as usize)
                && verdicts.all != Verdict::Never
                && flow.has_fragments
            {
                add(&mut relevant, template, flow, lost_keys);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    if !walked {
        relevant.add_all(index.first(), index.last());
    }
    Ok(relevant)
}

/// The packets of a segment that are fragments outside and later fragments inside.
pub(crate) fn nested_fragments(index: &Index<Map>, stop: &dyn Fn() -> bool) -> Result<Nested, PlanError> {
    if index.has_packets_without_key()? {
        return Ok(Nested::unknown());
    }
    let mut nested = Nested::default();
    let templates = index.templates()?;
    let is_nested =
        |template: &Template| template.is_later_fragment() && Pair::outer(template).next().is_some();
    let wanted: Vec<bool> = templates.iter().map(is_nested).collect();
    let mut flows = index.flows_of(&wanted);
    let mut seen = 0u32;
    while let Some(item) = if wanted.contains(&true) { flows.next() } else { None } {
        seen = seen.wrapping_add(1);
        if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
            return Err(PlanError::Cancelled);
        }
        let (_, flow) = item?;
        if let Some(template) = templates.get(flow.template as usize)
            && let Some(inside) = Pair::innermost(template, &flow)
        {
            Pair::outer(template).for_each(|outside| nested.add(inside, outside, flow.first, flow.last));
        }
    }
    Ok(nested)
}

/// Adds the granules that hold relevant fragments.
pub(super) fn add_fragments(
    judge: &FlowJudge<'_>,
    templates: &mut Templates<'_>,
    relevant: &Relevant,
    found: &mut GranuleSet,
    stop: &dyn Fn() -> bool,
) -> Result<(), PlanError> {
    let index = templates.index;
    let near = granules_near(index, relevant)?;
    let bytes = u64::from(near.count()) * index.granule_bytes();
    let mut numbers = Vec::new();
    let walked = for_each_fragment_flow(judge, templates, relevant, stop, bytes, &mut |cursor, id, _, _| {
        numbers.clear();
        cursor.granules_of(id, &mut numbers)?;
        let is_near = |number: &&u32| near.contains(**number);
        numbers.iter().filter(is_near).for_each(|&number| found.insert(number));
        Ok(())
    })?;
    if !walked {
        near.iter().for_each(|number| found.insert(number));
    }
    Ok(())
}

/// Adds the later fragments that only their first ones can bring into the answer.
pub(super) fn add_later_fragments(
    judge: &mut FlowJudge<'_>,
    estimate: &mut Estimate,
    index: &Index<Map>,
    relevant: &Relevant,
    stop: &dyn Fn() -> bool,
) -> Result<(), PlanError> {
    let (range, filters) = (judge.range, judge.filters);
    let mut templates = judge.judge_templates(index)?;
    for_each_fragment_flow(judge, &mut templates, relevant, stop, u64::MAX, &mut |_, _, flow, templates| {
        if range.meets(flow.first, flow.last)
            && can_be_later(templates.templates, flow)
            && templates.judge(flow, filters).all == Verdict::Never
        {
            estimate.packets_max += flow.packets;
            estimate.bytes_max += flow.bytes;
        }
        Ok(())
    })?;
    estimate.segments = u64::from(estimate.packets_max > 0);
    Ok(())
}

/// Calls `visit` for the flows that have relevant fragments. False if not all of them were visited, because it would cost
/// more than to read `bytes`.
fn for_each_fragment_flow(
    judge: &FlowJudge<'_>,
    templates: &mut Templates<'_>,
    relevant: &Relevant,
    stop: &dyn Fn() -> bool,
    bytes: u64,
    visit: &mut VisitFragments<'_>,
) -> Result<bool, PlanError> {
    let (index, of_index) = (templates.index, templates.templates);
    let lost_keys = index.has_packets_without_key()?;
    let FragmentTemplates { mut walked, looked_up, mut terms } =
        FragmentTemplates::new(index, relevant, lost_keys)?;
    if terms.len() > TERMS_MAX {
        terms.clear();
        walked.iter_mut().zip(&looked_up).for_each(|(walked, looked_up)| *walked |= looked_up);
    }
    let scans = walked.contains(&true);
    if scans && u64::from(index.flow_count()).saturating_mul(FLOW_COST_BYTES) > bytes {
        return Ok(false);
    }
    let is_relevant = |flow: &Flow| {
        flow.has_fragments
            && judge.wide.meets(flow.first, flow.last)
            && of_index.get(flow.template as usize).is_none_or(|template| {
                let has = |pair: Pair| relevant.has(&pair, flow.first, flow.last);
                let has_lost_key = template.shape == Shape::None && lost_keys;
                (has_lost_key && relevant.has_any(flow.first, flow.last))
                    || relevant.has_all(flow.first, flow.last)
                    || Pair::innermost(template, flow).is_some_and(has)
                    || Pair::outer(template).any(has)
            })
    };
    let mut cursor = index.cursor();
    for (seen, id) in (1u32..).zip(index.flows_with_any(&looked_up, &terms)?) {
        if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
            return Err(PlanError::Cancelled);
        }
        let flow = cursor.flow(id)?;
        if is_relevant(&flow) {
            visit(&mut cursor, id, &flow, templates)?;
        }
    }
    let mut flows = index.flows_of(&walked);
    let mut seen = 0u32;
    while let Some(item) = if scans { flows.next() } else { None } {
        seen = seen.wrapping_add(1);
        if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
            return Err(PlanError::Cancelled);
        }
        let (id, flow) = item?;
        if is_relevant(&flow) {
            visit(flows.cursor(), id, &flow, templates)?;
        }
    }
    Ok(true)
}

/// Templates by the method that finds their flows of relevant fragments.
struct FragmentTemplates {
    /// Templates of which any flow can be one.
    walked: Vec<bool>,
    /// Templates whose flows are found by their source address.
    looked_up: Vec<bool>,
    terms: Vec<KeyConstraint>,
}

impl FragmentTemplates {
    fn new(index: &Index<Map>, relevant: &Relevant, lost_keys: bool) -> Result<Self, IndexError> {
        let templates = index.templates()?;
        let (first, last) = (index.first(), index.last());
        let all = relevant.has_all(first, last);
        let pairs: Vec<&Pair> = relevant.pairs(first, last).collect();
        let is_walked = |template: &Template| {
            all || (template.shape == Shape::None && lost_keys)
                || Pair::outer(template).any(|pair| relevant.has(&pair, first, last))
        };
        let walked: Vec<bool> = templates.iter().map(is_walked).collect();
        let is_found = |template: &Template, pair: &Pair| {
            let is_of_family = match template.shape {
                Shape::None => false,
                Shape::Ipv4 { .. } => pair.source.is_ipv4(),
                Shape::Ipv6 { .. } => pair.source.is_ipv6(),
            };
            is_of_family && pair.view == template.innermost_view()
        };
        let is_looked_up = |(template, walked): (&Template, &bool)| {
            !walked && pairs.iter().any(|pair| is_found(template, pair))
        };
        let looked_up: Vec<bool> = templates.iter().zip(&walked).map(is_looked_up).collect();
        let mut sources: Vec<IpAddr> = pairs.iter().map(|pair| pair.source).collect();
        sources.sort_unstable();
        sources.dedup();
        Ok(Self { walked, looked_up, terms: sources.into_iter().map(source_term).collect() })
    }
}

/// The flows from an address. An IPv4 address is also the IPv6 address with the same number: whole flows are judged afterwards.
fn source_term(address: IpAddr) -> KeyConstraint {
    let value = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    KeyConstraint { field: KeyField::SourceAddress, constraint: Constraint::Range(value..=value) }
}

fn add(relevant: &mut Relevant, template: &Template, flow: &Flow, lost_keys: bool) {
    if template.shape == Shape::None && lost_keys {
        relevant.add_all(flow.first, flow.last);
    }
    let pairs = Pair::outer(template).chain(Pair::innermost(template, flow));
    pairs.for_each(|pair| relevant.add(pair, flow.first, flow.last));
}

/// The granules with packets of the times at which fragments are relevant.
fn granules_near(index: &Index<Map>, relevant: &Relevant) -> Result<GranuleSet, IndexError> {
    let (first, last) = (index.first(), index.last());
    let mut times: Vec<_> = relevant.times().filter(|(from, to)| *from <= last && first <= *to).collect();
    times.sort_unstable();
    let mut granules = GranuleSet::none(index.granule_count());
    let mut done_to = Timestamp::MIN;
    for (from, to) in times {
        let to = to.plus_ns(1);
        if to > done_to {
            for number in index.granules_in(from.max(done_to)..to)? {
                granules.insert(number);
            }
            done_to = to;
        }
    }
    Ok(granules)
}
