//! What is known of a packet: its views, where the innermost network header stands, and the key of its flow.
//!
//! **Invariant:** what a [`Dissection`] calls known is in the packet's captured bytes, at the place that its shape tells.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_store::LinkType;

use crate::bytes::u16_at;
use crate::dissect::{Fragment, fragment_at};
use crate::fields::{ipv4_field, ipv6_field};
use crate::shape::{Shape, TransportKey, View};
use crate::tunnel::{Inner, Layer, LayerKind, Layers, Tunnel, Window, tunnels};

/// The longest prefix (everything before the innermost network header) that a template holds. What stands deeper is
/// not taken apart.
pub const PREFIX_BYTES_MAX: usize = 512;
/// Largest number of views of a packet: itself and the packets in nested tunnels.
pub const VIEWS_MAX: usize = 8;

/// One way to look at a stored packet: the packet itself, or one that a tunnel in it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketView {
    /// Offset in the stored packet, and link type.
    pub view: View,
    /// Number of bytes captured.
    pub caplen: u32,
    /// Its length on the wire, as the headers around it tell; at least `caplen`.
    pub len: u32,
}

impl PacketView {
    #[inline]
    pub(crate) fn new(window: Window, link_type: LinkType) -> Self {
        Self {
            view: View { offset: window.at as u16, link_type },
            caplen: window.captured().len() as u32,
            len: window.wire_bytes() as u32,
        }
    }

    /// The view's captured bytes in the stored packet.
    pub fn bytes<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let offset = usize::from(self.view.offset);
        packet.get(offset..offset + self.caplen as usize).unwrap_or_default()
    }
}

/// Values of a flow's key fields. Fields that the shape does not have are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketKey {
    /// Source address as a big-endian number; an IPv4 address is below 2^32.
    pub source: u128,
    /// Destination address, likewise.
    pub destination: u128,
    /// Source port, or the two bytes type and code of ICMP and ICMPv6.
    pub source_port: u16,
    /// Destination port; zero for ICMP and ICMPv6.
    pub destination_port: u16,
}

/// Ends of an IP packet: who talks to whom, and by which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source and destination.
    pub addresses: (IpAddr, IpAddr),
    /// Protocol (IANA), behind extension headers.
    pub protocol: u8,
    /// Source and destination port; `None` if it has none, or they are not captured.
    pub ports: Option<(u16, u16)>,
}

impl Ends {
    /// `None` where there is no IP header.
    #[inline]
    pub(crate) fn of(shape: &Shape, key: &PacketKey) -> Option<Self> {
        let v4 = |number: u128| IpAddr::from(Ipv4Addr::from_bits(number as u32));
        let v6 = |number: u128| IpAddr::from(Ipv6Addr::from_bits(number));
        let (addresses, protocol, in_key) = match *shape {
            Shape::None => return None,
            Shape::Ipv4 { protocol, key: in_key, .. } => {
                ((v4(key.source), v4(key.destination)), protocol, in_key)
            }
            Shape::Ipv6 { protocol, key: in_key, .. } => {
                ((v6(key.source), v6(key.destination)), protocol, in_key)
            }
        };
        let ports = (in_key == TransportKey::Ports).then_some((key.source_port, key.destination_port));
        Some(Self { addresses, protocol, ports })
    }
}

/// A packet taken apart.
#[derive(Clone, Debug)]
pub struct Dissection {
    /// Bytes before the innermost network header: at most [`PREFIX_BYTES_MAX`].
    pub prefix_bytes: usize,
    /// Network header behind the prefix.
    pub shape: Shape,
    /// The flow's key.
    pub key: PacketKey,
    /// The flags byte of TCP, where it was captured.
    pub tcp_flags: Option<u8>,
    /// A network header, of any view, says that the packet is a fragment (the first one included).
    pub fragment: bool,
    /// Protocol and offset of the innermost transport header, if it is TCP or UDP and its ports are known.
    pub transport: Option<(u8, u32)>,
    pub(crate) layers: Layers,
    views: [PacketView; VIEWS_MAX],
    view_count: usize,
}

impl Dissection {
    /// A packet of which nothing is known.
    pub fn new(link_type: LinkType) -> Self {
        let stored = PacketView::new(Window::new(&[], 0), link_type);
        Self {
            prefix_bytes: 0,
            shape: Shape::None,
            key: PacketKey::default(),
            tcp_flags: None,
            fragment: false,
            transport: None,
            layers: Layers::default(),
            views: [stored; VIEWS_MAX],
            view_count: 1,
        }
    }

