//! A program over one packet: a safe interpreter with the semantics of libpcap's `bpf_filter`.
//!
//! **Invariant:** ends on every packet. A program goes backward at most [`BACKWARD_JUMPS_MAX`] times.

use netrewind_segment::layout::CAPLEN_MAX;

use super::program::{Instruction, MEMORY_WORDS, Operand, Program, Test, Width};

/// `protochain` goes back once for each extension header, and none is shorter than 8 bytes: no packet that can be stored
/// needs more, so that the verdict is tcpdump's on every one of them.
pub const BACKWARD_JUMPS_MAX: u32 = CAPLEN_MAX / 8 + 1;

/// The instructions as they are run: each load is fused with the branch that follows it, which is what most of a filter
/// consists of. Positions are those of the program, so a branch into the middle of a fused pair finds its second half.
#[derive(Clone, Debug)]
pub(super) struct Steps(Box<[Step]>);

#[derive(Clone, Copy, Debug)]
enum Step {
    ByteEqual { offset: u32, value: u32, skips: Skips },
    HalfEqual { offset: u32, value: u32, skips: Skips },
    WordEqual { offset: u32, value: u32, skips: Skips },
    ByteAnyBit { offset: u32, bits: u32, skips: Skips },
    HalfAnyBit { offset: u32, bits: u32, skips: Skips },
    IndirectHalfEqual { offset: u32, value: u32, skips: Skips },
    Equal { value: u32, skips: Skips },
    AnyBit { bits: u32, skips: Skips },
    GreaterOrEqual { value: u32, skips: Skips },
    Greater { value: u32, skips: Skips },
    LoadByte { offset: u32 },
    LoadHalf { offset: u32 },
    LoadWord { offset: u32 },
    Other(Instruction),
}

/// How many steps further to go on; a branch of classic BPF cannot go further than 256.
#[derive(Clone, Copy, Debug)]
struct Skips {
    holds: u16,
    fails: u16,
}

impl Steps {
    pub(super) fn new(instructions: &[Instruction]) -> Self {
        let step = |at: usize| {
            let second = instructions.get(at + 1).copied();
            second
                .and_then(|second| fuse(at, instructions[at], second))
                .unwrap_or_else(|| lone(at, instructions[at]))
        };
        Self((0..instructions.len()).map(step).collect())
    }
}

impl Program {
    /// Whether the packet passes: `packet` is its captured bytes, `wire_len` its length on the wire in bytes.
    pub fn accepts(&self, packet: &[u8], wire_len: u32) -> bool {
        run(&self.steps.0, packet, wire_len).unwrap_or(false)
    }
}

/// None where the packet is rejected for want of bytes, a division by zero, or too many turns of a loop.
fn run(steps: &[Step], packet: &[u8], wire_len: u32) -> Option<bool> {
    let mut at = 0_usize;
    let mut a = 0_u32;
    let mut x = 0_u32;
    let mut memory = [0_u32; MEMORY_WORDS];
    let mut backward_jumps = 0;
    loop {
        match *steps.get(at)? {
            Step::ByteEqual { offset, value, skips } => {
                a = byte(packet, offset as usize)?;
                at += skips.after(a == value);
            }
            Step::HalfEqual { offset, value, skips } => {
                a = half(packet, offset as usize)?;
                at += skips.after(a == value);
            }
            Step::WordEqual { offset, value, skips } => {
                a = word(packet, offset as usize)?;
                at += skips.after(a == value);
            }
            Step::ByteAnyBit { offset, bits, skips } => {
                a = byte(packet, offset as usize)?;
                at += skips.after(a & bits != 0);
            }
            Step::HalfAnyBit { offset, bits, skips } => {
                a = half(packet, offset as usize)?;
                at += skips.after(a & bits != 0);
            }
            Step::IndirectHalfEqual { offset, value, skips } => {
                a = half(packet, x as usize + offset as usize)?;
                at += skips.after(a == value);
            }
            Step::Equal { value, skips } => at += skips.after(a == value),
            Step::AnyBit { bits, skips } => at += skips.after(a & bits != 0),
            Step::GreaterOrEqual { value, skips } => at += skips.after(a >= value),
            Step::Greater { value, skips } => at += skips.after(a > value),
            Step::LoadByte { offset } => {
                a = byte(packet, offset as usize)?;
                at += 1;
            }
            Step::LoadHalf { offset } => {
                a = half(packet, offset as usize)?;
                at += 1;
            }
            Step::LoadWord { offset } => {
                a = word(packet, offset as usize)?;
                at += 1;
            }
            Step::Other(instruction) => {
                let mut next = at + 1;
                match instruction {
                    Instruction::Load { width, offset } => a = load(packet, offset as usize, width)?,
                    Instruction::LoadIndirect { width, offset } => {
                        a = load(packet, x as usize + offset as usize, width)?;
                    }
                    Instruction::LoadHeaderLength { offset } => {
                        x = (byte(packet, offset as usize)? & 0xf) << 2
                    }
                    Instruction::LoadLength => a = wire_len,
                    Instruction::IndexLength => x = wire_len,
                    Instruction::LoadConstant(k) => a = k,
                    Instruction::IndexConstant(k) => x = k,
                    Instruction::LoadMemory(slot) => a = memory[usize::from(slot) % MEMORY_WORDS],
                    Instruction::IndexMemory(slot) => x = memory[usize::from(slot) % MEMORY_WORDS],
                    Instruction::Store(slot) => memory[usize::from(slot) % MEMORY_WORDS] = a,
                    Instruction::StoreIndex(slot) => memory[usize::from(slot) % MEMORY_WORDS] = x,
                    Instruction::Compute { operation, operand } => {
                        a = operation.apply(a, operand.value(x))?
                    }
                    Instruction::Negate => a = a.wrapping_neg(),
                    Instruction::AccumulatorToIndex => x = a,
                    Instruction::IndexToAccumulator => a = x,
                    Instruction::Jump { target } => {
                        next = target as usize;
                        backward_jumps += u32::from(next <= at);
                        if backward_jumps > BACKWARD_JUMPS_MAX {
                            return None;
                        }
                    }
                    Instruction::Branch { test, operand, holds, fails } => {
                        next = if test.holds(a, operand.value(x)) { holds } else { fails } as usize;
                    }
                    Instruction::Return { accept } => return Some(accept),
                    Instruction::ReturnAccumulator => return Some(a != 0),
                }
                at = next;
            }
        }
    }
}

