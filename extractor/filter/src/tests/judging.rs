//! Verdicts on sets of packets, against the packets of the set.

use netrewind_store::LinkType;

use super::corpus::{self, Packet};
use super::expressions;
use super::random::Random;
use crate::{AbstractPacket, BranchTest, Instruction, Operand, Program, TermField, Verdict};

const EXPRESSIONS: usize = 3000;
const SETS_EACH: usize = 6;
const MEMBERS_EACH: usize = 24;

/// A set of packets with one member, and the means to draw others.
pub struct Set {
    pub description: AbstractPacket,
    pub known: Vec<u8>,
    pub member: Packet,
    wire_len: (u32, u32),
    captured_len: (usize, usize),
}

impl Set {
    /// Forgets some of a packet: the payload, fields, single bits, lengths.
    pub fn around(random: &mut Random, member: &Packet) -> Self {
        let bytes = &member.bytes;
        let mut known = vec![0xff; bytes.len()];
        if !random.one_in(4) {
            known[random.below(bytes.len().min(70) + 1)..].fill(0);
        }
        for _ in 0..random.below(5) {
            let from = random.below(bytes.len());
            let to = (from + *random.pick(&[1, 1, 2, 2, 4, 8, 16])).min(bytes.len());
            let bits = if random.one_in(3) { random.byte() } else { 0 };
            known[from.min(to)..to].iter_mut().for_each(|known| *known &= bits);
        }
        let slack = |random: &mut Random, value: usize, limit: usize| match random.below(3) {
            0 => (value, value),
            1 => (value.saturating_sub(random.below(40)), value + random.below(400)),
            _ => (0, limit),
        };
        let wire_len = slack(random, member.wire_len as usize, 262_144);
        let captured_len = slack(random, bytes.len(), 262_144);
        let mut description = AbstractPacket::new();
        description.describe(0, bytes, &known);
        description.set_wire_len(wire_len.0 as u32..=wire_len.1 as u32);
        description.set_captured_len(captured_len.0 as u32..=captured_len.1 as u32);
        let wire_len = (wire_len.0 as u32, wire_len.1 as u32);
        Self { description, known, member: member.clone(), wire_len, captured_len }
    }

    /// A member of the set: unknown bits by chance or such as the program looks for.
    pub fn draw(&self, random: &mut Random, program: &Program) -> Packet {
        let mut packet = self.member.clone();
        let (shortest, longest) = (self.captured_len.0, self.captured_len.1.min(packet.bytes.len() + 64));
        if random.one_in(3) {
            packet.bytes.resize(shortest + random.below((longest + 1).saturating_sub(shortest)), 0);
        }
        if random.one_in(3) {
            packet.wire_len =
                self.wire_len.0 + random.below((self.wire_len.1 - self.wire_len.0) as usize + 1) as u32;
        }
        let scrambled = random.below(3);
        for at in 0..packet.bytes.len() {
            if scrambled > 0 && (scrambled == 1 || random.one_in(8)) {
                self.write(&mut packet, at, random.byte());
            }
        }
        for _ in 0..random.below(8) {
            self.satisfy(random, program, &mut packet);
        }
        assert!(self.description.admits(&packet.bytes, packet.wire_len));
        packet
    }

    fn write(&self, packet: &mut Packet, at: usize, byte: u8) {
        let known = self.known.get(at).copied().unwrap_or(0);
        if let Some(place) = packet.bytes.get_mut(at) {
            *place = *place & known | byte & !known;
        }
    }

    /// Lets the packet have a value that the program compares with.
    fn satisfy(&self, random: &mut Random, program: &Program, packet: &mut Packet) {
        let instructions = program.instructions();
        let from = random.below(instructions.len());
        let Some(load) = instructions[from..]
            .iter()
            .position(|i| matches!(i, Instruction::Load { .. } | Instruction::LoadIndirect { .. }))
        else {
            return;
        };
        let (offset, width) = match instructions[from + load] {
            Instruction::Load { width, offset } => (offset as usize, width.bytes()),
            Instruction::LoadIndirect { width, offset } => (offset as usize + 20, width.bytes()),
            _ => return,
        };
        let constants: Vec<u32> = instructions[from + load..]
            .iter()
            .take(6)
            .filter_map(|i| match i {
                Instruction::Branch { operand: Operand::Constant(k), test: BranchTest::Equal, .. } => {
                    Some(*k)
                }
                Instruction::Branch { operand: Operand::Constant(k), .. } => Some(k.wrapping_add(1)),
                _ => None,
            })
            .collect();
        if constants.is_empty() {
            return;
        }
        let constant = random.pick(&constants).to_be_bytes();
        for (at, byte) in constant[4 - width as usize..].iter().enumerate() {
            self.write(packet, offset + at, *byte);
        }
    }
}

