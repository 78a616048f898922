//! The network header: addresses, protocol, where the transport header stands, ports, TCP flags.
//!
//! Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 4302 (AH), RFC 9293 (TCP), RFC 768 and 3828 (UDP, UDP-Lite), RFC 9260
//! (SCTP), RFC 4340 (DCCP), RFC 792 and 4443 (ICMP).

use netrewind_store::LinkType;

use super::link::Network;
use crate::bytes::{byte_at, u16_at, u32_at, u128_at};
use crate::dissection::{Dissection, Ends, PacketKey};
use crate::fields::{EXTENSION_HEADERS_MAX, ipv4_field, ipv6_field, protocol, tcp_field};
use crate::shape::{Shape, TransportKey};

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
    let Some(header) = packet.get(at..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) else { return };
    let first_byte = header[0];
    let header_bytes = usize::from(first_byte & 0x0f) * 4;
    if header_bytes < HEADER_BYTES {
        return;
    }
    let protocol = header[PROTOCOL];
    let fragment = u16::from_be_bytes([header[FRAGMENT], header[FRAGMENT + 1]]);
    let later_fragment = fragment & FRAGMENT_OFFSET_MASK != 0;
    d.fragment |= fragment & FRAGMENT_MASK != 0;
    d.key.source = u32_at(header, SOURCE.start).unwrap_or(0).into();
    d.key.destination = u32_at(header, DESTINATION.start).unwrap_or(0).into();
    let key = match later_fragment {
        true => TransportKey::None,
        false => transport(d, packet, at + header_bytes, protocol, protocol::ICMP),
    };
    d.shape = Shape::Ipv4 { first_byte, protocol, later_fragment, key };
}

#[inline]
fn ipv6(d: &mut Dissection, packet: &[u8], at: usize) {
    use ipv6_field::{DESTINATION, HEADER_BYTES, NEXT_HEADER, SOURCE};
    let Some(header) = packet.get(at..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) else { return };
    let next_header = header[NEXT_HEADER];
    let last = extension_headers(packet, at, next_header);
    d.fragment |= last.fragment;
    d.key = PacketKey {
        source: u128_at(header, SOURCE.start).unwrap_or(0),
        destination: u128_at(header, DESTINATION.start).unwrap_or(0),
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
            let Some(&[a, b, c, e]) = packet.get(at..).and_then(<[u8]>::first_chunk) else {
                return TransportKey::None;
            };
            d.key.source_port = u16::from_be_bytes([a, b]);
            d.key.destination_port = u16::from_be_bytes([c, e]);
            if protocol == protocol::TCP {
                d.tcp_flags = byte_at(packet, at + tcp_field::FLAGS);
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

/// Ends of the IP packet that begins with these bytes; `None` where no whole header is captured.
pub(crate) fn ends_at(packet: &[u8]) -> Option<Ends> {
    let mut found = Dissection::new(LinkType::RAW);
    walk(&mut found, Network::Ip, packet);
    Ends::of(&found.shape, &found.key)
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
    byte_at(packet, d.prefix_bytes + transport + tcp_field::FLAGS)
}
