//! The views of a packet that a filter sees: of packets in full, and of templates. The one place that enumerates them.
//!
//! A packet's views are itself and every inner packet that peeling known tunnels exposes, as the index takes them apart:
//! with the same tunnel ports. The first of them is the packet as it is stored, to the letter of its header.

mod template;

use std::ops::Range;

use netrewind_indexer::Shape;
use netrewind_indexer::packet::{self, Dissection};
use netrewind_indexer::tunnel::{Tunnel, TunnelPorts};
use netrewind_segment::LinkType;

use crate::query::{JoinedFilter, Query, View};
pub(crate) use template::{Lengths, TemplateView, template_views};

/// Where the type stands in an Ethernet frame, behind both addresses; also where its VLAN tags begin.
const ETHERNET_TYPE: usize = 12;
/// A VLAN tag: its type, then priority and id (IEEE 802.1Q).
const TAG_BYTES: usize = 4;
/// Types of VLAN tags: 802.1Q, 802.1ad, and what was used for the latter before.
const TAG_TYPES: [[u8; 2]; 4] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00], [0x92, 0x00]];

/// What an inner view's first byte can mean.
pub(crate) const INNER_LINK_TYPES: [LinkType; 2] = [LinkType::ETHERNET, LinkType::RAW];

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

impl From<&JoinedFilter> for Selection {
    fn from(joined: &JoinedFilter) -> Self {
        Self { view: joined.view, ignore_vlan: joined.ignore_vlan }
    }
}

impl Selection {
    /// Which of so many views, counted from the outermost.
    fn numbers(self, views: usize) -> Range<usize> {
        match self.view {
            View::Outer => 0..views.min(1),
            View::Inner => views.saturating_sub(1)..views,
            View::Any => 0..views,
        }
    }
}

/// One view of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketView<'a> {
    pub(crate) link_type: LinkType,
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire.
    pub(crate) len: u32,
}

impl<'a> PacketView<'a> {
    /// The view of this stored packet that a dissection has found.
    fn peeled(self, found: &packet::PacketView) -> Self {
        match found.view.offset {
            0 => self,
            _ => Self { link_type: found.view.link_type, bytes: found.bytes(self.bytes), len: found.len },
        }
    }
}

/// Takes packets apart, one after the other, in the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Peeler {
    ports: TunnelPorts,
    dissection: Dissection,
}

impl Peeler {
    pub(crate) fn new(ports: &TunnelPorts) -> Self {
        Self { ports: ports.clone(), dissection: Dissection::new(LinkType::ETHERNET) }
    }

    /// Takes a stored packet apart.
    #[inline]
    pub(crate) fn take_apart<'p>(&mut self, stored: PacketView<'p>) -> Peeled<'_, 'p> {
        self.dissection.take_apart(&self.ports, stored.link_type, stored.bytes, stored.len);
        Peeled { dissection: &self.dissection, stored }
    }
}

/// A stored packet, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peeled<'d, 'p> {
    dissection: &'d Dissection,
    stored: PacketView<'p>,
}

