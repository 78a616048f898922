//! What a query accepts: one expression, compiled for every link type among the views, and demands on tunnels.

use std::sync::Arc;

use netrewind_segment::LinkType;

use crate::filter::{Compiler, FilterError, Program};
use crate::query::{Query, View};
use crate::tunnels::TunnelDemands;
use crate::views::{INNER_LINK_TYPES, PacketView, Peeler, Selection, without_tags};

/// What an expression means for one link type.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// It is empty: every packet.
    Everything,
    /// It has no meaning there: no packet.
    Nothing,
    /// As the program says.
    Program(Arc<Program>),
}

/// What can be said of all packets of a link type at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// All are accepted.
    Everything,
    /// None is.
    Nothing,
    /// It depends on the packet.
    Depends,
}

/// Memory for judging packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    peeler: Peeler,
    untagged: Vec<u8>,
}

/// The filter of a query, for every link type of the store and of what its packets can carry.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    choices: Vec<(LinkType, Choice)>,
    selection: Selection,
    tunnels: TunnelDemands,
    /// Link types of the store for which it has no meaning, and libpcap's word for it.
    pub(crate) refused: Vec<(LinkType, String)>,
}

impl Filters {
    /// Compiles for a store with these link types. Where the expression has no meaning for a link type, it accepts nothing
    /// there; where that is so for all of them, it is wrong.
    pub(crate) fn compile(
        compiler: &Compiler,
        query: &Query,
        of_store: &[LinkType],
    ) -> Result<Self, FilterError> {
        let selection = Selection::from(query);
        let mut filters =
            Self { choices: Vec::new(), selection, tunnels: query.tunnels, refused: Vec::new() };
        let (expression, mut refusal) = (&query.filter, None);
        for (link_type, is_of_store) in link_types(of_store, query.view) {
            let choice = match compiler.program(expression, link_type) {
                _ if expression.trim().is_empty() => Choice::Everything,
                Ok(program) => Choice::Program(program),
                Err(error @ (FilterError::Syntax { .. } | FilterError::RejectsAll { .. })) => {
                    if is_of_store {
                        filters.refused.push((link_type, first_line(&error)));
                    }
                    refusal.get_or_insert(error);
                    Choice::Nothing
                }
                Err(error) => return Err(error),
            };
            filters.choices.push((link_type, choice));
        }
        match refusal {
            Some(error) if filters.choices.iter().all(|(_, choice)| matches!(choice, Choice::Nothing)) => {
                Err(error)
            }
            _ => Ok(filters),
        }
    }

    /// What the expression means for a link type.
    #[inline]
    pub(crate) fn choice(&self, link_type: LinkType) -> &Choice {
        self.choices
            .iter()
            .find(|(known, _)| *known == link_type)
            .map_or(&Choice::Nothing, |(_, choice)| choice)
    }

    /// What can be said of all packets of a segment of this link type.
    pub(crate) fn outlook(&self, link_type: LinkType) -> Outlook {
        let is_nothing = |link_type: &LinkType| matches!(self.choice(*link_type), Choice::Nothing);
        let carried = if self.selection.view == View::Outer { &[] } else { &INNER_LINK_TYPES[..] };
        match self.choice(link_type) {
            Choice::Everything if self.tunnels.are_none() => Outlook::Everything,
            Choice::Nothing if carried.iter().all(is_nothing) => Outlook::Nothing,
            _ => Outlook::Depends,
        }
    }

    /// Whether the expression is empty.
    pub(crate) fn accept_all_views(&self) -> bool {
        self.choices.iter().all(|(_, choice)| matches!(choice, Choice::Everything))
    }

    /// What selects among a packet's views.
    pub(crate) fn selection(&self) -> Selection {
        self.selection
    }

    /// What is demanded of a packet's tunnels.
    pub(crate) fn tunnels(&self) -> &TunnelDemands {
        &self.tunnels
    }

    /// Whether the packet is in the answer, as far as the filter goes. `is_plain` where it is known to have no view but
    /// itself.
    #[inline]
    pub(crate) fn accept(&self, packet: PacketView<'_>, is_plain: bool, scratch: &mut Scratch) -> bool {
        if (is_plain || self.selection.view == View::Outer) && self.tunnels.are_none() {
            return self.accept_view(packet, &mut scratch.untagged);
        }
        let peeled = scratch.peeler.take_apart(packet);
        self.tunnels.are_met(|| peeled.tunnels())
            && peeled.views(self.selection).any(|view| self.accept_view(view, &mut scratch.untagged))
    }

    #[inline]
    fn accept_view(&self, view: PacketView<'_>, untagged: &mut Vec<u8>) -> bool {
        let accepts = |view: PacketView<'_>| match self.choice(view.link_type) {
            Choice::Everything => true,
            Choice::Nothing => false,
            Choice::Program(program) => program.accepts(view.bytes, view.len),
        };
        if self.selection.ignore_vlan { without_tags(view, untagged, accepts) } else { accepts(view) }
    }
}

/// The link types that a filter can see, and whether the store has them. A store without any is as one of Ethernet.
fn link_types(of_store: &[LinkType], view: View) -> impl Iterator<Item = (LinkType, bool)> {
    let of_store = if of_store.is_empty() { &[LinkType::ETHERNET] } else { of_store };
    let carried = if view == View::Outer { &[] } else { &INNER_LINK_TYPES[..] };
    let more = carried.iter().filter(|link_type| !of_store.contains(link_type));
    of_store.iter().map(|&link_type| (link_type, true)).chain(more.map(|&link_type| (link_type, false)))
}

fn first_line(error: &FilterError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::CompileLimits;

    fn compile_for(view: View, expression: &str, link_types: &[LinkType]) -> Result<Filters, FilterError> {
        let compiler = Compiler::new(CompileLimits::default());
        Filters::compile(&compiler, &Query { view, ..Query::of(expression) }, link_types)
    }

    fn compile(expression: &str, link_types: &[LinkType]) -> Result<Filters, FilterError> {
        compile_for(View::Outer, expression, link_types)
    }

    #[test]
    fn an_expression_may_mean_something_only_inside_a_tunnel() {
        let raw = [LinkType::RAW];
        let inner = compile_for(View::Inner, "ether src 1:2:3:4:5:6", &raw).unwrap();
        assert_eq!((inner.outlook(LinkType::RAW), inner.refused.len()), (Outlook::Depends, 1));
        assert!(compile_for(View::Any, "ip and and", &raw).is_err());
        let both = compile("ether src 1:2:3:4:5:6", &[LinkType::ETHERNET, LinkType::RAW]).unwrap();
        assert_eq!(both.outlook(LinkType::RAW), Outlook::Nothing);
        assert_eq!(compile("", &raw).unwrap().outlook(LinkType::RAW), Outlook::Everything);
    }

    #[test]
    fn an_expression_may_mean_nothing_for_some_link_types_but_not_for_all() {
        let both = [LinkType::ETHERNET, LinkType::RAW];
        let filters = compile("ether src 1:2:3:4:5:6", &both).unwrap();
        assert!(matches!(filters.choice(LinkType::ETHERNET), Choice::Program(_)));
        assert!(matches!(filters.choice(LinkType::RAW), Choice::Nothing));
        assert_eq!(filters.refused.len(), 1);
        assert!(compile("ether src 1:2:3:4:5:6", &both[1..]).is_err());
        assert!(compile("ip and and", &both).is_err());
        assert!(compile("ip and and", &[]).is_err());
        assert!(matches!(compile("", &[LinkType(9999)]).unwrap().choice(LinkType(9999)), Choice::Everything));
    }
}
