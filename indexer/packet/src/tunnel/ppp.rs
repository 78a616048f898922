//! PPP, and what it comes in: PPPoE and L2TP.

use super::inner::{Doubt, Inner};
use super::kind::TunnelKind;
use super::layer::{Layers, skip_varying};
use super::window::Window;
use super::{inner, mpls};

/// Peels a PPP header: address and control bytes, if any, and the protocol, of one byte if compressed.
pub(crate) fn ppp<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const ADDRESS_AND_CONTROL: u16 = 0xff03;
    let window = if window.u16(0)? == ADDRESS_AND_CONTROL { window.skip(2)? } else { window };
    let first_byte = window.u8(0)?;
    let (protocol, bytes) =
        if first_byte & 1 == 1 { (u16::from(first_byte), 1) } else { (window.u16(0)?, 2) };
    let payload = window.skip(bytes)?;
    match protocol {
        0x0021 => inner::ipv4(payload),
        0x0057 => inner::ipv6(payload),
        0x0281 | 0x0283 => mpls::mpls(layers, payload),
        _ => None,
    }
}

/// Peels a PPPoE session header.
pub(crate) fn pppoe<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_1_TYPE_1_SESSION: u16 = 0x1100;
    if window.u16(0)? != VERSION_1_TYPE_1_SESSION {
        return None;
    }
    let payload_bytes = usize::from(window.u16(4)?);
    layers.push_tunnel(TunnelKind::PppoE, window, 6)?;
    ppp(layers, window.skip(6)?.limit(payload_bytes))
}

mod l2tp_flag {
    pub const CONTROL: u16 = 0x8000;
    pub const LENGTH: u16 = 0x4000;
    pub const SEQUENCE: u16 = 0x0800;
    pub const OFFSET: u16 = 0x0200;
    /// Bits that are zero in version 2.
    pub const RESERVED: u16 = 0x34f0;
    pub const VERSION_MASK: u16 = 0x000f;
}

/// Peels the header of an L2TP data message over UDP.
pub(super) fn l2tp<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    let flags = window.u16(0)?;
    match flags & l2tp_flag::VERSION_MASK {
        _ if flags & l2tp_flag::CONTROL != 0 => None,
        2 if flags & l2tp_flag::RESERVED == 0 => l2tp2(layers, window, flags),
        3 => {
            let rest = skip_varying(layers, window.skip(2)?, 2)?;
            l2tp3(layers, rest)
        }
        _ => None,
    }
}

/// Few of its bits are fixed, so that the packet inside must end where it says.
fn l2tp2<'a>(layers: &mut Layers, window: Window<'a>, flags: u16) -> Option<Inner<'a>> {
    layers.push_tunnel(TunnelKind::L2tp2, window, 2)?;
    let mut rest = window.skip(2)?;
    let mut message = window;
    if flags & l2tp_flag::LENGTH != 0 {
        let message_bytes = usize::from(rest.u16(0)?);
        if !message.fits(message_bytes) {
            return None;
        }
        message = message.limit(message_bytes);
        rest = skip_varying(layers, rest, 2)?;
    }
    rest = rest.skip(4)?;
    if flags & l2tp_flag::SEQUENCE != 0 {
        rest = skip_varying(layers, rest, 4)?;
    }
    if flags & l2tp_flag::OFFSET != 0 {
        let padding_bytes = usize::from(rest.u16(0)?);
        rest = skip_varying(layers, rest.skip(2)?, padding_bytes)?;
    }
    ppp(layers, message.skip(rest.at - window.at)?).filter(|packet| packet.convinces(Doubt::Some))
}

/// Offset of tunnel and session id in the L2TP version 2 header at the beginning of `header`.
pub(super) fn l2tp2_id_offset(header: Window) -> Option<usize> {
    Some(if header.u16(0)? & l2tp_flag::LENGTH != 0 { 4 } else { 2 })
}

/// Peels the session id of L2TP version 3, and its cookie and sublayer. How long these are, and what they carry, both
/// ends agree on elsewhere: only an Ethernet frame that is certain is seen.
pub(super) fn l2tp3<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const COOKIE_AND_SUBLAYER_BYTES: [usize; 4] = [0, 4, 8, 12];
    const CONTROL_SESSION: u32 = 0;
    if window.u32(0)? == CONTROL_SESSION {
        return None;
    }
    layers.push_tunnel(TunnelKind::L2tp3, window, 4)?;
    let rest = window.skip(4)?;
    for bytes in COOKIE_AND_SUBLAYER_BYTES {
        if let Some(frame) = rest.skip(bytes).and_then(inner::certain_ethernet) {
            skip_varying(layers, rest, bytes)?;
            return Some(frame);
        }
    }
    None
}
