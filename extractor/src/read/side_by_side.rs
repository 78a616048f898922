//! Blocks that are gone through side by side: a record of each, then the next one of each.
//!
//! A record is found only once the header before it has come from memory, and which test of the filter comes next depends on the
//! packet: so that these waits overlap, packets of several blocks are judged at once.

use netrewind_filter::{LOCKSTEP_PACKETS, Lockstep, PaddedPacket, Program};
use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES, RecordHeader};
use netrewind_store::{Record, SegmentBlock};

use super::cached::CachedPlaces;
use super::matches::{LANES, RunMatches};
use super::place::Streak;
use crate::query::TimeRange;

const _: () = assert!(LANES == LOCKSTEP_PACKETS);

/// Accepted packets of a block for which there is room from the beginning.
const STREAKS_AT_FIRST: usize = 32;

/// Judge of packets, by a program that alone decides.
pub(super) struct SideBySide<'a> {
    program: &'a Program,
    lockstep: &'a Lockstep,
    cached: CachedPlaces,
    range: TimeRange,
    /// Accepted packets are collected, not only counted.
    collect: bool,
    streaks: [Vec<Streak>; LANES],
}

/// Chain of a block's records that is being followed.
#[derive(Clone, Copy, Default)]
struct Chain<'b> {
    block: &'b [u8],
    /// Offset in the block of the next record.
    at: usize,
}

/// A record that is judged.
#[derive(Clone, Copy)]
struct Candidate<'b> {
    at: usize,
    header: RecordHeader,
    packet: &'b [u8],
}

impl<'b> Chain<'b> {
    /// The next record; an error if that is damaged.
    #[inline(always)]
    fn next(&mut self) -> Result<Candidate<'b>, ()> {
        let (block, at) = (self.block, self.at);
        let header = block.get(at..).and_then(RecordHeader::read).ok_or(())?;
        if header.caplen > CAPLEN_MAX {
            return Err(());
        }
        let packet = block.get(at + RECORD_HEADER_BYTES..at + header.record_bytes()).ok_or(())?;
        self.at = at + header.record_bytes();
        Ok(Candidate { at, header, packet })
    }
}

impl<'a> SideBySide<'a> {
    /// Judges by this program; `None` if it cannot be put to several packets at once.
    pub(super) fn new(program: &'a Program, range: TimeRange, collect: bool) -> Option<Self> {
        let room = || Vec::with_capacity(if collect { STREAKS_AT_FIRST } else { 0 });
        Some(Self {
            program,
            lockstep: program.lockstep()?,
            cached: CachedPlaces::of(program),
            range,
            collect,
            streaks: std::array::from_fn(|_| room()),
        })
    }

    /// Judges the packets of at most [`LANES`] blocks, which become part of the ones with these numbers.
    pub(super) fn judge(&mut self, blocks: &[SegmentBlock], numbers: &[u32], found: &mut RunMatches) {
        let mut chains = [Chain::default(); LANES];
        for (chain, block) in chains.iter_mut().zip(blocks) {
            chain.block = block;
        }
        while self.round(&mut chains, blocks, numbers, found) {}
        for streaks in &mut self.streaks {
            found.streaks.append(streaks);
        }
    }

    /// Judges the next packet of each block; false if there is none.
    fn round(
        &mut self,
        chains: &mut [Chain<'_>; LANES],
        blocks: &[SegmentBlock],
        numbers: &[u32],
        found: &mut RunMatches,
    ) -> bool {
        let mut candidates = [None; LANES];
        let mut packets = [PaddedPacket::NONE; LANES];
        let (mut padded, mut accepted) = (0_u32, 0);
        for (lane, (chain, candidate)) in chains.iter_mut().zip(&mut candidates).enumerate() {
            if chain.at >= chain.block.len() {
                continue;
            }
            let Ok(next) = chain.next() else {
                found.damaged_at.push(blocks[lane].begin() + chain.at as u64);
                chain.at = chain.block.len();
                continue;
            };
            self.cached.fetch(chain.block, chain.at);
            found.judged += 1;
            *candidate = Some(next);
            let rest = &chain.block[next.at + RECORD_HEADER_BYTES..];
            match PaddedPacket::of(rest, next.header.caplen) {
                Some(packet) => (packets[lane], padded) = (packet, padded | 1 << lane),
                None => accepted |= u32::from(self.program.accepts(next.packet, next.header.len)) << lane,
            }
        }
        if padded != 0 {
            accepted |= self.lockstep.accepted(&packets) & padded;
        }
        while accepted != 0 {
            let lane = accepted.trailing_zeros() as usize;
            accepted &= accepted - 1;
            if let Some(Candidate { at, header, packet }) = candidates[lane]
                && self.range.contains(header.timestamp())
            {
                let record = Record { offset: blocks[lane].begin() + at as u64, header, packet };
                self.take(Streak::of(&record, numbers[lane]), lane, found);
            }
        }
        candidates.iter().any(Option::is_some)
    }

    #[inline]
    fn take(&mut self, one: Streak, lane: usize, found: &mut RunMatches) {
        found.packets += 1;
        found.bytes += one.wire_bytes;
        let streaks = &mut self.streaks[lane];
        if self.collect && !streaks.last_mut().is_some_and(|streak| streak.goes_on_with(&one)) {
            streaks.push(one);
        }
    }
}
