//! Payload of TCP and UDP in a line: DNS, TLS, QUIC, HTTP, SSH, DHCP, NTP. Each packet is read by itself: what lies in several
//! is told only where one has the front of it.

use std::fmt::Write;
use std::net::Ipv4Addr;

use netrewind_labels::{
    ConversationPorts, Direction, Dns, LabelStep, Labeller, Labels, Tls, Transport, record_type_name,
    version_name,
};
use netrewind_packet::bytes::{byte_at, u16_at, u32_at};

use super::line::PacketLine;

const DHCP_PORTS: [u16; 2] = [67, 68];
/// Offset of the first option behind the fields of BOOTP, and what stands before it (RFC 2131).
const DHCP_OPTIONS: usize = 240;
const DHCP_COOKIE: u32 = 0x6382_5363;
const DHCP_MESSAGE_TYPE: u8 = 53;
/// Options of DHCP that are walked over.
const DHCP_OPTIONS_MAX: usize = 64;
const NTP_PORT: u16 = 123;
/// Bytes of a TLS record's header.
const RECORD_HEADER_BYTES: usize = 5;
/// TLS records of a packet that are told.
const RECORDS_MAX: usize = 8;
/// The longest line of a request that is looked for.
const REQUEST_LINE_BYTES_MAX: usize = 512;
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PROPFIND ",
];

/// Adds what the payload of a packet shows.
pub(super) fn describe(line: &mut PacketLine, transport: Transport, payload: &[u8]) {
    let (Some(source), Some(destination)) = (line.source_port, line.destination_port) else { return };
    if payload.is_empty() {
        return;
    }
    let ports = [source, destination];
    let is_told = match transport {
        Transport::Tcp => describe_http(line, payload) || describe_tls(line, ports, payload),
        Transport::Udp if ports.iter().all(|port| DHCP_PORTS.contains(port)) => describe_dhcp(line, payload),
        Transport::Udp if ports.contains(&NTP_PORT) => describe_ntp(line, payload),
        Transport::Udp => false,
    };
    if is_told {
        return;
    }
    if let Some(labels) = labels_of(transport, ports, payload) {
        describe_labels(line, &labels, transport, payload);
    }
}

/// Labels of a payload that stands for itself; none of a guess.
fn labels_of(transport: Transport, ports: [u16; 2], payload: &[u8]) -> Option<Box<Labels>> {
    let conversation = ConversationPorts { transport, ports };
    let mut labeller = Labeller::new();
    let labels = match labeller.push(&conversation, Direction::Forward, 0, payload) {
        LabelStep::Done(labels) => labels,
        LabelStep::NeedMore(_) => labeller.finish(&conversation),
    };
    labels.filter(|labels| !labels.is_guess)
}

fn describe_labels(line: &mut PacketLine, labels: &Labels, transport: Transport, payload: &[u8]) {
    line.is_of(&labels.application.to_ascii_uppercase());
    if let Some(dns) = &labels.dns {
        let at = if transport == Transport::Tcp { 2 } else { 0 };
        describe_dns(line, dns, u16_at(payload, at));
    }
    if let Some(version) = labels.quic_version {
        line.say(format_args!("version 0x{version:08x}"));
    }
    labels.tls.iter().for_each(|tls| describe_hello(line, tls));
    if let Some(http) = &labels.http {
        line.say(format_args!("{}", http.method));
        http.host.iter().for_each(|host| line.say(format_args!("{host}")));
    }
    if let Some(banner) = labels.ssh.as_ref().and_then(|ssh| ssh.forward.as_deref()) {
        line.say(format_args!("{banner}"));
    }
}

fn describe_dns(line: &mut PacketLine, dns: &Dns, id: Option<u16>) {
    line.summary.clear();
    line.say(format_args!("{}", if dns.response_code.is_some() { "response" } else { "query" }));
    id.into_iter().for_each(|id| line.say(format_args!("0x{id:04x}")));
    if let Some(question) = &dns.question {
        line.say(format_args!("{} {}", record_type_name(question.record_type), question.name));
    }
    match dns.response_code {
        None | Some(0) => {}
        Some(1) => line.say(format_args!("format error")),
        Some(2) => line.say(format_args!("server failure")),
        Some(3) => line.say(format_args!("no such name")),
        Some(4) => line.say(format_args!("not implemented")),
        Some(5) => line.say(format_args!("refused")),
        Some(code) => line.say(format_args!("error {code}")),
    }
    for answer in &dns.answers {
        line.say(format_args!("{} {}", record_type_name(answer.record_type), answer.value));
    }
}

