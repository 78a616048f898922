//! MPLS stacks and network service headers.

use super::inner::Inner;
use super::kind::{LayerKind, TunnelKind};
use super::layer::Layers;
use super::window::Window;
use super::{MPLS_LABELS_MAX, NSH_MAX, inner};

const ENTRY_BYTES: usize = 4;
const BOTTOM_OF_STACK: u32 = 0x100;
/// The entry behind this label is a hash of the flow (RFC 6790).
const ENTROPY_LABEL_INDICATOR: u32 = 7;
const CONTROL_WORD_BYTES: usize = 4;

/// Peels an MPLS stack. What it carries is said by no header: IP is known by its first nibble (RFC 4928), an Ethernet
/// pseudowire, with or without a control word, only where the frame is certain.
pub(crate) fn mpls<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    let mut window = window;
    let mut is_entropy = false;
    for _ in 0..MPLS_LABELS_MAX {
        let entry = window.u32(0)?;
        let kind = if is_entropy { LayerKind::EntropyLabel } else { LayerKind::Tunnel(TunnelKind::Mpls) };
        layers.push(kind, window.at, ENTRY_BYTES)?;
        window = window.skip(ENTRY_BYTES)?;
        if entry & BOTTOM_OF_STACK != 0 {
            return bottom(layers, window);
        }
        is_entropy = !is_entropy && entry >> 12 == ENTROPY_LABEL_INDICATOR;
    }
    None
}

fn bottom<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const CONTROL_WORD_NIBBLE: u8 = 0;
    // Without a control word first: a tagged frame looks like an untagged one behind a control word, but not the other
    // way round.
    if let Some(packet) = inner::ip(window).or_else(|| inner::certain_ethernet(window)) {
        return Some(packet);
    }
    if window.u8(0)? >> 4 != CONTROL_WORD_NIBBLE {
        return None;
    }
    let frame = inner::certain_ethernet(window.skip(CONTROL_WORD_BYTES)?)?;
    layers.push(LayerKind::Varying, window.at, CONTROL_WORD_BYTES)?;
    Some(frame)
}

/// Peels network service headers.
pub(crate) fn nsh<'a>(layers: &mut Layers, window: Window<'a>) -> Option<Inner<'a>> {
    const VERSION_MASK: u8 = 0xc0;
    const WORDS_MASK: u8 = 0x3f;
    const HEADER_BYTES_MIN: usize = 8;
    let mut window = window;
    for _ in 0..NSH_MAX {
        let header_bytes = usize::from(window.u8(1)? & WORDS_MASK) * 4;
        if window.u8(0)? & VERSION_MASK != 0 || header_bytes < HEADER_BYTES_MIN {
            return None;
        }
        layers.push_tunnel(TunnelKind::Nsh, window, header_bytes)?;
        let payload = window.skip(header_bytes)?;
        match window.u8(3)? {
            next_protocol::NSH => window = payload,
            other => return by_next_protocol(layers, payload, other),
        }
    }
    None
}

/// The numbers that NSH and VXLAN-GPE share.
pub(super) mod next_protocol {
    pub const IPV4: u8 = 1;
    pub const IPV6: u8 = 2;
    pub const ETHERNET: u8 = 3;
    pub const NSH: u8 = 4;
    pub const MPLS: u8 = 5;
}

pub(super) fn by_next_protocol<'a>(layers: &mut Layers, window: Window<'a>, next: u8) -> Option<Inner<'a>> {
    match next {
        next_protocol::IPV4 => inner::ipv4(window),
        next_protocol::IPV6 => inner::ipv6(window),
        next_protocol::ETHERNET => inner::ethernet(window),
        next_protocol::MPLS => mpls(layers, window),
        _ => None,
    }
}
