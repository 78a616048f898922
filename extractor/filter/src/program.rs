//! A compiled filter, and the three ways to run it.

use netrewind_store::LinkType;

use super::abstract_packet::{AbstractPacket, Verdict, judge};
use super::concrete::{AncillaryData, InFile, run};
use super::instruction::{INSTRUCTIONS_MAX, Instruction, ProgramError, RawInstruction, decode};
use super::lockstep::Lockstep;
use super::steps::Steps;
use super::term::Terms;
use super::terms::terms;

/// Bytes of an IPv4 header without options: the index of most loads that have one.
const USUAL_INDEX: u32 = 20;

/// A filter compiled for one link type, decoded and validated. Immutable; cheap to share behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Program {
    link_type: LinkType,
    instructions: Box<[Instruction]>,
    steps: Steps,
    lockstep: Option<Lockstep>,
}

impl Program {
    /// Decodes and validates. Total: any input gives a program or an error.
    pub fn decode(link_type: LinkType, raw: &[RawInstruction]) -> Result<Self, ProgramError> {
        Self::of(link_type, decode(raw)?)
    }

    /// Program of instructions whose targets and memory slots are within bounds.
    pub(super) fn of(
        link_type: LinkType,
        instructions: impl Into<Box<[Instruction]>>,
    ) -> Result<Self, ProgramError> {
        let instructions = instructions.into();
        if instructions.len() > INSTRUCTIONS_MAX {
            return Err(ProgramError::TooLong(instructions.len()));
        }
        if !matches!(instructions.last(), Some(Instruction::Return { .. } | Instruction::ReturnAccumulator)) {
            return Err(ProgramError::NoReturn);
        }
        let (steps, lockstep) = (Steps::new(&instructions), Lockstep::of(&instructions));
        Ok(Self { link_type, instructions, steps, lockstep })
    }

    /// The program that accepts every packet: what an empty expression means.
    pub fn accept_all(link_type: LinkType) -> Self {
        let instructions: Box<[_]> = [Instruction::Return { accept: true }].into();
        let (steps, lockstep) = (Steps::new(&instructions), Lockstep::of(&instructions));
        Self { link_type, instructions, steps, lockstep }
    }

    /// The link type that the program was compiled for; its verdicts on packets of another are meaningless.
    pub fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// The instructions, at least one, the last of them a return.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// True if the packet passes: `packet` is its captured bytes, `wire_len` its length on the wire in bytes.
    pub fn accepts(&self, packet: &[u8], wire_len: u32) -> bool {
        run(&self.steps, &self.instructions, packet, wire_len, &InFile).unwrap_or(false)
    }

    /// True if a program for a packet socket accepts the packet: `packet` is without the tag that the kernel took out.
    pub fn accepts_live(&self, packet: &[u8], wire_len: u32, ancillary: &AncillaryData) -> bool {
        run(&self.steps, &self.instructions, packet, wire_len, ancillary).unwrap_or(false)
    }

    /// The form in which it is put to several packets at once, if it has one.
    pub fn lockstep(&self) -> Option<&Lockstep> {
        self.lockstep.as_ref()
    }

    /// Offsets in a packet of bytes that the program is likely to read, in no order: for fetching them before it runs.
    pub fn likely_offsets(&self) -> impl Iterator<Item = u32> {
        self.instructions.iter().filter_map(|instruction| match *instruction {
            Instruction::Load { offset, .. } | Instruction::LoadHeaderLength { offset } => Some(offset),
            Instruction::LoadIndirect { offset, .. } => offset.checked_add(USUAL_INDEX),
            _ => None,
        })
    }

    /// Verdict on all packets of the set. Sound: never [`Verdict::Never`] if one of them is accepted, never [`Verdict::Always`]
    /// if one is not. The packets must be of the program's link type.
    pub fn evaluate(&self, packet: &AbstractPacket) -> Verdict {
        judge(&self.instructions, packet)
    }

    /// The terms that a packet must satisfy to be accepted. Key fields are the places of the abstract packet whose bytes
    /// are not described as known. Sound: a packet of the set that the program accepts satisfies one of the conjunctions.
    pub fn terms(&self, packet: &AbstractPacket) -> Terms {
        terms(&self.instructions, packet)
    }
}