impl<'d, 'p> Peeled<'d, 'p> {
    /// What is left once all tunnels have ended; `None` where there is none.
    pub(crate) fn inner(&self) -> Option<PacketView<'p>> {
        let innermost = self.dissection.innermost();
        (innermost.view.offset > 0).then(|| self.stored.peeled(&innermost))
    }

    /// The innermost IP packet, from its header on, of which the fixed part is captured; `None` where there is none. Its
    /// link type tells the version. Padding may stand behind it.
    pub(crate) fn datagram(&self) -> Option<PacketView<'p>> {
        let link_type = match self.dissection.shape {
            Shape::None => return None,
            Shape::Ipv4 { .. } => LinkType::IPV4,
            Shape::Ipv6 { .. } => LinkType::IPV6,
        };
        let innermost = self.dissection.innermost();
        let before = self.dissection.prefix_bytes.checked_sub(usize::from(innermost.view.offset))?;
        let view = self.stored.peeled(&innermost);
        let len = view.len.saturating_sub(u32::try_from(before).ok()?);
        Some(PacketView { link_type, bytes: view.bytes.get(before..)?, len })
    }

    /// Whether an IP header of any view says that the packet is a fragment.
    #[inline]
    pub(crate) fn is_fragment(&self) -> bool {
        self.dissection.fragment
    }

    /// The number of the innermost view.
    pub(crate) fn innermost_view(&self) -> u8 {
        u8::try_from(self.dissection.views().len().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// What it is a fragment of, from the outermost view.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = packet::Fragment> + use<'d, 'p> {
        let (dissection, stored) = (self.dissection, self.stored);
        dissection.fragments(stored.bytes)
    }

    /// Where a view begins in the stored packet, and what its first byte means.
    pub(crate) fn begin_of(&self, view: u8) -> Option<(usize, LinkType)> {
        let found = self.dissection.views().get(usize::from(view))?.view;
        Some((found.offset.into(), found.link_type))
    }

    /// Where the innermost IP packet ends by its own header, counted in the stored packet; `None` where it does not tell.
    pub(crate) fn datagram_end(&self) -> Option<usize> {
        let datagram = self.datagram()?;
        let u16_at = |at: usize| {
            let bytes = datagram.bytes.get(at..at + 2)?;
            Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
        };
        let bytes = match datagram.link_type {
            LinkType::IPV4 => u16_at(2).filter(|bytes| *bytes > 0),
            _ => u16_at(4).filter(|bytes| *bytes > 0).map(|bytes| 40 + bytes),
        };
        Some(self.dissection.prefix_bytes + bytes?)
    }

    /// The tunnels, from the outermost.
    pub(crate) fn tunnels(&self) -> impl Iterator<Item = Tunnel> {
        self.dissection.tunnels(self.stored.bytes)
    }

    /// The selected views.
    #[inline]
    pub(crate) fn views(&self, selection: Selection) -> impl Iterator<Item = PacketView<'p>> + use<'d, 'p> {
        let views = self.dissection.views();
        let stored = self.stored;
        views[selection.numbers(views.len())].iter().map(move |found| stored.peeled(found))
    }
}

/// Gives `accepts` a view without its VLAN tags, for which `untagged` has room.
#[inline]
pub(crate) fn without_tags(
    view: PacketView<'_>,
    untagged: &mut Vec<u8>,
    accepts: impl FnOnce(PacketView<'_>) -> bool,
) -> bool {
    let tags = tag_bytes(view.link_type, view.bytes);
    if tags == 0 {
        return accepts(view);
    }
    untagged.clear();
    untagged.extend_from_slice(&view.bytes[..ETHERNET_TYPE]);
    untagged.extend_from_slice(&view.bytes[ETHERNET_TYPE + tags..]);
    let cut = u32::try_from(tags).unwrap_or(0);
    accepts(PacketView { bytes: untagged, len: view.len.saturating_sub(cut), ..view })
}

/// The two bytes that tell what a frame carries, and what it carries: without addresses and VLAN tags. Where they are not
/// known, nothing and the whole view.
pub(crate) fn split_type<'p>(view: PacketView<'p>) -> (&'p [u8], &'p [u8]) {
    let (type_at, payload_at) = match view.link_type {
        LinkType::ETHERNET => {
            let type_at = ETHERNET_TYPE + tag_bytes(view.link_type, view.bytes);
            (type_at, type_at + 2)
        }
        LinkType::LINUX_SLL => (14, 16),
        LinkType::LINUX_SLL2 => (0, 20),
        _ => (0, 0),
    };
    let kind = view.bytes.get(type_at..(type_at + 2).min(payload_at));
    kind.zip(view.bytes.get(payload_at..)).unwrap_or((&[], view.bytes))
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
    fn tags_are_ignored_whole() {
        let seen = |bytes: &[u8]| {
            let view = PacketView { link_type: LinkType::ETHERNET, bytes, len: 100 };
            let mut seen = (Vec::new(), 0);
            without_tags(view, &mut Vec::new(), |view| {
                seen = (view.bytes.to_vec(), view.len);
                true
            });
            seen
        };
        let tagged = frame(&[0x88a8, 0x8100, 0x0800]);
        assert_eq!(seen(&tagged), (frame(&[0x0800]), 92));
        assert_eq!(seen(&tagged[..17]), (tagged[..17].to_vec(), 100), "the tag's successor is cut off");
    }

    #[test]
    fn views_are_numbered_from_the_outermost() {
        let numbers = |view, count| Selection { view, ignore_vlan: false }.numbers(count);
        assert_eq!([View::Outer, View::Inner, View::Any].map(|view| numbers(view, 3)), [0..1, 2..3, 0..3]);
        assert_eq!([View::Outer, View::Inner, View::Any].map(|view| numbers(view, 1)), [0..1, 0..1, 0..1]);
    }
}
