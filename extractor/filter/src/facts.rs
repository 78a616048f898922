//! Knowledge of a path through a program: its conditions on the key fields, and the origins of the numbers in its registers.

use super::abstract_packet::{AbstractPacket, KeyPlace, TermField};
use super::instruction::{Arithmetic, BranchTest, Instruction, MEMORY_WORDS, Operand, Width};
use super::machine::LoadSource;
use super::number::NumberSet;
use super::term::{Demand, Term};

/// The bytes of the packet that a register holds, as far as only a mask was applied to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RegisterOrigin {
    offset: u32,
    width: Width,
    mask: u32,
}

/// The origins of all that the machine holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Origins {
    a: Option<RegisterOrigin>,
    x: Option<RegisterOrigin>,
    memory: [Option<RegisterOrigin>; MEMORY_WORDS],
}

/// Conditions on the key fields that hold together. The default is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct KeyFacts([Fact; TermField::ALL.len()]);

/// Conditions on one field, as a number in network byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fact {
    mask: u128,
    value: u128,
    /// Range of the number: narrower than all numbers only for fields of two bytes.
    low: u16,
    high: u16,
}

/// A packet as a path sees it: its description, and the conditions that the path has collected.
pub(super) struct PathPacket<'a> {
    pub packet: &'a AbstractPacket,
    pub facts: &'a KeyFacts,
}

impl Origins {
    pub fn accumulator(&self) -> Option<RegisterOrigin> {
        self.a
    }

    /// Follows an instruction that is about to run; `x` is the index register before it, where known.
    pub fn follow(&mut self, instruction: Instruction, x: Option<u32>) {
        let slot = |slot: u8| usize::from(slot) % MEMORY_WORDS;
        match instruction {
            Instruction::Load { width, offset } => self.a = Some(RegisterOrigin::new(offset, width)),
            Instruction::LoadIndirect { width, offset } => {
                self.a =
                    x.and_then(|x| x.checked_add(offset)).map(|offset| RegisterOrigin::new(offset, width));
            }
            Instruction::Compute { operation: Arithmetic::And, operand } => {
                let mask = match operand {
                    Operand::Constant(k) => Some(k),
                    Operand::Index => x,
                };
                self.a = self
                    .a
                    .zip(mask)
                    .map(|(origin, mask)| RegisterOrigin { mask: origin.mask & mask, ..origin });
            }
            Instruction::Compute { .. }
            | Instruction::Negate
            | Instruction::LoadLength
            | Instruction::LoadConstant(_) => self.a = None,
            Instruction::LoadHeaderLength { .. }
            | Instruction::IndexLength
            | Instruction::IndexConstant(_) => {
                self.x = None;
            }
            Instruction::LoadMemory(from) => self.a = self.memory[slot(from)],
            Instruction::IndexMemory(from) => self.x = self.memory[slot(from)],
            Instruction::Store(to) => self.memory[slot(to)] = self.a,
            Instruction::StoreIndex(to) => self.memory[slot(to)] = self.x,
            Instruction::AccumulatorToIndex => self.x = self.a,
            Instruction::IndexToAccumulator => self.a = self.x,
            Instruction::Jump { .. }
            | Instruction::Branch { .. }
            | Instruction::Return { .. }
            | Instruction::ReturnAccumulator => {}
        }
    }
}

impl RegisterOrigin {
    fn new(offset: u32, width: Width) -> Self {
        Self { offset, width, mask: width.mask() }
    }

    /// True if the register holds exactly the bytes of a two-byte field.
    fn is_whole(self, place: KeyPlace) -> bool {
        self.width == Width::Half && self.mask == 0xffff && is_port(place) && self.offset == place.offset
    }
}

impl Default for Fact {
    fn default() -> Self {
        Self { mask: 0, value: 0, low: 0, high: u16::MAX }
    }
}

impl KeyFacts {
    /// Adds the condition of a branch on the accumulator. `None` if it contradicts what is known: no packet takes this path.
    pub fn add_condition(
        &mut self,
        packet: &AbstractPacket,
        origin: RegisterOrigin,
        test: BranchTest,
        constant: u32,
        holds: bool,
    ) -> Option<()> {
        match (test, holds) {
            (BranchTest::Equal, true) => self.learn_bits(packet, origin, origin.mask, constant),
            (BranchTest::AnyBit, false) => self.learn_bits(packet, origin, origin.mask & constant, 0),
            (BranchTest::AnyBit, true) if (origin.mask & constant).is_power_of_two() => {
                self.learn_bits(packet, origin, origin.mask & constant, constant)
            }
            (BranchTest::Greater, true) => {
                self.learn_range(packet, origin, constant.checked_add(1)?, u32::MAX)
            }
            (BranchTest::Greater, false) => self.learn_range(packet, origin, 0, constant),
            (BranchTest::GreaterOrEqual, true) => self.learn_range(packet, origin, constant, u32::MAX),
            (BranchTest::GreaterOrEqual, false) => {
                self.learn_range(packet, origin, 0, constant.checked_sub(1)?)
            }
            (BranchTest::Equal, false) | (BranchTest::AnyBit, true) => Some(()),
        }
    }

