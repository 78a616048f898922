//! The payload of one packet of a conversation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_packet::bytes::u32_at;
use netrewind_packet::{Dissection, Shape, protocol, tcp_field, udp_field};

use super::chunks::{Ends, Speaker, StreamEnd};

pub(super) mod flag {
    pub(in super::super) const SYN: u8 = 0x02;
    pub(in super::super) const RST: u8 = 0x04;
    pub(in super::super) const ACK: u8 = 0x10;
}

/// TCP fields needed to order payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpHeader {
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) flags: u8,
}

/// Payload of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    pub(super) from: Speaker,
    pub(super) segment: Option<TcpHeader>,
    pub(super) bytes: &'a [u8],
}

/// Transport header and the bytes behind it, to the end given by the network header.
struct TransportRange {
    begins: usize,
    ends: usize,
}

impl<'a> Payload<'a> {
    /// Payload of a packet between these ends; `None` for any other, and if its transport header was not captured.
    pub(super) fn of(dissection: &Dissection, packet: &'a [u8], ends: &Ends) -> Option<Self> {
        let from = speaker(dissection, ends)?;
        let transport = transport(dissection, packet, ends.protocol)?;
        let (header_bytes, segment) = match ends.protocol {
            protocol::TCP => {
                let data_offset =
                    usize::from(packet.get(transport.begins + tcp_field::DATA_OFFSET)? >> 4) * 4;
                (data_offset, Some(segment(packet, transport.begins)?))
            }
            protocol::UDP | protocol::UDP_LITE => (udp_field::HEADER_BYTES, None),
            _ => (0, None),
        };
        let begins = (transport.begins + header_bytes).min(transport.ends);
        let captured_end = transport.ends.min(packet.len());
        let bytes = packet.get(begins..captured_end).unwrap_or_default();
        Some(Self { from, segment, bytes })
    }
}

fn speaker(dissection: &Dissection, ends: &Ends) -> Option<Speaker> {
    let key = &dissection.key;
    let address = |number: u128| match dissection.shape {
        Shape::Ipv4 { .. } => Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?))),
        Shape::Ipv6 { .. } => Some(IpAddr::V6(Ipv6Addr::from(number))),
        Shape::None => None,
    };
    let ported = matches!(
        ends.protocol,
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP
    );
    let end = |address, port| StreamEnd { address, port: if ported { port } else { 0 } };
    let source = end(address(key.source)?, key.source_port);
    let destination = end(address(key.destination)?, key.destination_port);
    match (source, destination) {
        (source, destination) if source == ends.client && destination == ends.server => Some(Speaker::Client),
        (source, destination) if source == ends.server && destination == ends.client => Some(Speaker::Server),
        _ => None,
    }
}

/// Transport header of the innermost view, if it is of this protocol.
fn transport(dissection: &Dissection, packet: &[u8], wanted: u8) -> Option<TransportRange> {
    let (found, header_bytes) = match dissection.shape {
        Shape::Ipv4 { first_byte, protocol, later_fragment: false, .. } => {
            (protocol, usize::from(first_byte & 15) * 4)
        }
        Shape::Ipv6 { transport, protocol, later_fragment: false, .. } => (protocol, usize::from(transport)),
        _ => return None,
    };
    let begins = dissection.prefix_bytes + header_bytes;
    let ends = dissection.datagram_end(packet)?;
    (found == wanted && begins <= ends).then_some(TransportRange { begins, ends })
}

fn segment(packet: &[u8], transport: usize) -> Option<TcpHeader> {
    Some(TcpHeader {
        sequence: u32_at(packet, transport + tcp_field::SEQUENCE)?,
        acknowledgment: u32_at(packet, transport + tcp_field::ACKNOWLEDGMENT)?,
        flags: *packet.get(transport + tcp_field::FLAGS)?,
    })
}
