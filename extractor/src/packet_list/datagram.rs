//! UDP datagrams and ICMP messages in a line (RFC 768, 792, 4443, 4861).

use std::net::Ipv6Addr;

use netrewind_labels::Transport;
use netrewind_packet::bytes::{byte_at, u16_at};
use netrewind_packet::udp_field;

use super::application;
use super::line::PacketLine;

/// Describes the datagram at the front of `datagram`, which had `bytes` bytes on the wire.
pub(super) fn describe_udp(line: &mut PacketLine, datagram: &[u8], bytes: usize) {
    line.is_of("UDP");
    if let (Some(source), Some(destination)) = (line.source_port, line.destination_port) {
        line.say(format_args!("{source} → {destination}"));
    }
    let stated = u16_at(datagram, udp_field::BYTES).map_or(bytes, usize::from);
    // Zero is a datagram of segmentation offload, or a jumbogram.
    let stated = if stated == 0 { bytes } else { stated.min(bytes) };
    line.say(format_args!("len {}", stated.saturating_sub(udp_field::HEADER_BYTES)));
    let payload = datagram.get(udp_field::HEADER_BYTES..stated.min(datagram.len())).unwrap_or_default();
    application::describe(line, Transport::Udp, payload);
}

/// Describes an ICMP message.
pub(super) fn describe_icmp(line: &mut PacketLine, message: &[u8]) {
    line.is_of("ICMP");
    let (Some(kind), Some(code)) = (byte_at(message, 0), byte_at(message, 1)) else { return };
    let words = match (kind, code) {
        (0, _) => "echo reply",
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (3, _) => "destination unreachable",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (8, _) => "echo request",
        (9, _) => "router advertisement",
        (10, _) => "router solicitation",
        (11, 0) => "time to live exceeded",
        (11, _) => "reassembly time exceeded",
        (12, _) => "parameter problem",
        (13, _) => "timestamp request",
        (14, _) => "timestamp reply",
        _ => {
            line.say(format_args!("type {kind} code {code}"));
            return;
        }
    };
    line.say(format_args!("{words}"));
    match (kind, code) {
        (0 | 8, _) => describe_echo(line, message),
        (3, 4) => u16_at(message, 6).into_iter().for_each(|mtu| line.say(format_args!("mtu {mtu}"))),
        _ => {}
    }
}

/// Describes an ICMPv6 message.
pub(super) fn describe_icmpv6(line: &mut PacketLine, message: &[u8]) {
    line.is_of("ICMPv6");
    let (Some(kind), Some(code)) = (byte_at(message, 0), byte_at(message, 1)) else { return };
    let words = match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, _) => "destination unreachable",
        (2, _) => "packet too big",
        (3, _) => "hop limit exceeded",
        (4, _) => "parameter problem",
        (128, _) => "echo request",
        (129, _) => "echo reply",
        (130, _) => "multicast listener query",
        (131 | 143, _) => "multicast listener report",
        (132, _) => "multicast listener done",
        (133, _) => "router solicitation",
        (134, _) => "router advertisement",
        (135, _) => "who has",
        (136, _) => "neighbour advertisement",
        (137, _) => "redirect",
        _ => {
            line.say(format_args!("type {kind} code {code}"));
            return;
        }
    };
    line.say(format_args!("{words}"));
    match kind {
        128 | 129 => describe_echo(line, message),
        135 | 136 => {
            let target = message.get(8..).and_then(<[u8]>::first_chunk::<16>);
            target.into_iter().for_each(|octets| line.say(format_args!("{}", Ipv6Addr::from(*octets))));
        }
        _ => {}
    }
}

/// Identifier and number of an echo.
fn describe_echo(line: &mut PacketLine, message: &[u8]) {
    if let (Some(id), Some(number)) = (u16_at(message, 4), u16_at(message, 6)) {
        line.say(format_args!("id {id} seq {number}"));
    }
}