    /// Forgets all that is known: the packet in `window` is yet to be taken apart.
    #[inline]
    pub(crate) fn reset(&mut self, window: Window, link_type: LinkType) {
        self.prefix_bytes = 0;
        self.shape = Shape::None;
        self.key = PacketKey::default();
        self.transport = None;
        self.begin(window, link_type);
    }

    /// Begins with the packet in `window`. Prefix, shape, key and transport are still those of the packet before.
    #[inline]
    pub(crate) fn begin(&mut self, window: Window, link_type: LinkType) {
        self.tcp_flags = None;
        self.fragment = false;
        self.layers.truncate(0);
        self.layers.view = 0;
        self.views[0] = PacketView::new(window, link_type);
        self.view_count = 1;
    }

    /// The headers in the prefix that are tunnels or whose bits vary between the packets of one flow.
    #[inline]
    pub fn layers(&self) -> &[Layer] {
        self.layers.as_slice()
    }

    /// [`Self::layers`], each in a word.
    #[inline]
    pub fn layer_words(&self) -> &[u64] {
        self.layers.as_words()
    }

    /// The packet's views, from itself (offset 0, the capture's link type) to the innermost.
    #[inline]
    pub fn views(&self) -> &[PacketView] {
        &self.views[..self.view_count]
    }

    /// View used by default: the last of [`Self::views`].
    #[inline]
    pub fn innermost(&self) -> PacketView {
        self.views[self.view_count - 1]
    }

    /// The tunnels between the views, from the outermost, and the labels of an MPLS stack that carries nothing we know.
    pub fn tunnels<'a>(&'a self, packet: &'a [u8]) -> impl Iterator<Item = Tunnel> + 'a {
        tunnels(self.layers(), packet)
    }

    /// The innermost view is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.shape.is_later_fragment()
    }

    /// The fragments that the packet's IP headers say it is, from the outermost view. A later one is the last. `packet`
    /// is what was taken apart.
    pub fn fragments<'d, 'p>(&'d self, packet: &'p [u8]) -> impl Iterator<Item = Fragment> + use<'d, 'p> {
        let layers = if self.fragment { self.layers() } else { &[] };
        let outer = layers.iter().filter(|layer| matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6));
        let outer = outer.map(|layer| (layer.view, usize::from(layer.offset)));
        let last = self.views().len().saturating_sub(1) as u8;
        let innermost = (self.fragment && self.shape != Shape::None).then_some((last, self.prefix_bytes));
        // What lies behind a view's end is none of its headers, and the walk knows where that is.
        let is_later = self.is_later_fragment();
        outer
            .chain(innermost)
            .filter_map(|(view, at)| fragment_at(packet, view, at))
            .filter(move |fragment| !fragment.is_later() || (is_later && fragment.series.view == last))
    }

    /// Bytes of the innermost IP packet, as its own header tells; zero where that leaves them open (segmentation offload,
    /// jumbograms), `None` where there is no IP header. `packet` is what was taken apart.
    #[inline]
    pub fn datagram_bytes(&self, packet: &[u8]) -> Option<usize> {
        let network = self.prefix_bytes;
        match self.shape {
            Shape::None => None,
            Shape::Ipv4 { .. } => u16_at(packet, network + ipv4_field::TOTAL_BYTES).map(usize::from),
            Shape::Ipv6 { .. } => match u16_at(packet, network + ipv6_field::PAYLOAD_BYTES)? {
                0 => Some(0),
                bytes => Some(ipv6_field::HEADER_BYTES + usize::from(bytes)),
            },
        }
    }

    /// Offset of the end of the innermost IP packet in the stored packet, at most the end of its view; trailers and padding
    /// follow it. `None` where there is no IP header.
    #[inline]
    pub fn datagram_end(&self, packet: &[u8]) -> Option<usize> {
        let innermost = self.innermost();
        let view_end = usize::from(innermost.view.offset) + innermost.len as usize;
        Some(match self.datagram_bytes(packet)? {
            0 => view_end,
            bytes => view_end.min(self.prefix_bytes + bytes),
        })
    }

    /// Makes `inner` the last view; what was found of the one around it is no longer the flow's.
    #[inline]
    pub(crate) fn enter(&mut self, inner: &Inner) {
        self.views[self.view_count] = PacketView::new(inner.window, inner.link_type);
        self.layers.view = self.view_count as u8;
        self.view_count += 1;
        self.shape = Shape::None;
        self.key = PacketKey::default();
        self.tcp_flags = None;
        self.transport = None;
        self.prefix_bytes = inner.window.at;
    }
}
