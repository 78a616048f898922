//! Filters of a query: expressions, compiled for every link type among the views, demands on tunnels, and lists.

use std::sync::Arc;

use netrewind_index::{Flow, Template};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{INNER_LINK_TYPES, Peeled, Peeler, ViewBytes, without_tags};
use netrewind_store::{LinkType, Timestamp};

use crate::answer::completeness::Completeness;
use crate::answer::control::{Aside, Control};
use crate::lists::{ListConstraints, ListDemands};
use crate::plan::selection::ViewSelection;
use crate::plan::tunnel_terms::TunnelDemands;
use crate::query::Query;
use crate::view_mode::ViewMode;
use netrewind_filter::{CompileControl, Compiler, FilterError, Program, Verdict};

/// Meaning of an expression for one link type.
#[derive(Clone, Debug)]
pub(crate) enum LinkTypeFilter {
    /// It is empty: every packet.
    Everything,
    /// It has no meaning there: no packet.
    Nothing,
    /// Decided by the program.
    Program(Arc<Program>),
}

/// Verdict on all packets of a link type at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkTypeVerdict {
    /// All are accepted.
    Everything,
    /// None is.
    Nothing,
    /// It depends on the packet.
    Depends,
}

impl LinkTypeVerdict {
    /// Outlook on packets that are accepted if both accept them.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Everything, Self::Everything) => Self::Everything,
            _ => Self::Depends,
        }
    }
}

/// Memory for judging packets.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    peeler: Peeler,
    untagged: Vec<u8>,
}

/// Filter expression, compiled for every link type of the store and those of inner packets, with the views that it sees.
#[derive(Clone, Debug)]
pub(crate) struct FilterExpression {
    choices: Vec<(LinkType, LinkTypeFilter)>,
    selection: ViewSelection,
}

/// The filter of a query and those that are joined to it.
#[derive(Clone, Debug)]
pub(crate) struct QueryFilter {
    /// Expressions that all have to accept a packet; the query's own comes first.
    expressions: Vec<FilterExpression>,
    tunnels: TunnelDemands,
    lists: ListDemands,
    /// View in which the lists look for addresses.
    view: ViewMode,
    /// UDP ports that carry tunnels in this store.
    pub(crate) ports: TunnelPorts,
    /// True if a packet has to be dissected before it can be judged, unless it is known to be plain.
    peels: bool,
    /// Link types of the store for which the query's own has no meaning, with libpcap's message.
    refused: Vec<(LinkType, String)>,
}

impl FilterExpression {
    /// Meaning for a link type.
    #[inline]
    pub(crate) fn choice(&self, link_type: LinkType) -> &LinkTypeFilter {
        self.choices
            .iter()
            .find(|(known, _)| *known == link_type)
            .map_or(&LinkTypeFilter::Nothing, |(_, choice)| choice)
    }

    /// Selection among a packet's views.
    pub(crate) fn selection(&self) -> ViewSelection {
        self.selection
    }

    /// True if it accepts every view: it is empty.
    pub(crate) fn accepts_all_views(&self) -> bool {
        self.choices.iter().all(|(_, choice)| matches!(choice, LinkTypeFilter::Everything))
    }

    fn accepts_nothing(&self) -> bool {
        self.choices.iter().all(|(_, choice)| matches!(choice, LinkTypeFilter::Nothing))
    }

    fn link_type_verdict(&self, link_type: LinkType) -> LinkTypeVerdict {
        let is_nothing = |link_type: &LinkType| matches!(self.choice(*link_type), LinkTypeFilter::Nothing);
        match self.choice(link_type) {
            LinkTypeFilter::Everything => LinkTypeVerdict::Everything,
            LinkTypeFilter::Nothing if carried(self.selection.view).iter().all(is_nothing) => {
                LinkTypeVerdict::Nothing
            }
            _ => LinkTypeVerdict::Depends,
        }
    }

    #[inline]
    fn accept_view(&self, view: ViewBytes<'_>, untagged: &mut Vec<u8>) -> bool {
        let accepts = |view: ViewBytes<'_>| match self.choice(view.link_type) {
            LinkTypeFilter::Everything => true,
            LinkTypeFilter::Nothing => false,
            LinkTypeFilter::Program(program) => program.accepts(view.bytes, view.len),
        };
        if self.selection.ignore_vlan { without_tags(view, untagged, accepts) } else { accepts(view) }
    }
}

