//! Record of a conversation, as reported.

use std::fmt;
use std::net::IpAddr;

use netrewind_packet::protocol;
use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encapsulation::Encapsulations;
use crate::key::FlowKey;
use crate::labels::FlowLabels;
use crate::part::{DirectionCounters, FlowCounters, REPLIES, REQUESTS, tcp};
use crate::template_facts::FlowKeyKind;
use crate::tunnel_record::TunnelRecord;

/// A conversation: all packets between two ends. Ends have no address if the packets have no IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Conversation {
    /// Finds it again.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub id: FlowId,
    /// Its earliest packet of the answer.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub first: Timestamp,
    /// Its latest.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub last: Timestamp,
    /// `tcp`, `udp`, `icmp`..., or the number of the IP protocol; without IP `arp`..., or the EtherType as `0x88cc`.
    pub protocol: String,
    /// End that began it: the sender of a SYN without ACK or of an ICMP request; if flags do not tell, the end with the greater
    /// port; else the first sender.
    pub client: FlowEnd,
    /// The other.
    pub server: FlowEnd,
    /// Packets that the client has sent.
    pub client_packets: u64,
    /// Their bytes on the wire, tunnels included.
    pub client_bytes: u64,
    /// Packets that the server has sent.
    pub server_packets: u64,
    /// Their bytes on the wire.
    pub server_bytes: u64,
    /// TCP properties.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub tcp: Option<TcpRecord>,
    /// ICMP type and code, for ICMP and ICMPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub icmp: Option<Icmp>,
    /// True if some packets are IP fragments; for conversations without ports all are later ones.
    pub fragments: bool,
    /// VLAN ids of any of its packets, ascending; the first 16.
    pub vlans: Vec<u16>,
    /// Tunnels of the client's packets (the server's if the client has sent none), outermost first.
    pub tunnels: Vec<TunnelRecord>,
    /// Tunnels of the server's packets, if they differ from the client's in reverse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_tunnels: Vec<TunnelRecord>,
    /// Application and labels; absent if neither the first bytes nor the ports identify it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<FlowLabels>,
    /// Its Community ID, version 1 with seed 0, as Zeek, Suricata and Wireshark have it; absent without IP addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community_id: Option<String>,
    /// Segments that hold packets of it.
    pub segments: u32,
}

impl Conversation {
    /// Packets both ways.
    pub fn packets(&self) -> u64 {
        self.client_packets.saturating_add(self.server_packets)
    }

    /// Bytes both ways.
    pub fn bytes(&self) -> u64 {
        self.client_bytes.saturating_add(self.server_bytes)
    }
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowEnd {
    /// Absent if there is no IP header.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// Absent if there are no ports.
    pub port: Option<u16>,
}

/// TCP properties of a conversation. Round-trip time, retransmissions and out-of-order segments are counted over whole segments
/// of the store, including packets that the filter or the range leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TcpRecord {
    /// TCP flags that the client has sent, as letters of `FSRPAUEC`.
    pub client_flags: String,
    /// TCP flags that the server has sent.
    pub server_flags: String,
    /// State at the end of the range.
    pub state: TcpState,
    /// Time from the client's SYN over the server's to the client's first ACK, in nanoseconds; absent if the store does not
    /// hold the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    /// TCP segments that the client retransmitted.
    pub client_retransmissions: u64,
    /// TCP segments that the server retransmitted.
    pub server_retransmissions: u64,
    /// TCP segments of the client that arrived out of order.
    pub client_out_of_order: u64,
    /// TCP segments of the server that arrived out of order.
    pub server_out_of_order: u64,
}

/// State of a TCP connection, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TcpState {
    /// It has not ended, and was not idle for long when the range ended.
    Open,
    /// One end has sent a FIN, and it was not idle for long when the range ended.
    HalfClosed,
    /// Both ends have sent a FIN.
    Finished,
    /// One end has sent a RST.
    Reset,
    /// It fell silent without an end, for five minutes.
    TimedOut,
}

