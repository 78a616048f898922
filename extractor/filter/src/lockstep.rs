//! A program over several packets at once: every packet is taken one test further, then every packet the next one.
//!
//! Which test comes next depends on the packet, and the processor guesses it wrong for one packet in a few. Here nothing has to be
//! guessed: all tests have the same form, and the packets' chains of tests run beside each other.
//!
//! **Invariant:** the verdicts are those of the interpreter. Programs that have more than loads of bytes and tests of these with
//! constants, or too many of them, have no such form.

use std::collections::HashMap;

use netrewind_store::layout::CAPLEN_MAX;

use super::instruction::{Arithmetic, BranchTest, Instruction, Operand, Width};

/// Packets that are judged at once.
pub const LOCKSTEP_PACKETS: usize = 16;
/// Tests of a program, both ends included; a power of two.
const TESTS_MAX: usize = 64;
/// The end of a packet that is rejected.
const REJECTED: u32 = 0;
/// The end of a packet that is accepted.
const ACCEPTED: u32 = 1;
/// Bytes that are read behind a packet's last one: a test reads a word, whatever it needs of it.
pub const LOCKSTEP_SLACK_BYTES: usize = 4;

/// A program in this form.
#[derive(Clone, Debug)]
pub struct Lockstep {
    tests: Box<[PacketTest; TESTS_MAX]>,
    root: u32,
    /// Offset of the byte that tells an IPv4 header's length, which is the index of all loads that have one.
    index_at: u32,
}

/// The captured bytes of a packet, and at least [`LOCKSTEP_SLACK_BYTES`] that do not matter.
#[derive(Clone, Copy, Debug)]
pub struct PaddedPacket<'p> {
    bytes: &'p [u8],
    captured: u32,
}

/// Test of a few bytes: whether `low` is at most what `mask` leaves of them, and that at most `span` more.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct PacketTest {
    offset: u32,
    /// Bits of the index that are added to the offset.
    indexed: u32,
    mask: u32,
    low: u32,
    span: u32,
    /// The next test where it holds.
    holds: u32,
    /// The next test where it does not.
    fails: u32,
    /// Bits of the word behind the tested ones.
    shift: u8,
    /// Bytes that the packet must have from the offset on.
    width: u8,
}

impl<'p> PaddedPacket<'p> {
    /// No packet.
    pub const NONE: PaddedPacket<'static> = PaddedPacket { bytes: &[0; LOCKSTEP_SLACK_BYTES], captured: 0 };

    /// Packet with which `bytes` begin; `None` where less than the slack follows.
    #[inline]
    pub fn of(bytes: &'p [u8], captured: u32) -> Option<Self> {
        (bytes.len() >= captured as usize + LOCKSTEP_SLACK_BYTES).then_some(Self { bytes, captured })
    }
}

impl Lockstep {
    /// The form of a program, if it has one.
    pub(super) fn of(instructions: &[Instruction]) -> Option<Self> {
        let mut tests = Box::new([PacketTest::default(); TESTS_MAX]);
        for (end, test) in [REJECTED, ACCEPTED].into_iter().zip(tests.iter_mut()) {
            *test = PacketTest { holds: end, fails: end, ..PacketTest::default() };
        }
        let mut translation =
            Translation { instructions, tests, count: 2, known: HashMap::new(), index_at: None };
        let root = translation.test_from(Place { at: 0, loaded: None, has_index: false })?;
        Some(Self { tests: translation.tests, root, index_at: translation.index_at.unwrap_or(0) })
    }

    /// A bit for each packet that is accepted.
    pub fn accepted(&self, packets: &[PaddedPacket<'_>; LOCKSTEP_PACKETS]) -> u32 {
        let header_length = |packet: &PaddedPacket<'_>| {
            packet.bytes.get(self.index_at as usize).map_or(0, |byte| u32::from(byte & 0xf) << 2)
        };
        let index = packets.each_ref().map(header_length);
        let mut next = [self.root; LOCKSTEP_PACKETS];
        // Every test leads to a later one or to an end, so that this ends.
        loop {
            let mut latest = 0;
            for lane in 0..LOCKSTEP_PACKETS {
                let test = &self.tests[next[lane] as usize % TESTS_MAX];
                next[lane] = test.put_to(&packets[lane], index[lane]);
                latest |= next[lane];
            }
            if latest <= ACCEPTED {
                break;
            }
        }
        (0..).zip(next).fold(0, |all, (lane, next)| all | u32::from(next == ACCEPTED) << lane)
    }
}

impl PacketTest {
    /// The next test.
    #[inline(always)]
    fn put_to(&self, packet: &PaddedPacket<'_>, index: u32) -> u32 {
        let offset = self.offset.wrapping_add(index & self.indexed);
        let is_there = offset.wrapping_add(u32::from(self.width)) <= packet.captured;
        let offset = if is_there { offset as usize } else { 0 };
        let word = packet.bytes.get(offset..offset + 4).and_then(<[u8]>::first_chunk);
        let word = u32::from_be_bytes(word.copied().unwrap_or_default());
        let value = (word >> (self.shift % 32)) & self.mask;
        let next = if value.wrapping_sub(self.low) <= self.span { self.holds } else { self.fails };
        if is_there { next } else { REJECTED }
    }
}

