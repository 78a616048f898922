//! Keys that assign packets to conversations.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_index::Flow;
use netrewind_packet::{PacketKey, protocol};
use netrewind_store::time::SECOND_NS;
use xxhash_rust::xxh3::xxh3_64;

use crate::encapsulation::Encapsulations;
use crate::template_facts::{FlowKeyKind, TemplateTraits};

/// Idle time after which packets of the same key are another conversation, in nanoseconds: of TCP that is open, as long as Zeek
/// waits. Connections that pause for longer make a record for each burst.
pub const TCP_IDLE_NS: u64 = 300 * SECOND_NS;
/// TCP that both ends have finished, or one has reset: TIME-WAIT is twice the maximum segment lifetime (RFC 9293), which
/// implementations take as half a minute.
pub const TCP_ENDED_IDLE_NS: u64 = 60 * SECOND_NS;
/// Idle time of UDP: the minimum timeout of a NAT (RFC 4787).
pub const UDP_IDLE_NS: u64 = 120 * SECOND_NS;
/// ICMP queries (RFC 5508).
pub const ICMP_IDLE_NS: u64 = 60 * SECOND_NS;
/// Everything else.
pub const OTHER_IDLE_NS: u64 = 120 * SECOND_NS;

/// Key that all packets of a conversation share. The lesser of its two ends (by address, then port) comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// Addresses as numbers; zero where there are none.
    pub addresses: [u128; 2],
    /// Ports; zero where there are none.
    pub ports: [u16; 2],
    /// Type and code of ICMP (of the request, where it is a pair); the EtherType where there is no IP.
    pub detail: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Content of the key besides addresses.
    pub kind: FlowKeyKind,
    /// True for addresses of IPv6.
    pub is_ipv6: bool,
    /// Its tunnels, see [`Encapsulations`].
    pub carrier: u32,
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.is_ipv6 {
            state.write_u128(self.addresses[0]);
            state.write_u128(self.addresses[1]);
        } else {
            state.write_u128(self.addresses[0] << 64 | self.addresses[1]);
        }
        let [lesser, greater] = self.ports.map(u64::from);
        state.write_u64(lesser << 48 | greater << 32 | u64::from(self.detail) << 16 | self.tag());
        state.write_u32(self.carrier);
    }
}

/// Role of a flow in a pair of ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A request.
    Request,
    /// A reply.
    Reply,
    /// Neither.
    None,
}

/// Pairs of ICMP messages, request and reply (RFC 792, 950, 1256, 8335).
const ICMP_PAIRS: [(u8, u8); 6] = [(8, 0), (13, 14), (15, 16), (17, 18), (10, 9), (42, 43)];
/// Pairs of ICMPv6 messages (RFC 4443, 4861, 2710, 4620, 4065, 8335).
const ICMPV6_PAIRS: [(u8, u8); 6] = [(128, 129), (133, 134), (135, 136), (139, 140), (144, 145), (160, 161)];

/// Type and code under which request and reply are found, and which of them these are.
fn icmp_pair(protocol: u8, type_and_code: u16) -> (u16, Role) {
    let [kind, code] = type_and_code.to_be_bytes();
    let pairs = if protocol == protocol::ICMPV6 { &ICMPV6_PAIRS } else { &ICMP_PAIRS };
    match pairs.iter().find(|(request, reply)| [*request, *reply].contains(&kind)) {
        Some((request, _)) if *request == kind => (u16::from_be_bytes([kind, code]), Role::Request),
        Some((request, _)) => (u16::from_be_bytes([*request, 0]), Role::Reply),
        None => (type_and_code, Role::None),
    }
}

fn number(address: Option<IpAddr>) -> u128 {
    match address {
        Some(IpAddr::V4(address)) => u128::from(address.to_bits()),
        Some(IpAddr::V6(address)) => address.to_bits(),
        None => 0,
    }
}

impl FlowKey {
    /// The key of a flow, which of the two ends has sent it, and its role.
    pub fn of(flow: &Flow, facts: &TemplateTraits) -> (Self, usize, Role) {
        let key = PacketKey {
            source: number(flow.source),
            destination: number(flow.destination),
            source_port: flow.source_port,
            destination_port: flow.destination_port,
        };
        Self::of_packet(&key, facts)
    }

