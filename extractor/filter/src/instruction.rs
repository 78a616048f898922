//! The instructions of a compiled filter: validated once, so that the three ways to run it need no checks of their own.

use thiserror::Error;

/// The scratch words of the classic BPF machine (`BPF_MEMWORDS` of bpf(4)).
pub const MEMORY_WORDS: usize = 16;

/// The longest program that is decoded. libpcap's limit of 1.5 million instructions is far beyond what is useful.
pub const INSTRUCTIONS_MAX: usize = 1 << 18;

/// One instruction as `struct bpf_insn` has it (bpf(4), `man 4 bpf` of any BSD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawInstruction {
    /// Operation code.
    pub code: u16,
    /// Instructions to skip where the test holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// The constant, offset, or distance.
    pub k: u32,
}

/// Number of bytes that a load takes from the packet, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
}

/// The second operand of arithmetic and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The constant in the instruction.
    Constant(u32),
    /// The index register.
    Index,
}

/// Arithmetic on the accumulator, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    /// Division; by zero, the packet is rejected.
    Divide,
    /// Remainder; by zero, the packet is rejected.
    Modulo,
    And,
    Or,
    Xor,
    /// Left shift; by 32 bits or more, the result is zero.
    ShiftLeft,
    /// Right shift; by 32 bits or more, the result is zero.
    ShiftRight,
}

/// Comparison of the accumulator with a branch's operand, both unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchTest {
    /// They are equal.
    Equal,
    /// The accumulator is greater.
    Greater,
    /// The accumulator is greater or equal.
    GreaterOrEqual,
    /// They have a set bit in common.
    AnyBit,
}

/// One validated instruction. Targets are positions in the program; memory slots are below [`MEMORY_WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A = the packet's bytes at `offset`; outside the captured bytes the packet is rejected, here and below.
    Load {
        /// Bytes to take.
        width: Width,
        /// Bytes from the packet's beginning.
        offset: u32,
    },
    /// A = the packet's bytes at X + `offset`.
    LoadIndirect {
        /// Bytes to take.
        width: Width,
        /// Bytes to add to X.
        offset: u32,
    },
    /// X = 4 * (packet\[offset\] & 15): the length of an IPv4 header.
    LoadHeaderLength {
        /// Bytes from the packet's beginning.
        offset: u32,
    },
    /// A = the packet's length on the wire.
    LoadLength,
    /// X = the packet's length on the wire.
    IndexLength,
    /// A = the constant.
    LoadConstant(u32),
    /// X = the constant.
    IndexConstant(u32),
    /// A = a memory word.
    LoadMemory(u8),
    /// X = a memory word.
    IndexMemory(u8),
    /// A memory word = A.
    Store(u8),
    /// A memory word = X.
    StoreIndex(u8),
    /// A = A operation operand.
    Compute {
        /// The operation.
        operation: Arithmetic,
        /// Its right side.
        operand: Operand,
    },
    /// A = -A.
    Negate,
    /// X = A.
    AccumulatorToIndex,
    /// A = X.
    IndexToAccumulator,
    /// Jump to `target`; the only instruction that may go backward (`protochain`).
    Jump {
        /// Position in the program.
        target: u32,
    },
    /// Go on at one of two later positions.
    Branch {
        /// The question.
        test: BranchTest,
        /// Right-hand side of the comparison with A.
        operand: Operand,
        /// Position where the test holds.
        holds: u32,
        /// Position where it does not.
        fails: u32,
    },
    /// The end: accept or reject.
    Return {
        /// True if the packet is accepted.
        accept: bool,
    },
    /// The end: accept if A is not zero.
    ReturnAccumulator,
}

/// Reasons why raw instructions are no program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// No instruction at all.
    #[error("the filter program has no instructions")]
    Empty,
    /// More than [`INSTRUCTIONS_MAX`].
    #[error("the filter program has {0} instructions; the limit is {INSTRUCTIONS_MAX}")]
    TooLong(usize),
    /// An operation that the machine does not have.
    #[error("filter instruction {at}: unknown operation code {code:#x}")]
    UnknownCode {
        /// Position of the instruction.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A jump out of the program, or backward where only forward is possible.
    #[error("filter instruction {at}: jumps beyond the program's end")]
    JumpOutside {
        /// Position of the instruction.
        at: usize,
    },
    /// A memory slot that the machine does not have.
    #[error("filter instruction {at}: memory slot {slot} of {MEMORY_WORDS}")]
    NoSuchSlot {
        /// Position of the instruction.
        at: usize,
        /// The slot asked for.
        slot: u32,
    },
    /// The program runs past its last instruction.
    #[error("the filter program does not end with a return instruction")]
    NoReturn,
}

impl RawInstruction {
    /// Reads one line of `tcpdump -ddd`: code, jt, jf, k in decimal.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace();
        let instruction = Self {
            code: numbers.next()?.parse().ok()?,
            jt: numbers.next()?.parse().ok()?,
            jf: numbers.next()?.parse().ok()?,
            k: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(instruction)
    }
}

impl Width {
    /// The width in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }

    /// The bits that a load of this width can set.
    pub fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Half => 0xffff,
            Self::Word => u32::MAX,
        }
    }
}

impl Operand {
    /// The number that it stands for; `x` is the index register.
    #[inline]
    pub(super) fn value(self, x: u32) -> u32 {
        match self {
            Self::Constant(k) => k,
            Self::Index => x,
        }
    }
}

