//! A program over one packet: a safe interpreter with the semantics of libpcap's `bpf_filter`.
//!
//! Everything is deterministic, unlike in libpcap 1.10: scratch memory that a program reads before it writes (libpcap's compiler
//! lets it for some 802.11 filters) is zero, as in later versions.
//!
//! **Invariant:** ends on every packet. A program goes backward at most [`BACKWARD_JUMPS_MAX`] times.

use netrewind_store::layout::CAPLEN_MAX;

use super::instruction::{Instruction, MEMORY_WORDS, Width};
use super::steps::{Step, Steps};

/// `protochain` goes back once for each extension header, and none is shorter than 8 bytes: no packet that can be stored
/// needs more, so that the verdict is tcpdump's on every one of them.
pub const BACKWARD_JUMPS_MAX: u32 = CAPLEN_MAX / 8 + 1;

/// Metadata that the kernel has for a packet besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AncillaryData {
    /// Protocol that it carries: an ethertype, or one of the kernel's `ETH_P_` numbers.
    pub protocol: u16,
    /// Direction and kind of destination: one of packet(7)'s `PACKET_` numbers.
    pub packet_type: u8,
    /// The number of the interface.
    pub interface: u32,
    /// The interface's `ARPHRD_` number.
    pub hardware_type: u16,
    /// TPID and TCI of a VLAN tag that the kernel keeps beside the packet.
    pub tag: Option<(u16, u16)>,
}

/// Bytes that are not in the packet.
pub(super) trait AncillaryWords {
    fn word(&self, offset: u32) -> Option<u32>;
}

/// A packet in a file: it has no such bytes.
pub(super) struct InFile;

impl AncillaryWords for InFile {
    #[inline]
    fn word(&self, _offset: u32) -> Option<u32> {
        None
    }
}

/// Offsets of the kernel's metadata: `SKF_AD_` of linux/filter.h.
mod ancillary {
    pub const PROTOCOL: u32 = 0xffff_f000;
    pub const PACKET_TYPE: u32 = PROTOCOL + 4;
    pub const INTERFACE: u32 = PROTOCOL + 8;
    pub const HARDWARE_TYPE: u32 = PROTOCOL + 28;
    pub const VLAN_TAG: u32 = PROTOCOL + 44;
    pub const VLAN_TAG_PRESENT: u32 = PROTOCOL + 48;
    pub const VLAN_TPID: u32 = PROTOCOL + 60;
}

impl AncillaryWords for AncillaryData {
    fn word(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            ancillary::PROTOCOL => u32::from(self.protocol),
            ancillary::PACKET_TYPE => u32::from(self.packet_type),
            ancillary::INTERFACE => self.interface,
            ancillary::HARDWARE_TYPE => u32::from(self.hardware_type),
            ancillary::VLAN_TAG => self.tag.map_or(0, |(_, tci)| u32::from(tci)),
            ancillary::VLAN_TAG_PRESENT => u32::from(self.tag.is_some()),
            ancillary::VLAN_TPID => self.tag.map_or(0, |(tpid, _)| u32::from(tpid)),
            _ => return None,
        })
    }
}

/// The verdict on a packet. None where it is rejected for want of bytes, a division by zero, or too many turns of a loop.
pub(super) fn run(
    steps: &Steps,
    program: &[Instruction],
    packet: &[u8],
    wire_len: u32,
    ancillary: &impl AncillaryWords,
) -> Option<bool> {
    let mut at = 0_usize;
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY_WORDS];
    let mut backward_jumps = 0;
    loop {
        match *steps.at(at)? {
            Step::ByteEqual { offset, value, skips } => {
                a = byte(packet, offset as usize).or_else(|| ancillary.word(offset))?;
                at += skips.after(a == value);
            }
            Step::HalfEqual { offset, value, skips } => {
                a = half(packet, offset as usize).or_else(|| ancillary.word(offset))?;
                at += skips.after(a == value);
            }
            Step::WordEqual { offset, value, skips } => {
                a = word(packet, offset as usize).or_else(|| ancillary.word(offset))?;
                at += skips.after(a == value);
            }
            Step::HalfAnyBit { offset, bits, skips } => {
                a = half(packet, offset as usize).or_else(|| ancillary.word(offset))?;
                at += skips.after(a & bits != 0);
            }
            Step::IndirectHalfEqual { offset, value, skips } => {
                a = half(packet, x as usize + offset as usize)?;
                at += skips.after(a == value);
            }
            Step::Test { test, value, skips } => at += skips.after(test.holds(a, value)),
            Step::EqualToListed { first, count, skips } => {
                at += skips.after(steps.is_listed(first, count, a));
            }
            Step::Load { width, offset } => {
                a = load(packet, offset as usize, width).or_else(|| ancillary.word(offset))?;
                at += 1;
            }
            Step::LoadIndirect { width, offset } => {
                a = load(packet, x as usize + offset as usize, width)?;
                at += 1;
            }
            Step::LoadHeaderLength { offset } => {
                x = (byte(packet, offset as usize)? & 0xf) << 2;
                at += 1;
            }
            Step::And { mask } => {
                a &= mask;
                at += 1;
            }
            Step::LoadLength => {
                a = wire_len;
                at += 1;
            }
            Step::Return { accept } => return Some(accept),
            Step::Other => {
                let instruction = *program.get(at)?;
                at += 1;
                match instruction {
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
                        backward_jumps += u32::from((target as usize) < at);
                        if backward_jumps > BACKWARD_JUMPS_MAX {
                            return None;
                        }
                        at = target as usize;
                    }
                    Instruction::Branch { test, operand, holds, fails } => {
                        at = if test.holds(a, operand.value(x)) { holds } else { fails } as usize;
                    }
                    Instruction::ReturnAccumulator => return Some(a != 0),
                    // These have steps of their own.
                    Instruction::Load { .. }
                    | Instruction::LoadIndirect { .. }
                    | Instruction::LoadHeaderLength { .. }
                    | Instruction::LoadLength
                    | Instruction::Return { .. } => return None,
                }
            }
        }
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
