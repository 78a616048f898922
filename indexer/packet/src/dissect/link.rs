//! The link layer: from the first byte of a view to where its network header stands.
//!
//! Sources: tcpdump.org/linktypes.html, IEEE 802.3, 802.2, RFC 1661 and 1662 (PPP), RFC 2516 (PPPoE).

use netrewind_store::LinkType;

use crate::bytes::{byte_at, u16_at};
use crate::dissection::Dissection;
use crate::ethernet::{LENGTH_MAX, TypePlace, VLAN_TAG_BYTES, VLAN_TAGS_MAX, ethertype, is_vlan_tpid};
use crate::tunnel::LayerKind;

/// Addresses and type.
const ETHERNET_HEADER_BYTES: usize = 14;

/// Network layer behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// Something that we do not take apart.
    None,
    /// IPv4 or IPv6, by the first nibble.
    Ip,
    Ipv4,
    Ipv6,
    /// An MPLS stack.
    Mpls,
    /// A PPPoE session header.
    PppoeSession,
    /// A network service header.
    Nsh,
}

impl Network {
    #[inline]
    fn of_ethertype(ethertype: u16) -> Self {
        match ethertype {
            ethertype::IPV4 => Self::Ipv4,
            ethertype::IPV6 => Self::Ipv6,
            ethertype::MPLS | ethertype::MPLS_MULTICAST => Self::Mpls,
            ethertype::PPPOE_SESSION => Self::PppoeSession,
            ethertype::NSH => Self::Nsh,
            _ => Self::None,
        }
    }
}

/// Walks the link layer that begins at `at`; sets the prefix to what is understood of it.
#[inline]
pub(super) fn walk(d: &mut Dissection, link_type: LinkType, packet: &[u8], at: usize) -> Network {
    match link_type {
        LinkType::ETHERNET => ethernet(d, packet, at),
        LinkType::RAW | LinkType(12 | 14) => prefix(d, at, Network::Ip),
        LinkType::IPV4 => prefix(d, at, Network::Ipv4),
        LinkType::IPV6 => prefix(d, at, Network::Ipv6),
        LinkType::NULL | LinkType::LOOP => address_family(d, packet, at),
        LinkType::LINUX_SLL => match u16_at(packet, at + 14) {
            Some(_) => after_ethertype(d, packet, at + 14),
            None => Network::None,
        },
        LinkType::LINUX_SLL2 => linux_sll2(d, packet, at),
        LinkType(9) => ppp(d, packet, at),
        LinkType(50) => ppp_serial(d, packet, at),
        LinkType(51) => pppoe(d, packet, at),
        LinkType(104) => match u16_at(packet, at + 2) {
            Some(_) => after_ethertype(d, packet, at + 2),
            None => Network::None,
        },
        _ => Network::None,
    }
}

#[inline]
fn prefix(d: &mut Dissection, end: usize, network: Network) -> Network {
    d.prefix_bytes = end;
    network
}

#[inline]
fn ethernet(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    let Some(header) = packet.get(at..).and_then(<[u8]>::first_chunk::<ETHERNET_HEADER_BYTES>) else {
        return Network::None;
    };
    let [.., high, low] = *header;
    match u16::from_be_bytes([high, low]) {
        ethertype::IPV4 => prefix(d, at + ETHERNET_HEADER_BYTES, Network::Ipv4),
        ethertype::IPV6 => prefix(d, at + ETHERNET_HEADER_BYTES, Network::Ipv6),
        _ => after_ethertype(d, packet, at + ETHERNET_HEADER_BYTES - 2),
    }
}

/// Walks from an ethertype at `at`, which is in the packet, over VLAN tags and an 802.2 header.
fn after_ethertype(d: &mut Dissection, packet: &[u8], mut at: usize) -> Network {
    for _ in 0..=VLAN_TAGS_MAX {
        match u16_at(packet, at) {
            Some(ethertype::IPV4) => return prefix(d, at + 2, Network::Ipv4),
            Some(ethertype::IPV6) => return prefix(d, at + 2, Network::Ipv6),
            Some(tpid) if is_vlan_tpid(tpid) && packet.len() >= at + 2 + VLAN_TAG_BYTES => {
                note_priority(d, at + 2);
                at += VLAN_TAG_BYTES;
            }
            Some(length) if length <= LENGTH_MAX => return length_and_llc(d, packet, at),
            Some(ethertype) => return prefix(d, at + 2, Network::of_ethertype(ethertype)),
            None => break,
        }
    }
    prefix(d, at + 2, Network::None)
}

