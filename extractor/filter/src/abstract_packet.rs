//! Packets of which only some bits are known, and a filter's verdict on all of them at once.

use std::ops::RangeInclusive;

use netrewind_store::layout::CAPLEN_MAX;

use super::instruction::{Instruction, Operand, Width};
use super::machine::{LoadSource, Machine};
use super::number::NumberSet;

/// Bytes beyond this offset are never described: they count as unknown, which is always sound.
pub const DESCRIBED_BYTES_MAX: usize = 4096;

/// The longest key field in bytes: an IPv6 address.
pub const KEY_FIELD_BYTES_MAX: u8 = 16;

/// Instructions that one judgement may run for each of the program's own, over all branches together.
const STEPS_PER_INSTRUCTION_MAX: usize = 8;

/// Unresolved branches on top of each other that one judgement explores.
const DEPTH_MAX: u32 = 64;

/// A filter's verdict on a set of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It accepts none of them.
    Never,
    /// It accepts all of them.
    Always,
    /// It may accept some: look at them.
    Maybe,
}

impl Verdict {
    /// Verdict on packets that are accepted if one of several filters accepts them.
    pub fn any(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().fold(Self::Never, |one, other| match (one, other) {
            (Self::Always, _) | (_, Self::Always) => Self::Always,
            (Self::Never, Self::Never) => Self::Never,
            _ => Self::Maybe,
        })
    }

    /// Verdict on packets that are accepted if both filters accept them.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Always, Self::Always) => Self::Always,
            _ => Self::Maybe,
        }
    }
}

/// A part of the key by which the index finds flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermField {
    /// The network source address, 4 or 16 bytes.
    SourceAddress,
    /// The network destination address, 4 or 16 bytes.
    DestinationAddress,
    /// The transport source port, 2 bytes; type and code of ICMP.
    SourcePort,
    /// The transport destination port, 2 bytes.
    DestinationPort,
}

/// Location of a key field in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Bytes from the packet's beginning.
    pub offset: u32,
    /// Length in bytes, at most [`KEY_FIELD_BYTES_MAX`].
    pub bytes: u8,
}

/// A set of packets: those with the described bits, and lengths within two intervals. A new one is the set of all packets.
/// Meant to be filled once for a template and changed for each flow, without allocation.
#[derive(Clone, Debug)]
pub struct AbstractPacket {
    /// The known bits; unknown ones are zero.
    values: Vec<u8>,
    /// Mask of the known bits; as long as `values`.
    known: Vec<u8>,
    wire_len: NumberSet,
    captured_min: u32,
    captured_max: u32,
    places: [Option<KeyPlace>; TermField::ALL.len()],
}

impl TermField {
    /// Every field, in the order of the enum.
    pub const ALL: [Self; 4] =
        [Self::SourceAddress, Self::DestinationAddress, Self::SourcePort, Self::DestinationPort];
}

impl Default for AbstractPacket {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            known: Vec::new(),
            wire_len: NumberSet::ANY,
            captured_min: 0,
            captured_max: CAPLEN_MAX,
            places: [None; TermField::ALL.len()],
        }
    }
}

impl AbstractPacket {
    /// The set of all packets: no byte is known, every length is possible, no key field has a place.
    pub fn new() -> Self {
        Self::default()
    }