impl Arithmetic {
    /// The result for two numbers, as in libpcap's interpreter; `None` if it rejects the packet.
    #[inline]
    pub fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Subtract => a.wrapping_sub(b),
            Self::Multiply => a.wrapping_mul(b),
            Self::Divide => return a.checked_div(b),
            Self::Modulo => return a.checked_rem(b),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Self::ShiftRight => a.checked_shr(b).unwrap_or(0),
        })
    }
}

impl BranchTest {
    /// The answer on two numbers.
    #[inline]
    pub fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

/// Decodes and validates: any input gives instructions or an error.
pub(super) fn decode(raw: &[RawInstruction]) -> Result<Vec<Instruction>, ProgramError> {
    if raw.is_empty() {
        return Err(ProgramError::Empty);
    }
    if raw.len() > INSTRUCTIONS_MAX {
        return Err(ProgramError::TooLong(raw.len()));
    }
    let decoded = raw.iter().enumerate();
    decoded.map(|(at, raw_instruction)| decode_instruction(at, raw.len(), *raw_instruction)).collect()
}

fn decode_instruction(at: usize, count: usize, raw: RawInstruction) -> Result<Instruction, ProgramError> {
    let RawInstruction { code, k, .. } = raw;
    Ok(match code {
        0x00 => Instruction::LoadConstant(k),
        0x20 => Instruction::Load { width: Width::Word, offset: k },
        0x28 => Instruction::Load { width: Width::Half, offset: k },
        0x30 => Instruction::Load { width: Width::Byte, offset: k },
        0x40 => Instruction::LoadIndirect { width: Width::Word, offset: k },
        0x48 => Instruction::LoadIndirect { width: Width::Half, offset: k },
        0x50 => Instruction::LoadIndirect { width: Width::Byte, offset: k },
        0x60 => Instruction::LoadMemory(memory_slot(at, k)?),
        0x80 => Instruction::LoadLength,
        0x01 => Instruction::IndexConstant(k),
        0x61 => Instruction::IndexMemory(memory_slot(at, k)?),
        0x81 => Instruction::IndexLength,
        0xb1 => Instruction::LoadHeaderLength { offset: k },
        0x02 => Instruction::Store(memory_slot(at, k)?),
        0x03 => Instruction::StoreIndex(memory_slot(at, k)?),
        0x84 => Instruction::Negate,
        0x05 => Instruction::Jump { target: jump_target(at, count, k)? },
        0x06 => Instruction::Return { accept: k != 0 },
        0x16 => Instruction::ReturnAccumulator,
        0x07 => Instruction::AccumulatorToIndex,
        0x87 => Instruction::IndexToAccumulator,
        _ => {
            return decode_with_operand(at, count, raw)
                .unwrap_or(Err(ProgramError::UnknownCode { at, code }));
        }
    })
}

/// The codes of the classes ALU (4) and JMP (5), whose bit 3 says where the operand is.
fn decode_with_operand(
    at: usize,
    count: usize,
    raw: RawInstruction,
) -> Option<Result<Instruction, ProgramError>> {
    let operand = if raw.code & 0x08 == 0 { Operand::Constant(raw.k) } else { Operand::Index };
    let kind = raw.code & !0x08;
    if let Some(operation) = arithmetic(kind) {
        return Some(Ok(Instruction::Compute { operation, operand }));
    }
    let test = test(kind)?;
    let target = |skip: u8| {
        let target = at + 1 + usize::from(skip);
        if target < count { Ok(position(target)) } else { Err(ProgramError::JumpOutside { at }) }
    };
    Some(
        target(raw.jt)
            .and_then(|holds| Ok(Instruction::Branch { test, operand, holds, fails: target(raw.jf)? })),
    )
}

fn arithmetic(kind: u16) -> Option<Arithmetic> {
    Some(match kind {
        0x04 => Arithmetic::Add,
        0x14 => Arithmetic::Subtract,
        0x24 => Arithmetic::Multiply,
        0x34 => Arithmetic::Divide,
        0x44 => Arithmetic::Or,
        0x54 => Arithmetic::And,
        0x64 => Arithmetic::ShiftLeft,
        0x74 => Arithmetic::ShiftRight,
        0x94 => Arithmetic::Modulo,
        0xa4 => Arithmetic::Xor,
        _ => return None,
    })
}

fn test(kind: u16) -> Option<BranchTest> {
    Some(match kind {
        0x15 => BranchTest::Equal,
        0x25 => BranchTest::Greater,
        0x35 => BranchTest::GreaterOrEqual,
        0x45 => BranchTest::AnyBit,
        _ => return None,
    })
}

fn memory_slot(at: usize, slot: u32) -> Result<u8, ProgramError> {
    match u8::try_from(slot) {
        Ok(small) if usize::from(small) < MEMORY_WORDS => Ok(small),
        _ => Err(ProgramError::NoSuchSlot { at, slot }),
    }
}

/// The distance of `ja` is signed: libpcap emits backward jumps for `protochain`.
fn jump_target(at: usize, count: usize, distance: u32) -> Result<u32, ProgramError> {
    let target = at as i64 + 1 + i64::from(distance.cast_signed());
    match usize::try_from(target) {
        Ok(target) if target < count => Ok(position(target)),
        _ => Err(ProgramError::JumpOutside { at }),
    }
}

/// Positions fit because a program is no longer than [`INSTRUCTIONS_MAX`].
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
