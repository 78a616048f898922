//! The views that all packets of a template have.

use std::ops::RangeInclusive;

use netrewind_indexer::{Description, Flow, Template};
use netrewind_segment::LinkType;

use super::{ETHERNET_TYPE, Selection, TAG_BYTES, TAG_TYPES};
use crate::query::View;

/// How a selected view lies in the packets of a template: from `offset` on, without `cut_bytes` at `cut_at` (in the
/// view).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TemplateView {
    /// Its place among the template's views.
    number: usize,
    pub(crate) link_type: LinkType,
    pub(crate) offset: usize,
    pub(crate) cut_at: usize,
    pub(crate) cut_bytes: usize,
}

/// Between which lengths a view lies, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// On the wire.
    pub(crate) len: RangeInclusive<u32>,
    pub(crate) caplen: RangeInclusive<u32>,
}

impl TemplateView {
    /// Where a byte of the packet stands in the view; `None` where the view does not have it.
    pub(crate) fn place(&self, offset: usize) -> Option<usize> {
        let at = offset.checked_sub(self.offset)?;
        match at {
            _ if at < self.cut_at => Some(at),
            _ => at.checked_sub(self.cut_bytes).filter(|&at| at >= self.cut_at),
        }
    }

    /// How many bytes of the view are captured where the first `bytes` of the packet are, and the view has them.
    pub(crate) fn captured(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.saturating_sub(self.offset + self.cut_bytes)).unwrap_or(0)
    }

    /// Between which lengths the view lies in the packets of a flow of `template`, of which it is a view.
    pub(crate) fn lengths(&self, template: &Template, flow: &Flow) -> Lengths {
        let whole = template.lengths_of(self.number, flow);
        let cut = u32::try_from(self.cut_bytes).unwrap_or(0);
        let less =
            |range: RangeInclusive<u32>| range.start().saturating_sub(cut)..=range.end().saturating_sub(cut);
        Lengths { len: less(whole.len), caplen: less(whole.caplen) }
    }
}

/// The selected views of all packets of a template, which `description` describes; none where they may have different
/// ones.
pub(crate) fn template_views(
    selection: Selection,
    template: &Template,
    description: &Description,
) -> Option<Vec<TemplateView>> {
    if template.is_opaque() && selection.view != View::Outer {
        return None;
    }
    let numbers = selection.numbers(template.views.len());
    numbers.map(|number| template_view(selection, template, description, number)).collect()
}

fn template_view(
    selection: Selection,
    template: &Template,
    description: &Description,
    number: usize,
) -> Option<TemplateView> {
    let view = template.views.get(number)?;
    let offset = usize::from(view.offset);
    let mut found =
        TemplateView { number, link_type: view.link_type, offset, cut_at: ETHERNET_TYPE, cut_bytes: 0 };
    if selection.ignore_vlan && view.link_type == LinkType::ETHERNET {
        // Only what every packet has captured tells whether a tag is cut out of all of them.
        let captured = template.prefix.len();
        let known_type = |at: usize| {
            (at + 2 <= captured && description.known.get(at..at + 2)? == [0xff; 2])
                .then(|| [description.bytes[at], description.bytes[at + 1]])
        };
        while TAG_TYPES.contains(&known_type(offset + ETHERNET_TYPE + found.cut_bytes)?) {
            found.cut_bytes += TAG_BYTES;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_behind_the_cut_moves() {
        let view =
            TemplateView { number: 0, link_type: LinkType::ETHERNET, offset: 0, cut_at: 12, cut_bytes: 4 };
        assert_eq!(
            [0, 11, 12, 15, 16, 30].map(|at| view.place(at)),
            [Some(0), Some(11), None, None, Some(12), Some(26)]
        );
        assert_eq!(view.captured(60), 56);
        let inner = TemplateView { offset: 50, ..view };
        assert_eq!([49, 50, 61, 62, 66].map(|at| inner.place(at)), [None, Some(0), Some(11), None, Some(12)]);
        assert_eq!((inner.captured(60), inner.captured(20)), (6, 0));
    }
}
