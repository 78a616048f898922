//! The views that all packets of a template have.

use std::ops::{Range, RangeInclusive};

use netrewind_index::{Description, Flow, Template};
use netrewind_packet::{TypePlace, VlanTags, is_vlan_tpid};
use netrewind_store::LinkType;

use super::selection::ViewSelection;
use crate::view_mode::ViewMode;

/// Position of a selected view in the packets of a template: from `offset` on, without `tags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TemplateView {
    /// Its place among the template's views.
    number: usize,
    pub(crate) link_type: LinkType,
    pub(crate) offset: usize,
    /// VLAN tags that are ignored.
    tags: Option<VlanTags>,
}

/// Bounds of a view's lengths, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// On the wire.
    pub(crate) len: RangeInclusive<u32>,
    pub(crate) caplen: RangeInclusive<u32>,
}

impl TemplateView {
    /// Offset in the view of a byte of the packet; `None` if the view does not have it.
    pub(crate) fn place(&self, offset: usize) -> Option<usize> {
        let at = offset.checked_sub(self.offset)?;
        let Some(VlanTags { header, behind }) = self.tags else { return Some(at) };
        let is_type = |place: TypePlace| (place.type_at..place.type_at + 2).contains(&at);
        match at {
            _ if is_type(behind) => Some(header.type_at + at - behind.type_at),
            _ if at >= behind.payload_at => Some(at - (behind.payload_at - header.payload_at)),
            _ => Some(at).filter(|&at| at < header.payload_at && !is_type(header)),
        }
    }

    /// Byte ranges of the packet that make up the view, each with its offset in the view. A later one replaces the bytes that
    /// it overlaps.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let offset = self.offset;
        let all = match self.tags {
            None => [Some((0, 0..usize::MAX - offset)), None, None],
            Some(VlanTags { header, behind }) => [
                Some((0, 0..header.payload_at)),
                Some((header.type_at, behind.type_at..behind.type_at + 2)),
                Some((header.payload_at, behind.payload_at..usize::MAX - offset)),
            ],
        };
        all.into_iter().flatten().map(move |(at, bytes)| (at, bytes.start + offset..bytes.end + offset))
    }

    fn cut_bytes(&self) -> usize {
        self.tags.map_or(0, |tags| tags.behind.payload_at - tags.header.payload_at)
    }

    /// Number of bytes of the view that are captured, given `bytes` captured of the packet, if the view has them.
    pub(crate) fn captured(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.saturating_sub(self.offset + self.cut_bytes())).unwrap_or(0)
    }

    /// Bounds of the view's lengths in the packets of a flow of `template`, of which it is a view.
    pub(crate) fn lengths(&self, template: &Template, flow: &Flow) -> Lengths {
        let whole = template.lengths_of(self.number, flow);
        let cut = u32::try_from(self.cut_bytes()).unwrap_or(0);
        let less =
            |range: RangeInclusive<u32>| range.start().saturating_sub(cut)..=range.end().saturating_sub(cut);
        Lengths { len: less(whole.len), caplen: less(whole.caplen) }
    }
}

/// The selected views of all packets of a template, which `description` describes; none where they may have different
/// ones.
pub(crate) fn template_views(
    selection: ViewSelection,
    template: &Template,
    description: &Description,
) -> Option<Vec<TemplateView>> {
    if template.is_opaque() && selection.view != ViewMode::Outer {
        return None;
    }
    let numbers = selection.numbers(template.views.len());
    numbers.map(|number| template_view(selection, template, description, number)).collect()
}

fn template_view(
    selection: ViewSelection,
    template: &Template,
    description: &Description,
    number: usize,
) -> Option<TemplateView> {
    let view = template.views.get(number)?;
    let offset = usize::from(view.offset);
    let header = TypePlace::of(view.link_type).filter(|_| selection.ignore_vlan);
    let tags = match header {
        Some(header) => Some(known_tags(template, description, offset, header)?),
        None => None,
    };
    let tags = tags.filter(VlanTags::are_some);
    Some(TemplateView { number, link_type: view.link_type, offset, tags })
}

/// The tags of a view from `offset` on that all packets have. Only bytes that every packet has captured decide whether a tag is
/// removed from all of them.
fn known_tags(
    template: &Template,
    description: &Description,
    offset: usize,
    header: TypePlace,
) -> Option<VlanTags> {
    let captured = template.prefix.len();
    let known_type = |at: usize| {
        let is_known = at + 2 <= captured && description.known.get(at..at + 2)? == [0xff; 2];
        is_known.then(|| u16::from_be_bytes([description.bytes[at], description.bytes[at + 1]]))
    };
    let mut behind = header;
    while is_vlan_tpid(known_type(offset + behind.type_at)?) {
        behind = behind.behind_tag();
    }
    Some(VlanTags { header, behind })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view without `count` tags.
    fn view(link_type: LinkType, offset: usize, count: usize) -> TemplateView {
        let header = TypePlace::of(link_type).unwrap();
        let behind = (0..count).fold(header, |place, _| place.behind_tag());
        TemplateView { number: 0, link_type, offset, tags: Some(VlanTags { header, behind }) }
    }

    #[test]
    fn a_place_behind_the_cut_moves() {
        let outer = view(LinkType::ETHERNET, 0, 1);
        assert_eq!(
            [0, 11, 12, 15, 16, 30].map(|at| outer.place(at)),
            [Some(0), Some(11), None, None, Some(12), Some(26)]
        );
        assert_eq!(outer.captured(60), 56);
        let inner = view(LinkType::ETHERNET, 50, 1);
        assert_eq!([49, 50, 61, 62, 66].map(|at| inner.place(at)), [None, Some(0), Some(11), None, Some(12)]);
        assert_eq!((inner.captured(60), inner.captured(20)), (6, 0));
    }

    #[test]
    fn the_type_at_the_front_comes_from_behind_the_tags() {
        let cooked = view(LinkType::LINUX_SLL2, 0, 2);
        assert_eq!(
            [0, 1, 2, 19, 20, 25, 26, 27, 28].map(|at| cooked.place(at)),
            [None, None, Some(2), Some(19), None, None, Some(0), Some(1), Some(20)]
        );
        assert_eq!(cooked.captured(60), 52);
    }

    #[test]
    fn stretches_and_places_agree() {
        for (link_type, offset, count) in [(1, 0, 1), (1, 50, 3), (113, 0, 2), (276, 0, 1), (276, 0, 4)] {
            let view = view(LinkType(link_type), offset, count);
            let mut places = vec![None; 200];
            for (at, bytes) in view.stretches() {
                (at..)
                    .zip(bytes.take_while(|byte| *byte < 150))
                    .for_each(|(at, byte)| places[at] = Some(byte));
            }
            for byte in offset..150 {
                assert!(view.place(byte).is_none_or(|at| places[at] == Some(byte)), "{byte} of {view:?}");
            }
            let shown = places.iter().flatten().count();
            assert_eq!(shown, 150 - offset - 4 * count, "each place of the view is filled once");
        }
    }
}
