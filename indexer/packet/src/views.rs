//! The bytes of a packet's views, and of a view without its VLAN tags.
//!
//! A packet's views are itself and every inner packet that peeling known tunnels exposes, as the index takes them apart:
//! with the same tunnel ports. The first of them is the packet as it is stored, to the letter of its header.

use std::net::IpAddr;
use std::ops::Range;

use netrewind_store::LinkType;

use crate::bytes::u16_at;
use crate::dissect::{Fragment, dissect_into, ends_at};
use crate::dissection::{Dissection, Ends, PacketView};
use crate::ethernet::{TypePlace, is_vlan_tpid};
use crate::shape::Shape;
use crate::tunnel::{LayerKind, Tunnel, TunnelPorts, addresses_of};

/// Possible link types of an inner view.
pub const INNER_LINK_TYPES: [LinkType; 2] = [LinkType::ETHERNET, LinkType::RAW];

/// One view of one packet.
#[derive(Clone, Copy, Debug)]
pub struct ViewBytes<'a> {
    /// Its link type.
    pub link_type: LinkType,
    /// Its captured bytes.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub len: u32,
}

impl<'a> ViewBytes<'a> {
    /// The view of this stored packet that a dissection has found.
    fn peeled(self, found: &PacketView) -> Self {
        match found.view.offset {
            0 => self,
            _ => Self { link_type: found.view.link_type, bytes: found.bytes(self.bytes), len: found.len },
        }
    }
}

/// Takes packets apart, one after the other, in the same memory.
#[derive(Clone, Debug)]
pub struct Peeler {
    ports: TunnelPorts,
    dissection: Dissection,
}

impl Peeler {
    /// Takes packets apart with these tunnel ports, which are those of the index.
    pub fn new(ports: &TunnelPorts) -> Self {
        Self { ports: ports.clone(), dissection: Dissection::new(LinkType::ETHERNET) }
    }

    /// Takes a stored packet apart.
    #[inline]
    pub fn take_apart<'p>(&mut self, stored: ViewBytes<'p>) -> Peeled<'_, 'p> {
        dissect_into(&mut self.dissection, &self.ports, stored.link_type, stored.bytes, stored.len);
        Peeled { dissection: &self.dissection, stored }
    }
}

/// A stored packet, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Peeled<'d, 'p> {
    dissection: &'d Dissection,
    stored: ViewBytes<'p>,
}

