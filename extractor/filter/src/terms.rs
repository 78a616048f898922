//! Demands of a filter on addresses and ports: the terms to look up in an index instead of scanning all flows.
//!
//! The program is run symbolically over a template whose key fields are unknown. Each accepting path has collected
//! conditions on those fields; all other conditions are left out, so the terms are necessary and not sufficient.

use std::collections::HashSet;

use super::abstract_packet::{AbstractPacket, TermField};
use super::facts::{KeyFacts, Origins, PathPacket};
use super::machine::Machine;
use super::program::{BranchTest, Instruction, Program};

/// Conjunctions collected while every path keeps all of its terms.
pub const CONJUNCTIONS_EXACT_MAX: usize = 1024;

/// Conjunctions collected while every path keeps only its most selective field.
pub const CONJUNCTIONS_COARSE_MAX: usize = 1 << 14;

/// Instructions run while every path keeps all of its terms.
const STEPS_EXACT_MAX: usize = 1 << 16;

/// Instructions run while every path keeps only its most selective field: at most some 20 ms.
const STEPS_COARSE_MAX: usize = 1 << 16;

/// Open branches on top of each other.
const DEPTH_MAX: u32 = 128;

/// Demands of a filter on the key fields of a template's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Packets may be accepted whatever their key is, or there are too many ways to be accepted to name them.
    Unconstrained,
    /// Every accepted packet satisfies all terms of at least one of these. Sorted, without duplicates; where there is
    /// none, no packet of the template is accepted.
    AnyOf(Vec<Conjunction>),
}

/// Terms that hold together: at most two for each field, sorted by field; never empty.
pub type Conjunction = Vec<Term>;

/// A condition on one key field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// The field.
    pub field: TermField,
    /// Demand on its value.
    pub demand: Demand,
}

/// Demand on a key field. Fields are numbers in network byte order: an IPv4 address has the low 32 bits of a `u128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Demand {
    /// The field of so many bytes is equal to `value` in the bits of `mask`.
    Bits {
        /// Length of the field in bytes.
        bytes: u8,
        /// The bits that are compared; not zero.
        mask: u128,
        /// Value of those bits; zero outside `mask`.
        value: u128,
    },
    /// The two-byte field is a number from `low` to `high`; equality is a range of one.
    Range {
        /// The lowest number.
        low: u16,
        /// The highest number.
        high: u16,
    },
}

impl Demand {
    /// True if a field with these bytes, in the packet's order, meets the demand.
    pub fn admits(&self, field: &[u8]) -> bool {
        let number = field.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        match *self {
            Self::Bits { bytes, mask, value } => field.len() == usize::from(bytes) && number & mask == value,
            Self::Range { low, high } => {
                field.len() == 2 && (u128::from(low)..=u128::from(high)).contains(&number)
            }
        }
    }

    /// The number of leading bits that are compared, where those are all that is: 32 for one IPv4 address, 24 for a /24.
    pub fn prefix_bits(&self) -> Option<u8> {
        let Self::Bits { bytes, mask, .. } = *self else { return None };
        let field_bits = u32::from(bytes) * 8;
        let aligned = mask.checked_shl(128 - field_bits)?;
        (aligned.leading_ones() == mask.count_ones()).then(|| u8::try_from(mask.count_ones()).ok()).flatten()
    }
}

impl Program {
    /// The terms that a packet must satisfy to be accepted. Key fields are the places of the abstract packet whose bytes
    /// are not described as known. Sound: a packet of the set that the program accepts satisfies one of the conjunctions.
    pub fn terms(&self, packet: &AbstractPacket) -> Terms {
        let exact = PathSearch::new(self.instructions(), packet, Detail::Exact).run();
        let found = exact.or_else(|| PathSearch::new(self.instructions(), packet, Detail::Coarse).run());
        found.unwrap_or(Terms::Unconstrained)
    }
}

/// Detail that a path remembers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Everything: paths multiply where alternatives follow on alternatives.
    Exact,
    /// Its most selective field, so that paths which agree in it meet again and are followed once.
    Coarse,
}

/// State of a path at a branch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Path {
    at: usize,
    machine: Machine,
    origins: Origins,
    facts: KeyFacts,
}