impl TcpState {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfClosed => "half_closed",
            Self::Finished => "finished",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
        }
    }
}

/// ICMP type and code of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Icmp {
    /// Their type; the request's, if there are replies.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Their code.
    pub code: u8,
}

/// Finds a conversation again: its first instant and a hash of its key. As text 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// Its earliest packet.
    pub first: Timestamp,
    /// Hash of its key, see [`FlowKey::stable_hash`].
    pub key_hash: u64,
}

/// A text is no id of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a flow: ids are 32 hexadecimal digits, as in the list of flows")]
pub struct NotAFlowId(String);

const FLOW_ID_DIGITS: usize = 32;

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.first.ns(), self.key_hash)
    }
}

impl std::str::FromStr for FlowId {
    type Err = NotAFlowId;
    fn from_str(text: &str) -> Result<Self, NotAFlowId> {
        let is_hex = text.len() == FLOW_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        let number = number.ok_or_else(|| NotAFlowId(text.to_owned()))?;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a number")]
        Ok(Self { first: Timestamp((number >> 64) as u64), key_hash: number as u64 })
    }
}

netrewind_store::serde_as_text!(FlowId);

/// End of an answer's range: conversations idle for long by then have timed out.
#[derive(Clone, Copy, Debug)]
pub struct RangeEnd(u64);

impl RangeEnd {
    /// End at which nothing has timed out.
    pub const NEVER: Self = Self(0);

    /// Range that ends then; without an end nothing has timed out.
    pub fn at(end: Option<Timestamp>) -> Self {
        Self(end.unwrap_or(Timestamp::MIN).ns())
    }
}

/// The id of a conversation.
pub fn id_of(key: &FlowKey, body: &FlowCounters, encapsulations: &Encapsulations) -> FlowId {
    FlowId { first: Timestamp(body.first()), key_hash: key.stable_hash(encapsulations) }
}

/// Writes a conversation down.
pub fn describe(
    key: &FlowKey,
    body: &FlowCounters,
    encapsulations: &Encapsulations,
    ending: RangeEnd,
) -> Conversation {
    let client = client_of(key, body);
    let server = 1 - client;
    let end = |end: usize| FlowEnd { address: key.address(end), port: key.port(end) };
    let (sent, answered) = (&body.sides[client], &body.sides[server]);
    let mut tunnels = encapsulations.tunnels(sent.stack);
    let mut server_tunnels = encapsulations.tunnels(answered.stack);
    if sent.packets == 0 {
        tunnels = std::mem::take(&mut server_tunnels);
    }
    if server_tunnels == tunnels
        || server_tunnels.iter().map(TunnelRecord::reversed).eq(tunnels.iter().cloned())
    {
        server_tunnels.clear();
    }
    Conversation {
        id: id_of(key, body, encapsulations),
        first: Timestamp(body.first()),
        last: Timestamp(body.last()),
        protocol: protocol_name(key),
        client: end(client),
        server: end(server),
        client_packets: sent.packets,
        client_bytes: sent.bytes,
        server_packets: answered.packets,
        server_bytes: answered.bytes,
        tcp: key.is_tcp().then(|| TcpRecord {
            client_flags: letters(sent),
            server_flags: letters(answered),
            state: state_of(key, body, ending),
            rtt_ns: body.round_trip_ns,
            client_retransmissions: sent.retransmissions,
            server_retransmissions: answered.retransmissions,
            client_out_of_order: sent.out_of_order,
            server_out_of_order: answered.out_of_order,
        }),
        icmp: (key.kind == FlowKeyKind::Icmp).then(|| {
            let [kind, code] = key.detail.to_be_bytes();
            Icmp { kind, code }
        }),
        fragments: body.has_fragments || key.kind == FlowKeyKind::Fragment,
        vlans: encapsulations.vlans(body.vlans),
        tunnels,
        server_tunnels,
        labels: FlowLabels::of(key, body, key.port(server)),
        community_id: community_id_of(key, client),
        segments: body.segments,
    }
}