impl<'d, 'p> Peeled<'d, 'p> {
    /// Innermost view, without any tunnel; `None` if there is no tunnel.
    pub fn inner(&self) -> Option<ViewBytes<'p>> {
        let innermost = self.dissection.innermost();
        (innermost.view.offset > 0).then(|| self.stored.peeled(&innermost))
    }

    /// Innermost IP packet, from its header on, if the fixed part of the header is captured; `None` if there is none. Its link
    /// type tells the version. Padding may stand behind it.
    pub fn datagram(&self) -> Option<ViewBytes<'p>> {
        let link_type = match self.dissection.shape {
            Shape::None => return None,
            Shape::Ipv4 { .. } => LinkType::IPV4,
            Shape::Ipv6 { .. } => LinkType::IPV6,
        };
        let innermost = self.dissection.innermost();
        let before = self.dissection.prefix_bytes.checked_sub(usize::from(innermost.view.offset))?;
        let view = self.stored.peeled(&innermost);
        let len = view.len.saturating_sub(u32::try_from(before).ok()?);
        Some(ViewBytes { link_type, bytes: view.bytes.get(before..)?, len })
    }

    /// True if an IP header of any view says that the packet is a fragment.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.dissection.fragment
    }

    /// The number of the innermost view.
    pub fn innermost_view(&self) -> u8 {
        u8::try_from(self.view_count().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// Series that the packet is a fragment of, from the outermost view.
    pub fn fragments(&self) -> impl Iterator<Item = Fragment> + use<'d, 'p> {
        let (dissection, stored) = (self.dissection, self.stored);
        dissection.fragments(stored.bytes)
    }

    /// Start of a view in the stored packet, and its link type.
    pub fn begin_of(&self, view: u8) -> Option<(usize, LinkType)> {
        let found = self.dissection.views().get(usize::from(view))?.view;
        Some((found.offset.into(), found.link_type))
    }

    /// End of the innermost IP packet by its own header, as an offset in the stored packet; `None` if it does not tell.
    pub fn datagram_end(&self) -> Option<usize> {
        let bytes = self.dissection.datagram_bytes(self.stored.bytes).filter(|bytes| *bytes > 0)?;
        Some(self.dissection.prefix_bytes + bytes)
    }

    /// The tunnels, from the outermost.
    pub fn tunnels(&self) -> impl Iterator<Item = Tunnel> {
        self.dissection.tunnels(self.stored.bytes)
    }

    /// Ends by the IP headers in the views with these numbers, counted from the outermost.
    pub fn ends(&self, numbers: Range<usize>) -> impl Iterator<Item = Ends> + use<'d, 'p> {
        let (dissection, stored) = (self.dissection, self.stored);
        let is_innermost = numbers.contains(&usize::from(self.innermost_view()));
        let innermost = is_innermost.then(|| Ends::of(&dissection.shape, &dissection.key)).flatten();
        let outer = dissection.layers().iter().filter(move |layer| numbers.contains(&layer.view.into()));
        let outer = outer.filter(|layer| matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6));
        outer
            .filter_map(move |layer| ends_at(stored.bytes.get(usize::from(layer.offset)..)?))
            .chain(innermost)
    }

    /// Source and destination of the IP headers in the views with these numbers, counted from the outermost.
    pub fn addresses(&self, numbers: Range<usize>) -> impl Iterator<Item = (IpAddr, IpAddr)> + use<'d, 'p> {
        let (dissection, stored) = (self.dissection, self.stored);
        let is_innermost = numbers.contains(&usize::from(self.innermost_view()));
        let innermost = is_innermost.then(|| Ends::of(&dissection.shape, &dissection.key)).flatten();
        let outer = dissection.layers().iter().filter(move |layer| numbers.contains(&layer.view.into()));
        outer
            .filter_map(move |layer| addresses_of(*layer, stored.bytes))
            .chain(innermost.map(|ends| ends.addresses))
    }

    /// Source and destination port of the innermost view; `None` if it has none, or they are not captured.
    pub fn ports(&self) -> Option<(u16, u16)> {
        Ends::of(&self.dissection.shape, &self.dissection.key)?.ports
    }

    /// Number of views: at least one, the stored packet itself.
    #[inline]
    pub fn view_count(&self) -> usize {
        self.dissection.views().len()
    }

    /// The views with these numbers, counted from the outermost.
    #[inline]
    pub fn views(&self, numbers: Range<usize>) -> impl Iterator<Item = ViewBytes<'p>> + use<'d, 'p> {
        let stored = self.stored;
        let found = self.dissection.views().get(numbers).unwrap_or_default();
        found.iter().map(move |found| stored.peeled(found))
    }
}

/// Gives `accepts` a view without its VLAN tags, for which `untagged` has room.
#[inline]
pub fn without_tags(
    view: ViewBytes<'_>,
    untagged: &mut Vec<u8>,
    accepts: impl FnOnce(ViewBytes<'_>) -> bool,
) -> bool {
    let Some(VlanTags { header, behind }) = VlanTags::of(view).filter(VlanTags::are_some) else {
        return accepts(view);
    };
    untagged.clear();
    untagged.extend_from_slice(&view.bytes[..header.payload_at]);
    untagged[header.type_at..header.type_at + 2]
        .copy_from_slice(&view.bytes[behind.type_at..behind.type_at + 2]);
    untagged.extend_from_slice(&view.bytes[behind.payload_at..]);
    let cut = u32::try_from(behind.payload_at - header.payload_at).unwrap_or(0);
    accepts(ViewBytes { bytes: untagged, len: view.len.saturating_sub(cut), ..view })
}

/// Splits a view into the two bytes of its type and its payload, without addresses and VLAN tags. If these are not known:
/// nothing, and the whole view.
pub fn split_type<'p>(view: ViewBytes<'p>) -> (&'p [u8], &'p [u8]) {
    let behind = VlanTags::of(view).map(|tags| tags.behind);
    let split = behind.and_then(|TypePlace { type_at, payload_at }| {
        Some((view.bytes.get(type_at..type_at + 2)?, view.bytes.get(payload_at..)?))
    });
    split.unwrap_or((&[], view.bytes))
}

