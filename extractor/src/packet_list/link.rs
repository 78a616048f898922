//! Packets without an IP header in a line: ARP, and what their link layer tells.

use std::net::Ipv4Addr;

use netrewind_packet::bytes::u16_at;
use netrewind_packet::ethernet::{LENGTH_MAX, VLAN_TAGS_MAX, ethertype};
use netrewind_packet::{TypePlace, ViewBytes, is_vlan_tpid, split_type};
use netrewind_store::LinkType;

use super::line::PacketLine;

/// Bits of a tag that number the VLAN.
const VLAN_MASK: u16 = 0x0fff;
/// Bytes of an Ethernet address.
const ADDRESS_BYTES: usize = 6;
/// ARP for IPv4 over Ethernet: hardware and protocol types, and their lengths.
const ARP_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// The numbers of the VLAN tags in front of a packet.
pub(super) fn vlans(packet: ViewBytes<'_>) -> Vec<u16> {
    let mut vlans = Vec::new();
    let Some(mut place) = TypePlace::of(packet.link_type) else { return vlans };
    while vlans.len() < VLAN_TAGS_MAX && u16_at(packet.bytes, place.type_at).is_some_and(is_vlan_tpid) {
        let Some(tag) = u16_at(packet.bytes, place.payload_at) else { break };
        vlans.push(tag & VLAN_MASK);
        place = place.behind_tag();
    }
    vlans
}

/// Describes a packet by its link layer.
pub(super) fn describe(line: &mut PacketLine, packet: ViewBytes<'_>) {
    if packet.link_type == LinkType::ETHERNET {
        line.destination = address(packet.bytes);
        line.source = packet.bytes.get(ADDRESS_BYTES..).and_then(address);
    }
    let (type_bytes, payload) = split_type(packet);
    match u16_at(type_bytes, 0) {
        Some(ethertype::ARP) => describe_arp(line, payload),
        Some(length) if length <= LENGTH_MAX => {
            line.is_of("LLC");
            line.say(format_args!("{length} bytes"));
        }
        Some(number) => {
            line.is_of(ethertype_name(number).unwrap_or("Ethernet"));
            line.say(format_args!("type 0x{number:04x}, {} bytes", packet.len));
        }
        None => {
            line.is_of("?");
            line.say(format_args!("{} bytes of link type {}", packet.len, packet.link_type.0));
        }
    }
}

fn ethertype_name(number: u16) -> Option<&'static str> {
    Some(match number {
        ethertype::IPV4 => "IPv4",
        ethertype::IPV6 => "IPv6",
        ethertype::RARP => "RARP",
        ethertype::SLOW => "LACP",
        ethertype::MPLS | ethertype::MPLS_MULTICAST => "MPLS",
        ethertype::PPPOE_DISCOVERY | ethertype::PPPOE_SESSION => "PPPoE",
        ethertype::EAPOL => "EAPOL",
        ethertype::LLDP => "LLDP",
        ethertype::NSH => "NSH",
        _ => return None,
    })
}

/// The Ethernet address at the front.
fn address(bytes: &[u8]) -> Option<String> {
    let address = bytes.first_chunk::<ADDRESS_BYTES>()?;
    Some(address.map(|byte| format!("{byte:02x}")).join(":"))
}

fn describe_arp(line: &mut PacketLine, message: &[u8]) {
    line.is_of("ARP");
    let ip = |at: usize| message.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().map(Ipv4Addr::from);
    let ends = (message.starts_with(&ARP_IPV4), u16_at(message, 6), ip(14), ip(24));
    let (true, Some(operation), Some(sender), Some(target)) = ends else {
        line.say(format_args!("{} bytes", message.len()));
        return;
    };
    match (operation, message.get(8..).and_then(address)) {
        (1, _) if sender == target => line.say(format_args!("announces {sender}")),
        (1, _) => line.say(format_args!("who has {target}? tell {sender}")),
        (2, Some(hardware)) => line.say(format_args!("{sender} is at {hardware}")),
        (number, _) => line.say(format_args!("operation {number}, {sender} to {target}")),
    }
}