impl QueryFilter {
    /// Compiles for a store with these link types. If the query's own expression has no meaning for a link type, it accepts
    /// nothing there; if that is so for all of them, it is an error. A joined one without meaning accepts nothing.
    pub(crate) fn compile(
        compiler: &Compiler,
        query: &Query,
        of_store: &[LinkType],
        control: &dyn Control,
    ) -> Result<Self, FilterError> {
        let own = compile(compiler, &query.filter, ViewSelection::from(query), of_store, control)?;
        if let Some(error) = own.refusal.filter(|_| own.expression.accepts_nothing()) {
            return Err(error);
        }
        let mut expressions = vec![own.expression];
        for joined in &query.joined {
            let selection = ViewSelection::from(joined);
            expressions.push(compile(compiler, &joined.filter, selection, of_store, control)?.expression);
        }
        let looks_inside = |expression: &FilterExpression| expression.selection.view != ViewMode::Outer;
        Ok(Self {
            ports: TunnelPorts::DEFAULT,
            peels: expressions.iter().any(looks_inside),
            expressions,
            tunnels: query.tunnels,
            lists: query.lists.clone(),
            view: query.view,
            refused: own.refused,
        })
    }

    /// The expressions, all of which have to accept a packet; the query's own comes first.
    pub(crate) fn expressions(&self) -> &[FilterExpression] {
        &self.expressions
    }

    /// Expressions with the query's own last: for packets that a joined one does not accept, not even its running time may
    /// reveal anything.
    fn joined_first(&self) -> impl Iterator<Item = &FilterExpression> {
        self.expressions.iter().rev()
    }

    /// Verdict on all packets of a segment of this link type.
    pub(crate) fn link_type_verdict(&self, link_type: LinkType) -> LinkTypeVerdict {
        let of_tunnels =
            if self.demands_nothing() { LinkTypeVerdict::Everything } else { LinkTypeVerdict::Depends };
        let verdicts = self.expressions.iter().map(|expression| expression.link_type_verdict(link_type));
        verdicts.fold(of_tunnels, LinkTypeVerdict::and)
    }

    /// Verdict of the joined filters alone on all packets of a segment of this link type.
    pub(crate) fn joined_link_type_verdict(&self, link_type: LinkType) -> LinkTypeVerdict {
        let joined = self.expressions.iter().skip(1);
        joined
            .map(|expression| expression.link_type_verdict(link_type))
            .fold(LinkTypeVerdict::Everything, LinkTypeVerdict::and)
    }

    /// True if the expressions are all there is.
    fn demands_nothing(&self) -> bool {
        self.tunnels.are_none() && self.lists.are_none()
    }

    /// Verdict of the lists on the packets of a template.
    pub(crate) fn judge_lists(&self, template: &Template) -> Verdict {
        self.lists.judge(self.view, template)
    }

    /// The same on those of one of its flows.
    pub(crate) fn judge_lists_of_flow(&self, template: &Template, flow: &Flow) -> Verdict {
        self.lists.judge_flow(self.view, template, flow)
    }

    /// What the lists ask of the key of a template's flow: see [`ListDemands::key_constraints`].
    pub(crate) fn list_constraints(&self, template: &Template) -> Option<ListConstraints> {
        self.lists.key_constraints(self.view, template)
    }

    /// True if a packet that was received at this time meets the demands on its tunnels, and is in the lists.
    #[inline]
    fn demands_are_met(&self, peeled: Peeled<'_, '_>, at: Timestamp) -> bool {
        self.tunnels.are_met(|| peeled.tunnels()) && self.lists.are_met(self.view, peeled, at)
    }

    /// Demands on a packet's tunnels.
    pub(crate) fn tunnels(&self) -> &TunnelDemands {
        &self.tunnels
    }

    /// Filters without the demands on tunnels.
    pub(crate) fn without_tunnels(&self) -> Self {
        Self { tunnels: TunnelDemands::default(), ..self.clone() }
    }

    /// Filters for a store with these tunnel ports.
    pub(crate) fn with_ports(self, ports: &TunnelPorts) -> Self {
        Self { ports: ports.clone(), ..self }
    }

