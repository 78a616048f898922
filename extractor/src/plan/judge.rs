//! Templates and flows as the filter sees them: abstract packets of the selected views.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use netrewind_index::{self as indexer, Description, Flow, Template};
use netrewind_packet::{Shape, TransportKey, ipv4_field, ipv6_field};
use netrewind_store::layout::CAPLEN_MAX;

use super::template_views::{Lengths, TemplateView, template_views};
use crate::lists::ListConstraints;
use crate::plan::query_filter::{FilterExpression, LinkTypeFilter, QueryFilter};
use netrewind_filter::{AbstractPacket, Conjunction, Demand, Term, TermField, Terms, Verdict};

/// Maximum number of templates whose judgement is remembered from segment to segment.
const REMEMBERED_TEMPLATES_MAX: usize = 1 << 14;
/// Maximum number of alternatives that are looked up in the index of an hour; with more, its segments are all possible.
const ALTERNATIVES_MAX: usize = 1 << 12;

/// Verdicts on packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// Verdict of the filter, the joined filters and the demands on tunnels together.
    pub(crate) all: Verdict,
    /// Verdict of the joined filters alone: whether the asker may know of the packets.
    pub(crate) joined: Verdict,
}

/// A template under the filters.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Verdicts of the filters on all its packets.
    pub(crate) verdicts: Verdicts,
    /// Verdict that decides whether its flows are examined. With joined filters it is theirs alone: the duration of an answer
    /// must not reveal packets that the asker may not know of.
    pub(crate) looked_at: Verdict,
    /// Key terms required for its flows to be examined, if there are few enough to look up; `None` if any key may match.
    pub(crate) demands: Option<Demands>,
    /// The same as alternatives, each of terms that hold together; `None` if any key may match, or if there are too many.
    pub(crate) alternatives: Option<Arc<Alternatives>>,
    /// True if addresses are of IPv6.
    pub(crate) is_ipv6: bool,
    /// Verdict of the demands on tunnels.
    of_tunnels: Verdict,
    /// Verdict of the lists.
    of_lists: Verdict,
    /// Judgement by expression.
    expressions: Vec<JudgedExpression>,
}

/// Requirements on a key, one of which it has to meet: all terms of it.
pub(crate) type Alternatives = Vec<Vec<indexer::KeyConstraint>>;

/// Requirements on a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    /// One of these.
    pub(crate) terms: Vec<indexer::KeyConstraint>,
    /// If both addresses are always constrained: the terms required of either.
    pub(crate) ends: Option<Vec<indexer::KeyConstraint>>,
}

/// A template under one expression.
#[derive(Clone, Debug)]
struct JudgedExpression {
    verdict: Verdict,
    /// The selected views; `None` if they are not the same in all packets.
    views: Option<Vec<JudgedView>>,
}

/// A selected view of a template's packets.
#[derive(Clone, Debug)]
struct JudgedView {
    view: TemplateView,
    verdict: Verdict,
    demands: Option<Demands>,
    /// See [`Judged::alternatives`].
    alternatives: Alternatives,
    packet: AbstractPacket,
    tcp_flags: Option<usize>,
}

impl Verdicts {
    /// Verdicts from those of the query's own expression first, then of the joined ones.
    fn of(of_tunnels: Verdict, expressions: impl IntoIterator<Item = Verdict>) -> Self {
        let mut verdicts = expressions.into_iter();
        let own = verdicts.next().unwrap_or(Verdict::Always);
        let joined = verdicts.fold(Verdict::Always, Verdict::and);
        Self { all: own.and(joined).and(of_tunnels), joined }
    }
}

impl Judged {
    pub(crate) fn new(template: &Template, filters: &QueryFilter) -> Self {
        let mut description = Description::default();
        template.describe_any(&mut description);
        let judge = |expression| JudgedExpression::new(expression, template, &description);
        let expressions: Vec<_> = filters.expressions().iter().map(judge).collect();
        let of_tunnels = filters.tunnels().judge(template);
        let of_lists = filters.judge_lists(template);
        let verdicts =
            Verdicts::of(of_tunnels.and(of_lists), expressions.iter().map(|expression| expression.verdict));
        let is_restricted = expressions.len() > 1;
        let deciding = expressions.iter().skip(usize::from(is_restricted));
        let listed = filters.list_constraints(template).filter(|_| !is_restricted);
        let demands = deciding.filter_map(JudgedExpression::demands).chain(listed.map(demands_of_list));
        let (demands, alternatives) =
            demands.max_by_key(|(demands, _)| least_selectivity(&demands.terms)).unzip();
        Self {
            verdicts,
            looked_at: if is_restricted { verdicts.joined } else { verdicts.all },
            demands,
            alternatives: alternatives.filter(|all| all.len() <= ALTERNATIVES_MAX).map(Arc::new),
            is_ipv6: matches!(template.shape, Shape::Ipv6 { .. }),
            of_tunnels,
            of_lists,
            expressions,
        }
    }