#[test]
fn a_verdict_on_a_set_holds_for_its_members() {
    let mut random = Random::new("verdicts");
    let packets = corpus::packets();
    let mut counts = [0; 3];
    let mut members = 0;
    for _ in 0..EXPRESSIONS {
        let about = random.pick(&packets).clone();
        let expression = expressions::random(&mut random, &about.bytes);
        let Some(filter) = expressions::filter(&expression, about.link_type) else { continue };
        for _ in 0..SETS_EACH {
            let set = Set::around(&mut random, &about);
            let verdict = filter.program.evaluate(&set.description);
            counts[verdict as usize] += 1;
            for _ in 0..if verdict == Verdict::Maybe { 1 } else { MEMBERS_EACH } {
                let packet = set.draw(&mut random, &filter.program);
                let accepted = filter.program.accepts(&packet.bytes, packet.wire_len);
                let wrong = if accepted { Verdict::Never } else { Verdict::Always };
                assert_ne!(verdict, wrong, "`{expression}` on {packet:02x?} of {:02x?}", set.description);
                members += 1;
            }
        }
    }
    println!("never, always, maybe: {counts:?}; {members} members");
    assert!(counts.iter().all(|count| *count > 50));
}

#[test]
fn a_packet_known_whole_is_judged_as_the_interpreter_does() {
    let mut random = Random::new("whole packets");
    let packets = corpus::packets();
    let mut undecided = 0;
    let mut judged = 0;
    for _ in 0..EXPRESSIONS {
        let packet = random.pick(&packets);
        let expression = expressions::random(&mut random, &packet.bytes);
        let Some(filter) = expressions::filter(&expression, packet.link_type) else { continue };
        let mut description = AbstractPacket::new();
        description.describe_exactly(0, &packet.bytes);
        description.set_wire_len(packet.wire_len..=packet.wire_len);
        description.set_captured_len(packet.bytes.len() as u32..=packet.bytes.len() as u32);
        let expected = if filter.program.accepts(&packet.bytes, packet.wire_len) {
            Verdict::Always
        } else {
            Verdict::Never
        };
        let verdict = filter.program.evaluate(&description);
        judged += 1;
        if packet.bytes.len() <= crate::DESCRIBED_BYTES_MAX {
            undecided += usize::from(verdict == Verdict::Maybe);
            assert!(verdict == expected || verdict == Verdict::Maybe, "`{expression}` on {packet:02x?}");
        }
    }
    println!("{judged} judged, {undecided} undecided");
    // Only loops that run out of steps may be left open.
    assert!(undecided * 100 <= judged);
}

#[test]
fn a_flow_is_decided_by_its_key() {
    let mut flow = AbstractPacket::new();
    let frame = corpus::ipv4(6, [10, 0, 0, 1], [192, 168, 1, 2], 50000, 443);
    flow.describe_exactly(12, &frame[12..15]);
    flow.describe(20, &[0, 0], &[0x1f, 0xff]);
    flow.describe_exactly(23, &frame[23..24]);
    flow.describe_exactly(26, &frame[26..38]);
    flow.place(TermField::SourceAddress, 26, 4);
    flow.set_wire_len(60..=1514);
    flow.set_captured_len(60..=1514);
    for (expression, expected) in [
        ("", Verdict::Always),
        ("tcp", Verdict::Always),
        ("udp", Verdict::Never),
        ("host 10.0.0.1 and tcp port 443", Verdict::Always),
        ("host 10.0.0.1 and tcp port 80", Verdict::Never),
        ("src net 10.0.0.0/8 and not dst host 192.168.1.3", Verdict::Always),
        ("tcp[0:2] + 1 = 50001", Verdict::Always),
        ("tcp portrange 400-500", Verdict::Always),
        ("vlan", Verdict::Never),
        ("greater 60", Verdict::Always),
        ("less 59", Verdict::Never),
        ("len - 14 > 2000", Verdict::Never),
        ("greater 100", Verdict::Maybe),
        ("tcp[tcpflags] & tcp-syn != 0", Verdict::Maybe),
        ("host 10.0.0.1 and tcp[tcpflags] & tcp-syn != 0", Verdict::Maybe),
        ("host 10.0.0.2 and tcp[tcpflags] & tcp-syn != 0", Verdict::Never),
        ("ip6", Verdict::Never),
    ] {
        let filter = expressions::filter(expression, LinkType::ETHERNET).unwrap();
        assert_eq!(filter.program.evaluate(&flow), expected, "`{expression}`");
    }
}