fn describe_hello(line: &mut PacketLine, tls: &Tls) {
    tls.server_name.iter().for_each(|name| line.say(format_args!("SNI {name}")));
    if !tls.alpn.is_empty() {
        line.say(format_args!("ALPN {}", tls.alpn.join(",")));
    }
    if let Some(version) = tls.version {
        line.say(format_args!("chooses {}", version_name(version)));
    }
}

/// The first line of an HTTP/1 request or response.
fn describe_http(line: &mut PacketLine, payload: &[u8]) -> bool {
    let front = &payload[..payload.len().min(REQUEST_LINE_BYTES_MAX)];
    let is_response = front.starts_with(b"HTTP/1.");
    let first = front.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let is_request = METHODS.iter().any(|method| first.starts_with(method))
        && (first.len() == front.len() || first.windows(8).any(|words| words.starts_with(b" HTTP/1.")));
    if is_response || is_request {
        line.is_of("HTTP");
        line.summary.clear();
        line.quote(first);
    }
    is_response || is_request
}

/// The records of TLS at the front of a segment.
fn describe_tls(line: &mut PacketLine, ports: [u16; 2], payload: &[u8]) -> bool {
    let mut records = String::new();
    let (mut rest, mut count) = (payload, 0);
    let mut has_hello = false;
    while let [kind @ 20..=24, 3, 0..=4, high, low, body @ ..] = rest {
        let bytes = usize::from(u16::from_be_bytes([*high, *low]));
        if count == RECORDS_MAX {
            records.push_str(", ...");
            break;
        }
        count += 1;
        let handshake = body.first().copied().unwrap_or_default();
        has_hello |= *kind == 22 && (handshake == 1 || handshake == 2);
        let separator = if records.is_empty() { "" } else { ", " };
        _ = write!(records, "{separator}{}", record_words(*kind, handshake));
        let Some(next) = rest.get(RECORD_HEADER_BYTES + bytes..) else { break };
        rest = next;
    }
    if count == 0 {
        return false;
    }
    line.is_of("TLS");
    line.say(format_args!("{records}"));
    if has_hello && let Some(labels) = labels_of(Transport::Tcp, ports, payload) {
        labels.tls.iter().for_each(|tls| describe_hello(line, tls));
    }
    true
}

/// The name of a record by its type, and by that of its first handshake message (RFC 8446).
fn record_words(kind: u8, handshake: u8) -> &'static str {
    match (kind, handshake) {
        (20, _) => "Change Cipher Spec",
        (21, _) => "Alert",
        (22, 1) => "Client Hello",
        (22, 2) => "Server Hello",
        (22, 4) => "New Session Ticket",
        (22, 11) => "Certificate",
        (22, 12) => "Server Key Exchange",
        (22, 14) => "Server Hello Done",
        (22, 16) => "Client Key Exchange",
        (22, _) => "Handshake",
        (23, _) => "Application Data",
        _ => "Heartbeat",
    }
}

/// A message of DHCP: its type, and the address it is about (RFC 2131, RFC 2132).
fn describe_dhcp(line: &mut PacketLine, message: &[u8]) -> bool {
    if u32_at(message, DHCP_OPTIONS - 4) != Some(DHCP_COOKIE) {
        return false;
    }
    line.is_of("DHCP");
    let mut options = message.get(DHCP_OPTIONS..).unwrap_or_default();
    for _ in 0..DHCP_OPTIONS_MAX {
        options = match *options {
            [0, ref rest @ ..] => rest,
            [DHCP_MESSAGE_TYPE, 1, kind, ..] => {
                line.say(format_args!("{}", dhcp_words(kind)));
                break;
            }
            [code, length, ref rest @ ..] if code != u8::MAX => {
                rest.get(usize::from(length)..).unwrap_or_default()
            }
            _ => break,
        };
    }
    let given = u32_at(message, 16).filter(|&address| address != 0);
    given.into_iter().for_each(|address| line.say(format_args!("{}", Ipv4Addr::from_bits(address))));
    true
}

fn dhcp_words(kind: u8) -> &'static str {
    match kind {
        1 => "discover",
        2 => "offer",
        3 => "request",
        4 => "decline",
        5 => "ack",
        6 => "nak",
        7 => "release",
        8 => "inform",
        _ => "message",
    }
}

/// Version and mode of NTP (RFC 5905).
fn describe_ntp(line: &mut PacketLine, message: &[u8]) -> bool {
    let Some(first) = byte_at(message, 0) else { return false };
    let mode = match first & 7 {
        1 | 2 => "symmetric",
        3 => "client",
        4 => "server",
        5 => "broadcast",
        _ => "control",
    };
    line.is_of("NTP");
    line.say(format_args!("version {} {mode}", first >> 3 & 7));
    true
}