    /// Verdicts on all packets of a flow of `template`, which this is. `scratch` is this template's [`Self::scratch`].
    pub(crate) fn judge(
        &self,
        template: &Template,
        flow: &Flow,
        filters: &QueryFilter,
        scratch: &mut [AbstractPacket],
    ) -> Verdicts {
        let own_views = self.expressions.first().and_then(|own| own.views.as_ref()).map_or(0, Vec::len);
        let (own_scratch, joined_scratch) = scratch.split_at_mut(own_views.min(scratch.len()));
        let (mut own_scratch, mut joined_scratch) = (own_scratch.iter_mut(), joined_scratch.iter_mut());
        let mut expressions = self.expressions.iter().zip(filters.expressions());
        let own = expressions.next();
        let joined = expressions
            .map(|(judged, expression)| judged.judge(template, flow, expression, &mut joined_scratch))
            .fold(Verdict::Always, Verdict::and);
        if joined == Verdict::Never {
            return Verdicts { all: Verdict::Never, joined };
        }
        let own = own.map_or(Verdict::Always, |(judged, expression)| {
            judged.judge(template, flow, expression, &mut own_scratch)
        });
        let of_lists = match self.of_lists {
            Verdict::Maybe => filters.judge_lists_of_flow(template, flow),
            known => known,
        };
        Verdicts { all: own.and(joined).and(self.of_tunnels).and(of_lists), joined }
    }

    /// Abstract packets for [`Self::judge`], one for each view.
    pub(crate) fn scratch(&self) -> Vec<AbstractPacket> {
        let views = self.expressions.iter().flat_map(|expression| expression.views.iter().flatten());
        views.map(|view| view.packet.clone()).collect()
    }
}

impl JudgedExpression {
    fn new(expression: &FilterExpression, template: &Template, description: &Description) -> Self {
        let views = template_views(expression.selection(), template, description);
        let judge = |view| JudgedView::new(view, template, description, expression);
        let views: Option<Vec<_>> = views.map(|views| views.into_iter().map(judge).collect());
        let verdict = match &views {
            _ if expression.accepts_all_views() => Verdict::Always,
            Some(views) => Verdict::any(views.iter().map(|view| view.verdict)),
            None => Verdict::Maybe,
        };
        Self { verdict, views }
    }

    /// Verdict on all packets of a flow; `scratch` gives an abstract packet for each view.
    fn judge(
        &self,
        template: &Template,
        flow: &Flow,
        expression: &FilterExpression,
        scratch: &mut std::slice::IterMut<'_, AbstractPacket>,
    ) -> Verdict {
        let views = self.views.iter().flatten().zip(scratch);
        let verdict =
            Verdict::any(views.map(|(view, scratch)| view.judge(template, flow, expression, scratch)));
        if self.verdict == Verdict::Maybe && self.views.is_some() { verdict } else { self.verdict }
    }

    fn demands(&self) -> Option<(Demands, Alternatives)> {
        if self.verdict == Verdict::Maybe { self.views.as_deref().and_then(demands_of_any) } else { None }
    }
}

/// Requirements on a key for its packets to be in a list.
fn demands_of_list(constraints: ListConstraints) -> (Demands, Alternatives) {
    match constraints {
        ListConstraints::Either(either) => {
            let alternatives = either.iter().map(|constraint| vec![constraint.clone()]).collect();
            (Demands { terms: either.to_vec(), ends: None }, alternatives)
        }
        ListConstraints::Both(both) => {
            let ends = Some(both.to_vec());
            (Demands { terms: both[..1].to_vec(), ends }, vec![both.to_vec()])
        }
    }
}

/// Requirements on a key for one of the views to be accepted.
fn demands_of_any(views: &[JudgedView]) -> Option<(Demands, Alternatives)> {
    let (mut all, mut alternatives) = (Demands::none(), Alternatives::new());
    for view in views.iter().filter(|view| view.verdict != Verdict::Never) {
        all.join(view.demands.as_ref()?);
        alternatives.extend_from_slice(&view.alternatives);
    }
    Some((all, alternatives))
}

impl Demands {
    /// Requirements of no template, as a start for joining.
    pub(crate) fn none() -> Self {
        Self { terms: Vec::new(), ends: Some(Vec::new()) }
    }

