//! The packets that the documents ask for: hosts, names and times that occur in them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::packets::{Packet, tcp};
use crate::support::wrapping::in_vxlan;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;
const RST: u8 = 0x04;

/// What documents look for and find.
pub const TALKERS: [&str; 4] =
    ["host 192.0.2.1", "host 10.1.2.3", "host 10.0.0.5", "sni:example.com AND bytes:>100'"];

/// 2026-11-22 08:20 UTC: the documents' example is ten minutes later.
const EXAMPLE_START: u32 = 1_795_335_600;
const EXAMPLE_SECONDS: u32 = 4800;
/// The last hours, and some minutes to come for a test that takes its time.
const RECENT_SECONDS: u32 = 9000;
const TO_COME_SECONDS: u32 = 300;
const EVERY_SECONDS: usize = 10;

/// A TLS ClientHello that asks for this server.
fn client_hello(server_name: &str) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
    let name = server_name.as_bytes();
    let server_names = [&length(name.len() + 3)[..], &[0], &length(name.len()), name].concat();
    let extensions = [&[0, 0][..], &length(server_names.len()), &server_names].concat();
    let fixed = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0x01, 1, 0]].concat();
    let body = [&fixed[..], &length(extensions.len()), &extensions].concat();
    let handshake = [&[1, 0][..], &length(body.len()), &body].concat();
    [&[22, 3, 1][..], &length(handshake.len()), &handshake].concat()
}

/// A short conversation of TLS, and its first packet again from inside a tunnel.
fn conversation(seconds: u32) -> Vec<Packet> {
    let client = ([10, 1, 2, 3], 1024 + (seconds % 60_000) as u16);
    let server = ([192, 0, 2, 1], 443);
    let (there, back) = ([client, server], [server, client]);
    let hello = client_hello("example.com");
    let at = |milliseconds: u32| (seconds, milliseconds * 1_000_000);
    let behind = 1 + u32::try_from(hello.len()).expect("short");
    let mut packets = vec![
        tcp(at(0), there, (0, 0), SYN, &[]),
        tcp(at(1), back, (0, 1), SYN | ACK, &[]),
        tcp(at(2), there, (1, 1), ACK, &[]),
        tcp(at(3), there, (1, 1), PSH_ACK, &hello),
        tcp(at(4), back, (1, behind), PSH_ACK, &[23; 600]),
        tcp(at(5), there, (behind, 601), RST | ACK, &[]),
    ];
    let inner = tcp(at(6), [([10, 0, 0, 5], client.1), server], (0, 0), SYN, &[]);
    let bytes = in_vxlan(42, &inner.bytes);
    packets.push(Packet { len: u32::try_from(bytes.len()).expect("short"), bytes, ..inner });
    packets
}

fn between(from: u32, to: u32) -> Vec<Packet> {
    (from..to).step_by(EVERY_SECONDS).flat_map(conversation).collect()
}

/// Packets of the documents' example, and of the last hours.
pub fn packets() -> Vec<Packet> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = u32::try_from(now).expect("before 2106");
    let mut packets = between(EXAMPLE_START, EXAMPLE_START + EXAMPLE_SECONDS);
    packets.extend(between(now - RECENT_SECONDS, now + TO_COME_SECONDS));
    packets
}

/// Some packets for a capture file of their own.
pub fn few_packets() -> Vec<Packet> {
    between(EXAMPLE_START, EXAMPLE_START + 60)
}
