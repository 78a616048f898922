//! GRE and what it carries: NVGRE, PPTP, ERSPAN, WCCP, EoIP.

use super::inner::{Doubt, Inner};
use super::kind::TunnelKind;
use super::layer::{Layers, skip_varying};
use super::window::Window;
use super::{inner, mpls, ppp};
use crate::ethernet::ethertype;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Version 1 only.
const ACKNOWLEDGEMENT: u16 = 0x0080;
const VERSION_MASK: u16 = 0x0007;

/// Protocol types beside EtherTypes (IANA).
mod protocol {
    pub const PPP: u16 = 0x880b;
    pub const WCCP: u16 = 0x883e;
    /// Cisco metadata: another protocol type, then a security group tag of 6 bytes.
    pub const CISCO_METADATA: u16 = 0x8909;
    pub const ERSPAN: u16 = 0x88be;
    pub const ERSPAN3: u16 = 0x22eb;
    pub const EOIP: u16 = 0x6400;
}

/// True if a GRE header is NVGRE's: RFC 7637 permits exactly these bits and this protocol.
pub(super) fn is_nvgre(header: Option<&[u8]>) -> bool {
    let [key_high, key_low] = KEY.to_be_bytes();
    let [ethernet_high, ethernet_low] = ethertype::ETHERNET.to_be_bytes();
    header.and_then(|header| header.get(..4)) == Some(&[key_high, key_low, ethernet_high, ethernet_low])
}

/// Peels a GRE header. One with a routing field (RFC 1701) stays closed.
pub(super) fn gre<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    let flags = window.u16(0)?;
    let mut protocol = window.u16(2)?;
    match flags & VERSION_MASK {
        0 if flags & ROUTING == 0 => {}
        1 if protocol == protocol::EOIP => return eoip(layers, window, flags),
        1 if protocol == protocol::PPP && flags & KEY != 0 => return pptp(layers, window, flags),
        _ => return None,
    }
    layers.push_tunnel(TunnelKind::Gre, window, 4)?;
    let mut rest = window.skip(4)?;
    if flags & CHECKSUM != 0 {
        rest = skip_varying(layers, rest, 4)?;
    }
    if flags & KEY != 0 {
        rest = rest.skip(4)?;
    }
    if flags & SEQUENCE != 0 {
        rest = skip_varying(layers, rest, 4)?;
    }
    if protocol == protocol::CISCO_METADATA {
        (protocol, rest) = cisco_metadata(rest)?;
    }
    match protocol {
        ethertype::IPV4 => inner::ipv4(rest),
        ethertype::IPV6 => inner::ipv6(rest),
        ethertype::ETHERNET => inner::ethernet(rest),
        protocol::PPP => ppp::ppp(layers, rest),
        ethertype::MPLS | ethertype::MPLS_MULTICAST => mpls::mpls(layers, rest),
        ethertype::NSH => mpls::nsh(layers, rest),
        protocol::ERSPAN if flags & SEQUENCE == 0 => {
            layers.push_tunnel(TunnelKind::Erspan1, rest, 0)?;
            inner::ethernet(rest)
        }
        protocol::ERSPAN => erspan2(layers, rest),
        protocol::ERSPAN3 => erspan3(layers, rest),
        protocol::WCCP => wccp(layers, rest),
        _ => None,
    }
}

/// Offset of the key in the GRE header at the beginning of `header`.
pub(super) fn key_offset(header: Window) -> Option<usize> {
    let flags = header.u16(0)?;
    (flags & KEY != 0).then_some(if flags & CHECKSUM != 0 { 8 } else { 4 })
}

/// Skips the protocol type of what follows, version 1, length 1, one option of type 1 and its tag.
fn cisco_metadata(window: Window) -> Option<(u16, Window)> {
    const VERSION_1_LENGTH_1_TYPE_1: u32 = 0x0101_0001;
    if window.u32(2)? != VERSION_1_LENGTH_1_TYPE_1 {
        return None;
    }
    Some((window.u16(0)?, window.skip(8)?))
}

/// GRE version 1 carries PPP in packets with a sequence number; those without only acknowledge.
fn pptp<'a>(layers: &mut Layers, window: Window<'a>, flags: u16) -> Option<Inner<'a>> {
    if flags & SEQUENCE == 0 {
        return None;
    }
    let payload_bytes = usize::from(window.u16(4)?);
    layers.push_tunnel(TunnelKind::Pptp, window, 8)?;
    let varying_bytes = if flags & ACKNOWLEDGEMENT != 0 { 8 } else { 4 };
    let payload = skip_varying(layers, window.skip(8)?, varying_bytes)?;
    ppp::ppp(layers, payload.limit(payload_bytes))
}

/// Ethernet over IP between routers of MikroTik: in the place of the key the frame's length, big endian, and the tunnel's id, little
/// endian. A length of zero only keeps the tunnel alive.
fn eoip<'a>(layers: &mut Layers, window: Window<'a>, flags: u16) -> Option<Inner<'a>> {
    const FLAGS: u16 = KEY | 1;
    const HEADER_BYTES: usize = 8;
    let frame_bytes = usize::from(window.u16(4)?);
    layers.push_tunnel(TunnelKind::Eoip, window, HEADER_BYTES)?;
    let payload = window.skip(HEADER_BYTES)?;
    if flags != FLAGS || !payload.fits(frame_bytes) {
        return None;
    }
    inner::ethernet(payload.limit(frame_bytes)).filter(|frame| frame.convinces(Doubt::Slight))
}

fn erspan2<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    if window.u8(0)? >> 4 != 1 {
        return None;
    }
    layers.push_tunnel(TunnelKind::Erspan2, window, 8)?;
    inner::ethernet(window.skip(8)?)
}

/// The frame type tells Ethernet from IP, a flag whether a platform header of 8 bytes follows.
fn erspan3<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const FRAME_ETHERNET: u16 = 0;
    const FRAME_IP: u16 = 2;
    if window.u8(0)? >> 4 != 2 {
        return None;
    }
    let flags = window.u16(10)?;
    let header_bytes = if flags & 1 != 0 { 20 } else { 12 };
    layers.push_tunnel(TunnelKind::Erspan3, window, header_bytes)?;
    let payload = window.skip(header_bytes)?;
    match (flags >> 10) & 0x1f {
        FRAME_ETHERNET => inner::ethernet(payload),
        FRAME_IP => inner::ip(payload),
        _ => None,
    }
}

/// Version 1 has no header of its own, version 2 one of 4 bytes, whose first nibble is not 4.
fn wccp<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    let header_bytes = if window.u8(0)? >> 4 == 4 { 0 } else { 4 };
    layers.push_tunnel(TunnelKind::Wccp, window, header_bytes)?;
    inner::ipv4(window.skip(header_bytes)?)
}