    /// Notes the link types for which the filter has no meaning, if the asker may know of all packets.
    pub(crate) fn note_refused(&self, query: &Query, completeness: &mut Completeness) {
        for (link_type, reason) in self.refused.iter().filter(|_| !query.is_restricted()) {
            completeness.note(format!("the filter accepts nothing of {link_type}: {reason}"));
        }
    }

    /// The program that alone decides about packets of a segment of this link type; `None` if there is more to it.
    pub(crate) fn sole_program(&self, link_type: LinkType, is_plain: bool) -> Option<&Program> {
        match &self.expressions[..] {
            [own] if (is_plain || !self.peels) && self.demands_nothing() && !own.selection.ignore_vlan => {
                match own.choice(link_type) {
                    LinkTypeFilter::Program(program) => Some(program),
                    LinkTypeFilter::Everything | LinkTypeFilter::Nothing => None,
                }
            }
            _ => None,
        }
    }

    /// Memory for judging packets.
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch { peeler: Peeler::new(&self.ports), untagged: Vec::new() }
    }

    /// True if fragments are filtered together with the first fragment of their packet: not with the view of packets as
    /// received, nor if all are accepted.
    pub(crate) fn link_fragments(&self) -> bool {
        let accept_all =
            self.demands_nothing() && self.expressions.iter().all(FilterExpression::accepts_all_views);
        self.peels && !accept_all
    }

    /// True if an expression asks for the innermost view.
    pub(crate) fn ask_innermost(&self) -> bool {
        self.expressions.iter().any(|expression| expression.selection.view == ViewMode::Inner)
    }

    /// Dissects a packet, for [`Self::accept_peeled`] and [`Self::may_accept_linked`].
    pub(crate) fn take_apart<'s, 'p>(
        &self,
        packet: ViewBytes<'p>,
        scratch: &'s mut Scratch,
    ) -> (Peeled<'s, 'p>, &'s mut Vec<u8>) {
        (scratch.peeler.take_apart(packet), &mut scratch.untagged)
    }

    /// True if the filters accept the packet, received at this time.
    #[inline]
    pub(crate) fn accept_peeled(
        &self,
        peeled: Peeled<'_, '_>,
        at: Timestamp,
        untagged: &mut Vec<u8>,
    ) -> bool {
        self.demands_are_met(peeled, at)
            && self.joined_first().all(|expression| {
                let mut views = peeled.views(expression.selection.numbers(peeled.view_count()));
                views.any(|view| expression.accept_view(view, untagged))
            })
    }

    /// True if a later fragment can be accepted because of the first one: filters that look at packets as received judge each
    /// fragment alone.
    pub(crate) fn may_accept_linked(
        &self,
        peeled: Peeled<'_, '_>,
        at: Timestamp,
        untagged: &mut Vec<u8>,
    ) -> bool {
        let is_outer = |expression: &&FilterExpression| expression.selection.view == ViewMode::Outer;
        let judges_alone = self.expressions.first().is_some_and(|own| is_outer(&own));
        (!judges_alone || self.demands_are_met(peeled, at))
            && self.expressions.iter().filter(is_outer).all(|expression| {
                let mut views = peeled.views(expression.selection.numbers(peeled.view_count()));
                views.any(|view| expression.accept_view(view, untagged))
            })
    }

    /// True if the filters accept the packet, received at this time. Set `is_plain` if it is known to have no view but itself.
    #[inline]
    pub(crate) fn accept(
        &self,
        packet: ViewBytes<'_>,
        at: Timestamp,
        is_plain: bool,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { peeler, untagged } = scratch;
        if (is_plain || !self.peels) && self.demands_nothing() {
            return self.joined_first().all(|expression| expression.accept_view(packet, untagged));
        }
        self.accept_peeled(peeler.take_apart(packet), at, untagged)
    }
}

/// Adapter: an answer's control, as one that waits for a program.
pub(crate) struct ForProgram<'h>(pub(crate) &'h dyn Control);

impl CompileControl for ForProgram<'_> {
    fn has_given_up(&self) -> bool {
        self.0.cancelled() || self.0.cut().is_some()
    }

    fn aside(&self, work: &mut dyn FnMut()) {
        self.0.aside(Aside::Compiling, work);
    }
}

/// An expression, and why it has no meaning for some link types.
struct CompiledExpression {
    expression: FilterExpression,
    refused: Vec<(LinkType, String)>,
    refusal: Option<FilterError>,
}