impl Operand {
    #[inline]
    fn value(self, x: u32) -> u32 {
        match self {
            Self::Constant(k) => k,
            Self::Index => x,
        }
    }
}

impl Skips {
    #[inline]
    fn after(self, holds: bool) -> usize {
        usize::from(if holds { self.holds } else { self.fails })
    }

    fn between(at: usize, holds: u32, fails: u32) -> Option<Self> {
        let skip = |target: u32| u16::try_from((target as usize).checked_sub(at)?).ok();
        Some(Self { holds: skip(holds)?, fails: skip(fails)? })
    }
}

/// One step for a load and the test of a constant after it, where there is one.
fn fuse(at: usize, load: Instruction, test: Instruction) -> Option<Step> {
    let Instruction::Branch { test, operand: Operand::Constant(value), holds, fails } = test else {
        return None;
    };
    let skips = Skips::between(at, holds, fails)?;
    Some(match (load, test) {
        (Instruction::Load { width: Width::Byte, offset }, Test::Equal) => {
            Step::ByteEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Half, offset }, Test::Equal) => {
            Step::HalfEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Word, offset }, Test::Equal) => {
            Step::WordEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Byte, offset }, Test::AnyBit) => {
            Step::ByteAnyBit { offset, bits: value, skips }
        }
        (Instruction::Load { width: Width::Half, offset }, Test::AnyBit) => {
            Step::HalfAnyBit { offset, bits: value, skips }
        }
        (Instruction::LoadIndirect { width: Width::Half, offset }, Test::Equal) => {
            Step::IndirectHalfEqual { offset, value, skips }
        }
        _ => return None,
    })
}

fn lone(at: usize, instruction: Instruction) -> Step {
    match instruction {
        Instruction::Load { width: Width::Byte, offset } => Step::LoadByte { offset },
        Instruction::Load { width: Width::Half, offset } => Step::LoadHalf { offset },
        Instruction::Load { width: Width::Word, offset } => Step::LoadWord { offset },
        Instruction::Branch { test, operand: Operand::Constant(value), holds, fails } => {
            let Some(skips) = Skips::between(at, holds, fails) else { return Step::Other(instruction) };
            match test {
                Test::Equal => Step::Equal { value, skips },
                Test::AnyBit => Step::AnyBit { bits: value, skips },
                Test::GreaterOrEqual => Step::GreaterOrEqual { value, skips },
                Test::Greater => Step::Greater { value, skips },
            }
        }
        _ => Step::Other(instruction),
    }
}

#[inline]
fn load(packet: &[u8], offset: usize, width: Width) -> Option<u32> {
    match width {
        Width::Byte => byte(packet, offset),
        Width::Half => half(packet, offset),
        Width::Word => word(packet, offset),
    }
}

#[inline]
fn byte(packet: &[u8], offset: usize) -> Option<u32> {
    packet.get(offset).map(|byte| u32::from(*byte))
}

#[inline]
fn half(packet: &[u8], offset: usize) -> Option<u32> {
    let bytes = packet.get(offset..)?.first_chunk::<2>()?;
    Some(u32::from(u16::from_be_bytes(*bytes)))
}

#[inline]
fn word(packet: &[u8], offset: usize) -> Option<u32> {
    let bytes = packet.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}
