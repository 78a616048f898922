//! Our interpreter against libpcap's.

use netrewind_store::LinkType;
use proptest::prelude::*;

use super::corpus::{self, Packet};
use super::expressions::{self, Filter};
use super::random::Random;
use crate::sys::oracle::Oracle;
use crate::{LOCKSTEP_PACKETS, LOCKSTEP_SLACK_BYTES, PaddedPacket, Program, RawInstruction};

/// Random expressions, each tried on some packets of its link type.
const EXPRESSIONS: usize = 3000;
const PACKETS_EACH: usize = 40;

fn compare(filter: &Filter, packet: &Packet) {
    let expected = filter.oracle.accepts(&packet.bytes, packet.wire_len);
    let found = filter.program.accepts(&packet.bytes, packet.wire_len);
    assert_eq!(found, expected, "`{}` on {packet:02x?}", filter.expression);
    if let Some(together) = together(&filter.program, &packet.bytes) {
        assert_eq!(together, expected, "in lockstep: `{}` on {packet:02x?}", filter.expression);
    }
}

/// The verdict on a packet among others, which are the same packet cut, if the program can be put to several at once.
fn together(program: &Program, packet: &[u8]) -> Option<bool> {
    let padded: Vec<u8> = packet.iter().copied().chain([0xff; LOCKSTEP_SLACK_BYTES]).collect();
    let captured = |lane: usize| packet.len() as u32 * lane as u32 / (LOCKSTEP_PACKETS as u32 - 1);
    let packets = std::array::from_fn(|lane| PaddedPacket::of(&padded, captured(lane)).unwrap());
    let accepted = program.lockstep()?.accepted(&packets);
    for lane in 0..LOCKSTEP_PACKETS {
        let cut = &packet[..captured(lane) as usize];
        assert_eq!(accepted >> lane & 1 == 1, program.accepts(cut, packet.len() as u32), "{cut:02x?}");
    }
    Some(accepted >> (LOCKSTEP_PACKETS - 1) & 1 == 1)
}

#[test]
fn usual_filters_are_put_to_several_packets_at_once() {
    let has_form = |expression| {
        expressions::filter(expression, LinkType::ETHERNET).unwrap().program.lockstep().is_some()
    };
    for expression in [
        "ip",
        "host 10.0.0.1",
        "not port 443",
        "tcp[100] = 0x41",
        "net 10.0.0.0/9 and tcp dst portrange 100-2000",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and ip[8] > 3",
        "vlan 5 and udp",
        "host 10.0.0.1 or host 10.0.0.2 or host 10.0.0.3 or host 10.0.0.4",
    ] {
        assert!(has_form(expression), "{expression}");
    }
    for expression in ["greater 100", "ip[0] + ip[1] = 7", "ip6 protochain 6"] {
        assert!(!has_form(expression), "{expression}");
    }
    assert!(PaddedPacket::of(&[0; 9], 6).is_none() && PaddedPacket::of(&[0; 10], 6).is_some());
}

#[test]
fn the_filters_of_libpcaps_tests_give_libpcaps_verdict_on_every_packet() {
    let packets = corpus::ethernet();
    let mut verdicts = 0;
    for expression in expressions::listed() {
        let Some(filter) = expressions::filter(&expression, LinkType::ETHERNET) else { continue };
        packets.iter().for_each(|packet| compare(&filter, packet));
        verdicts += packets.len();
    }
    println!("{verdicts} verdicts");
}

#[test]
fn random_filters_give_libpcaps_verdict_on_packets_of_every_link_type() {
    let mut random = Random::new("random filters");
    let packets = corpus::packets();
    let (mut compiled, mut verdicts, mut accepted) = (0, 0, 0);
    for _ in 0..EXPRESSIONS {
        let about = random.pick(&packets).clone();
        let expression = expressions::random(&mut random, &about.bytes);
        let Some(filter) = expressions::filter(&expression, about.link_type) else { continue };
        if filter.reads_unwritten_memory() {
            continue;
        }
        compiled += 1;
        let others: Vec<_> = packets.iter().filter(|packet| packet.link_type == about.link_type).collect();
        for _ in 0..PACKETS_EACH {
            let mut packet = (*random.pick(&others)).clone();
            if random.one_in(4) {
                packet.bytes.truncate(random.below(packet.bytes.len() + 1));
            }
            compare(&filter, &packet);
            verdicts += 1;
            accepted += usize::from(filter.program.accepts(&packet.bytes, packet.wire_len));
        }
        compare(&filter, &about);
    }
    println!("{compiled} filters of {EXPRESSIONS}, {verdicts} verdicts, {accepted} accepted");
    assert!(compiled > EXPRESSIONS / 4);
}

