//! Conversations as `flow` events of Suricata's EVE log
//! (<https://docs.suricata.io/en/latest/output/eve/eve-json-format.html>).

use std::io::{self, Write};
use std::net::IpAddr;

use netrewind_flows::conversation::{Conversation, FlowId, TcpRecord, TcpState};
use netrewind_store::Timestamp;
use serde::Serialize;

/// Letters of TCP's flags in a record, from the lowest bit.
const FLAG_LETTERS: &str = "FSRPAUEC";
/// Bits of a hash that every JSON library reads exactly; Suricata's ids have as many.
const FLOW_ID_BITS: u32 = 51;
const MICROSECOND_NS: u64 = 1000;

/// An event. Its members are Suricata's, besides `netrewind`.
#[derive(Serialize)]
struct FlowEvent<'c> {
    timestamp: String,
    flow_id: u64,
    event_type: &'static str,
    #[serde(skip_serializing_if = "slice_is_empty")]
    vlan: &'c [u16],
    src_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    dest_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    proto: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_proto: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<&'c str>,
    flow: FlowMember,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpMember>,
    netrewind: OwnMember,
}

#[derive(Serialize)]
struct FlowMember {
    pkts_toserver: u64,
    pkts_toclient: u64,
    bytes_toserver: u64,
    bytes_toclient: u64,
    start: String,
    end: String,
    age: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    alerted: bool,
}

#[derive(Serialize)]
struct TcpMember {
    tcp_flags: String,
    tcp_flags_ts: String,
    tcp_flags_tc: String,
    syn: bool,
    fin: bool,
    rst: bool,
    psh: bool,
    ack: bool,
    state: &'static str,
}

/// Id of the conversation, as every other answer has it.
#[derive(Serialize)]
struct OwnMember {
    id: FlowId,
}

fn slice_is_empty(slice: &[u16]) -> bool {
    slice.is_empty()
}

/// Writes conversations as events, one a line, and returns the number of those that were left out: an event has addresses, and
/// conversations without IP have none. Fails as the output does.
pub fn write_eve(conversations: &[Conversation], mut output: impl Write) -> io::Result<u64> {
    let mut left_out = 0;
    for conversation in conversations {
        let Some(event) = event(conversation) else {
            left_out += 1;
            continue;
        };
        serde_json::to_writer(&mut output, &event)?;
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(left_out)
}

fn event(conversation: &Conversation) -> Option<FlowEvent<'_>> {
    let Conversation { client, server, labels, icmp, tcp, .. } = conversation;
    let (src_ip, dest_ip) = client.address.zip(server.address)?;
    // What is logged is over by the time of its event; times of less than a microsecond are of the one that holds the packets.
    let end = conversation.last.rounded_up(MICROSECOND_NS);
    let known = labels.as_ref().filter(|labels| !labels.guessed);
    Some(FlowEvent {
        timestamp: time(end),
        flow_id: flow_id(conversation.id),
        event_type: "flow",
        vlan: &conversation.vlans,
        src_ip,
        src_port: client.port,
        dest_ip,
        dest_port: server.port,
        proto: protocol(&conversation.protocol),
        icmp_type: icmp.map(|icmp| icmp.kind),
        icmp_code: icmp.map(|icmp| icmp.code),
        app_proto: known.map(|labels| &*labels.application),
        community_id: conversation.community_id.as_deref(),
        flow: FlowMember {
            pkts_toserver: conversation.client_packets,
            pkts_toclient: conversation.server_packets,
            bytes_toserver: conversation.client_bytes,
            bytes_toclient: conversation.server_bytes,
            start: time(conversation.first),
            end: time(end),
            age: conversation.last.ns_since(conversation.first) / 1_000_000_000,
            state: flow_state(conversation),
            reason: tcp.as_ref().filter(|tcp| tcp.state == TcpState::TimedOut).map(|_| "timeout"),
            alerted: false,
        },
        tcp: tcp.as_ref().map(tcp_member),
        netrewind: OwnMember { id: conversation.id },
    })
}

/// `2026-11-22T09:31:01.628448+0000`.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}+0000", text.get(..26).unwrap_or(&text))
}

fn flow_id(id: FlowId) -> u64 {
    let digest = xxhash_rust::xxh3::xxh3_64(id.to_string().as_bytes());
    digest >> (u64::BITS - FLOW_ID_BITS)
}

/// Suricata's name of a protocol.
fn protocol(name: &str) -> String {
    match name {
        "icmp6" => "IPv6-ICMP".to_owned(),
        name => name.to_ascii_uppercase(),
    }
}

fn flow_state(conversation: &Conversation) -> &'static str {
    let state = conversation.tcp.as_ref().map(|tcp| tcp.state);
    match state {
        Some(TcpState::Finished | TcpState::Reset) => "closed",
        _ if conversation.client_packets > 0 && conversation.server_packets > 0 => "established",
        _ => "new",
    }
}

fn tcp_member(tcp: &TcpRecord) -> TcpMember {
    let (client, server) = (bits(&tcp.client_flags), bits(&tcp.server_flags));
    let both = client | server;
    let has = |letter: char| both & bits(letter.encode_utf8(&mut [0; 4])) != 0;
    TcpMember {
        tcp_flags: format!("{both:02x}"),
        tcp_flags_ts: format!("{client:02x}"),
        tcp_flags_tc: format!("{server:02x}"),
        syn: has('S'),
        fin: has('F'),
        rst: has('R'),
        psh: has('P'),
        ack: has('A'),
        state: match tcp.state {
            TcpState::Finished | TcpState::Reset => "closed",
            TcpState::HalfClosed => "fin_wait1",
            TcpState::Open | TcpState::TimedOut if tcp.server_flags.is_empty() => "syn_sent",
            TcpState::Open | TcpState::TimedOut => "established",
        },
    }
}

/// Flags of letters.
fn bits(letters: &str) -> u8 {
    let bit = |letter| FLAG_LETTERS.find(letter).map_or(0, |number| 1 << number);
    letters.chars().map(bit).fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_bits_and_times_are_of_microseconds() {
        assert_eq!((bits("SA"), bits("FSRPAUEC"), bits("")), (0x12, 0xff, 0));
        let at = Timestamp::new(1_795_339_861, 628_448_290);
        assert_eq!(time(at), "2026-11-22T09:31:01.628448+0000");
        assert_eq!(time(at.rounded_up(MICROSECOND_NS)), "2026-11-22T09:31:01.628449+0000");
        assert_eq!((protocol("icmp6"), protocol("tcp")), ("IPv6-ICMP".to_owned(), "TCP".to_owned()));
    }
}
