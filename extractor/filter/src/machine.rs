//! The registers of the filter machine when they hold sets of numbers, and what each instruction does to them.

use super::instruction::{Arithmetic, Instruction, MEMORY_WORDS, Operand, Width};
use super::number::NumberSet;

/// Source of a three-valued run: a partly known packet.
pub(super) trait LoadSource {
    /// The number at an offset, counted in 64 bits so that X + offset cannot wrap. None: no packet has these bytes.
    /// `may_reject` is set where some packets do not have them.
    fn load(&self, offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet>;

    /// The number at an unknown offset.
    fn load_anywhere(&self, lowest_offset: u64, width: Width, may_reject: &mut bool) -> Option<NumberSet>;

    /// The length on the wire.
    fn wire_len(&self) -> NumberSet;
}

/// Accumulator, index and scratch memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    pub a: NumberSet,
    pub x: NumberSet,
    memory: [NumberSet; MEMORY_WORDS],
}

impl Machine {
    pub fn new() -> Self {
        let zero = NumberSet::constant(0);
        Self { a: zero, x: zero, memory: [zero; MEMORY_WORDS] }
    }

    pub fn operand(&self, operand: Operand) -> NumberSet {
        match operand {
            Operand::Constant(k) => NumberSet::constant(k),
            Operand::Index => self.x,
        }
    }

    /// Runs an instruction that is neither a jump, a branch nor a return. None: every packet is rejected here;
    /// `may_reject` is set where some may be.
    #[inline]
    pub fn execute(
        &mut self,
        instruction: Instruction,
        source: &impl LoadSource,
        may_reject: &mut bool,
    ) -> Option<()> {
        match instruction {
            Instruction::Load { width, offset } => {
                self.a = source.load(u64::from(offset), width, may_reject)?
            }
            Instruction::LoadIndirect { width, offset } => {
                self.a = match self.x.known() {
                    Some(x) => source.load(u64::from(x) + u64::from(offset), width, may_reject)?,
                    None => source.load_anywhere(
                        u64::from(self.x.min()) + u64::from(offset),
                        width,
                        may_reject,
                    )?,
                };
            }
            Instruction::LoadHeaderLength { offset } => {
                let byte = source.load(u64::from(offset), Width::Byte, may_reject)?;
                let nibble = byte.compute(Arithmetic::And, NumberSet::constant(0xf), may_reject)?;
                self.x = nibble.compute(Arithmetic::ShiftLeft, NumberSet::constant(2), may_reject)?;
            }
            Instruction::LoadLength => self.a = source.wire_len(),
            Instruction::IndexLength => self.x = source.wire_len(),
            Instruction::LoadConstant(k) => self.a = NumberSet::constant(k),
            Instruction::IndexConstant(k) => self.x = NumberSet::constant(k),
            Instruction::LoadMemory(slot) => self.a = self.memory[usize::from(slot) % MEMORY_WORDS],
            Instruction::IndexMemory(slot) => self.x = self.memory[usize::from(slot) % MEMORY_WORDS],
            Instruction::Store(slot) => self.memory[usize::from(slot) % MEMORY_WORDS] = self.a,
            Instruction::StoreIndex(slot) => self.memory[usize::from(slot) % MEMORY_WORDS] = self.x,
            Instruction::Compute { operation, operand } => {
                self.a = self.a.compute(operation, self.operand(operand), may_reject)?;
            }
            Instruction::Negate => self.a = self.a.negate(),
            Instruction::AccumulatorToIndex => self.x = self.a,
            Instruction::IndexToAccumulator => self.a = self.x,
            Instruction::Jump { .. }
            | Instruction::Branch { .. }
            | Instruction::Return { .. }
            | Instruction::ReturnAccumulator => {}
        }
        Some(())
    }
}
