//! What an inner packet must look like.

use netrewind_segment::LinkType;

use super::window::{Inner, Window};

const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const ETHERNET_HEADER_BYTES: usize = 14;
/// An Ethernet frame without its FCS is at least this long: a shorter packet in it is padded.
const ETHERNET_BYTES_MIN: usize = 60;
/// VLAN tags of a frame that must be certain.
const VLAN_TAGS_MAX: usize = 2;
const NO_NEXT_HEADER: u8 = 59;

/// An IPv4 or IPv6 packet, by its first nibble.
pub(super) fn ip(window: Window) -> Option<Inner> {
    match window.u8(0)? >> 4 {
        4 => ipv4(window),
        6 => ipv6(window),
        _ => None,
    }
}

/// An IPv4 packet: it ends at its total length, unless that is shorter than its header.
pub(super) fn ipv4(window: Window) -> Option<Inner> {
    let first_byte = window.u8(0)?;
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    let is_ipv4 = first_byte >> 4 == 4 && header_bytes >= IPV4_HEADER_BYTES;
    if !is_ipv4 || window.captured().len() < IPV4_HEADER_BYTES {
        return None;
    }
    let total_bytes = usize::from(window.u16(2)?);
    let window = if total_bytes >= header_bytes { window.limit(total_bytes) } else { window };
    Some(Inner { window, link_type: LinkType::RAW })
}

/// An IPv6 packet: it ends at its payload length. Zero is a jumbogram, or a packet before segmentation.
pub(super) fn ipv6(window: Window) -> Option<Inner> {
    if window.u8(0)? >> 4 != 6 || window.captured().len() < IPV6_HEADER_BYTES {
        return None;
    }
    let payload_bytes = usize::from(window.u16(4)?);
    let is_limited = payload_bytes != 0 || window.u8(6)? == NO_NEXT_HEADER;
    let window = if is_limited { window.limit(IPV6_HEADER_BYTES + payload_bytes) } else { window };
    Some(Inner { window, link_type: LinkType::RAW })
}

impl Inner<'_> {
    /// The inner packet is what it seems beyond doubt, see [`certain_ethernet`].
    pub fn is_certain(&self) -> bool {
        match self.link_type {
            LinkType::ETHERNET => certain_ethernet(self.window).is_some(),
            _ => is_certain_ipv4(self.window, 0) || is_certain_ipv6(self.window, 0),
        }
    }
}

/// An Ethernet frame: whatever has a whole header.
pub(super) fn ethernet(window: Window) -> Option<Inner> {
    (window.captured().len() >= ETHERNET_HEADER_BYTES)
        .then_some(Inner { window, link_type: LinkType::ETHERNET })
}

/// An Ethernet frame where nothing announces one: it must hold an IPv4 packet with a right checksum, an IPv6 packet of
/// the right length, ARP, or be sent to a bridge (IEEE 802.1Q, 8.6.3). Others are not seen.
pub(super) fn certain_ethernet(window: Window) -> Option<Inner> {
    let mut at = 12;
    for _ in 0..VLAN_TAGS_MAX {
        if matches!(window.u16(at)?, 0x8100 | 0x88a8) {
            at += 4;
        }
    }
    let payload = window.skip(at + 2)?;
    let is_certain = match window.u16(at)? {
        0x0800 => is_certain_ipv4(payload, at + 2),
        0x86dd => is_certain_ipv6(payload, at + 2),
        0x0806 => payload.captured().starts_with(&[0, 1, 8, 0, 6, 4, 0]),
        _ => window.captured().starts_with(&[0x01, 0x80, 0xc2, 0, 0]),
    };
    if is_certain { ethernet(window) } else { None }
}

/// Whether a packet of `bytes` bytes behind a link header of `before` bytes fills the frame, up to padding.
fn fills(payload: Window, bytes: usize, before: usize) -> bool {
    let room = payload.wire_bytes();
    bytes == room
        || (payload.is_fragment && bytes > room)
        || (bytes < room && before + room <= ETHERNET_BYTES_MIN + 8)
}

fn is_certain_ipv4(payload: Window, before: usize) -> bool {
    let Some(&first_byte) = payload.captured().first() else { return false };
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    let Some(header) = payload.captured().get(..header_bytes) else { return false };
    let total_bytes = payload.u16(2).map_or(0, usize::from);
    first_byte >> 4 == 4
        && header_bytes >= IPV4_HEADER_BYTES
        && fills(payload, total_bytes, before)
        && ones_complement_sum(header) == 0xffff
}

fn is_certain_ipv6(payload: Window, before: usize) -> bool {
    let is_ipv6 = ipv6(payload).is_some();
    is_ipv6
        && payload.u16(4).is_some_and(|bytes| fills(payload, IPV6_HEADER_BYTES + usize::from(bytes), before))
}

/// The Internet checksum's sum (RFC 1071) over an even number of bytes, at most 60: `0xffff` over a sound header.
fn ones_complement_sum(bytes: &[u8]) -> u32 {
    let sum: u32 = bytes.as_chunks().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    (sum & 0xffff) + (sum >> 16)
}
