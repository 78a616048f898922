//! Conversations as a `conn.log` of Zeek, tab-separated with its head
//! (<https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html>).

use std::io::{self, Write};
use std::net::IpAddr;

use netrewind_flows::conversation::{Conversation, TcpRecord, protocol_number};
use netrewind_store::Timestamp;

/// Columns and their types. Zeek's, besides the two of bytes on the wire: its own are of payload and of IP packets, which no
/// record has.
const COLUMNS: [(&str, &str); 25] = [
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
    ("ip_proto", "count"),
    ("community_id", "string"),
    ("orig_wire_bytes", "count"),
    ("resp_wire_bytes", "count"),
];
const UNSET: &str = "-";
const MICROSECOND_NS: u64 = 1000;
const MICROSECONDS: u64 = 1_000_000;

/// Writes conversations as a log, and returns the number of those that were left out: a line has addresses, and conversations
/// without IP have none. Fails as the output does.
pub fn write_zeek(conversations: &[Conversation], mut output: impl Write) -> io::Result<u64> {
    let (names, types): (Vec<_>, Vec<_>) = COLUMNS.into_iter().unzip();
    write!(output, "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t{UNSET}\n")?;
    writeln!(output, "#path\tconn")?;
    if let Some(first) = conversations.iter().map(|conversation| conversation.first).min() {
        writeln!(output, "#open\t{}", stamp(first))?;
    }
    writeln!(output, "#fields\t{}\n#types\t{}", names.join("\t"), types.join("\t"))?;
    let mut left_out = 0;
    for conversation in conversations {
        match conversation.client.address.zip(conversation.server.address) {
            Some(ends) => writeln!(output, "{}", line(conversation, ends).join("\t"))?,
            None => left_out += 1,
        }
    }
    if let Some(last) = conversations.iter().map(|conversation| conversation.last).max() {
        writeln!(output, "#close\t{}", stamp(last))?;
    }
    output.flush()?;
    Ok(left_out)
}

fn line(conversation: &Conversation, (originator, responder): (IpAddr, IpAddr)) -> [String; COLUMNS.len()] {
    let Conversation { client, server, icmp, .. } = conversation;
    // The ports of ICMP are its type and code.
    let port = |port: Option<u16>, of_icmp: Option<u8>| port.or(of_icmp.map(u16::from)).unwrap_or(0);
    let unset = || UNSET.to_owned();
    let first_us = conversation.first.ns() / MICROSECOND_NS;
    let last_us = conversation.last.ns().div_ceil(MICROSECOND_NS);
    [
        seconds(first_us),
        format!("C{}", conversation.id),
        originator.to_string(),
        port(client.port, icmp.map(|icmp| icmp.kind)).to_string(),
        responder.to_string(),
        port(server.port, icmp.map(|icmp| icmp.code)).to_string(),
        protocol(&conversation.protocol).to_owned(),
        service(conversation).to_owned(),
        seconds(last_us.saturating_sub(first_us)),
        unset(),
        unset(),
        state(conversation).to_owned(),
        unset(),
        unset(),
        unset(),
        unset(),
        conversation.client_packets.to_string(),
        unset(),
        conversation.server_packets.to_string(),
        unset(),
        unset(),
        protocol_number(&conversation.protocol).to_string(),
        conversation.community_id.clone().unwrap_or_else(unset),
        conversation.client_bytes.to_string(),
        conversation.server_bytes.to_string(),
    ]
}

/// `1795339861.628448`.
fn seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / MICROSECONDS, microseconds % MICROSECONDS)
}

/// `2026-11-22-09-31-01`.
fn stamp(at: Timestamp) -> String {
    at.to_string().get(..19).unwrap_or_default().replace(['T', ':'], "-")
}

fn protocol(name: &str) -> &str {
    match name {
        "tcp" | "udp" | "icmp" => name,
        // Zeek calls both of them icmp.
        "icmp6" => "icmp",
        _ => "unknown_transport",
    }
}

/// Zeek's name of what the first bytes show; it does not go by the port.
fn service(conversation: &Conversation) -> &str {
    match conversation.labels.as_ref().filter(|labels| !labels.guessed) {
        None => UNSET,
        Some(labels) if labels.application == "tls" => "ssl",
        Some(labels) => &labels.application,
    }
}

/// The state of a connection, as far as its flags and directions tell.
fn state(conversation: &Conversation) -> &'static str {
    let (has_client, has_server) = (conversation.client_packets > 0, conversation.server_packets > 0);
    match (&conversation.tcp, conversation.icmp) {
        (Some(tcp), _) => tcp_state(tcp, has_server),
        (None, Some(_)) => "OTH",
        (None, None) => match (has_client, has_server) {
            (true, true) => "SF",
            (true, false) => "S0",
            (false, _) => "SHR",
        },
    }
}

fn tcp_state(tcp: &TcpRecord, has_server: bool) -> &'static str {
    let (client, server) =
        (|flag: char| tcp.client_flags.contains(flag), |flag: char| tcp.server_flags.contains(flag));
    match (client('S'), server('S')) {
        // What follows both ends' FINs ends nothing.
        (true, true) if client('F') && server('F') => "SF",
        (true, true) if client('R') => "RSTO",
        (true, true) if server('R') => "RSTR",
        (true, true) if client('F') => "S2",
        (true, true) if server('F') => "S3",
        (true, true) => "S1",
        (true, false) if server('R') => "REJ",
        (true, false) if has_server => "OTH",
        (true, false) if client('R') => "RSTOS0",
        (true, false) if client('F') => "SH",
        (true, false) => "S0",
        (false, true) if server('R') => "RSTRH",
        (false, true) if server('F') => "SHR",
        (false, _) => "OTH",
    }
}

#[cfg(test)]
mod tests {
    use netrewind_flows::conversation::TcpState;

    use super::*;

    #[test]
    fn states_are_those_of_zeek() {
        let told = |client: &str, server: &str, state| {
            let record = TcpRecord {
                client_flags: client.to_owned(),
                server_flags: server.to_owned(),
                state,
                rtt_ns: None,
                client_retransmissions: 0,
                server_retransmissions: 0,
                client_out_of_order: 0,
                server_out_of_order: 0,
            };
            tcp_state(&record, !server.is_empty())
        };
        for (client, server, state, expected) in [
            ("S", "", TcpState::TimedOut, "S0"),
            ("SA", "SA", TcpState::Open, "S1"),
            ("SAF", "SAF", TcpState::Finished, "SF"),
            ("SAF", "SAFR", TcpState::Reset, "SF"),
            ("S", "RA", TcpState::Reset, "REJ"),
            ("SAF", "SA", TcpState::HalfClosed, "S2"),
            ("SA", "SAF", TcpState::HalfClosed, "S3"),
            ("SAR", "SA", TcpState::Reset, "RSTO"),
            ("SA", "SAR", TcpState::Reset, "RSTR"),
            ("SR", "", TcpState::Reset, "RSTOS0"),
            ("SF", "", TcpState::HalfClosed, "SH"),
            ("A", "SAR", TcpState::Reset, "RSTRH"),
            ("A", "SAF", TcpState::HalfClosed, "SHR"),
            ("A", "A", TcpState::Open, "OTH"),
        ] {
            assert_eq!(told(client, server, state), expected, "{client} {server}");
        }
        assert_eq!(seconds(1_795_339_861_628_448), "1795339861.628448");
        assert_eq!(stamp(Timestamp::new(1_795_339_861, 1)), "2026-11-22-09-31-01");
    }
}
