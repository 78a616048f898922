//! Fragments of IP packets, in every view of a packet: to which series they belong, and which part they are.
//!
//! Sources: RFC 791 (section 3.2), RFC 8200 (section 4.5).

use crate::bytes::u16_at;
use crate::fields::{EXTENSION_HEADERS_MAX, ipv4_field, ipv6_field, protocol};

/// Fields common to the fragments of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// View in which the header stands: the number of tunnels around it.
    pub view: u8,
    /// Addresses and id are those of IPv6.
    pub is_ipv6: bool,
    /// Protocol of IPv4; zero for IPv6, where fragments may name different ones.
    pub protocol: u8,
    /// Identification: 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
    /// Source address as a big-endian number.
    pub source: u128,
    /// Destination address, likewise.
    pub destination: u128,
}

/// A part of a fragmented packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Series that it belongs to.
    pub series: Series,
    /// Offset of the IP header in the stored packet.
    pub header: usize,
    /// Offset of the IPv6 fragment header in the stored packet; for IPv4, of the payload.
    pub header_end: usize,
    /// Offset of this part in the stored packet.
    pub payload: usize,
    /// Bytes of the part on the wire, as the IP header tells.
    pub bytes: usize,
    /// Offset of this part in the payload of the whole packet, in bytes: a multiple of 8.
    pub offset: usize,
    /// More follow.
    pub more: bool,
    /// Next header of the IPv6 fragment header; the protocol of IPv4.
    pub next_header: u8,
    /// Offset of the byte that names the protocol at `header_end`; for IPv4, of the protocol field.
    pub next_header_at: usize,
}

impl Fragment {
    /// The first of several.
    pub fn is_first(&self) -> bool {
        self.offset == 0 && self.more
    }

    /// True for any fragment but the first: it shows nothing of the packet's contents.
    pub fn is_later(&self) -> bool {
        self.offset > 0
    }
}

/// The fragment that the IP header at `at`, in this view, says the packet is.
pub(crate) fn fragment_at(packet: &[u8], view: u8, at: usize) -> Option<Fragment> {
    match packet.get(at)? >> 4 {
        4 => ipv4(packet, view, at),
        6 => ipv6(packet, view, at),
        _ => None,
    }
}

fn ipv4(packet: &[u8], view: u8, at: usize) -> Option<Fragment> {
    use ipv4_field::{
        DESTINATION, FRAGMENT, FRAGMENT_MASK, FRAGMENT_OFFSET_MASK, HEADER_BYTES, ID, PROTOCOL, SOURCE,
        TOTAL_BYTES,
    };
    let header = packet.get(at..at + HEADER_BYTES)?;
    let place = u16_at(header, FRAGMENT)? & FRAGMENT_MASK;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    if place == 0 || header_bytes < HEADER_BYTES {
        return None;
    }
    let series = Series {
        view,
        is_ipv6: false,
        protocol: header[PROTOCOL],
        id: u16_at(header, ID)?.into(),
        source: number(&header[SOURCE]),
        destination: number(&header[DESTINATION]),
    };
    Some(Fragment {
        series,
        header: at,
        header_end: at + header_bytes,
        payload: at + header_bytes,
        bytes: usize::from(u16_at(header, TOTAL_BYTES)?).saturating_sub(header_bytes),
        offset: usize::from(place & FRAGMENT_OFFSET_MASK) * 8,
        more: place & !FRAGMENT_OFFSET_MASK != 0,
        next_header: series.protocol,
        next_header_at: at + PROTOCOL,
    })
}

fn ipv6(packet: &[u8], view: u8, at: usize) -> Option<Fragment> {
    use ipv6_field::{DESTINATION, HEADER_BYTES, PAYLOAD_BYTES, SOURCE};
    const FRAGMENT_BYTES: usize = 8;
    let header = packet.get(at..at + HEADER_BYTES)?;
    let (found, next_header_at) = last_fragment_header(packet, at)?;
    let fragment = packet.get(found..found + FRAGMENT_BYTES)?;
    let place = u16_at(fragment, 2)?;
    let series = Series {
        view,
        is_ipv6: true,
        protocol: 0,
        id: number(&fragment[4..8]) as u32,
        source: number(&header[SOURCE]),
        destination: number(&header[DESTINATION]),
    };
    let payload = found + FRAGMENT_BYTES;
    Some(Fragment {
        series,
        header: at,
        header_end: found,
        payload,
        bytes: (HEADER_BYTES + usize::from(u16_at(header, PAYLOAD_BYTES)?)).saturating_sub(payload - at),
        offset: usize::from(place & 0xfff8),
        more: place & 1 != 0,
        next_header: fragment[0],
        next_header_at,
    })
}

/// Offset of the last fragment header that the walk over extension headers reaches, and of the byte that names it. No headers
/// follow that of a later fragment.
fn last_fragment_header(packet: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut named_at = at + ipv6_field::NEXT_HEADER;
    let mut next = *packet.get(named_at)?;
    let mut place = at + ipv6_field::HEADER_BYTES;
    let mut found = None;
    for _ in 0..EXTENSION_HEADERS_MAX {
        let header = match next {
            protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS => packet.get(place..place + 8),
            _ => None,
        };
        let Some(header) = header else { break };
        let bytes = match next {
            protocol::FRAGMENT => 8,
            protocol::AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if next == protocol::FRAGMENT {
            found = Some((place, named_at));
            if u16_at(header, 2)? & 0xfff8 != 0 {
                break;
            }
        }
        next = header[0];
        named_at = place;
        place += bytes;
    }
    found
}

/// A big-endian number of at most 16 bytes.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}
