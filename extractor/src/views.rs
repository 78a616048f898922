//! The views of a packet that a filter sees: of packets in full, and of templates. The one place that enumerates them.

use netrewind_indexer::{Description, Template};
use netrewind_segment::LinkType;

use crate::query::{Query, View};

/// Where the type stands in an Ethernet frame, behind both addresses; also where its VLAN tags begin.
const ETHERNET_TYPE: usize = 12;
/// A VLAN tag: its type, then priority and id (IEEE 802.1Q).
const TAG_BYTES: usize = 4;
/// Types of VLAN tags: 802.1Q, 802.1ad, and what was used for the latter before.
const TAG_TYPES: [[u8; 2]; 4] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00], [0x92, 0x00]];

/// Which views are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    pub(crate) view: View,
    pub(crate) ignore_vlan: bool,
}

impl From<&Query> for Selection {
    fn from(query: &Query) -> Self {
        Self { view: query.view, ignore_vlan: query.ignore_vlan }
    }
}

/// Memory for views that are no slice of their packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch(Vec<u8>);

/// One selected view of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketView<'a> {
    pub(crate) link_type: LinkType,
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire.
    pub(crate) len: u32,
}

/// Whether one of the selected views of a packet is accepted. Every packet has one view, itself.
#[inline]
pub(crate) fn any_view(
    selection: Selection,
    packet: PacketView<'_>,
    scratch: &mut Scratch,
    accepts: impl Fn(PacketView<'_>) -> bool,
) -> bool {
    let tags = if selection.ignore_vlan { tag_bytes(packet.link_type, packet.bytes) } else { 0 };
    if tags == 0 {
        return accepts(packet);
    }
    scratch.0.clear();
    scratch.0.extend_from_slice(&packet.bytes[..ETHERNET_TYPE]);
    scratch.0.extend_from_slice(&packet.bytes[ETHERNET_TYPE + tags..]);
    let cut = u32::try_from(tags).unwrap_or(0);
    accepts(PacketView { bytes: &scratch.0, len: packet.len.saturating_sub(cut), ..packet })
}

/// Bytes of the VLAN tags that follow the addresses of an Ethernet frame and are captured, with the type behind them.
#[inline]
fn tag_bytes(link_type: LinkType, frame: &[u8]) -> usize {
    let mut tags = 0;
    while link_type == LinkType::ETHERNET
        && let Some(found) = frame.get(ETHERNET_TYPE + tags..ETHERNET_TYPE + tags + TAG_BYTES + 2)
        && TAG_TYPES.contains(&[found[0], found[1]])
    {
        tags += TAG_BYTES;
    }
    tags
}

/// How a selected view lies in the packets of a template: from `offset` on, without `cut_bytes` at `cut_at` (in the
/// view).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TemplateView {
    pub(crate) link_type: LinkType,
    pub(crate) offset: usize,
    pub(crate) cut_at: usize,
    pub(crate) cut_bytes: usize,
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

    /// A length of the packet as a length of the view.
    pub(crate) fn length(&self, length: u32) -> u32 {
        let less = u32::try_from(self.offset + self.cut_bytes).unwrap_or(u32::MAX);
        length.saturating_sub(less)
    }
}

/// The selected view of all packets of a template, which `description` describes; `None` where they may have different
/// ones. It is the view of which [`any_view`] asks.
pub(crate) fn template_view(
    selection: Selection,
    template: &Template,
    description: &Description,
) -> Option<TemplateView> {
    let outer = template.views.first()?;
    let mut view =
        TemplateView { link_type: outer.link_type, offset: 0, cut_at: ETHERNET_TYPE, cut_bytes: 0 };
    if selection.ignore_vlan && outer.link_type == LinkType::ETHERNET {
        // Only what every packet has captured tells whether a tag is cut out of all of them.
        let captured = template.prefix.len();
        let known_type = |at: usize| {
            (at + 2 <= captured && description.known.get(at..at + 2)? == [0xff; 2])
                .then(|| [description.bytes[at], description.bytes[at + 1]])
        };
        while TAG_TYPES.contains(&known_type(ETHERNET_TYPE + view.cut_bytes)?) {
            view.cut_bytes += TAG_BYTES;
        }
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(types: &[u16]) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..12).collect();
        for tag in &types[..types.len() - 1] {
            frame.extend_from_slice(&tag.to_be_bytes());
            frame.extend_from_slice(&[0, 5]);
        }
        frame.extend_from_slice(&types[types.len() - 1].to_be_bytes());
        frame.extend_from_slice(b"rest");
        frame
    }

    #[test]
    fn tags_are_ignored_only_where_asked_and_whole() {
        let seen = |ignore_vlan, bytes: &[u8]| {
            let view = PacketView { link_type: LinkType::ETHERNET, bytes, len: 100 };
            let selection = Selection { view: View::Outer, ignore_vlan };
            let seen = std::cell::RefCell::new((Vec::new(), 0));
            any_view(selection, view, &mut Scratch::default(), |view| {
                *seen.borrow_mut() = (view.bytes.to_vec(), view.len);
                true
            });
            seen.into_inner()
        };
        let tagged = frame(&[0x88a8, 0x8100, 0x0800]);
        assert_eq!(seen(true, &tagged), (frame(&[0x0800]), 92));
        assert_eq!(seen(false, &tagged), (tagged.clone(), 100));
        assert_eq!(seen(true, &tagged[..17]), (tagged[..17].to_vec(), 100), "the tag's successor is cut off");
    }

    #[test]
    fn a_place_behind_the_cut_moves() {
        let view = TemplateView { link_type: LinkType::ETHERNET, offset: 0, cut_at: 12, cut_bytes: 4 };
        assert_eq!(
            [0, 11, 12, 15, 16, 30].map(|at| view.place(at)),
            [Some(0), Some(11), None, None, Some(12), Some(26)]
        );
        assert_eq!(view.length(60), 56);
    }
}
