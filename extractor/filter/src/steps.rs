//! The instructions as the interpreter runs them: the most frequent sequences are one step each, above all a load with the test
//! that follows it, and the tests of a list of addresses.
//!
//! **Invariant:** positions are those of the program, so that a jump into the middle of a step finds the rest of it.

use super::instruction::{Arithmetic, BranchTest, Instruction, Operand, Width};

/// Smallest number of consecutive comparisons with constants that become one search in a list.
const LISTED_MIN: usize = 3;

/// The steps of a program.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    steps: Box<[Step]>,
    constants: Box<[u32]>,
}

/// Action at one position of the program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    ByteEqual {
        offset: u32,
        value: u32,
        skips: Skips,
    },
    HalfEqual {
        offset: u32,
        value: u32,
        skips: Skips,
    },
    WordEqual {
        offset: u32,
        value: u32,
        skips: Skips,
    },
    HalfAnyBit {
        offset: u32,
        bits: u32,
        skips: Skips,
    },
    IndirectHalfEqual {
        offset: u32,
        value: u32,
        skips: Skips,
    },
    Test {
        test: BranchTest,
        value: u32,
        skips: Skips,
    },
    EqualToListed {
        first: u32,
        count: u32,
        skips: Skips,
    },
    Load {
        width: Width,
        offset: u32,
    },
    LoadIndirect {
        width: Width,
        offset: u32,
    },
    LoadHeaderLength {
        offset: u32,
    },
    And {
        mask: u32,
    },
    LoadLength,
    Return {
        accept: bool,
    },
    /// Anything else: what the program says.
    Other,
}

/// Numbers of steps to skip; a branch of classic BPF cannot skip more than 256, a list of branches can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skips {
    holds: u16,
    fails: u16,
}

/// A branch on a constant.
#[derive(Clone, Copy)]
struct ConstantTest {
    test: BranchTest,
    value: u32,
    holds: u32,
    fails: u32,
}

impl Steps {
    pub(super) fn new(instructions: &[Instruction]) -> Self {
        let mut steps: Vec<_> = (0..instructions.len()).map(|at| step(at, instructions)).collect();
        let mut constants = Vec::new();
        let mut at = 0;
        while at < steps.len() {
            let list = list_at(at, instructions);
            if list.len() >= LISTED_MIN {
                replace_by_search(at, &list, &mut steps, &mut constants);
            }
            at += list.len().max(1);
        }
        Self { steps: steps.into(), constants: constants.into() }
    }

    #[inline]
    pub(super) fn at(&self, position: usize) -> Option<&Step> {
        self.steps.get(position)
    }

    #[inline]
    pub(super) fn is_listed(&self, first: u32, count: u32, value: u32) -> bool {
        let list = self.constants.get(first as usize..first as usize + count as usize);
        list.is_some_and(|list| list.contains(&value))
    }
}

impl Skips {
    #[inline]
    pub(super) fn after(self, holds: bool) -> usize {
        usize::from(if holds { self.holds } else { self.fails })
    }

    fn from(at: usize, test: ConstantTest) -> Option<Self> {
        let skip = |target: u32| u16::try_from((target as usize).checked_sub(at)?).ok();
        Some(Self { holds: skip(test.holds)?, fails: skip(test.fails)? })
    }
}

fn constant_test(instruction: Option<&Instruction>) -> Option<ConstantTest> {
    match instruction.copied()? {
        Instruction::Branch { test, operand: Operand::Constant(value), holds, fails } => {
            Some(ConstantTest { test, value, holds, fails })
        }
        _ => None,
    }
}

fn step(at: usize, instructions: &[Instruction]) -> Step {
    let instruction = instructions[at];
    let fused = constant_test(instructions.get(at + 1)).and_then(|test| fuse(at, instruction, test));
    let tested = constant_test(Some(&instruction)).and_then(|branch| {
        let ConstantTest { test, value, .. } = branch;
        Some(Step::Test { test, value, skips: Skips::from(at, branch)? })
    });
    fused.or(tested).unwrap_or(match instruction {
        Instruction::Load { width, offset } => Step::Load { width, offset },
        Instruction::LoadIndirect { width, offset } => Step::LoadIndirect { width, offset },
        Instruction::LoadHeaderLength { offset } => Step::LoadHeaderLength { offset },
        Instruction::Compute { operation: Arithmetic::And, operand: Operand::Constant(mask) } => {
            Step::And { mask }
        }
        Instruction::LoadLength => Step::LoadLength,
        Instruction::Return { accept } => Step::Return { accept },
        _ => Step::Other,
    })
}

/// One step for a load and the test of a constant after it, where there is one.
fn fuse(at: usize, load: Instruction, branch: ConstantTest) -> Option<Step> {
    let ConstantTest { test, value, .. } = branch;
    let skips = Skips::from(at, branch)?;
    Some(match (load, test) {
        (Instruction::Load { width: Width::Byte, offset }, BranchTest::Equal) => {
            Step::ByteEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Half, offset }, BranchTest::Equal) => {
            Step::HalfEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Word, offset }, BranchTest::Equal) => {
            Step::WordEqual { offset, value, skips }
        }
        (Instruction::Load { width: Width::Half, offset }, BranchTest::AnyBit) => {
            Step::HalfAnyBit { offset, bits: value, skips }
        }
        (Instruction::LoadIndirect { width: Width::Half, offset }, BranchTest::Equal) => {
            Step::IndirectHalfEqual { offset, value, skips }
        }
        _ => return None,
    })
}

/// The comparisons from a position on that lead to the same place where they hold, and to the next where not.
fn list_at(at: usize, instructions: &[Instruction]) -> Vec<ConstantTest> {
    let mut list: Vec<ConstantTest> = Vec::new();
    while let Some(test) = constant_test(instructions.get(at + list.len())) {
        let follows =
            list.last().is_none_or(|last| last.holds == test.holds && last.fails as usize == at + list.len());
        if test.test != BranchTest::Equal || !follows {
            break;
        }
        list.push(test);
    }
    list
}

/// Every position of the list searches the rest of it; a load before has taken its first comparison along.
fn replace_by_search(at: usize, list: &[ConstantTest], steps: &mut [Step], constants: &mut Vec<u32>) {
    let (Some(last), Ok(first)) = (list.last(), u32::try_from(constants.len())) else { return };
    constants.extend(list.iter().map(|test| test.value));
    for (nth, position) in (at..at + list.len()).enumerate() {
        let (Ok(passed), Ok(count)) = (u32::try_from(nth), u32::try_from(list.len() - nth)) else { return };
        if let Some(skips) = Skips::from(position, *last) {
            steps[position] = Step::EqualToListed { first: first + passed, count, skips };
        }
    }
}