/// The VLAN tags of a view that are captured, with the type behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTags {
    /// Place of the type without the tags.
    pub header: TypePlace,
    /// Actual place of the type.
    pub behind: TypePlace,
}

impl VlanTags {
    /// `None` where a tag has no place in the view.
    #[inline]
    fn of(view: ViewBytes<'_>) -> Option<Self> {
        let header = TypePlace::of(view.link_type)?;
        let mut behind = header;
        while u16_at(view.bytes, behind.type_at).is_some_and(is_vlan_tpid)
            && view.bytes.len() >= behind.behind_tag().payload_at
        {
            behind = behind.behind_tag();
        }
        Some(Self { header, behind })
    }

    /// True where there is a tag.
    pub fn are_some(&self) -> bool {
        self.header != self.behind
    }
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

    /// Bytes of a view without its tags, and its length on the wire, given a length of 100.
    fn seen(link_type: LinkType, bytes: &[u8]) -> (Vec<u8>, u32) {
        let mut seen = (Vec::new(), 0);
        without_tags(ViewBytes { link_type, bytes, len: 100 }, &mut Vec::new(), |view| {
            seen = (view.bytes.to_vec(), view.len);
            true
        });
        seen
    }

    #[test]
    fn tags_are_ignored_whole() {
        let tagged = frame(&[0x88a8, 0x8100, 0x0800]);
        assert_eq!(seen(LinkType::ETHERNET, &tagged), (frame(&[0x0800]), 92));
        let cut = (tagged[..17].to_vec(), 100);
        assert_eq!(seen(LinkType::ETHERNET, &tagged[..17]), cut, "the tag's successor is cut off");
        let all = frame(&[0x8100, 0x88a8, 0x9100, 0x9200, 0x9300, 0x86dd]);
        assert_eq!(seen(LinkType::ETHERNET, &all), (frame(&[0x86dd]), 80));
        assert_eq!(seen(LinkType::RAW, &tagged), (tagged.clone(), 100));
    }

    #[test]
    fn tags_behind_cooked_headers_are_ignored() {
        let sll = |behind: &[u8]| [&[0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], behind].concat();
        let tagged = sll(&[0x81, 0, 0, 100, 8, 0, 0x45]);
        assert_eq!(seen(LinkType::LINUX_SLL, &tagged), (sll(&[8, 0, 0x45]), 96));
        let sll2 = |protocol: [u8; 2], behind: &[u8]| {
            [&protocol[..], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], behind].concat()
        };
        let tagged = sll2([0x88, 0xa8], &[0, 7, 0x81, 0, 0, 100, 8, 0, 0x45]);
        assert_eq!(seen(LinkType::LINUX_SLL2, &tagged), (sll2([8, 0], &[0x45]), 92));
        let once = sll2([0x81, 0], &[0, 100, 8]);
        assert_eq!(seen(LinkType::LINUX_SLL2, &once), (once.clone(), 100), "the type is cut off");
        let view = |bytes| ViewBytes { link_type: LinkType::LINUX_SLL2, bytes, len: 100 };
        assert_eq!(split_type(view(&tagged)), (&[8, 0][..], &[0x45][..]));
        assert_eq!(split_type(view(&tagged[..10])), (&[][..], &tagged[..10]));
    }
}
