//! Inner packets, and checks of their plausibility.

use netrewind_store::LinkType;

use super::window::Window;
use crate::ethernet::{ETHERTYPE_MIN, LENGTH_MAX, VLAN_TAG_BYTES, VLAN_TAGS_MAX, ethertype, is_vlan_tpid};
use crate::fields::{ipv4_field, ipv6_field, protocol};

const ETHERNET_HEADER_BYTES: usize = 14;
/// Offset of the type in an Ethernet frame without VLAN tags.
const ETHERNET_TYPE: usize = 12;
/// An Ethernet frame without its FCS is at least this long: a shorter packet in it is padded.
const ETHERNET_BYTES_MIN: usize = 60;
/// VLAN tags of a frame that must be certain.
const CERTAIN_VLAN_TAGS_MAX: usize = 2;
/// The shortest 802.2 header.
const LLC_BYTES_MIN: usize = 3;
/// Types other than IP that a plausible frame has.
const OTHERS_KNOWN: [u16; 10] = [
    ethertype::ARP,
    ethertype::RARP,
    ethertype::MPLS,
    ethertype::MPLS_MULTICAST,
    ethertype::PPPOE_DISCOVERY,
    ethertype::PPPOE_SESSION,
    ethertype::SLOW,
    ethertype::EAPOL,
    ethertype::LLDP,
    ethertype::NSH,
];

/// Doubt that a header is a tunnel's. The greater it is, the more the inner packet has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Many of its bits are as the standard wants them: the inner packet may not contradict what announces it. It can have been
    /// cut by who sent it, as mirrors do.
    Slight,
    /// A few of its bits are: the inner packet must be of a known kind, too, and end where the headers around it say, or before.
    Some,
    /// Any packet can look like it, or this one should not: only an inner packet that is certain decides.
    Grave,
}

/// An inner packet: where it stands and what its first byte means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner<'a> {
    pub window: Window<'a>,
    /// The window before it was cut to what the inner packet says of its own length.
    pub around: Window<'a>,
    pub link_type: LinkType,
}

impl Inner<'_> {
    /// True if the inner packet proves what this doubt demands.
    #[inline]
    pub(super) fn convinces(&self, doubt: Doubt) -> bool {
        match (doubt, self.link_type) {
            (Doubt::Grave, _) => self.is_certain(),
            (_, LinkType::ETHERNET) => is_plausible_ethernet(self.window, doubt),
            _ => is_plausible_ipv4(self.around, doubt) || is_plausible_ipv6(self.around, doubt),
        }
    }

    /// The inner packet is what it seems beyond doubt, see [`certain_ethernet`].
    pub fn is_certain(&self) -> bool {
        match self.link_type {
            LinkType::ETHERNET => certain_ethernet(self.window).is_some(),
            _ => is_certain_ipv4(self.around, None) || is_certain_ipv6(self.around, None),
        }
    }
}

/// True if a frame's type and payload agree, as far as they were captured.
#[inline]
fn is_plausible_ethernet(frame: Window, doubt: Doubt) -> bool {
    let mut at = ETHERNET_TYPE;
    for _ in 0..VLAN_TAGS_MAX {
        if !frame.u16(at).is_some_and(is_vlan_tpid) {
            break;
        }
        at += VLAN_TAG_BYTES;
    }
    // Cut behind a tag.
    let (Some(kind), Some(payload)) = (frame.u16(at), frame.skip(at + 2)) else { return true };
    match kind {
        ethertype::IPV4 => is_plausible_ipv4(payload, doubt),
        ethertype::IPV6 => is_plausible_ipv6(payload, doubt),
        0..=LENGTH_MAX => {
            let length = usize::from(kind);
            payload.fits(length) && (doubt == Doubt::Slight || length >= LLC_BYTES_MIN)
        }
        kind if kind < ETHERTYPE_MIN => false,
        kind => doubt == Doubt::Slight || OTHERS_KNOWN.contains(&kind),
    }
}

/// True if an IPv4 header is here, as far as one was captured. A total length of zero is segmentation offload.
#[inline]
fn is_plausible_ipv4(payload: Window, doubt: Doubt) -> bool {
    let Some(first_byte) = payload.u8(0) else { return true };
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    if first_byte >> 4 != 4 || header_bytes < ipv4_field::HEADER_BYTES {
        return false;
    }
    match payload.u16(2).map(usize::from) {
        None => true,
        Some(0) if doubt == Doubt::Slight => true,
        Some(0) => has_right_checksum(payload, header_bytes) == Some(true),
        Some(bytes) => bytes >= header_bytes && (doubt == Doubt::Slight || payload.fits(bytes)),
    }
}

/// Likewise IPv6.
fn is_plausible_ipv6(payload: Window, doubt: Doubt) -> bool {
    match (payload.u8(0), payload.u16(4), payload.u8(6)) {
        (Some(first_byte), ..) if first_byte >> 4 != 6 => false,
        (_, Some(0), _) => true, // a jumbogram, or a packet before segmentation
        (_, Some(bytes), Some(next)) if doubt != Doubt::Slight => {
            payload.fits(ipv6_field::HEADER_BYTES + usize::from(bytes))
                && usize::from(bytes) >= header_bytes_min(next)
        }
        _ => true,
    }
}