/// The search for accepting paths.
struct PathSearch<'a> {
    instructions: &'a [Instruction],
    packet: &'a AbstractPacket,
    detail: Detail,
    steps_left: usize,
    found: HashSet<KeyFacts>,
    /// Branch points already followed; used where paths meet again.
    seen: HashSet<Path>,
}

/// Reasons to end a search before all paths are followed.
enum SearchEnd {
    /// A path is accepted that demands nothing.
    Unconstrained,
    /// A limit is reached.
    TooMuch,
}

impl<'a> PathSearch<'a> {
    fn new(instructions: &'a [Instruction], packet: &'a AbstractPacket, detail: Detail) -> Self {
        let steps_left = if detail == Detail::Exact { STEPS_EXACT_MAX } else { STEPS_COARSE_MAX };
        Self { instructions, packet, detail, steps_left, found: HashSet::new(), seen: HashSet::new() }
    }

    /// None where a limit is reached.
    fn run(mut self) -> Option<Terms> {
        let start =
            Path { at: 0, machine: Machine::new(), origins: Origins::default(), facts: KeyFacts::default() };
        match self.follow(start, 0) {
            Ok(()) => {}
            Err(SearchEnd::Unconstrained) => return Some(Terms::Unconstrained),
            Err(SearchEnd::TooMuch) => return None,
        }
        let mut conjunctions: Vec<_> = self.found.iter().map(|facts| facts.terms(self.packet)).collect();
        conjunctions.sort_unstable();
        conjunctions.dedup();
        Some(Terms::AnyOf(conjunctions))
    }

    fn follow(&mut self, mut path: Path, depth: u32) -> Result<(), SearchEnd> {
        if depth > DEPTH_MAX {
            return Err(SearchEnd::TooMuch);
        }
        loop {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(SearchEnd::TooMuch)?;
            let instruction = self.instructions.get(path.at).copied().ok_or(SearchEnd::TooMuch)?;
            match instruction {
                Instruction::Return { accept } => return self.conclude(accept, path.facts),
                Instruction::ReturnAccumulator => {
                    return self.conclude(path.machine.a.known() != Some(0), path.facts);
                }
                Instruction::Jump { target } => path.at = target as usize,
                Instruction::Branch { test, operand, holds, fails } => {
                    match path.machine.a.test(test, path.machine.operand(operand)) {
                        Some(true) => path.at = holds as usize,
                        Some(false) => path.at = fails as usize,
                        None => {
                            if self.detail == Detail::Coarse && !self.seen.insert(path) {
                                return Ok(());
                            }
                            let constant = path.machine.operand(operand).known();
                            if let Some(side) = self.side(&path, test, constant, true, holds) {
                                self.follow(side, depth + 1)?;
                            }
                            match self.side(&path, test, constant, false, fails) {
                                Some(side) => path = side,
                                None => return Ok(()),
                            }
                        }
                    }
                }
                _ => {
                    path.origins.follow(instruction, path.machine.x.known());
                    let template = PathPacket { packet: self.packet, facts: &path.facts };
                    // Whether some packets are rejected here does not matter: the others go on.
                    if path.machine.execute(instruction, &template, &mut false).is_none() {
                        return Ok(());
                    }
                    path.at += 1;
                }
            }
        }
    }

    /// The path on one side of an open branch; none where no packet can be there.
    fn side(
        &self,
        path: &Path,
        test: BranchTest,
        constant: Option<u32>,
        holds: bool,
        target: u32,
    ) -> Option<Path> {
        let mut side = Path { at: target as usize, ..*path };
        let Some(constant) = constant else { return Some(side) };
        side.machine.a = side.machine.a.refine(test, constant, holds)?;
        if let Some(origin) = side.origins.accumulator() {
            side.facts.learn(self.packet, origin, test, constant, holds)?;
            if self.detail == Detail::Coarse {
                side.facts.keep_most_selective(self.packet);
            }
        }
        Some(side)
    }

    fn conclude(&mut self, accept: bool, facts: KeyFacts) -> Result<(), SearchEnd> {
        if !accept {
            return Ok(());
        }
        if facts == KeyFacts::default() {
            return Err(SearchEnd::Unconstrained);
        }
        self.found.insert(facts);
        let limit =
            if self.detail == Detail::Exact { CONJUNCTIONS_EXACT_MAX } else { CONJUNCTIONS_COARSE_MAX };
        if self.found.len() > limit { Err(SearchEnd::TooMuch) } else { Ok(()) }
    }
}
