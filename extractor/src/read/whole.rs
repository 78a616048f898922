//! Blocks of which every packet is in the answer: their headers are followed, and nothing else of them is looked at.

use netrewind_store::layout::{CAPLEN_MAX, RecordHeader};
use netrewind_store::{SegmentBlock, Timestamp};

use super::matches::LANES;
use super::place::{ACCEPTED, Streak};
use crate::sys::prefetch;

/// Chain of records that is being followed.
#[derive(Clone, Copy, Default)]
struct Chain<'b> {
    block: &'b [u8],
    at: usize,
    packets: u32,
    wire_bytes: u64,
    first: Timestamp,
    last: Timestamp,
    is_out_of_order: bool,
}

impl Chain<'_> {
    /// Follows it by a record; false at its end, or at a record that is damaged.
    #[inline]
    fn step(&mut self) -> bool {
        let Some(header) = self.block.get(self.at..).and_then(RecordHeader::read) else { return false };
        let next = self.at + header.record_bytes();
        if header.caplen > CAPLEN_MAX || next > self.block.len() {
            return false;
        }
        prefetch(self.block, next);
        let at = header.timestamp();
        if self.packets == 0 {
            (self.first, self.last) = (at, at);
        }
        self.is_out_of_order |= at < self.last;
        self.last = at;
        self.packets += 1;
        self.wire_bytes += u64::from(header.len);
        self.at = next;
        true
    }
}

/// The packets of each of at most [`LANES`] blocks; `None` where they are not in order, not whole, or none. Several chains are
/// followed at once, so that their waits for memory overlap.
pub(super) fn sum_up(blocks: &[SegmentBlock]) -> [Option<Streak>; LANES] {
    let mut chains = [Chain::default(); LANES];
    for (chain, block) in chains.iter_mut().zip(blocks) {
        chain.block = block;
    }
    let chains = &mut chains[..blocks.len().min(LANES)];
    while chains.iter_mut().fold(false, |goes_on, chain| chain.step() | goes_on) {}
    let mut sums = [None; LANES];
    for ((sum, chain), block) in sums.iter_mut().zip(&*chains).zip(blocks) {
        if chain.packets > 0 && chain.at == block.len() && !chain.is_out_of_order {
            *sum = Some(Streak {
                at: chain.first,
                last: chain.last,
                offset: block.begin(),
                wire_bytes: chain.wire_bytes,
                bytes: u32::try_from(block.len()).unwrap_or(u32::MAX),
                packets: chain.packets,
                block: 0,
                later: ACCEPTED,
            });
        }
    }
    sums
}
