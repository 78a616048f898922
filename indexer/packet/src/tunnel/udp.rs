//! Tunnels over UDP.

use super::inner::{Doubt, Inner};
use super::kind::{LayerKind, TunnelKind, UdpTunnel};
use super::layer::{Layers, skip_varying};
use super::mpls::{by_next_protocol, mpls, next_protocol, nsh};
use super::ports::TunnelPorts;
use super::window::Window;
use super::{GTP_EXTENSIONS_MAX, TZSP_FIELDS_MAX, inner, ppp};
use crate::ethernet::ethertype;
use crate::fields::udp_field::HEADER_BYTES;

/// Peels a UDP header and the tunnel that its ports name. A port alone is no tunnel: any client can have it. What is behind must
/// look like the tunnel, and the inner packet like one; where only the source port names a tunnel that is sent *to* its port,
/// it must be certain.
#[inline]
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
        // Nothing but the port announces it, and half of all packets have a bottom of the stack.
        UdpTunnel::Mpls => mpls(layers, payload).filter(Inner::is_certain),
        UdpTunnel::Teredo => teredo(layers, payload),
        UdpTunnel::L2tp => ppp::l2tp(layers, payload),
        UdpTunnel::Tzsp => tzsp(layers, payload),
    };
    inner.filter(|inner| is_certain || inner.is_certain())
}

const VXLAN_HAS_VNI: u8 = 0x08;

/// The flags and the VNI are told; all other bits are sent as zero, but for those of a group policy
/// (draft-smith-vxlan-group-policy), and are to be ignored by who receives them (RFC 7348): where they are not zero, the inner
/// frame has to be certain.
#[inline]
fn vxlan<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const HAS_GROUP_POLICY: u8 = 0x80;
    const POLICY_MASK: u32 = 0x0048_ffff;
    let flags = window.u8(0)?;
    if flags & VXLAN_HAS_VNI == 0 {
        return None;
    }
    layers.push_tunnel(TunnelKind::Vxlan, window, 8)?;
    let frame = inner::ethernet(window.skip(8)?)?;
    let reserved = window.u32(0)? & 0x00ff_ffff;
    let doubt = match (flags ^ VXLAN_HAS_VNI, window.u8(7)?) {
        (0, 0) if reserved == 0 => Doubt::Slight,
        (HAS_GROUP_POLICY, 0) if reserved & !POLICY_MASK == 0 => Doubt::Some,
        _ => Doubt::Grave,
    };
    frame.convinces(doubt).then_some(frame)
}

/// Peels VXLAN-GPE. As with VXLAN, reserved bits that are not zero demand a certain inner packet.
fn vxlan_gpe<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_MASK: u8 = 0x30;
    const HAS_NEXT_PROTOCOL: u8 = 0x04;
    const IS_MANAGEMENT: u8 = 0x01;
    const RESERVED_MASK: u32 = 0xc0ff_ff00;
    let flags = window.u8(0)?;
    if flags & (VXLAN_HAS_VNI | VERSION_MASK | IS_MANAGEMENT) != VXLAN_HAS_VNI {
        return None;
    }
    layers.push_tunnel(TunnelKind::VxlanGpe, window, 8)?;
    let payload = window.skip(8)?;
    let is_as_sent = window.u32(0)? & RESERVED_MASK == 0 && window.u8(7)? == 0;
    let inner = match window.u8(3)? {
        // Some senders name the next protocol and forget the flag.
        0 if flags & HAS_NEXT_PROTOCOL == 0 => inner::ethernet(payload),
        next_protocol::NSH => nsh(layers, payload),
        next => by_next_protocol(layers, payload, next),
    }?;
    inner.convinces(if is_as_sent { Doubt::Slight } else { Doubt::Grave }).then_some(inner)
}