/// Bytes of the packet that are in the accumulator.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Loaded {
    width: Width,
    offset: u32,
    is_indexed: bool,
    mask: u32,
}

/// A position in the program, and what is known there of the registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    at: usize,
    loaded: Option<Loaded>,
    /// The index is the length of an IPv4 header.
    has_index: bool,
}

struct Translation<'i> {
    instructions: &'i [Instruction],
    tests: Box<[PacketTest; TESTS_MAX]>,
    count: u32,
    known: HashMap<Place, u32>,
    index_at: Option<u32>,
}

impl Translation<'_> {
    /// The first test from a place on.
    fn test_from(&mut self, mut place: Place) -> Option<u32> {
        // A load of bytes that a packet does not have rejects it, so that each has to be tested.
        let mut is_untested = false;
        loop {
            let next = place.at + 1;
            match *self.instructions.get(place.at)? {
                Instruction::Compute { operation: Arithmetic::And, operand: Operand::Constant(mask) } => {
                    place.loaded.as_mut()?.mask &= mask;
                }
                Instruction::Branch { test, operand: Operand::Constant(value), holds, fails } => {
                    return self.test_at(place, (test, value), [holds, fails]);
                }
                _ if is_untested => return None,
                Instruction::Load { width, offset } if offset <= CAPLEN_MAX => {
                    place.loaded = Some(Loaded { width, offset, is_indexed: false, mask: width.mask() });
                    is_untested = true;
                }
                Instruction::LoadIndirect { width, offset } if offset <= CAPLEN_MAX && place.has_index => {
                    place.loaded = Some(Loaded { width, offset, is_indexed: true, mask: width.mask() });
                    is_untested = true;
                }
                Instruction::LoadHeaderLength { offset } if offset <= CAPLEN_MAX => {
                    if *self.index_at.get_or_insert(offset) != offset {
                        return None;
                    }
                    place.has_index = true;
                    if !place.loaded.is_some_and(|loaded| loaded.proves(offset)) {
                        return self.test_presence(place, offset);
                    }
                }
                Instruction::Jump { target } if target as usize > place.at => {
                    place.at = target as usize;
                    continue;
                }
                Instruction::Return { accept } => return Some(if accept { ACCEPTED } else { REJECTED }),
                _ => return None,
            }
            place.at = next;
        }
    }

    /// Room for the test at a place; an error if it is known already.
    fn room(&mut self, place: Place) -> Option<Result<u32, u32>> {
        if let Some(&known) = self.known.get(&place) {
            return Some(Err(known));
        }
        let number = self.count;
        if number as usize >= TESTS_MAX {
            return None;
        }
        self.count += 1;
        self.known.insert(place, number);
        Some(Ok(number))
    }

    fn test_at(&mut self, place: Place, (test, value): (BranchTest, u32), targets: [u32; 2]) -> Option<u32> {
        let number = match self.room(place)? {
            Ok(number) => number,
            Err(known) => return Some(known),
        };
        let [holds, fails] = targets.map(|target| target as usize).map(|target| {
            if target > place.at { self.test_from(Place { at: target, ..place }) } else { None }
        });
        let Loaded { width, offset, is_indexed, mask } = place.loaded?;
        let all = PacketTest {
            offset,
            indexed: if is_indexed { u32::MAX } else { 0 },
            mask,
            holds: holds?,
            fails: fails?,
            shift: u8::try_from(u32::BITS - 8 * width.bytes()).ok()?,
            width: u8::try_from(width.bytes()).ok()?,
            ..PacketTest::default()
        };
        self.tests[number as usize] = match test {
            BranchTest::Equal => PacketTest { low: value, span: 0, ..all },
            BranchTest::Greater => {
                let low = value.checked_add(1)?;
                PacketTest { low, span: u32::MAX - low, ..all }
            }
            BranchTest::GreaterOrEqual => PacketTest { low: value, span: u32::MAX - value, ..all },
            // It does not hold where none of the bits is set.
            BranchTest::AnyBit => {
                PacketTest { mask: mask & value, low: 0, span: 0, holds: all.fails, fails: all.holds, ..all }
            }
        };
        Some(number)
    }

    /// Goes on behind a place only for packets that have the byte at `offset`.
    fn test_presence(&mut self, place: Place, offset: u32) -> Option<u32> {
        let number = match self.room(place)? {
            Ok(number) => number,
            Err(known) => return Some(known),
        };
        let next = self.test_from(Place { at: place.at + 1, ..place })?;
        let test = PacketTest { offset, width: 1, holds: next, fails: next, ..PacketTest::default() };
        self.tests[number as usize] = test;
        Some(number)
    }
}

impl Loaded {
    /// True if a packet that has these bytes has the one at `offset`.
    fn proves(&self, offset: u32) -> bool {
        !self.is_indexed && self.offset + self.width.bytes() > offset
    }
}