/// Notes the priority in the TCI at `at`. If there is no room for it, it counts as constant: that makes more templates, but none
/// wrong.
fn note_priority(d: &mut Dissection, at: usize) {
    let _ = d.layers.push(LayerKind::VlanPriority, at, 1);
}

/// An 802.3 length at `at`, and the 802.2 header behind it: known are the service access points, the control byte of
/// an unnumbered frame, and a SNAP header.
fn length_and_llc(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    let _ = d.layers.push(LayerKind::EthernetLength, at, 2);
    let llc = at + 2;
    let Some(&[dsap, ssap, control]) =
        packet.get(llc..llc + 3).and_then(|bytes| <&[u8; 3]>::try_from(bytes).ok())
    else {
        return prefix(d, llc, Network::None);
    };
    if (dsap, ssap, control) != (0xaa, 0xaa, 0x03) {
        // Information and supervisory frames carry sequence numbers in the control field.
        return prefix(d, llc + if control & 3 == 3 { 3 } else { 2 }, Network::None);
    }
    let Some(snap) = packet.get(llc + 3..llc + 8) else {
        return prefix(d, llc + 3, Network::None);
    };
    let network = match (&snap[..3], u16::from_be_bytes([snap[3], snap[4]])) {
        ([0, 0, 0], ethertype::IPV4) => Network::Ipv4,
        ([0, 0, 0], ethertype::IPV6) => Network::Ipv6,
        _ => Network::None,
    };
    prefix(d, llc + 8, network)
}

/// BSD loopback: a 32-bit address family in either byte order. The systems number IPv6 differently.
fn address_family(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    let Some(family) = packet.get(at..at + 4) else { return Network::None };
    let network = match family {
        [0, 0, 0, 2] | [2, 0, 0, 0] => Network::Ipv4,
        [0, 0, 0, 10 | 24 | 28 | 30] | [10 | 24 | 28 | 30, 0, 0, 0] => Network::Ipv6,
        _ => Network::None,
    };
    prefix(d, at + 4, network)
}

/// Linux cooked capture, version 2: the protocol comes first. Where it announces a VLAN tag, the tag's TCI stands behind the
/// header, and behind that the next type.
fn linux_sll2(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    let Some(header) = TypePlace::of(LinkType::LINUX_SLL2) else { return Network::None };
    if packet.len() < at + header.payload_at {
        return Network::None;
    }
    let behind = header.behind_tag();
    match u16_at(packet, at + header.type_at) {
        Some(tpid) if is_vlan_tpid(tpid) && packet.len() >= at + behind.payload_at => {
            note_priority(d, at + header.payload_at);
            after_ethertype(d, packet, at + behind.type_at)
        }
        ethertype => {
            let network = ethertype.map_or(Network::None, Network::of_ethertype);
            prefix(d, at + header.payload_at, network)
        }
    }
}

/// PPP with or without the address and control bytes `ff 03` of RFC 1662.
fn ppp(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    match u16_at(packet, at) {
        Some(0xff03) => ppp_protocol(d, packet, at + 2),
        Some(_) => ppp_protocol(d, packet, at),
        None => Network::None,
    }
}

/// PPP in HDLC-like framing, or Cisco HDLC by its address byte (0x0f unicast, 0x8f multicast).
fn ppp_serial(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    match byte_at(packet, at) {
        Some(0x0f | 0x8f) if packet.len() >= at + 4 => after_ethertype(d, packet, at + 2),
        Some(_) => ppp(d, packet, at),
        None => Network::None,
    }
}

/// A PPPoE session header (6 bytes, its length varies), then the PPP protocol.
fn pppoe(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    if packet.len() < at + 6 {
        return Network::None;
    }
    let _ = d.layers.push(LayerKind::Varying, at + 4, 2);
    d.prefix_bytes = at + 6;
    ppp_protocol(d, packet, at + 6)
}

/// The two-byte PPP protocol at `at`; compressed to one byte it is left unknown.
fn ppp_protocol(d: &mut Dissection, packet: &[u8], at: usize) -> Network {
    match u16_at(packet, at) {
        Some(0x0021) => prefix(d, at + 2, Network::Ipv4),
        Some(0x0057) => prefix(d, at + 2, Network::Ipv6),
        Some(0x0281 | 0x0283) => prefix(d, at + 2, Network::Mpls),
        Some(other) if other & 0x0100 == 0 => prefix(d, at + 2, Network::None),
        _ => prefix(d, at, Network::None),
    }
}
