//! One expression, compiled for every link type of the store.

use std::sync::Arc;

use netrewind_segment::LinkType;

use crate::filter::{Compiler, FilterError, Program};
use crate::views::{PacketView, Scratch, Selection, any_view};

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

/// The expression of a query, for every link type of the store.
#[derive(Clone, Debug)]
pub(crate) struct Filters {
    choices: Vec<(LinkType, Choice)>,
    selection: Selection,
    /// Link types for which it has no meaning, and libpcap's word for it.
    pub(crate) refused: Vec<(LinkType, String)>,
}

impl Filters {
    /// Compiles. Where the expression has no meaning for a link type, it accepts nothing there; where that is so for
    /// all of them, it is wrong.
    pub(crate) fn compile(
        compiler: &Compiler,
        expression: &str,
        link_types: &[LinkType],
        selection: Selection,
    ) -> Result<Self, FilterError> {
        let link_types = if link_types.is_empty() { &[LinkType::ETHERNET] } else { link_types };
        let mut filters = Self { choices: Vec::new(), selection, refused: Vec::new() };
        let mut refusal = None;
        for &link_type in link_types {
            let choice = match compiler.program(expression, link_type) {
                _ if expression.trim().is_empty() => Choice::Everything,
                Ok(program) => Choice::Program(program),
                Err(error @ (FilterError::Syntax { .. } | FilterError::RejectsAll { .. })) => {
                    filters.refused.push((link_type, first_line(&error)));
                    refusal.get_or_insert(error);
                    Choice::Nothing
                }
                Err(error) => return Err(error),
            };
            filters.choices.push((link_type, choice));
        }
        match refusal {
            Some(error) if filters.refused.len() == link_types.len() => Err(error),
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

    /// What selects among a packet's views.
    pub(crate) fn selection(&self) -> Selection {
        self.selection
    }

    /// Whether the packet is in the answer, as far as the filter goes.
    #[inline]
    pub(crate) fn accept(&self, packet: PacketView<'_>, scratch: &mut Scratch) -> bool {
        any_view(self.selection, packet, scratch, |view| match self.choice(view.link_type) {
            Choice::Everything => true,
            Choice::Nothing => false,
            Choice::Program(program) => program.accepts(view.bytes, view.len),
        })
    }
}

fn first_line(error: &FilterError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::CompileLimits;
    use crate::query::Query;

    fn compile(expression: &str, link_types: &[LinkType]) -> Result<Filters, FilterError> {
        let compiler = Compiler::new(CompileLimits::default());
        Filters::compile(&compiler, expression, link_types, Selection::from(&Query::default()))
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
