//! Tunnels over UDP.

use super::gre::skip_varying;
use super::kind::{LayerKind, TunnelKind};
use super::layer::Layers;
use super::mpls::{by_next_protocol, mpls, next_protocol, nsh};
use super::ports::{TunnelPorts, UdpTunnel};
use super::window::{Inner, Window};
use super::{GTP_EXTENSIONS_MAX, inner, ppp};

const HEADER_BYTES: usize = 8;

/// Peels a UDP header and the tunnel that its ports name.
pub(super) fn udp<'a>(layers: &mut Layers, ports: &TunnelPorts, window: Window<'a>) -> Option<Inner<'a>> {
    let (tunnel, is_certain) = ports.tunnel_of(window.u16(0)?, window.u16(2)?)?;
    let datagram_bytes = usize::from(window.u16(4)?);
    let kind = if tunnel.is_symmetric() || !is_certain { LayerKind::UdpFixed } else { LayerKind::Udp };
    layers.push(kind, window.at, HEADER_BYTES)?;
    let is_limited = datagram_bytes >= HEADER_BYTES;
    let datagram = if is_limited { window.limit(datagram_bytes) } else { window };
    let payload = datagram.skip(HEADER_BYTES)?;
    let inner = match tunnel {
        UdpTunnel::Vxlan => vxlan(layers, payload),
        UdpTunnel::VxlanGpe => vxlan_gpe(layers, payload),
        UdpTunnel::Geneve => geneve(layers, payload),
        UdpTunnel::GtpU => gtp_u(layers, payload),
        UdpTunnel::Mpls => mpls(layers, payload),
        UdpTunnel::Teredo => teredo(layers, payload),
        UdpTunnel::L2tp => ppp::l2tp(layers, payload),
    };
    inner.filter(|inner| is_certain || inner.is_certain())
}

const VXLAN_HAS_VNI: u8 = 0x08;

fn vxlan<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    if window.u8(0)? & VXLAN_HAS_VNI == 0 {
        return None;
    }
    layers.push_tunnel(TunnelKind::Vxlan, window, 8)?;
    inner::ethernet(window.skip(8)?)
}

fn vxlan_gpe<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_MASK: u8 = 0x30;
    const HAS_NEXT_PROTOCOL: u8 = 0x04;
    const IS_MANAGEMENT: u8 = 0x01;
    let flags = window.u8(0)?;
    if flags & (VXLAN_HAS_VNI | VERSION_MASK | IS_MANAGEMENT) != VXLAN_HAS_VNI {
        return None;
    }
    layers.push_tunnel(TunnelKind::VxlanGpe, window, 8)?;
    let payload = window.skip(8)?;
    match window.u8(3)? {
        // Some senders name the next protocol and forget the flag.
        0 if flags & HAS_NEXT_PROTOCOL == 0 => inner::ethernet(payload),
        next_protocol::NSH => nsh(layers, payload),
        next => by_next_protocol(layers, payload, next),
    }
}

fn geneve<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_MASK: u8 = 0xc0;
    const OPTION_WORDS_MASK: u8 = 0x3f;
    let first_byte = window.u8(0)?;
    if first_byte & VERSION_MASK != 0 {
        return None;
    }
    let header_bytes = 8 + usize::from(first_byte & OPTION_WORDS_MASK) * 4;
    layers.push_tunnel(TunnelKind::Geneve, window, header_bytes)?;
    let payload = window.skip(header_bytes)?;
    match window.u16(2)? {
        0x6558 => inner::ethernet(payload),
        0x0800 => inner::ipv4(payload),
        0x86dd => inner::ipv6(payload),
        0x8847 | 0x8848 => mpls(layers, payload),
        0x894f => nsh(layers, payload),
        _ => None,
    }
}

/// A user's packet ("G-PDU") of GTP version 1. It carries IP; Ethernet (5G) only where it is certain.
fn gtp_u<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_1_GTP_MASK: u8 = 0xf0;
    const VERSION_1_GTP: u8 = 0x30;
    const HAS_EXTENSION: u8 = 0x04;
    const HAS_OPTIONAL_FIELDS: u8 = 0x07;
    const G_PDU: u8 = 255;
    let flags = window.u8(0)?;
    if flags & VERSION_1_GTP_MASK != VERSION_1_GTP || window.u8(1)? != G_PDU {
        return None;
    }
    let window = window.limit(8 + usize::from(window.u16(2)?));
    let header_bytes = if flags & HAS_OPTIONAL_FIELDS != 0 { 12 } else { 8 };
    layers.push_tunnel(TunnelKind::GtpU, window, header_bytes)?;
    let mut payload = window.skip(header_bytes)?;
    if flags & HAS_EXTENSION != 0 {
        payload = gtp_extensions(layers, payload, window.u8(11)?)?;
    }
    inner::ip(payload).or_else(|| inner::certain_ethernet(payload))
}

/// Skips extension headers: length in words, content, type of the next one.
fn gtp_extensions<'a>(layers: &mut Layers, window: Window<'a>, first: u8) -> Option<Window<'a>> {
    let mut next = first;
    let mut window = window;
    for _ in 0..GTP_EXTENSIONS_MAX {
        if next == 0 {
            break;
        }
        let bytes = usize::from(window.u8(0)?) * 4;
        next = window.u8(bytes.checked_sub(1)?)?;
        layers.push(LayerKind::Varying, window.at + 1, bytes - 2)?;
        window = window.skip(bytes)?;
    }
    (next == 0).then_some(window)
}

/// Authentication and origin headers, if any, then an IPv6 packet that fills the datagram.
fn teredo<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const AUTHENTICATION: u16 = 1;
    const ORIGIN: u16 = 0;
    const ORIGIN_BYTES: usize = 8;
    layers.push_tunnel(TunnelKind::Teredo, window, 0)?;
    let mut window = window;
    if window.u16(0)? == AUTHENTICATION {
        let bytes = 13 + usize::from(window.u8(2)?) + usize::from(window.u8(3)?);
        window = skip_varying(layers, window, bytes)?;
    }
    if window.u16(0)? == ORIGIN {
        window = skip_varying(layers, window, ORIGIN_BYTES)?;
    }
    let packet_bytes = 40 + usize::from(window.u16(4)?);
    let is_plausible =
        packet_bytes == window.wire_bytes() || (window.is_fragment && packet_bytes > window.wire_bytes());
    if is_plausible { inner::ipv6(window) } else { None }
}
