//! One packet taken apart: its views, where the innermost network header stands, and the key of its flow.
//!
//! [`dissect`] is a total function of bytes: whatever is cut, malformed or unknown only makes fewer things known. It
//! allocates nothing. It walks the link layer and the network header of the stored packet; where these can carry a tunnel
//! it peels that ([`crate::tunnel`]) and walks again what is inside, until nothing more comes off.
//!
//! **Invariant:** what a [`Dissection`] calls known is in the packet's captured bytes, at the place that its shape tells.

mod fragment;
mod link;
mod network;

use netrewind_store::LinkType;

pub use fragment::{Fragment, Series};
pub use network::{EXTENSION_HEADERS_MAX, TCP_FLAGS, ipv4_field, ipv6_field, protocol};

use self::link::Network;
use crate::shape::{Shape, View};
use crate::tunnel::{self, Inner, Layer, Layers, Tunnel, TunnelPorts, Window};

/// The longest prefix (everything before the innermost network header) that a template holds. What stands deeper is
/// not taken apart.
pub const PREFIX_BYTES_MAX: usize = 512;
/// Largest number of views of a packet: itself and the packets in nested tunnels.
pub const VIEWS_MAX: usize = 8;
/// Room for the link layer of the innermost view: no view begins closer to the end of the longest prefix.
const LINK_BYTES_MAX: usize = 64;

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
    fn new(window: Window, link_type: LinkType) -> Self {
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

/// Result of [`dissect`].
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
    layers: Layers,
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

    /// Takes another packet apart, in the place of the one before: cheaper than a new one.
    #[inline]
    pub fn take_apart(&mut self, ports: &TunnelPorts, link_type: LinkType, packet: &[u8], len: u32) {
        let window = Window::new(packet, len);
        self.prefix_bytes = 0;
        self.shape = Shape::None;
        self.key = PacketKey::default();
        self.tcp_flags = None;
        self.fragment = false;
        self.transport = None;
        self.layers.truncate(0);
        self.layers.view = 0;
        self.views[0] = PacketView::new(window, link_type);
        self.view_count = 1;
        let network = link::walk(self, link_type, packet, 0);
        network::walk(self, network, packet);
        if self.may_carry(ports, network) {
            peel_all(self, ports, window, network);
        }
    }

    /// The headers in the prefix that are tunnels or whose bits vary between the packets of one flow.
    pub fn layers(&self) -> &[Layer] {
        self.layers.as_slice()
    }

    /// The packet's views, from itself (offset 0, the capture's link type) to the innermost.
    pub fn views(&self) -> &[PacketView] {
        &self.views[..self.view_count]
    }

    /// View used by default: the last of [`Self::views`].
    pub fn innermost(&self) -> PacketView {
        self.views[self.view_count - 1]
    }

    /// The tunnels between the views, from the outermost, and the labels of an MPLS stack that carries nothing we know.
    pub fn tunnels<'a>(&'a self, packet: &'a [u8]) -> impl Iterator<Item = Tunnel> + 'a {
        tunnel::tunnels(self.layers(), packet)
    }

    /// True if a tunnel can follow at the end of the last view's headers.
    #[inline]
    fn may_carry(&self, ports: &TunnelPorts, network: Network) -> bool {
        match (network, self.shape) {
            (Network::Mpls | Network::PppoeSession | Network::Nsh, _) => true,
            (
                _,
                Shape::Ipv4 { protocol, later_fragment: false, .. }
                | Shape::Ipv6 { protocol, later_fragment: false, .. },
            ) => tunnel::may_carry(ports, protocol, self.key.source_port, self.key.destination_port),
            _ => false,
        }
    }

    /// Keeps the labels of an MPLS stack that carries nothing we know: they end the prefix.
    fn keep_labels(&mut self, layer_count: usize) {
        let labels = self.layers().get(layer_count..).unwrap_or_default();
        let end = labels.last().map_or(self.prefix_bytes, Layer::end);
        match end <= PREFIX_BYTES_MAX {
            true => self.prefix_bytes = end,
            false => self.layers.truncate(layer_count),
        }
    }

    /// Makes `inner` the last view; what was found of the one around it is no longer the flow's.
    fn enter(&mut self, inner: &Inner) {
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

/// Takes a packet of `len` bytes on the wire apart as far as it is understood, with the default tunnel ports.
#[inline]
pub fn dissect(link_type: LinkType, packet: &[u8], len: u32) -> Dissection {
    dissect_with(&TunnelPorts::DEFAULT, link_type, packet, len)
}

/// Takes a packet of `len` bytes on the wire apart as far as it is understood.
#[inline]
pub fn dissect_with(ports: &TunnelPorts, link_type: LinkType, packet: &[u8], len: u32) -> Dissection {
    let mut dissection = Dissection::new(link_type);
    dissection.take_apart(ports, link_type, packet, len);
    dissection
}

/// Peels tunnel after tunnel from a packet whose outermost view was walked.
#[inline(never)]
fn peel_all(d: &mut Dissection, ports: &TunnelPorts, stored: Window, network: Network) {
    let mut window = stored;
    let mut network = network;
    while d.view_count < VIEWS_MAX && d.may_carry(ports, network) {
        let layer_count = d.layers().len();
        let Some(inner) = peel(d, ports, Window { at: d.prefix_bytes, ..window }, network)
            .filter(|inner| inner.window.at + LINK_BYTES_MAX <= PREFIX_BYTES_MAX)
        else {
            match network {
                Network::Mpls => d.keep_labels(layer_count),
                _ => d.layers.truncate(layer_count),
            }
            return;
        };
        d.enter(&inner);
        window = inner.window;
        network = link::walk(d, inner.link_type, window.packet, window.at);
        network::walk(d, network, window.packet);
        // What is said of this byte holds for every view, so also where the innermost ends before it.
        d.tcp_flags = network::tcp_flags(d, stored.packet);
    }
}

/// Peels the tunnel at the beginning of `window`, where the walk over the link layer ended.
fn peel<'a>(
    d: &mut Dissection,
    ports: &TunnelPorts,
    window: Window<'a>,
    network: Network,
) -> Option<Inner<'a>> {
    match network {
        Network::Mpls => tunnel::mpls(&mut d.layers, window),
        Network::PppoeSession => tunnel::pppoe(&mut d.layers, window),
        Network::Nsh => tunnel::nsh(&mut d.layers, window),
        Network::Ip | Network::Ipv4 | Network::Ipv6 => tunnel::peel_ip(&mut d.layers, ports, window),
        Network::None => None,
    }
}

#[inline]
fn byte_at(packet: &[u8], offset: usize) -> Option<u8> {
    packet.get(offset).copied()
}

/// The big-endian number of two bytes at `offset`.
#[inline]
pub fn u16_at(packet: &[u8], offset: usize) -> Option<u16> {
    let bytes = packet.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