    /// Adds `other` as an alternative: keys that meet either are accepted.
    pub(crate) fn join(&mut self, other: &Self) {
        let add = |all: &mut Vec<indexer::KeyConstraint>, more: &[indexer::KeyConstraint]| {
            for term in more {
                if !all.contains(term) {
                    all.push(term.clone());
                }
            }
        };
        add(&mut self.terms, &other.terms);
        match (&mut self.ends, &other.ends) {
            (Some(all), Some(more)) => add(all, more),
            (ends, _) => *ends = None,
        }
    }

    /// Requirements of the conjunctions; `None` if one of them requires nothing.
    fn of(conjunctions: &[Conjunction]) -> Option<Self> {
        Some(Self { terms: most_selective(conjunctions)?, ends: ends_of(conjunctions) })
    }
}

impl JudgedView {
    fn new(
        view: TemplateView,
        template: &Template,
        description: &Description,
        expression: &FilterExpression,
    ) -> Self {
        let mut packet = AbstractPacket::new();
        fill(&mut packet, template, description, &view);
        let tcp_flags = template.tcp_flags_offset().and_then(|offset| view.place(offset));
        let (demands, alternatives) = (None, Alternatives::new());
        let mut judged = Self { view, verdict: Verdict::Maybe, demands, alternatives, packet, tcp_flags };
        judged.conclude(expression.choice(view.link_type));
        judged
    }

    fn conclude(&mut self, choice: &LinkTypeFilter) {
        match choice {
            LinkTypeFilter::Everything => self.verdict = Verdict::Always,
            LinkTypeFilter::Nothing => self.verdict = Verdict::Never,
            LinkTypeFilter::Program(program) => {
                self.verdict = program.evaluate(&self.packet);
                if self.verdict == Verdict::Maybe {
                    match program.terms(&self.packet) {
                        Terms::Unconstrained => {}
                        Terms::AnyOf(none) if none.is_empty() => self.verdict = Verdict::Never,
                        Terms::AnyOf(some) => {
                            self.demands = Demands::of(&some);
                            self.alternatives =
                                some.iter().map(|terms| terms.iter().map(index_term).collect()).collect();
                        }
                    }
                }
            }
        }
    }

    fn judge(
        &self,
        template: &Template,
        flow: &Flow,
        expression: &FilterExpression,
        scratch: &mut AbstractPacket,
    ) -> Verdict {
        if self.verdict != Verdict::Maybe {
            return self.verdict;
        }
        let LinkTypeFilter::Program(program) = expression.choice(self.view.link_type) else {
            return self.verdict;
        };
        set_address(scratch, TermField::SourceAddress, flow.source);
        set_address(scratch, TermField::DestinationAddress, flow.destination);
        scratch.set_key(TermField::SourcePort, &flow.source_port.to_be_bytes());
        scratch.set_key(TermField::DestinationPort, &flow.destination_port.to_be_bytes());
        let Lengths { len, caplen } = self.view.lengths(template, flow);
        scratch.set_wire_len(len);
        scratch.set_captured_len(caplen);
        match (self.tcp_flags, flow.tcp_flags) {
            (Some(offset), Some(flags)) => {
                scratch.describe(offset, &[flags.all], &[!(flags.all ^ flags.any)])
            }
            (Some(offset), None) => scratch.forget(offset, 1),
            _ => {}
        }
        program.evaluate(scratch)
    }
}

/// Describes all packets of a template as its view shows them.
fn fill(packet: &mut AbstractPacket, template: &Template, description: &Description, view: &TemplateView) {
    for (place, bytes) in view.stretches() {
        let bytes = bytes.start.min(description.bytes.len())..bytes.end.min(description.bytes.len());
        packet.describe(place, &description.bytes[bytes.clone()], &description.known[bytes]);
    }
    let mut captured = template.prefix.len()
        + match template.shape {
            Shape::None => 0,
            Shape::Ipv4 { .. } => ipv4_field::HEADER_BYTES,
            Shape::Ipv6 { .. } => ipv6_field::HEADER_BYTES,
        };
    for (theirs, ours) in indexer::KeyField::ALL.into_iter().zip(TermField::ALL) {
        let Some(range) = template.field(theirs) else { continue };
        captured = captured.max(range.end);
        let place = view.place(range.start).and_then(|place| u32::try_from(place).ok());
        let bytes = u8::try_from(range.len()).ok();
        if let (Some(place), Some(bytes)) = (place, bytes) {
            packet.place(ours, place, bytes);
        }
    }
    debug_assert!(template.transport_key() == TransportKey::None || captured > template.prefix.len());
    packet.set_captured_len(view.captured(captured)..=CAPLEN_MAX);
}