/// The shortest header of a protocol behind IPv6; zero where it is not known.
fn header_bytes_min(next_header: u8) -> usize {
    match next_header {
        protocol::TCP | protocol::IPV4 => 20,
        protocol::UDP
        | protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::DESTINATION_OPTIONS => 8,
        protocol::AUTHENTICATION | protocol::SCTP => 12,
        protocol::ICMPV6 => 4,
        protocol::IPV6 => ipv6_field::HEADER_BYTES,
        _ => 0,
    }
}

/// An IPv4 or IPv6 packet, by its first nibble.
pub(super) fn ip(window: Window) -> Option<Inner> {
    match window.u8(0)? >> 4 {
        4 => ipv4(window),
        6 => ipv6(window),
        _ => None,
    }
}

/// An IPv4 packet: it ends at its total length, unless that is shorter than its header.
#[inline]
pub(super) fn ipv4(window: Window) -> Option<Inner> {
    let first_byte = window.u8(0)?;
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    let is_ipv4 = first_byte >> 4 == 4 && header_bytes >= ipv4_field::HEADER_BYTES;
    if !is_ipv4 || window.captured().len() < ipv4_field::HEADER_BYTES {
        return None;
    }
    let total_bytes = usize::from(window.u16(2)?);
    let limited = if total_bytes >= header_bytes { window.limit(total_bytes) } else { window };
    Some(Inner { window: limited, around: window, link_type: LinkType::RAW })
}

/// An IPv6 packet: it ends at its payload length. Zero is a jumbogram, or a packet before segmentation.
pub(super) fn ipv6(window: Window) -> Option<Inner> {
    if window.u8(0)? >> 4 != 6 || window.captured().len() < ipv6_field::HEADER_BYTES {
        return None;
    }
    let payload_bytes = usize::from(window.u16(4)?);
    let is_limited = payload_bytes != 0 || window.u8(6)? == protocol::NO_NEXT_HEADER;
    let limited = if is_limited { window.limit(ipv6_field::HEADER_BYTES + payload_bytes) } else { window };
    Some(Inner { window: limited, around: window, link_type: LinkType::RAW })
}

/// An Ethernet frame: whatever has a whole header.
#[inline]
pub(super) fn ethernet(window: Window) -> Option<Inner> {
    (window.captured().len() >= ETHERNET_HEADER_BYTES).then_some(Inner {
        window,
        around: window,
        link_type: LinkType::ETHERNET,
    })
}

/// An Ethernet frame where nothing announces one: it must hold an IPv4 packet with a right checksum, an IPv6 packet of
/// the right length, ARP, or be sent to a bridge (IEEE 802.1Q, 8.6.3). Others are not seen.
pub(super) fn certain_ethernet(window: Window) -> Option<Inner> {
    let mut at = ETHERNET_TYPE;
    for _ in 0..CERTAIN_VLAN_TAGS_MAX {
        if is_vlan_tpid(window.u16(at)?) {
            at += VLAN_TAG_BYTES;
        }
    }
    let payload = window.skip(at + 2)?;
    let is_certain = match window.u16(at)? {
        ethertype::IPV4 => is_certain_ipv4(payload, Some(at + 2)),
        ethertype::IPV6 => is_certain_ipv6(payload, Some(at + 2)),
        ethertype::ARP => payload.captured().starts_with(&[0, 1, 8, 0, 6, 4, 0]),
        _ => window.captured().starts_with(&[0x01, 0x80, 0xc2, 0, 0]),
    };
    if is_certain { ethernet(window) } else { None }
}

/// True if a packet of `bytes` bytes fills its window. In a frame, behind a link header of `before` bytes, it can be padded.
fn fills(payload: Window, bytes: usize, before: Option<usize>) -> bool {
    let room = payload.wire_bytes();
    bytes == room
        || (payload.is_incomplete && bytes > room)
        || (bytes < room && before.is_some_and(|before| before + room <= ETHERNET_BYTES_MIN + 8))
}

fn is_certain_ipv4(payload: Window, before: Option<usize>) -> bool {
    let Some(&first_byte) = payload.captured().first() else { return false };
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    let total_bytes = payload.u16(2).map_or(0, usize::from);
    first_byte >> 4 == 4
        && header_bytes >= ipv4_field::HEADER_BYTES
        && total_bytes >= header_bytes
        && fills(payload, total_bytes, before)
        && has_right_checksum(payload, header_bytes) == Some(true)
}

fn is_certain_ipv6(payload: Window, before: Option<usize>) -> bool {
    let is_filling = |bytes: u16| fills(payload, ipv6_field::HEADER_BYTES + usize::from(bytes), before);
    ipv6(payload).is_some()
        && payload.u16(4).is_some_and(is_filling)
        && is_plausible_ipv6(payload, Doubt::Some)
}

/// True if the checksum of an IPv4 header is right; `None` if not all of the header was captured.
fn has_right_checksum(payload: Window, header_bytes: usize) -> Option<bool> {
    let header = payload.captured().get(..header_bytes)?;
    Some(ones_complement_sum(header) == 0xffff)
}

/// The Internet checksum's sum (RFC 1071) over an even number of bytes, at most 60: `0xffff` over a sound header.
fn ones_complement_sum(bytes: &[u8]) -> u32 {
    let sum: u32 = bytes.as_chunks().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    (sum & 0xffff) + (sum >> 16)
}