    /// Back to the set of all packets, keeping the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.known.clear();
        self.wire_len = NumberSet::ANY;
        (self.captured_min, self.captured_max) = (0, CAPLEN_MAX);
        self.places = [None; TermField::ALL.len()];
    }

    /// Sets the bits of `values` from `offset` on where `known` has ones; the other bits there are unknown. The shorter of the
    /// two lists counts.
    pub fn describe(&mut self, offset: usize, values: &[u8], known: &[u8]) {
        let Some(count) = self.reach(offset, values.len().min(known.len())) else { return };
        for at in 0..count {
            self.known[offset + at] = known[at];
            self.values[offset + at] = values[at] & known[at];
        }
    }

    /// Sets exactly these bytes from `offset` on.
    pub fn describe_exactly(&mut self, offset: usize, values: &[u8]) {
        let Some(count) = self.reach(offset, values.len()) else { return };
        self.values[offset..offset + count].copy_from_slice(&values[..count]);
        self.known[offset..offset + count].fill(0xff);
    }

    /// Nothing is known of these bytes.
    pub fn forget(&mut self, offset: usize, bytes: usize) {
        let end = offset.saturating_add(bytes).min(self.values.len());
        if offset < end {
            self.values[offset..end].fill(0);
            self.known[offset..end].fill(0);
        }
    }

    /// The packets' lengths on the wire, in bytes.
    pub fn set_wire_len(&mut self, wire_len: RangeInclusive<u32>) {
        self.wire_len = NumberSet::between(*wire_len.start(), *wire_len.end());
    }

    /// The packets' captured lengths, in bytes.
    pub fn set_captured_len(&mut self, captured_len: RangeInclusive<u32>) {
        (self.captured_min, self.captured_max) = captured_len.into_inner();
    }

    /// A key field stands at this offset. Its bytes stay as they are described: unknown ones are the symbols of
    /// [`Program::terms`](crate::Program::terms). A field longer than [`KEY_FIELD_BYTES_MAX`] gets no place.
    pub fn place(&mut self, field: TermField, offset: u32, bytes: u8) {
        self.places[field as usize] =
            (1..=KEY_FIELD_BYTES_MAX).contains(&bytes).then_some(KeyPlace { offset, bytes });
    }

    /// Location of a key field.
    pub fn key_place(&self, field: TermField) -> Option<KeyPlace> {
        self.places[field as usize]
    }

    /// Gives the key field exactly this value, which is cut if the field is shorter, or ignored if there is no such field.
    pub fn set_key(&mut self, field: TermField, value: &[u8]) {
        if let Some(place) = self.key_place(field) {
            self.describe_exactly(place.offset as usize, &value[..value.len().min(usize::from(place.bytes))]);
        }
    }

    /// True if a packet is one of the set.
    pub fn admits(&self, packet: &[u8], wire_len: u32) -> bool {
        let captured = u64::from(self.captured_min)..=u64::from(self.captured_max);
        captured.contains(&(packet.len() as u64))
            && self.wire_len.admits(wire_len)
            && packet
                .iter()
                .zip(&self.known)
                .zip(&self.values)
                .all(|((byte, known), value)| byte & known == *value)
    }

    /// Makes room for bytes at an offset and returns how many of them can be described; `None` if none can.
    fn reach(&mut self, offset: usize, bytes: usize) -> Option<usize> {
        let end = offset.saturating_add(bytes).min(DESCRIBED_BYTES_MAX);
        let count = end.checked_sub(offset).filter(|count| *count > 0)?;
        if self.values.len() < end {
            self.values.resize(end, 0);
            self.known.resize(end, 0);
        }
        Some(count)
    }

    #[inline]
    fn number(&self, offset: usize, width: Width) -> NumberSet {
        let described = match width {
            Width::Byte => self
                .values
                .get(offset)
                .zip(self.known.get(offset))
                .map(|(v, k)| (u32::from(*v), u32::from(*k))),
            Width::Half => chunk(&self.values, offset)
                .zip(chunk(&self.known, offset))
                .map(|(v, k)| (u32::from(u16::from_be_bytes(v)), u32::from(u16::from_be_bytes(k)))),
            Width::Word => chunk(&self.values, offset)
                .zip(chunk(&self.known, offset))
                .map(|(v, k)| (u32::from_be_bytes(v), u32::from_be_bytes(k))),
        };
        let (value, known) = described.unwrap_or_else(|| self.partly_described(offset, width));
        NumberSet::of_bits(value, !known & width.mask())
    }

    /// Value and known bits of a number that begins inside the described bytes and ends outside, or lies beyond them.
    #[cold]
    fn partly_described(&self, offset: usize, width: Width) -> (u32, u32) {
        (0..width.bytes() as usize).fold((0, 0), |(value, known), at| {
            let byte = |bytes: &[u8]| u32::from(bytes.get(offset.saturating_add(at)).copied().unwrap_or(0));
            (value << 8 | byte(&self.values), known << 8 | byte(&self.known))
        })
    }
}