fn set_address(packet: &mut AbstractPacket, field: TermField, address: Option<IpAddr>) {
    match address {
        Some(IpAddr::V4(address)) => packet.set_key(field, &address.octets()),
        Some(IpAddr::V6(address)) => packet.set_key(field, &address.octets()),
        None => {}
    }
}

/// One term of each conjunction: only flows that satisfy one of them can matter, and each of them is judged whole. `None` if a
/// conjunction demands nothing.
fn most_selective(conjunctions: &[Conjunction]) -> Option<Vec<indexer::KeyConstraint>> {
    let best = |terms: &Conjunction| terms.iter().copied().max_by_key(|term| selectivity(&term.demand));
    let mut terms: Vec<Term> = conjunctions.iter().map(best).collect::<Option<_>>()?;
    terms.sort_unstable();
    terms.dedup();
    Some(terms.iter().map(index_term).collect())
}

/// Address terms of the conjunctions; `None` if one of them leaves the source or the destination open.
fn ends_of(conjunctions: &[Conjunction]) -> Option<Vec<indexer::KeyConstraint>> {
    let is_of = |field: TermField| move |term: &&Term| term.field == field;
    let mut ends: Vec<Term> = Vec::new();
    for terms in conjunctions {
        for field in [TermField::SourceAddress, TermField::DestinationAddress] {
            let before = ends.len();
            ends.extend(terms.iter().filter(is_of(field)));
            if ends.len() == before {
                return None;
            }
        }
    }
    ends.sort_unstable();
    ends.dedup();
    Some(ends.iter().map(index_term).collect())
}

/// Minimum number of bits that each of some alternatives fixes: the search in the index takes longer with fewer bits.
fn least_selectivity(terms: &[indexer::KeyConstraint]) -> u32 {
    let bits = |term: &indexer::KeyConstraint| match &term.constraint {
        indexer::Constraint::Masked { mask, .. } => mask.count_ones(),
        indexer::Constraint::Range(range) => {
            let numbers = u32::try_from(range.end().saturating_sub(*range.start())).unwrap_or(u32::MAX);
            u16::BITS.saturating_sub(numbers.saturating_add(1).ilog2())
        }
        indexer::Constraint::AnyOf(values) => {
            let bits = match term.field {
                indexer::KeyField::SourcePort | indexer::KeyField::DestinationPort => u16::BITS,
                _ if values.hull().is_some_and(|hull| *hull.end() > u32::MAX.into()) => u128::BITS,
                _ => u32::BITS,
            };
            bits.saturating_sub(values.len().max(1).ilog2())
        }
    };
    terms.iter().map(bits).min().unwrap_or(u32::MAX)
}

/// Number of bits that a demand fixes.
fn selectivity(demand: &Demand) -> u32 {
    match demand {
        Demand::Bits { mask, .. } => mask.count_ones(),
        Demand::Range { low, high } => u16::BITS - (u32::from(high.saturating_sub(*low)) + 1).ilog2(),
    }
}

fn index_term(term: &Term) -> indexer::KeyConstraint {
    let field = match term.field {
        TermField::SourceAddress => indexer::KeyField::SourceAddress,
        TermField::DestinationAddress => indexer::KeyField::DestinationAddress,
        TermField::SourcePort => indexer::KeyField::SourcePort,
        TermField::DestinationPort => indexer::KeyField::DestinationPort,
    };
    let constraint = match term.demand {
        Demand::Bits { mask, value, .. } => indexer::Constraint::Masked { mask, value },
        Demand::Range { low, high } => indexer::Constraint::Range(low.into()..=high.into()),
    };
    indexer::KeyConstraint { field, constraint }
}

/// Judgements by template: the same templates come back in every segment.
#[derive(Debug, Default)]
pub(crate) struct Judgements {
    judged: HashMap<Template, Arc<Judged>, RandomState>,
    /// The alternatives of the filter: many templates have the same.
    alternatives: HashSet<Arc<Alternatives>, RandomState>,
}

impl Judgements {
    pub(crate) fn of(&mut self, template: &Template, filters: &QueryFilter) -> Arc<Judged> {
        if let Some(judged) = self.judged.get(template) {
            return Arc::clone(judged);
        }
        if self.judged.len() >= REMEMBERED_TEMPLATES_MAX {
            self.judged.clear();
            self.alternatives.clear();
        }
        let mut judged = Judged::new(template, filters);
        if let Some(alternatives) = &mut judged.alternatives
            && let Some(known) = self.alternatives.get(alternatives)
        {
            *alternatives = Arc::clone(known);
        }
        self.alternatives.extend(judged.alternatives.clone());
        let judged = Arc::new(judged);
        self.judged.insert(template.clone(), Arc::clone(&judged));
        judged
    }
}