    /// Drops all conditions but those on the best-known field, so that paths can merge.
    pub fn keep_most_selective(&mut self, packet: &AbstractPacket) {
        let best = TermField::ALL.into_iter().max_by_key(|field| {
            let fact = self.0[*field as usize];
            // An address is more selective than a port with as many known bits.
            let is_address = packet.key_place(*field).is_some_and(|place| !is_port(place));
            (fact.known_bits(), is_address)
        });
        for field in TermField::ALL {
            if Some(field) != best {
                self.0[field as usize] = Fact::default();
            }
        }
    }

    /// The conditions as terms.
    pub fn terms(&self, packet: &AbstractPacket) -> Vec<Term> {
        let mut terms = Vec::new();
        for field in TermField::ALL {
            if let Some(place) = packet.key_place(field) {
                self.0[field as usize].add_terms(field, place, &mut terms);
            }
        }
        terms
    }

    fn learn_bits(
        &mut self,
        packet: &AbstractPacket,
        origin: RegisterOrigin,
        mask: u32,
        value: u32,
    ) -> Option<()> {
        for field in TermField::ALL {
            let Some(place) = packet.key_place(field) else { continue };
            let mask = to_field(place, origin.offset, origin.width, mask);
            let value = to_field(place, origin.offset, origin.width, value) & mask;
            if mask != 0 {
                self.0[field as usize].learn_bits(place, mask, value)?;
            }
        }
        Some(())
    }

    fn learn_range(
        &mut self,
        packet: &AbstractPacket,
        origin: RegisterOrigin,
        low: u32,
        high: u32,
    ) -> Option<()> {
        for field in TermField::ALL {
            if packet.key_place(field).is_some_and(|place| origin.is_whole(place)) {
                let low = u16::try_from(low).ok()?;
                let high = u16::try_from(high).unwrap_or(u16::MAX);
                self.0[field as usize].learn_range(low, high)?;
            }
        }
        Some(())
    }
}

impl Fact {
    fn learn_bits(&mut self, place: KeyPlace, mask: u128, value: u128) -> Option<()> {
        if (self.value ^ value) & self.mask & mask != 0 {
            return None;
        }
        self.mask |= mask;
        self.value |= value;
        match u16::try_from(self.value) {
            Ok(port) if is_port(place) && self.mask == 0xffff => self.learn_range(port, port),
            _ => Some(()),
        }
    }

    fn learn_range(&mut self, low: u16, high: u16) -> Option<()> {
        self.low = self.low.max(low);
        self.high = self.high.min(high);
        (self.low <= self.high).then_some(())
    }

    fn known_bits(self) -> u32 {
        self.mask.count_ones().max((self.high - self.low).leading_zeros())
    }

    fn add_terms(self, field: TermField, place: KeyPlace, terms: &mut Vec<Term>) {
        let ranged = (self.low, self.high) != (0, u16::MAX);
        if ranged {
            terms.push(Term { field, demand: Demand::Range { low: self.low, high: self.high } });
        }
        if self.mask != 0 && !(ranged && self.low == self.high) {
            let demand = Demand::Bits { bytes: place.bytes, mask: self.mask, value: self.value };
            terms.push(Term { field, demand });
        }
    }
}

impl LoadSource for PathPacket<'_> {
    fn load(&self, offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet> {
        let mut number = self.packet.load(offset, width, may_reject)?;
        let Ok(offset) = u32::try_from(offset) else { return Some(number) };
        for field in TermField::ALL {
            let (fact, Some(place)) = (self.facts.0[field as usize], self.packet.key_place(field)) else {
                continue;
            };
            let known = from_field(place, offset, width, fact.mask);
            if known != 0 {
                number = number.with_known_bits(known, from_field(place, offset, width, fact.value))?;
            }
            if RegisterOrigin::new(offset, width).is_whole(place) {
                number = number.clamp(u32::from(fact.low), u32::from(fact.high))?;
            }
        }
        Some(number)
    }

    fn load_anywhere(&self, lowest_offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet> {
        self.packet.load_anywhere(lowest_offset, width, may_reject)
    }

    fn wire_len(&self) -> NumberSet {
        self.packet.wire_len()
    }
}

fn is_port(place: KeyPlace) -> bool {
    place.bytes == 2
}

/// The bits of a load that lie in a field, moved to where they stand in the field's number.
fn to_field(place: KeyPlace, offset: u32, width: Width, bits: u32) -> u128 {
    match distance(place, offset, width) {
        left @ 0..128 => (u128::from(bits) << left) & field_mask(place),
        right @ -31..0 => u128::from(bits >> -right) & field_mask(place),
        _ => 0,
    }
}

/// The bits of a field that lie in a load, moved to where they stand in the load's number.
fn from_field(place: KeyPlace, offset: u32, width: Width, bits: u128) -> u32 {
    let moved = match distance(place, offset, width) {
        left @ 0..128 => bits >> left,
        right @ -31..0 => bits << -right,
        _ => 0,
    };
    // Only the low 32 bits can lie in the load.
    (moved & u128::from(width.mask())) as u32
}

/// Number of bits from the end of a load to the end of a field.
fn distance(place: KeyPlace, offset: u32, width: Width) -> i64 {
    let field_end = i64::from(place.offset) + i64::from(place.bytes);
    let load_end = i64::from(offset) + i64::from(width.bytes());
    (field_end - load_end) * 8
}

fn field_mask(place: KeyPlace) -> u128 {
    u128::MAX >> (128 - u32::from(place.bytes) * 8)
}
