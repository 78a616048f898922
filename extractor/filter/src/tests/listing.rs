//! Long lists held against libpcap's own program for the same expression.

use std::net::Ipv4Addr;

use netrewind_store::LinkType;

use super::corpus;
use super::random::Random;
use crate::lists::compile_lists;
use crate::target::CompileTarget;
use crate::target::Optimize;
use crate::{AbstractPacket, CompileLimits, Program, Verdict};

/// Contexts of a list, which replaces `@`; there may be several.
const AROUND: [&str; 16] = [
    "@",
    "not (@)",
    "(@) and tcp",
    "@ and port 80",
    "udp or @",
    "tcp and (@)",
    "vlan and (@)",
    "vlan 5 and (@) and not port 22",
    "(@) and not (@)",
    "mpls and (@)",
    "pppoes and (@)",
    "(@) or vlan and (@)",
    "(@) and (src host 10.0.0.1 or dst net 10.0.0.0/8)",
    "ip[8] > 60 and (@)",
    "host (@)",
    "port 80 or @ or 10.9.8.7",
];

fn list(random: &mut Random, packets: &[corpus::Packet], is_inside_host: bool) -> String {
    let members = 16 + random.below(6);
    let words: Vec<&str> = match random.below(6) {
        _ if is_inside_host => vec![""],
        0 => vec!["host"],
        1 => vec!["src host", "dst host"],
        2 => vec!["ip host", "arp host", "host", ""],
        3 => vec!["net"],
        4 => vec!["src net", "", "host"],
        _ => vec!["port", "tcp dst port", "src port"],
    };
    let mut before = "host";
    let members: Vec<String> = (0..members)
        .map(|nth| {
            let bytes = &random.pick(packets).bytes;
            let at =
                if random.one_in(3) { random.below(60) } else { *random.pick(&[26, 30, 30, 34, 28, 38]) };
            let value = bytes
                .get(at..at + 4)
                .and_then(|bytes| bytes.first_chunk())
                .map_or(7, |b| u32::from_be_bytes(*b));
            let word = if nth == 0 { words[0] } else { *random.pick(&words) };
            before = if word.is_empty() { before } else { word };
            let bits = *random.pick(&[8, 16, 24, 24, 31, 32]);
            let listed = match before {
                port if port.ends_with("port") => (value >> 16).to_string(),
                net if net.ends_with("net") => {
                    format!(
                        "{}/{bits}",
                        Ipv4Addr::from_bits(value & !(u32::MAX.checked_shr(bits).unwrap_or(0)))
                    )
                }
                _ => Ipv4Addr::from_bits(value).to_string(),
            };
            format!("{word} {listed}")
        })
        .collect();
    members.join(if random.one_in(2) { " or " } else { " || " })
}

fn exactly(packet: &corpus::Packet) -> AbstractPacket {
    let mut known = AbstractPacket::new();
    known.describe_exactly(0, &packet.bytes);
    known.set_wire_len(packet.wire_len..=packet.wire_len);
    let caplen = packet.bytes.len() as u32;
    known.set_captured_len(caplen..=caplen);
    known
}

#[test]
fn a_list_accepts_what_libpcap_accepts() {
    let mut random = Random::new("lists");
    let mut packets = corpus::ethernet();
    packets.truncate(600);
    packets.iter_mut().for_each(|packet| packet.bytes.resize(2000, 0));
    let (mut compared, mut accepted, mut left_to_libpcap) = (0, 0, 0);
    for round in 0..160 {
        let around = AROUND[round % AROUND.len()];
        let parts: Vec<&str> = around.split('@').collect();
        let mut expression = parts[0].to_owned();
        for part in &parts[1..] {
            expression += &list(&mut random, &packets, around == "host (@)");
            expression += part;
        }
        let ours = compile_lists(&expression, LinkType::ETHERNET);
        let theirs = CompileTarget::File(LinkType::ETHERNET).compile(&expression, Optimize::Yes);
        let (Some(ours), Ok(theirs)) = (ours, &theirs) else {
            // With one of each list the optimizer may see that nothing is accepted: then it has to look at all of them.
            left_to_libpcap += u32::from(theirs.is_ok());
            continue;
        };
        let theirs = Program::decode(LinkType::ETHERNET, theirs).unwrap();
        for packet in &packets {
            let verdicts = [&ours, &theirs].map(|program| program.accepts(&packet.bytes, packet.wire_len));
            assert_eq!(verdicts[0], verdicts[1], "`{expression}` on {:02x?}", &packet.bytes[..80]);
            compared += 1;
            accepted += u32::from(verdicts[0]);
            if compared % 16 == 0 {
                let judged = ours.evaluate(&exactly(packet));
                let is_contradicted = if verdicts[0] { Verdict::Never } else { Verdict::Always };
                assert_ne!(judged, is_contradicted, "`{expression}`");
            }
        }
    }
    assert!(left_to_libpcap < 20, "{left_to_libpcap} expressions");
    assert!(compared > 500 && accepted > 50, "{accepted} of {compared}");
}

#[test]
fn thousands_of_hosts_take_no_worker() {
    let address = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n * 77);
    let hosts: Vec<String> = (0..16_000).map(|n| address(n).to_string()).collect();
    let expression = format!("tcp and not (host {})", hosts.join(" or "));
    let program = crate::compile(&expression, LinkType::ETHERNET, &CompileLimits::default()).unwrap();
    for (n, is_listed) in [(0, true), (15_999, true), (8_000, true), (16_000, false)] {
        let frame = corpus::ipv4(6, address(n).octets(), [192, 0, 2, 1], 5, 80);
        assert_eq!(program.accepts(&frame, frame.len() as u32), !is_listed, "{n}");
    }
    let mut anything = AbstractPacket::new();
    let begun = std::time::Instant::now();
    program.evaluate(&anything);
    anything.describe_exactly(12, &[8, 0, 0x45]);
    program.evaluate(&anything);
    program.terms(&anything);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}