#[test]
fn a_length_is_the_length_on_the_wire() {
    let filter = expressions::filter("greater 1000", LinkType::ETHERNET).unwrap();
    assert!(filter.program.accepts(&[0; 60], 1500));
    assert!(!filter.program.accepts(&[0; 60], 60));
}

#[test]
fn a_chain_of_headers_as_long_as_a_packet_can_be_ends_with_libpcaps_verdict() {
    let filter = expressions::filter("ip6 protochain 6", LinkType::ETHERNET).unwrap();
    for length in [200, 5000, 262_144] {
        // Hop-by-hop options of 8 bytes, each followed by the next.
        let mut packet = corpus::ipv6(0, 1, 2, 0, 0);
        packet.resize(length, 0);
        packet[54..].fill(0);
        assert!(!filter.program.accepts(&packet, length as u32));
        assert!(!filter.oracle.accepts(&packet, length as u32));
        let last = 54 + (length - 54 - 16) / 8 * 8;
        packet[last] = 6;
        assert!(filter.oracle.accepts(&packet, length as u32));
        assert!(filter.program.accepts(&packet, length as u32), "{length}");
    }
}

#[test]
fn a_program_that_never_ends_rejects() {
    let raw = |code, k| RawInstruction { code, jt: 0, jf: 0, k };
    let program = Program::decode(LinkType::ETHERNET, &[raw(0x05, u32::MAX), raw(0x06, 1)]).unwrap();
    assert!(!program.accepts(&[], 0));
}

prop_compose! {
    /// Operations of the machine, jumps mostly short, constants mostly small.
    fn instruction()(
        code in prop::sample::select(&[
            0x00_u16, 0x01, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c,
            0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07,
            0x87, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x80, 0x81, 0xb1,
        ][..]),
        jt in 0_u8..5,
        jf in 0_u8..5,
        k in prop_oneof![8 => 0_u32..24, 2 => any::<u32>(), 1 => Just(u32::MAX), 1 => Just(u32::MAX - 3)],
    ) -> RawInstruction {
        // Old interpreters of libpcap do not bound loops and leave shifts by 32 and more to the processor; its compiler
        // emits neither for such reasons.
        let k = match code {
            0x05 => k % 5,
            0x02 | 0x03 | 0x60 | 0x61 => k % 16,
            0x34 | 0x94 => k.max(1),
            0x64 | 0x74 => k % 32,
            _ => k,
        };
        RawInstruction { code, jt, jf, k }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_programs_give_libpcaps_verdict(
        random in prop::collection::vec(instruction(), 1..24),
        packet in prop::collection::vec(any::<u8>(), 0..40),
        longer in 0_u32..2000,
    ) {
        // Old interpreters of libpcap begin with whatever is in the scratch memory; its compiler always stores first.
        let store = |k| RawInstruction { code: 0x02, jt: 0, jf: 0, k };
        let end = RawInstruction { code: 0x16, jt: 0, jf: 0, k: 0 };
        let raw: Vec<_> = (0..16).map(store).chain(random).chain([end]).collect();
        let program = Program::decode(LinkType::ETHERNET, &raw);
        if let Some(oracle) = Oracle::new(&raw) {
            let wire_len = packet.len() as u32 + longer;
            let program = program.unwrap();
            prop_assert_eq!(program.accepts(&packet, wire_len), oracle.accepts(&packet, wire_len));
            together(&program, &packet);
        }
    }

    #[test]
    fn anything_decodes_or_is_an_error(
        raw in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 0..12),
        packet in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let raw: Vec<_> = raw.into_iter().map(|(code, jt, jf, k)| RawInstruction { code: code & 0xbf, jt: jt % 12, jf: jf % 12, k }).collect();
        if let Ok(program) = Program::decode(LinkType::ETHERNET, &raw) {
            program.accepts(&packet, 0);
            together(&program, &packet);
        }
    }
}
