//! Describes a packet in a line: the innermost packet of its tunnels, or the packet as received.
//!
//! **Invariant:** a total function of bytes: what is cut, malformed or unknown only makes the line say less.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_flows::tunnel_record::{TunnelRecord, tunnel_name};
use netrewind_packet::tunnel::{Tunnel, TunnelPorts};
use netrewind_packet::{Dissection, Fragment, Shape, TransportKey, ViewBytes, dissect_with, protocol};

use super::line::PacketLine;
use super::{datagram, link, tcp};
use crate::view_mode::ViewMode;

/// The line that describes a stored packet.
pub fn describe_packet(ports: &TunnelPorts, packet: ViewBytes<'_>, view: ViewMode) -> PacketLine {
    let dissection = dissect_with(ports, packet.link_type, packet.bytes, packet.len);
    let mut line = PacketLine { vlans: link::vlans(packet), ..PacketLine::default() };
    match dissection.shape {
        Shape::None => {
            let innermost = dissection.innermost();
            let inner = ViewBytes {
                link_type: innermost.view.link_type,
                bytes: innermost.bytes(packet.bytes),
                len: innermost.len,
            };
            link::describe(&mut line, inner);
        }
        _ => describe_ip(&mut line, &dissection, packet.bytes),
    }
    let tunnels: Vec<_> = dissection.tunnels(packet.bytes).collect();
    if let (ViewMode::Outer, Some(outermost)) = (view, tunnels.first()) {
        describe_outer(&mut line, outermost);
    }
    line.tunnels = tunnels.iter().map(TunnelRecord::of).collect();
    line.cut();
    line
}

/// Puts the tunnel in front of the line of what it carries.
fn describe_outer(line: &mut PacketLine, tunnel: &Tunnel) {
    let inner = std::mem::take(line);
    let ends = tunnel.outer.unzip();
    *line = PacketLine {
        source: ends.0.map(|address| address.to_string()),
        destination: ends.1.map(|address| address.to_string()),
        protocol: tunnel_name(tunnel.kind).to_ascii_uppercase(),
        vlans: inner.vlans,
        ..PacketLine::default()
    };
    if let Some(id) = tunnel.id {
        line.say(format_args!("id {id}"));
    }
    if let (Some(source), Some(destination)) = (&inner.source, &inner.destination) {
        line.say(format_args!("carries {source} → {destination}"));
    }
    line.say(format_args!("{}: {}", inner.protocol, inner.summary));
}

/// Offset of the transport header, its protocol, and whether the packet has one.
struct TransportPlace {
    offset: usize,
    protocol: u8,
    is_later_fragment: bool,
    key: TransportKey,
    is_ipv6: bool,
}

impl TransportPlace {
    fn of(dissection: &Dissection) -> Option<Self> {
        let network = dissection.prefix_bytes;
        Some(match dissection.shape {
            Shape::None => return None,
            Shape::Ipv4 { first_byte, protocol, later_fragment, key } => Self {
                offset: network + usize::from(first_byte & 15) * 4,
                protocol,
                is_later_fragment: later_fragment,
                key,
                is_ipv6: false,
            },
            Shape::Ipv6 { transport, protocol, later_fragment, key, .. } => Self {
                offset: network + usize::from(transport),
                protocol,
                is_later_fragment: later_fragment,
                key,
                is_ipv6: true,
            },
        })
    }
}

fn describe_ip(line: &mut PacketLine, dissection: &Dissection, packet: &[u8]) {
    let Some(place) = TransportPlace::of(dissection) else { return };
    let address = |number: u128| match place.is_ipv6 {
        true => IpAddr::V6(Ipv6Addr::from_bits(number)),
        false => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or_default())),
    };
    let key = &dissection.key;
    line.source = Some(address(key.source).to_string());
    line.destination = Some(address(key.destination).to_string());
    if place.key == TransportKey::Ports {
        line.source_port = Some(key.source_port);
        line.destination_port = Some(key.destination_port);
    }
    let end = dissection.datagram_end(packet).unwrap_or(packet.len());
    let payload = packet.get(place.offset..end.min(packet.len())).unwrap_or_default();
    let bytes = end.saturating_sub(place.offset);
    if place.is_later_fragment {
        line.is_of(if place.is_ipv6 { "IPv6" } else { "IPv4" });
        line.say(format_args!("fragment of {}", protocol_words(place.protocol)));
    } else {
        match (place.protocol, place.key) {
            (protocol::TCP, TransportKey::Ports) => tcp::describe(line, payload, bytes),
            (protocol::UDP, TransportKey::Ports) => datagram::describe_udp(line, payload, bytes),
            (protocol::ICMP, _) if !place.is_ipv6 => datagram::describe_icmp(line, payload),
            (protocol::ICMPV6, _) if place.is_ipv6 => datagram::describe_icmpv6(line, payload),
            (number, _) => {
                line.is_of(&protocol_words(number));
                ports_of(line);
                line.say(format_args!("{bytes} bytes"));
            }
        }
    }
    let is_part = |fragment: &Fragment| fragment.more || fragment.is_later();
    if let Some(fragment) = dissection.fragments(packet).filter(is_part).last() {
        let more = if fragment.more { ", more follow" } else { ", the last" };
        let series = fragment.series.id;
        line.say(format_args!("(fragment 0x{series:x} at byte {}{more})", fragment.offset));
    }
}

fn ports_of(line: &mut PacketLine) {
    if let (Some(source), Some(destination)) = (line.source_port, line.destination_port) {
        line.say(format_args!("{source} → {destination}"));
    }
}

/// The name of an IP protocol (IANA), or its number.
fn protocol_words(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "ICMP",
        2 => "IGMP",
        protocol::IPV4 => "IPv4",
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::DCCP => "DCCP",
        protocol::IPV6 => "IPv6",
        protocol::GRE => "GRE",
        50 => "ESP",
        protocol::AUTHENTICATION => "AH",
        protocol::ICMPV6 => "ICMPv6",
        protocol::NO_NEXT_HEADER => "IPv6",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        protocol::L2TP => "L2TP",
        protocol::SCTP => "SCTP",
        protocol::UDP_LITE => "UDP-Lite",
        _ => return format!("IP {number}"),
    };
    name.to_owned()
}