impl LoadSource for AbstractPacket {
    #[inline]
    fn load(&self, offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet> {
        let end = offset + u64::from(width.bytes());
        if end > u64::from(self.captured_max) {
            return None;
        }
        *may_reject |= end > u64::from(self.captured_min);
        // The offset is below the captured length, so it fits.
        Some(self.number(offset as usize, width))
    }

    fn load_anywhere(&self, lowest_offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet> {
        *may_reject = true;
        let reachable = lowest_offset + u64::from(width.bytes()) <= u64::from(self.captured_max);
        reachable.then(|| NumberSet::of_bits(0, width.mask()))
    }

    fn wire_len(&self) -> NumberSet {
        self.wire_len
    }
}

/// Verdict of these instructions on all packets of the set. Sound: never [`Verdict::Never`] if one of them is accepted, never
/// [`Verdict::Always`] if one is not.
pub(super) fn judge(instructions: &[Instruction], packet: &AbstractPacket) -> Verdict {
    let steps_left = instructions.len() * STEPS_PER_INSTRUCTION_MAX;
    let mut judgement = Judgement { instructions, packet, steps_left, accepts: false, rejects: false };
    judgement.explore(0, Machine::new(), 0);
    match (judgement.accepts, judgement.rejects) {
        (true, false) => Verdict::Always,
        (false, true) => Verdict::Never,
        _ => Verdict::Maybe,
    }
}

/// One exploration of the branches that the known bits leave open.
struct Judgement<'a> {
    instructions: &'a [Instruction],
    packet: &'a AbstractPacket,
    steps_left: usize,
    /// Some packets may be accepted.
    accepts: bool,
    /// Some packets may be rejected.
    rejects: bool,
}

impl Judgement<'_> {
    /// Follows the program from `at` until both outcomes are possible or nothing is left to explore.
    fn explore(&mut self, mut at: usize, mut machine: Machine, depth: u32) {
        while !(self.accepts && self.rejects) {
            if self.steps_left == 0 || depth > DEPTH_MAX {
                return self.give_up();
            }
            self.steps_left -= 1;
            let Some(instruction) = self.instructions.get(at).copied() else { return self.give_up() };
            match instruction {
                Instruction::Return { accept } => return self.conclude(accept),
                Instruction::ReturnAccumulator => return self.conclude_by(machine.a),
                Instruction::Jump { target } => at = target as usize,
                Instruction::Branch { test, operand, holds, fails } => {
                    match machine.a.test(test, machine.operand(operand)) {
                        Some(true) => at = holds as usize,
                        Some(false) => at = fails as usize,
                        None => {
                            let mut other = machine;
                            if let Operand::Constant(k) = operand {
                                // The result is open, so both sets of numbers are non-empty.
                                other.a = machine.a.refine(test, k, true).unwrap_or(machine.a);
                                machine.a = machine.a.refine(test, k, false).unwrap_or(machine.a);
                            }
                            self.explore(holds as usize, other, depth + 1);
                            at = fails as usize;
                        }
                    }
                }
                _ => {
                    if machine.execute(instruction, self.packet, &mut self.rejects).is_none() {
                        return self.conclude(false);
                    }
                    at += 1;
                }
            }
        }
    }

    fn conclude(&mut self, accept: bool) {
        self.accepts |= accept;
        self.rejects |= !accept;
    }

    fn conclude_by(&mut self, a: NumberSet) {
        self.accepts |= a.known() != Some(0);
        self.rejects |= a.admits(0);
    }

    fn give_up(&mut self) {
        (self.accepts, self.rejects) = (true, true);
    }
}

#[inline]
fn chunk<const BYTES: usize>(bytes: &[u8], offset: usize) -> Option<[u8; BYTES]> {
    bytes.get(offset..)?.first_chunk().copied()
}
