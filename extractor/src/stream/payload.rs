//! The payload of one packet of a conversation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_packet::{Dissection, Shape, protocol};

use super::{Ends, Speaker, StreamEnd};

mod ipv4_field {
    pub(super) const TOTAL_LENGTH: usize = 2;
}

mod ipv6_field {
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const HEADER_BYTES: usize = 40;
}

mod tcp_field {
    pub(super) const SEQUENCE: usize = 4;
    pub(super) const ACKNOWLEDGMENT: usize = 8;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
}

const UDP_HEADER_BYTES: usize = 8;

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
            protocol::UDP | protocol::UDP_LITE => (UDP_HEADER_BYTES, None),
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
    let network = dissection.prefix_bytes;
    let innermost = dissection.innermost();
    // A length of zero: the sending host left the cutting to its network card (segmentation offload).
    let view_end = usize::from(innermost.view.offset) + innermost.len as usize;
    let stated = |length: u16, header_bytes: usize| match usize::from(length) {
        0 => view_end,
        length => (network + header_bytes + length).min(view_end),
    };
    let (found, begins, ends) = match dissection.shape {
        Shape::Ipv4 { first_byte, protocol, later_fragment: false, .. } => {
            let header_bytes = usize::from(first_byte & 15) * 4;
            (protocol, network + header_bytes, stated(u16_at(packet, network + ipv4_field::TOTAL_LENGTH)?, 0))
        }
        Shape::Ipv6 { transport, protocol, later_fragment: false, .. } => {
            let length = u16_at(packet, network + ipv6_field::PAYLOAD_LENGTH)?;
            (protocol, network + usize::from(transport), stated(length, ipv6_field::HEADER_BYTES))
        }
        _ => return None,
    };
    (found == wanted && begins <= ends).then_some(TransportRange { begins, ends })
}

fn segment(packet: &[u8], transport: usize) -> Option<TcpHeader> {
    Some(TcpHeader {
        sequence: u32_at(packet, transport + tcp_field::SEQUENCE)?,
        acknowledgment: u32_at(packet, transport + tcp_field::ACKNOWLEDGMENT)?,
        flags: *packet.get(transport + tcp_field::FLAGS)?,
    })
}

fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn u32_at(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
