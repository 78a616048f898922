//! The network header: addresses, protocol, where the transport header stands, ports, TCP flags.
//!
//! Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 4302 (AH), RFC 9293 (TCP), RFC 768 and 3828 (UDP, UDP-Lite), RFC 9260
//! (SCTP), RFC 4340 (DCCP), RFC 792 and 4443 (ICMP).

use super::link::Network;
use super::{Dissection, PacketKey, byte_at, u16_at};
use crate::shape::{Shape, TransportKey};

/// Largest number of IPv6 extension headers walked over.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Protocol numbers (IANA) that the walk knows.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Offsets in the IPv4 header.
pub mod ipv4_field {
    use std::ops::Range;

    /// Bytes of the whole packet.
    pub const TOTAL_BYTES: usize = 2;
    /// Identification.
    pub const ID: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Protocol of what follows.
    pub const PROTOCOL: usize = 9;
    /// Source address.
    pub const SOURCE: Range<usize> = 12..16;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 16..20;
    /// Bytes of the header without options.
    pub const HEADER_BYTES: usize = 20;
    /// "More fragments" and the offset, in the two bytes at `FRAGMENT`.
    pub const FRAGMENT_MASK: u16 = 0x3fff;
    /// The offset alone, in units of eight bytes.
    pub const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
}

/// Offsets in the IPv6 header.
pub mod ipv6_field {
    use std::ops::Range;

    /// Bytes behind the header.
    pub const PAYLOAD_BYTES: usize = 4;
    /// Next header.
    pub const NEXT_HEADER: usize = 6;
    /// Source address.
    pub const SOURCE: Range<usize> = 8..24;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 24..40;
    /// Bytes of the header without extension headers.
    pub const HEADER_BYTES: usize = 40;
}

/// Offset of the flags in the TCP header.
pub const TCP_FLAGS: usize = 13;

/// Takes the network header behind the prefix apart.
#[inline]
pub(super) fn walk(d: &mut Dissection, network: Network, packet: &[u8]) {
    let at = d.prefix_bytes;
    let version = byte_at(packet, at).unwrap_or(0) >> 4;
    match (network, version) {
        (Network::Ipv4 | Network::Ip, 4) => ipv4(d, packet, at),
        (Network::Ipv6 | Network::Ip, 6) => ipv6(d, packet, at),
        _ => {}
    }
}

#[inline]
fn ipv4(d: &mut Dissection, packet: &[u8], at: usize) {
    use ipv4_field::{
        DESTINATION, FRAGMENT, FRAGMENT_MASK, FRAGMENT_OFFSET_MASK, HEADER_BYTES, PROTOCOL, SOURCE,
    };
    let Some(header) = packet.get(at..at + HEADER_BYTES) else { return };
    let first_byte = header[0];
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    if header_bytes < HEADER_BYTES {
        return;
    }
    let protocol = header[PROTOCOL];
    let fragment = u16::from_be_bytes([header[FRAGMENT], header[FRAGMENT + 1]]);
    let later_fragment = fragment & FRAGMENT_OFFSET_MASK != 0;
    d.fragment |= fragment & FRAGMENT_MASK != 0;
    d.key.source = u128::from(u32_of(&header[SOURCE]));
    d.key.destination = u128::from(u32_of(&header[DESTINATION]));
    let key = match later_fragment {
        true => TransportKey::None,
        false => transport(d, packet, at + header_bytes, protocol, protocol::ICMP),
    };
    d.shape = Shape::Ipv4 { first_byte, protocol, later_fragment, key };
}

#[inline]
fn ipv6(d: &mut Dissection, packet: &[u8], at: usize) {
    use ipv6_field::{DESTINATION, HEADER_BYTES, NEXT_HEADER, SOURCE};
    let Some(header) = packet.get(at..at + HEADER_BYTES) else { return };
    let next_header = header[NEXT_HEADER];
    let last = extension_headers(packet, at, next_header);
    d.fragment |= last.fragment;
    d.key = PacketKey {
        source: u128_of(&header[SOURCE]),
        destination: u128_of(&header[DESTINATION]),
        ..PacketKey::default()
    };
    let key = match last.later_fragment {
        true => TransportKey::None,
        false => transport(d, packet, at + last.offset, last.protocol, protocol::ICMPV6),
    };
    d.shape = Shape::Ipv6 {
        next_header,
        transport: last.offset as u16,
        protocol: last.protocol,
        later_fragment: last.later_fragment,
        key,
    };
}

/// End of the walk over extension headers.
struct LastHeader {
    /// Offset from the beginning of the IPv6 header: at most 40 + [`EXTENSION_HEADERS_MAX`] * 2048.
    offset: usize,
    /// Protocol found there; an extension header that is truncated, or one beyond the limit, is given as itself.
    protocol: u8,
    fragment: bool,
    later_fragment: bool,
}

#[inline]
fn extension_headers(packet: &[u8], at: usize, next_header: u8) -> LastHeader {
    let mut last = LastHeader {
        offset: ipv6_field::HEADER_BYTES,
        protocol: next_header,
        fragment: false,
        later_fragment: false,
    };
    for _ in 0..EXTENSION_HEADERS_MAX {
        let is_fragment = last.protocol == protocol::FRAGMENT;
        let is_authentication = last.protocol == protocol::AUTHENTICATION;
        let is_options =
            matches!(last.protocol, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS);
        if !is_fragment && !is_authentication && !is_options {
            break;
        }
        let Some(header) = packet.get(at + last.offset..at + last.offset + 8) else { break };
        last.protocol = header[0];
        last.offset += match (is_fragment, is_authentication) {
            (true, _) => 8,
            (_, true) => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if is_fragment {
            last.fragment = true;
            last.later_fragment = u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0;
            if last.later_fragment {
                break;
            }
        }
    }
    last
}

/// Reads the key's part in the transport header at `at`, and the TCP flags.
#[inline]
fn transport(d: &mut Dissection, packet: &[u8], at: usize, protocol: u8, icmp: u8) -> TransportKey {
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE => {
            let Some(ports) = packet.get(at..at + 4) else { return TransportKey::None };
            d.key.source_port = u16::from_be_bytes([ports[0], ports[1]]);
            d.key.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
            if protocol == protocol::TCP {
                d.tcp_flags = byte_at(packet, at + TCP_FLAGS);
            }
            if matches!(protocol, protocol::TCP | protocol::UDP) {
                d.transport = Some((protocol, at as u32));
            }
            TransportKey::Ports
        }
        _ if protocol == icmp => match u16_at(packet, at) {
            Some(type_and_code) => {
                d.key.source_port = type_and_code;
                TransportKey::TypeAndCode
            }
            None => TransportKey::None,
        },
        _ => TransportKey::None,
    }
}

/// The flags byte of TCP where the walk found TCP's ports.
pub(super) fn tcp_flags(d: &Dissection, packet: &[u8]) -> Option<u8> {
    let transport = match d.shape {
        Shape::Ipv4 { first_byte, protocol: protocol::TCP, key: TransportKey::Ports, .. } => {
            usize::from(first_byte & 0x0f) * 4
        }
        Shape::Ipv6 { transport, protocol: protocol::TCP, key: TransportKey::Ports, .. } => {
            usize::from(transport)
        }
        _ => return None,
    };
    byte_at(packet, d.prefix_bytes + transport + TCP_FLAGS)
}

#[inline]
fn u32_of(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

#[inline]
fn u128_of(bytes: &[u8]) -> u128 {
    bytes.try_into().map_or(0, u128::from_be_bytes)
}