fn community_id_of(key: &FlowKey, client: usize) -> Option<String> {
    let (from, to) = (key.address(client)?, key.address(1 - client)?);
    let ports = match key.kind {
        FlowKeyKind::Icmp => {
            let [kind, code] = key.detail.to_be_bytes();
            Some((kind.into(), code.into()))
        }
        _ => key.port(client).zip(key.port(1 - client)),
    };
    Some(netrewind_labels::community_id(0, key.protocol, from, to, ports).to_string())
}

/// End of the key that is the client.
pub fn client_of(key: &FlowKey, body: &FlowCounters) -> usize {
    let told = |is_client: fn(&DirectionCounters) -> bool| match body.sides.each_ref().map(is_client) {
        [true, false] => Some(0),
        [false, true] => Some(1),
        _ => None,
    };
    let by_role = match key.kind {
        FlowKeyKind::Ports if key.is_tcp() => {
            told(DirectionCounters::opens_tcp).or_else(|| Some(1 - told(DirectionCounters::answers_tcp)?))
        }
        FlowKeyKind::Icmp => told(|side| side.flags_any & REQUESTS != 0)
            .or_else(|| Some(1 - told(|side| side.flags_any & REPLIES != 0)?)),
        _ => None,
    };
    by_role.unwrap_or_else(|| match key.port(0).cmp(&key.port(1)) {
        std::cmp::Ordering::Greater => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Equal => usize::from(body.sides[1].first < body.sides[0].first),
    })
}

fn state_of(key: &FlowKey, body: &FlowCounters, ending: RangeEnd) -> TcpState {
    let is_silent = body.last().saturating_add(key.idle_ns(false)) < ending.0;
    match body.finished_ends() {
        _ if body.is_reset() => TcpState::Reset,
        2 => TcpState::Finished,
        _ if is_silent => TcpState::TimedOut,
        1 => TcpState::HalfClosed,
        _ => TcpState::Open,
    }
}

fn letters(side: &DirectionCounters) -> String {
    let set = |bit: &usize| side.flags_any >> bit & 1 == 1;
    (0..tcp::LETTERS.len()).filter(set).map(|bit| tcp::LETTERS[bit]).collect()
}

/// Name of a key's protocol.
pub fn protocol_name(key: &FlowKey) -> String {
    if key.kind == FlowKeyKind::Other {
        return match key.detail {
            0 => "unknown".to_owned(),
            0x0800 => "ip".to_owned(),
            0x0806 => "arp".to_owned(),
            0x8035 => "rarp".to_owned(),
            0x86dd => "ip6".to_owned(),
            0x8809 => "slow".to_owned(),
            0x888e => "eapol".to_owned(),
            0x88cc => "lldp".to_owned(),
            0x88f7 => "ptp".to_owned(),
            other => format!("{other:#06x}"),
        };
    }
    ip_protocol_name(key.protocol).map_or_else(|| key.protocol.to_string(), str::to_owned)
}

/// Number of an IP protocol by its name in records; zero if there is none.
pub fn protocol_number(name: &str) -> u8 {
    let named = (0..=u8::MAX).find(|&number| ip_protocol_name(number) == Some(name));
    named.or_else(|| name.parse().ok()).unwrap_or(0)
}

/// The name of an IP protocol (IANA), of those that are met.
pub fn ip_protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        protocol::ICMP => "icmp",
        2 => "igmp",
        4 => "ipip",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::DCCP => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        protocol::AUTHENTICATION => "ah",
        protocol::ICMPV6 => "icmp6",
        88 => "eigrp",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        protocol::SCTP => "sctp",
        protocol::UDP_LITE => "udplite",
        _ => return None,
    })
}
