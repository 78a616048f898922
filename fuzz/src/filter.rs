//! Whatever a filter's program is: it ends on every packet, and what is judged of a set of packets holds for each of them.
//!
//! The input: how many instructions, each of eight bytes as in `struct bpf_insn`, how much longer the packet was on the
//! wire, how many bytes of it are described; then, byte for byte, the packet and which bits of it are known.

use netrewind_filter::{AbstractPacket, Demand, Program, RawInstruction, TermField, Terms, Verdict};
use netrewind_store::LinkType;

/// Where the ends of a conversation stand in Ethernet and IPv4.
const PLACES: [(TermField, u32, u8); 4] = [
    (TermField::SourceAddress, 26, 4),
    (TermField::DestinationAddress, 30, 4),
    (TermField::SourcePort, 34, 2),
    (TermField::DestinationPort, 36, 2),
];

fn program_of(bytes: &[u8]) -> Option<Program> {
    let instructions: Vec<RawInstruction> = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|&[code_high, code_low, jt, jf, k @ ..]| RawInstruction {
            code: u16::from_be_bytes([code_high, code_low]),
            jt,
            jf,
            k: u32::from_be_bytes(k),
        })
        .collect();
    Program::decode(LinkType::ETHERNET, &instructions).ok()
}

fn demands(field: TermField, demand: &Demand, packet: &[u8]) -> bool {
    let (_, offset, bytes) = PLACES[PLACES.iter().position(|place| place.0 == field).expect("a place")];
    let (offset, bytes) = (offset as usize, usize::from(bytes));
    packet.get(offset..offset + bytes).is_some_and(|field| demand.admits(field))
}

/// Reads any bytes.
pub fn read(input: &[u8]) {
    let Some((&[count, longer, described], rest)) = input.split_first_chunk() else { return };
    let Some((program, bytes)) = rest.split_at_checked(usize::from(count) * 8) else { return };
    let Some(program) = program_of(program) else { return };
    let (pairs, _) = bytes.as_chunks::<2>();
    let packet: Vec<u8> = pairs.iter().map(|pair| pair[0]).collect();
    let known: Vec<u8> = pairs.iter().map(|pair| pair[1]).take(usize::from(described)).collect();
    let (captured, wire_len) = (packet.len() as u32, packet.len() as u32 + u32::from(longer));
    let is_accepted = program.accepts(&packet, wire_len);

    let mut set = AbstractPacket::new();
    set.describe(0, &packet, &known);
    set.set_wire_len(wire_len - u32::from(longer & 1)..=wire_len + u32::from(longer & 2));
    set.set_captured_len(captured.saturating_sub(u32::from(longer & 4))..=captured + u32::from(longer & 8));
    assert!(set.admits(&packet, wire_len));
    match program.evaluate(&set) {
        Verdict::Never => assert!(!is_accepted),
        Verdict::Always => assert!(is_accepted),
        Verdict::Maybe => {}
    }

    // Flows are found by keys that are whole.
    if packet.len()
        < PLACES.iter().map(|&(_, offset, bytes)| offset as usize + usize::from(bytes)).max().unwrap_or(0)
    {
        return;
    }
    for (field, offset, bytes) in PLACES {
        set.place(field, offset, bytes);
        set.forget(offset as usize, usize::from(bytes));
    }
    if let (true, Terms::AnyOf(conjunctions)) = (is_accepted, program.terms(&set)) {
        let holds = |term: &netrewind_filter::Term| demands(term.field, &term.demand, &packet);
        assert!(conjunctions.iter().any(|all| all.iter().all(holds)));
    }
}
