//! One dissected packet: its views, where the innermost network header stands, and the key of its flow.
//!
//! [`dissect`] is a total function of bytes: whatever is cut, malformed or unknown only makes fewer things known. It
//! allocates nothing. It walks the link layer and the network header of the stored packet; where these can carry a tunnel
//! it peels that ([`crate::tunnel`]) and walks again what is inside, until nothing more comes off.

mod fragment;
mod link;
mod network;
mod usual;

use netrewind_store::LinkType;

pub(crate) use fragment::fragment_at;
pub use fragment::{Fragment, Series};
pub(crate) use network::ends_at;

use self::link::Network;
use crate::dissection::{Dissection, PREFIX_BYTES_MAX, VIEWS_MAX};
use crate::fields::protocol;
use crate::shape::Shape;
use crate::tunnel::{self, Inner, Layer, TunnelPorts, Window};

/// Room for the link layer of the innermost view: no view begins closer to the end of the longest prefix.
const LINK_BYTES_MAX: usize = 64;

/// Takes a packet of `len` bytes on the wire apart as far as it is understood, with the default tunnel ports.
#[inline]
pub fn dissect(link_type: LinkType, packet: &[u8], len: u32) -> Dissection {
    dissect_with(&TunnelPorts::DEFAULT, link_type, packet, len)
}

/// Takes a packet of `len` bytes on the wire apart as far as it is understood.
#[inline]
pub fn dissect_with(ports: &TunnelPorts, link_type: LinkType, packet: &[u8], len: u32) -> Dissection {
    let mut dissection = Dissection::new(link_type);
    dissect_into(&mut dissection, ports, link_type, packet, len);
    dissection
}

/// Takes another packet apart, in the place of the one before: cheaper than a new [`Dissection`].
#[inline]
pub fn dissect_into(d: &mut Dissection, ports: &TunnelPorts, link_type: LinkType, packet: &[u8], len: u32) {
    let window = Window::new(packet, len);
    let network = match usual::walk(d, link_type, window) {
        Some(protocol::TCP) => return, // it carries no tunnel
        Some(_) => Network::Ipv4,
        None => {
            d.reset(window, link_type);
            let network = link::walk(d, link_type, packet, 0);
            network::walk(d, network, packet);
            network
        }
    };
    if may_carry(d, ports, network) {
        peel_all(d, ports, window, network);
    }
}

/// True if a tunnel can follow at the end of the last view's headers.
#[inline]
fn may_carry(d: &Dissection, ports: &TunnelPorts, network: Network) -> bool {
    match (network, d.shape) {
        (Network::Mpls | Network::PppoeSession | Network::Nsh, _) => true,
        (
            _,
            Shape::Ipv4 { protocol, later_fragment: false, .. }
            | Shape::Ipv6 { protocol, later_fragment: false, .. },
        ) => tunnel::may_carry(ports, protocol, d.key.source_port, d.key.destination_port),
        _ => false,
    }
}

/// Keeps the labels of an MPLS stack that carries nothing we know: they end the prefix.
fn keep_labels(d: &mut Dissection, layer_count: usize) {
    let labels = d.layers().get(layer_count..).unwrap_or_default();
    let end = labels.last().map_or(d.prefix_bytes, Layer::end);
    match end <= PREFIX_BYTES_MAX {
        true => d.prefix_bytes = end,
        false => d.layers.truncate(layer_count),
    }
}

/// Peels tunnel after tunnel from a packet whose outermost view was walked, and can carry one.
#[inline(never)]
fn peel_all(d: &mut Dissection, ports: &TunnelPorts, stored: Window, network: Network) {
    let mut window = stored;
    let mut network = network;
    while d.views().len() < VIEWS_MAX {
        let layer_count = d.layers().len();
        let Some(inner) = peel(d, ports, Window { at: d.prefix_bytes, ..window }, network)
            .filter(|inner| inner.window.at + LINK_BYTES_MAX <= PREFIX_BYTES_MAX)
        else {
            match network {
                Network::Mpls => keep_labels(d, layer_count),
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
        if !may_carry(d, ports, network) {
            return;
        }
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
