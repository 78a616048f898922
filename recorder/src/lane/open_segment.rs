//! A segment that a lane has not sealed yet: its blocks to be written, written, and promised.

use std::collections::VecDeque;
use std::sync::Arc;

use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, Mark, SegmentName, Timestamp};

use super::open_block::{Block, Contents};
use crate::disk::{SegmentKey, Write};

/// Time that a packet waits in the kernel's ring before a lane that keeps up takes it.
const RING_TIME_MAX_NS: u64 = SECOND_NS;

/// Origin of the packets of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentOrigin {
    /// The interface, or another name for their source.
    pub interface: String,
    /// Description of the interface, if a capture file gives one.
    pub description: Option<String>,
    /// The capture file that they are imported from.
    pub file: Option<String>,
}

/// State of a segment between its first packet and its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentPhase {
    /// Waits to be created, not before this monotonic time.
    Wanted { not_before_ns: u64 },
    /// Being created.
    Creating,
    /// Can be written to.
    Ready,
    /// Being sealed at its end.
    Sealing,
    /// Cannot be written any more: its promised records will be sealed, not before this monotonic time.
    Failed { not_before_ns: u64 },
    /// Being sealed at the end of its promised records.
    SealingFailed,
    /// No further operation of the disk is for it.
    GivenUp,
}

/// Blocks of a segment that the sink has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkProgress {
    /// None.
    Unaware,
    /// All blocks so far.
    AllBlocks,
    /// Some, and it knows that others are missing.
    Hole,
}

/// A prefix of a segment, ending with a whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub bytes: u64,
    pub contents: Contents,
    /// Lower bound of the arrival of everything after it.
    pub until: Timestamp,
}

impl Stretch {
    const NOTHING: Self = Self { bytes: 0, contents: Contents::NONE, until: Timestamp::MIN };

    fn extend(&mut self, block: &Block) {
        self.bytes = block.end();
        self.contents.add(&block.contents);
        self.until = self.until.max(arrived_after(block));
    }

    pub fn mark(&self) -> Mark {
        Mark {
            committed_bytes: self.bytes,
            records: self.contents.records,
            first: self.contents.first,
            last: self.contents.last,
        }
    }
}

/// Lower bound of the arrival of packets behind a block. They may have waited in the kernel's ring before it was given: then they
/// follow its last packet, if the times of the two clocks agree.
fn arrived_after(block: &Block) -> Timestamp {
    let (last, given) = (block.contents.last, block.given_at);
    let waited_since = Timestamp(given.ns().saturating_sub(RING_TIME_MAX_NS));
    if (waited_since..=given).contains(&last) { last } else { waited_since }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteProgress {
    Waiting,
    Writing,
    Written,
}

/// A segment that is not sealed.
#[derive(Debug)]
pub(super) struct LaneSegment {
    pub key: SegmentKey,
    pub name: SegmentName,
    pub link_type: LinkType,
    pub origin: Arc<SegmentOrigin>,
    pub state: SegmentPhase,
    pub following: SinkProgress,
    /// No more blocks will come.
    pub closed: bool,
    /// All blocks that it was given.
    pub given: Stretch,
    /// All blocks that were written, and the last of them up to its end.
    pub written: Stretch,
    /// The prefix that the mark promises.
    pub published: Stretch,
    /// The prefix to promise when the outstanding sync completes.
    pub syncing: Option<Stretch>,
    /// Number of failed attempts to seal.
    pub failed_seals: u32,
    contiguous: Stretch,
    blocks: VecDeque<(Block, WriteProgress)>,
    writes_in_flight: usize,
}

impl LaneSegment {
    pub fn new(
        key: SegmentKey,
        name: SegmentName,
        link_type: LinkType,
        origin: Arc<SegmentOrigin>,
        not_before_ns: u64,
    ) -> Self {
        Self {
            key,
            name,
            link_type,
            origin,
            state: SegmentPhase::Wanted { not_before_ns },
            following: SinkProgress::Unaware,
            closed: false,
            given: Stretch::NOTHING,
            written: Stretch::NOTHING,
            published: Stretch::NOTHING,
            syncing: None,
            failed_seals: 0,
            contiguous: Stretch::NOTHING,
            blocks: VecDeque::new(),
            writes_in_flight: 0,
        }
    }

    /// Adds a block at its end.
    pub fn push_block(&mut self, mut block: Block, at: Timestamp) {
        block.given_at = at;
        self.given.extend(&block);
        self.blocks.push_back((block, WriteProgress::Waiting));
    }

    /// Lower bound of the arrival of the earliest packet that was not promised.
    pub fn promised_until(&self) -> Timestamp {
        let first = Timestamp(self.name.opened.ns().saturating_sub(RING_TIME_MAX_NS));
        self.published.until.max(first)
    }

    /// The next write that can be submitted. A block that overwrites the last sector of the one before it waits for that one: the
    /// disk may carry out writes in any order.
    pub fn next_write(&mut self) -> Option<Write> {
        let at = self.blocks.iter().position(|(_, progress)| *progress == WriteProgress::Waiting)?;
        let overlaps = at
            .checked_sub(1)
            .and_then(|before| self.blocks.get(before))
            .is_some_and(|(before, progress)| before.is_rest && *progress != WriteProgress::Written);
        if overlaps {
            return None;
        }
        let (block, progress) = self.blocks.get_mut(at)?;
        *progress = WriteProgress::Writing;
        self.writes_in_flight += 1;
        Some(Write {
            segment: self.key,
            buffer: block.buffer.clone(),
            bytes: block.bytes,
            offset: block.offset,
        })
    }

    /// Notes that the write to `offset` has ended. No two outstanding writes have the same offset.
    pub fn write_ended(&mut self, offset: u64) {
        self.writes_in_flight = self.writes_in_flight.saturating_sub(1);
        let block = self
            .blocks
            .iter_mut()
            .find(|(block, progress)| block.offset == offset && *progress == WriteProgress::Writing);
        if let Some((_, progress)) = block {
            *progress = WriteProgress::Written;
        }
    }

    /// The next block, in order, that has been written.
    pub fn next_written(&mut self) -> Option<Block> {
        if !matches!(self.blocks.front(), Some((_, WriteProgress::Written))) {
            return None;
        }
        let (block, _) = self.blocks.pop_front()?;
        self.contiguous.extend(&block);
        if block.is_rest {
            self.written = self.contiguous;
        }
        Some(block)
    }

    /// True if there are written records that are not promised yet, and no sync is outstanding.
    pub fn wants_sync(&self) -> bool {
        self.syncing.is_none() && self.written.bytes > self.published.bytes
    }

    /// True if no write is waiting or outstanding.
    pub fn is_written(&self) -> bool {
        self.blocks.is_empty() && !self.is_busy()
    }

    /// True if the disk works for it.
    pub fn is_busy(&self) -> bool {
        self.writes_in_flight > 0 || self.syncing.is_some()
    }

    /// True if it cannot be written any more.
    pub fn has_failed(&self) -> bool {
        matches!(
            self.state,
            SegmentPhase::Failed { .. } | SegmentPhase::SealingFailed | SegmentPhase::GivenUp
        )
    }

    /// Gives up everything that was not promised; returns the number of records given up, of those that it was given.
    pub fn fail(&mut self, not_before_ns: u64) -> u64 {
        self.state = SegmentPhase::Failed { not_before_ns };
        self.closed = true;
        self.blocks.clear();
        self.given.contents.records - self.published.contents.records
    }
}