    /// Key of the flow that a packet is counted in, the end that has sent it, and its role.
    pub fn of_packet(packet: &PacketKey, facts: &TemplateTraits) -> (Self, usize, Role) {
        let (mut detail, mut role, mut ports) = (facts.detail, Role::None, [0, 0]);
        match facts.kind {
            FlowKeyKind::Ports => ports = [packet.source_port, packet.destination_port],
            FlowKeyKind::Icmp => (detail, role) = icmp_pair(facts.protocol, packet.source_port),
            FlowKeyKind::Ip | FlowKeyKind::Fragment | FlowKeyKind::Other => {}
        }
        let mut addresses = [packet.source, packet.destination];
        let is_swapped = (addresses[0], ports[0]) > (addresses[1], ports[1]);
        if is_swapped {
            addresses.reverse();
            ports.reverse();
        }
        let TemplateTraits { kind, protocol, is_ipv6, carrier, .. } = *facts;
        (Self { addresses, ports, detail, protocol, kind, is_ipv6, carrier }, usize::from(is_swapped), role)
    }

    /// Value shared by all flows that are adjacent in an index.
    pub fn ends(&self) -> (u128, u128) {
        let [lesser, greater] = self.ports.map(u128::from);
        // Addresses of IPv6 and of IPv4 are never confused: `is_ipv6` is compared with the rest of the key.
        (self.addresses[0] ^ lesser.rotate_right(16), self.addresses[1] ^ greater.rotate_right(16))
    }

    /// True if all flows of the conversation are adjacent in an index, because they have the same ends there. Request and reply
    /// of ICMP have different types, and without IP there are no ends.
    pub fn is_adjacent(&self) -> bool {
        self.kind == FlowKeyKind::Ports
    }

    fn tag(&self) -> u64 {
        u64::from(self.protocol) << 8 | (self.kind as u64) << 1 | u64::from(self.is_ipv6)
    }

    /// True for TCP with ports.
    pub fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP && self.kind == FlowKeyKind::Ports
    }

    /// The address of an end; `None` where there is no IP.
    pub fn address(&self, end: usize) -> Option<IpAddr> {
        let address = self.addresses[end & 1];
        match self.kind {
            FlowKeyKind::Other => None,
            _ if self.is_ipv6 => Some(Ipv6Addr::from_bits(address).into()),
            _ => u32::try_from(address).ok().map(|address| Ipv4Addr::from_bits(address).into()),
        }
    }

    /// Port of an end; `None` without ports.
    pub fn port(&self, end: usize) -> Option<u16> {
        (self.kind == FlowKeyKind::Ports).then_some(self.ports[end & 1])
    }

    /// Silence that ends it, in nanoseconds.
    pub fn idle_ns(&self, has_ended: bool) -> u64 {
        match (self.kind, self.protocol) {
            (FlowKeyKind::Ports, protocol::TCP) if has_ended => TCP_ENDED_IDLE_NS,
            (FlowKeyKind::Ports, protocol::TCP) => TCP_IDLE_NS,
            (FlowKeyKind::Ports, protocol::UDP | protocol::UDP_LITE) => UDP_IDLE_NS,
            (FlowKeyKind::Icmp, _) => ICMP_IDLE_NS,
            _ => OTHER_IDLE_NS,
        }
    }

    /// Hash of this key that is the same in every store and process.
    pub fn stable_hash(&self, encapsulations: &Encapsulations) -> u64 {
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&self.addresses[0].to_be_bytes());
        bytes[16..32].copy_from_slice(&self.addresses[1].to_be_bytes());
        bytes[32..34].copy_from_slice(&self.ports[0].to_be_bytes());
        bytes[34..36].copy_from_slice(&self.ports[1].to_be_bytes());
        bytes[36..38].copy_from_slice(&self.detail.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.tag().to_be_bytes());
        bytes[48..56].copy_from_slice(&encapsulations.hash_of(self.carrier).to_be_bytes());
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_and_reply_are_a_pair() {
        assert_eq!(icmp_pair(1, 0x0800), (0x0800, Role::Request));
        assert_eq!(icmp_pair(1, 0x0000), (0x0800, Role::Reply));
        assert_eq!(icmp_pair(1, 0x0301), (0x0301, Role::None));
        assert_eq!(icmp_pair(58, 0x8100), (0x8000, Role::Reply));
        assert_eq!(icmp_pair(58, 0x0800), (0x0800, Role::None), "no echo in ICMPv6");
    }
}