fn compile(
    compiler: &Compiler,
    text: &str,
    selection: ViewSelection,
    of_store: &[LinkType],
    control: &dyn Control,
) -> Result<CompiledExpression, FilterError> {
    let mut compiled = CompiledExpression {
        expression: FilterExpression { choices: Vec::new(), selection },
        refused: Vec::new(),
        refusal: None,
    };
    for (link_type, is_of_store) in link_types(of_store, selection.view) {
        let choice = match compiler.program(text, link_type, &ForProgram(control)) {
            _ if text.trim().is_empty() => LinkTypeFilter::Everything,
            Ok(program) => LinkTypeFilter::Program(program),
            Err(error @ (FilterError::Syntax { .. } | FilterError::RejectsAll { .. })) => {
                if is_of_store {
                    compiled.refused.push((link_type, first_line(&error)));
                }
                compiled.refusal.get_or_insert(error);
                LinkTypeFilter::Nothing
            }
            Err(error) => return Err(error),
        };
        compiled.expression.choices.push((link_type, choice));
    }
    Ok(compiled)
}

/// The link types that a packet can contain and a filter with this view can see.
fn carried(view: ViewMode) -> &'static [LinkType] {
    if view == ViewMode::Outer { &[] } else { &INNER_LINK_TYPES }
}

/// The link types that a filter can see, and whether the store has them. A store without any counts as one of Ethernet.
fn link_types(of_store: &[LinkType], view: ViewMode) -> impl Iterator<Item = (LinkType, bool)> {
    let of_store = if of_store.is_empty() { &[LinkType::ETHERNET] } else { of_store };
    let more = carried(view).iter().filter(|link_type| !of_store.contains(link_type));
    of_store.iter().map(|&link_type| (link_type, true)).chain(more.map(|&link_type| (link_type, false)))
}

fn first_line(error: &FilterError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::control::NoControl;
    use netrewind_filter::CompileLimits;

    fn compile_for(
        view: ViewMode,
        expression: &str,
        link_types: &[LinkType],
    ) -> Result<QueryFilter, FilterError> {
        let compiler = Compiler::new(CompileLimits::default());
        QueryFilter::compile(&compiler, &Query { view, ..Query::of(expression) }, link_types, &NoControl)
    }

    fn compile(expression: &str, link_types: &[LinkType]) -> Result<QueryFilter, FilterError> {
        compile_for(ViewMode::Outer, expression, link_types)
    }

    #[test]
    fn an_expression_may_mean_something_only_inside_a_tunnel() {
        let raw = [LinkType::RAW];
        let inner = compile_for(ViewMode::Inner, "ether src 1:2:3:4:5:6", &raw).unwrap();
        assert_eq!(
            (inner.link_type_verdict(LinkType::RAW), inner.refused.len()),
            (LinkTypeVerdict::Depends, 1)
        );
        assert!(compile_for(ViewMode::Any, "ip and and", &raw).is_err());
        let both = compile("ether src 1:2:3:4:5:6", &[LinkType::ETHERNET, LinkType::RAW]).unwrap();
        assert_eq!(both.link_type_verdict(LinkType::RAW), LinkTypeVerdict::Nothing);
        assert_eq!(compile("", &raw).unwrap().link_type_verdict(LinkType::RAW), LinkTypeVerdict::Everything);
    }

    #[test]
    fn an_expression_may_mean_nothing_for_some_link_types_but_not_for_all() {
        let both = [LinkType::ETHERNET, LinkType::RAW];
        let filters = compile("ether src 1:2:3:4:5:6", &both).unwrap();
        assert!(matches!(filters.expressions[0].choice(LinkType::ETHERNET), LinkTypeFilter::Program(_)));
        assert!(matches!(filters.expressions[0].choice(LinkType::RAW), LinkTypeFilter::Nothing));
        assert_eq!(filters.refused.len(), 1);
        assert!(compile("ether src 1:2:3:4:5:6", &both[1..]).is_err());
        assert!(compile("ip and and", &both).is_err());
        assert!(compile("ip and and", &[]).is_err());
        assert!(matches!(
            compile("", &[LinkType(9999)]).unwrap().expressions[0].choice(LinkType(9999)),
            LinkTypeFilter::Everything
        ));
    }
}