/// Likewise (RFC 8926).
fn geneve<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_MASK: u8 = 0xc0;
    const OPTION_WORDS_MASK: u8 = 0x3f;
    const RESERVED_MASK: u8 = 0x3f;
    let first_byte = window.u8(0)?;
    if first_byte & VERSION_MASK != 0 {
        return None;
    }
    let header_bytes = 8 + usize::from(first_byte & OPTION_WORDS_MASK) * 4;
    layers.push_tunnel(TunnelKind::Geneve, window, header_bytes)?;
    let payload = window.skip(header_bytes)?;
    let is_as_sent = window.u8(1)? & RESERVED_MASK == 0 && window.u8(7)? == 0;
    let inner = match window.u16(2)? {
        ethertype::ETHERNET => inner::ethernet(payload),
        ethertype::IPV4 => inner::ipv4(payload),
        ethertype::IPV6 => inner::ipv6(payload),
        ethertype::MPLS | ethertype::MPLS_MULTICAST => mpls(layers, payload),
        ethertype::NSH => nsh(layers, payload),
        _ => None,
    }?;
    inner.convinces(if is_as_sent { Doubt::Slight } else { Doubt::Grave }).then_some(inner)
}

/// A user's packet ("G-PDU") of GTP version 1. It carries IP, which ends in it; Ethernet (5G) only where it is certain. A message that
/// does not end with the datagram has a certain packet inside or none.
fn gtp_u<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_1_GTP_MASK: u8 = 0xf8;
    const VERSION_1_GTP: u8 = 0x30;
    const HAS_EXTENSION: u8 = 0x04;
    const HAS_OPTIONAL_FIELDS: u8 = 0x07;
    const G_PDU: u8 = 255;
    let flags = window.u8(0)?;
    if flags & VERSION_1_GTP_MASK != VERSION_1_GTP || window.u8(1)? != G_PDU {
        return None;
    }
    let message_bytes = 8 + usize::from(window.u16(2)?);
    if !window.fits(message_bytes) {
        return None;
    }
    let doubt = if message_bytes < window.wire_bytes() { Doubt::Grave } else { Doubt::Some };
    let window = window.limit(message_bytes);
    let header_bytes = if flags & HAS_OPTIONAL_FIELDS != 0 { 12 } else { 8 };
    layers.push_tunnel(TunnelKind::GtpU, window, header_bytes)?;
    let mut payload = window.skip(header_bytes)?;
    if flags & HAS_EXTENSION != 0 {
        payload = gtp_extensions(layers, payload, window.u8(11)?)?;
    }
    let packet = inner::ip(payload).filter(|packet| packet.convinces(doubt));
    packet.or_else(|| inner::certain_ethernet(payload))
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
    inner::ipv6(window).filter(Inner::is_certain)
}

/// A mirrored frame: version, type, what it carries, then tagged fields. Only Ethernet is taken apart. Source: packet-tzsp.c of
/// Wireshark.
fn tzsp<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION: u8 = 1;
    const RECEIVED: u8 = 0;
    const TO_BE_SENT: u8 = 1;
    const ETHERNET: u16 = 1;
    const HEADER_BYTES: usize = 4;
    let is_mirrored_frame = window.u8(0)? == VERSION && matches!(window.u8(1)?, RECEIVED | TO_BE_SENT);
    if !is_mirrored_frame || window.u16(2)? != ETHERNET {
        return None;
    }
    layers.push_tunnel(TunnelKind::Tzsp, window, HEADER_BYTES)?;
    let fields = window.skip(HEADER_BYTES)?;
    let frame = inner::ethernet(skip_varying(layers, fields, tzsp_field_bytes(fields)?)?)?;
    frame.convinces(Doubt::Slight).then_some(frame)
}

/// Bytes of the tagged fields of TZSP: type, length, content each; those that only pad and the one that ends them are a byte.
fn tzsp_field_bytes(fields: Window) -> Option<usize> {
    const PADDING: u8 = 0;
    const END: u8 = 1;
    let mut at = 0;
    for _ in 0..TZSP_FIELDS_MAX {
        match fields.u8(at)? {
            END => return Some(at + 1),
            PADDING => at += 1,
            _ => at += 2 + usize::from(fields.u8(at + 1)?),
        }
    }
    None
}
