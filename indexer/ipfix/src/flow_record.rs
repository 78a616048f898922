//! A conversation, or a part of it, as a collector is told of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_flows::conversation::{Conversation, Icmp, TcpState, protocol_number};
use netrewind_flows::part::tcp;
use netrewind_store::Timestamp;

/// Kind of overlay network in the first byte of layer2SegmentId, as IANA assigns it.
const SEGMENT_VXLAN: u64 = 1;
/// Bits below that byte.
const SEGMENT_KIND_SHIFT: u32 = 56;

/// Reason why a record was made: flowEndReason of IANA's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowEndReason {
    /// Nothing more came for its idle time.
    IdleTimeout = 1,
    /// It may go on: what is told is what was seen since the last record.
    ActiveTimeout = 2,
    /// TCP has ended it.
    EndOfFlow = 3,
}

/// Addresses of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordAddresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Record of a conversation between two IP addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    pub(crate) addresses: RecordAddresses,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) protocol: u8,
    /// Ports of client and server; zero where there are none.
    pub(crate) ports: [u16; 2],
    /// What the client has sent, then the server.
    pub(crate) packets: [u64; 2],
    pub(crate) bytes: [u64; 2],
    pub(crate) tcp_flags: [u8; 2],
    pub(crate) icmp: Option<Icmp>,
    pub(crate) vlan: u16,
    pub(crate) layer2_segment: u64,
    pub(crate) application: String,
    pub(crate) end_reason: FlowEndReason,
}

impl FlowRecord {
    /// Record of a conversation; `None` if it has no IP addresses. `otherwise` is the reason unless TCP has ended.
    pub fn of(conversation: &Conversation, otherwise: FlowEndReason) -> Option<Self> {
        let addresses = match (conversation.client.address?, conversation.server.address?) {
            (IpAddr::V4(client), IpAddr::V4(server)) => RecordAddresses::V4(client, server),
            (IpAddr::V6(client), IpAddr::V6(server)) => RecordAddresses::V6(client, server),
            _ => return None,
        };
        let tcp = conversation.tcp.as_ref();
        let has_ended = tcp.is_some_and(|tcp| matches!(tcp.state, TcpState::Finished | TcpState::Reset));
        let flags = tcp.map(|tcp| [&tcp.client_flags, &tcp.server_flags].map(|letters| bits(letters)));
        let labels = conversation.labels.as_ref();
        Some(Self {
            addresses,
            first: conversation.first,
            last: conversation.last,
            protocol: protocol_number(&conversation.protocol),
            ports: [conversation.client.port, conversation.server.port].map(Option::unwrap_or_default),
            packets: [conversation.client_packets, conversation.server_packets],
            bytes: [conversation.client_bytes, conversation.server_bytes],
            tcp_flags: flags.unwrap_or_default(),
            icmp: conversation.icmp,
            vlan: conversation.vlans.first().copied().unwrap_or_default(),
            layer2_segment: layer2_segment(conversation),
            application: labels.map(|labels| labels.application.clone()).unwrap_or_default(),
            end_reason: if has_ended { FlowEndReason::EndOfFlow } else { otherwise },
        })
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        matches!(self.addresses, RecordAddresses::V6(..))
    }
}

/// TCP flags by their letters.
fn bits(letters: &str) -> u8 {
    let bit = |letter| tcp::LETTERS.iter().position(|&known| known == letter);
    letters.chars().filter_map(bit).fold(0, |bits, bit| bits | 1 << bit)
}

/// Innermost virtual network, as layer2SegmentId has it (RFC 7133); zero where there is none that it knows.
fn layer2_segment(conversation: &Conversation) -> u64 {
    let segment = conversation.tunnels.iter().rev().find_map(|tunnel| {
        let id = tunnel.id?;
        match tunnel.kind.as_ref() {
            "vxlan" | "vxlan-gpe" => Some(SEGMENT_VXLAN << SEGMENT_KIND_SHIFT | u64::from(id)),
            _ => None,
        }
    });
    segment.unwrap_or_default()
}
