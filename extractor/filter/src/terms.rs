//! Demands of a filter on addresses and ports: the terms to look up in an index instead of scanning all flows.
//!
//! The program is run symbolically over a template whose key fields are unknown. Each accepting path has collected
//! conditions on those fields; all other conditions are left out, so the terms are necessary and not sufficient.

use std::collections::HashSet;

use super::abstract_packet::AbstractPacket;
use super::facts::{KeyFacts, Origins, PathPacket};
use super::instruction::{BranchTest, Instruction};
use super::machine::Machine;
use super::term::Terms;

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

/// The terms that a packet must satisfy for these instructions to accept it. Key fields are the places of the abstract packet
/// whose bytes are not described as known. Sound: a packet of the set that is accepted satisfies one of the conjunctions.
pub(super) fn terms(instructions: &[Instruction], packet: &AbstractPacket) -> Terms {
    let exact = PathSearch::new(instructions, packet, Detail::Exact).run();
    let found = exact.or_else(|| PathSearch::new(instructions, packet, Detail::Coarse).run());
    found.unwrap_or(Terms::Unconstrained)
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
                    // Packets rejected here do not matter: the others continue.
                    if path.machine.execute(instruction, &template, &mut false).is_none() {
                        return Ok(());
                    }
                    path.at += 1;
                }
            }
        }
    }

    /// The path on one side of an open branch; `None` if no packet can take it.
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
            side.facts.add_condition(self.packet, origin, test, constant, holds)?;
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
