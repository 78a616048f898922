//! Peels tunnels that an IP header carries.

use super::inner::Inner;
use super::kind::{LayerKind, TunnelKind};
use super::layer::Layers;
use super::ports::TunnelPorts;
use super::window::Window;
use super::{gre, inner, mpls, ppp, udp};
use crate::fields::{EXTENSION_HEADERS_MAX, ipv4_field, protocol};

/// True if [`peel_ip`] can find a tunnel behind an IP header with this protocol (for IPv6, the next header of the last
/// extension header) and these ports. Called for every packet.
#[inline]
pub(crate) fn may_carry(ports: &TunnelPorts, protocol: u8, source_port: u16, destination_port: u16) -> bool {
    match protocol {
        protocol::UDP => ports.tunnel_of(source_port, destination_port).is_some(),
        protocol::IPV4
        | protocol::IPV6
        | protocol::GRE
        | protocol::AUTHENTICATION
        | protocol::ETHER_IP
        | protocol::L2TP
        | protocol::MPLS => true,
        _ => false,
    }
}

/// Peels the IP header at the beginning of `window` and the tunnel in it. Where there is none, nothing is noted.
#[inline(never)]
pub(crate) fn peel_ip<'a>(layers: &mut Layers, ports: &TunnelPorts, window: Window<'a>) -> Option<Inner<'a>> {
    let count = layers.as_slice().len();
    let inner = match window.u8(0)? >> 4 {
        4 => ipv4(layers, ports, window),
        6 => ipv6(layers, ports, window),
        _ => None,
    };
    if inner.is_none() {
        layers.truncate(count);
    }
    inner
}

#[inline]
fn ipv4<'a>(layers: &mut Layers, ports: &TunnelPorts, window: Window<'a>) -> Option<Inner<'a>> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    let header_bytes = usize::from(window.u8(0)? & 0x0f) * 4;
    let fragment = window.u16(6)?;
    if fragment & ipv4_field::FRAGMENT_OFFSET_MASK != 0 {
        return None;
    }
    layers.push(LayerKind::Ipv4, window.at, header_bytes)?;
    let protocol = window.u8(9)?;
    let mut payload = inner::ipv4(window)?.window.skip(header_bytes)?;
    payload.is_incomplete |= fragment & MORE_FRAGMENTS != 0;
    if protocol == protocol::AUTHENTICATION {
        let (next, payload) = extension(layers, payload, protocol)?;
        return by_protocol(layers, ports, payload, next);
    }
    by_protocol(layers, ports, payload, protocol)
}

fn ipv6<'a>(layers: &mut Layers, ports: &TunnelPorts, window: Window<'a>) -> Option<Inner<'a>> {
    layers.push(LayerKind::Ipv6, window.at, 40)?;
    let mut next = window.u8(6)?;
    let mut payload = inner::ipv6(window)?.window.skip(40)?;
    for _ in 0..EXTENSION_HEADERS_MAX {
        match next {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS => (next, payload) = extension(layers, payload, next)?,
            _ => break,
        }
    }
    by_protocol(layers, ports, payload, next)
}

/// Skips an extension header of kind `kind`: what comes next, and where. `None` for a later fragment.
fn extension<'a>(layers: &mut Layers, window: Window<'a>, kind: u8) -> Option<(u8, Window<'a>)> {
    const MORE_FRAGMENTS: u16 = 1;
    const FRAGMENT_OFFSET_MASK: u16 = 0xfff8;
    let next = window.u8(0)?;
    let length = usize::from(window.u8(1)?);
    let bytes = match kind {
        protocol::FRAGMENT => 8,
        protocol::AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    let mut payload = window.skip(bytes)?;
    if kind != protocol::FRAGMENT {
        layers.push(LayerKind::Extension, window.at, bytes)?;
        return Some((next, payload));
    }
    layers.push(LayerKind::Fragment, window.at, bytes)?;
    let fragment = window.u16(2)?;
    payload.is_incomplete |= fragment & MORE_FRAGMENTS != 0;
    (fragment & FRAGMENT_OFFSET_MASK == 0).then_some((next, payload))
}

#[inline]
fn by_protocol<'a>(
    layers: &mut Layers,
    ports: &TunnelPorts,
    window: Window<'a>,
    protocol: u8,
) -> Option<Inner<'a>> {
    match protocol {
        protocol::UDP => udp::udp(layers, ports, window),
        protocol::GRE => gre::gre(layers, window),
        protocol::MPLS => mpls::mpls(layers, window),
        protocol::L2TP => ppp::l2tp3(layers, window),
        protocol::IPV4 => {
            layers.push_tunnel(TunnelKind::IpInIp, window, 0)?;
            inner::ipv4(window)
        }
        protocol::IPV6 => {
            layers.push_tunnel(TunnelKind::IpInIp, window, 0)?;
            inner::ipv6(window)
        }
        protocol::ETHER_IP => ether_ip(layers, window),
        _ => None,
    }
}

/// Version 3 in the first nibble, 12 reserved bits, then Ethernet.
fn ether_ip<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    if window.u8(0)? >> 4 != 3 {
        return None;
    }
    layers.push_tunnel(TunnelKind::EtherIp, window, 2)?;
    inner::ethernet(window.skip(2)?)
}
