//! Consumers of written blocks outside the recorder: the indexer's entrance.
//!
//! **Invariant:** no sink can make the recorder drop a packet. A sink runs on a thread of its own at low priority; the buffers
//! that it may hold at a time are limited, and if it does not keep up it gets no more blocks of that segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, TryRecvError};

use netrewind_store::clock::{Now, Waker};
use netrewind_store::turns::{self, NextTurn, QueueSender, Worker};
use netrewind_store::{LinkType, SegmentName, Timestamp};

use crate::buffer_pool::Lease;

/// The niceness of a sink's thread: a lane that has work goes first.
pub const SINK_NICENESS: i32 = 5;
/// Limit on messages that wait for a sink. A segment opened while more wait is not announced to it at all.
pub const SINK_QUEUE_MAX: usize = 4096;

/// A segment that has been opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// Its name.
    pub name: SegmentName,
    /// Its link type.
    pub link_type: LinkType,
}

/// A segment that has been sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Its name.
    pub name: SegmentName,
    /// Its length.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// The earliest timestamp in it.
    pub first: Timestamp,
    /// The latest timestamp in it.
    pub last: Timestamp,
    /// True if the sink got all blocks of the segment and nothing else. If not, its results from them must be discarded; the
    /// segment can be read from the disk.
    pub complete: bool,
}

/// Receives the blocks of one lane's segments after they have been written. The segments of a lane follow one another:
/// the next one may be opened before the last one is sealed.
pub trait BlockSink: Send {
    /// A segment was opened; it is empty.
    fn opened(&mut self, segment: &SegmentStart);

    /// Whole records, the first of which begins at `offset` of the segment. Each block begins at the end of the one before; the
    /// first one at the end of the file header.
    fn block(&mut self, name: &SegmentName, offset: u64, records: &[u8]);

    /// No more blocks of this segment will come, although it goes on: the sink did not keep up. [`Self::sealed`] or
    /// [`Self::abandoned`] still follows.
    fn hole(&mut self, name: &SegmentName);

    /// The segment is complete, under its sealed name, and durable.
    fn sealed(&mut self, segment: &SegmentEnd);

    /// The segment was not kept, or could not be sealed.
    fn abandoned(&mut self, name: &SegmentName);
}

/// No sink at all.
impl BlockSink for () {
    fn opened(&mut self, _: &SegmentStart) {}
    fn block(&mut self, _: &SegmentName, _: u64, _: &[u8]) {}
    fn hole(&mut self, _: &SegmentName) {}
    fn sealed(&mut self, _: &SegmentEnd) {}
    fn abandoned(&mut self, _: &SegmentName) {}
}

/// A block on its way to a sink; the buffer returns to its pool when the sink is done.
#[derive(Debug)]
pub(crate) struct SinkBlock {
    pub name: SegmentName,
    pub offset: u64,
    pub buffer: Lease,
    pub records: std::ops::Range<usize>,
    pub held: Option<SinkBufferGuard>,
}

/// Counts a buffer as the sink's until dropped.
#[derive(Debug)]
pub(crate) struct SinkBufferGuard(Arc<AtomicUsize>);

impl Drop for SinkBufferGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

enum SinkMessage {
    Opened(SegmentStart),
    Block(SinkBlock),
    Hole(SegmentName),
    Sealed(SegmentEnd),
    Abandoned(SegmentName),
}

/// The lane's end of the queue to a sink. Never waits.
pub struct SinkFeed {
    queue: QueueSender<SinkMessage>,
    waiting: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
}

impl SinkFeed {
    /// Buffers that the sink holds, or that wait for it.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// True if another segment may be announced.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < SINK_QUEUE_MAX
    }

    fn send(&self, message: SinkMessage) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Fails only if the sink's thread is gone because the sink panicked: recording continues without it.
        let _ = self.queue.send(message);
    }

    pub(crate) fn opened(&self, segment: SegmentStart) {
        self.send(SinkMessage::Opened(segment));
    }

    pub(crate) fn block(&self, mut block: SinkBlock) {
        self.held.fetch_add(1, Ordering::AcqRel);
        block.held = Some(SinkBufferGuard(self.held.clone()));
        self.send(SinkMessage::Block(block));
    }

    pub(crate) fn hole(&self, name: SegmentName) {
        self.send(SinkMessage::Hole(name));
    }

    pub(crate) fn sealed(&self, segment: SegmentEnd) {
        self.send(SinkMessage::Sealed(segment));
    }

    pub(crate) fn abandoned(&self, name: SegmentName) {
        self.send(SinkMessage::Abandoned(name));
    }
}

/// The sink's end of the queue.
pub struct SinkQueue {
    queue: mpsc::Receiver<SinkMessage>,
    waiting: Arc<AtomicUsize>,
}

/// A queue between a lane and its sink, which wakes whoever serves the sink.
pub fn queue(waker: &Waker) -> (SinkFeed, SinkQueue) {
    let (sender, receiver) = turns::queue(waker);
    let waiting = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(AtomicUsize::new(0));
    (SinkFeed { queue: sender, waiting: waiting.clone(), held }, SinkQueue { queue: receiver, waiting })
}

impl SinkQueue {
    /// Serves `sink` with everything that waits.
    pub(crate) fn serve(&self, sink: &mut dyn BlockSink) -> NextTurn {
        loop {
            match self.queue.try_recv() {
                Ok(message) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    deliver(message, sink);
                }
                Err(TryRecvError::Empty) => return NextTurn::WhenWoken,
                // The lane is gone.
                Err(TryRecvError::Disconnected) => return NextTurn::Never,
            }
        }
    }
}

/// Serves a sink until the lane is gone and everything that it sent has been taken.
pub(crate) struct SinkWorker {
    queue: SinkQueue,
    sink: Box<dyn BlockSink>,
}

impl SinkWorker {
    pub fn new(queue: SinkQueue, sink: Box<dyn BlockSink>) -> Self {
        Self { queue, sink }
    }
}

impl Worker for SinkWorker {
    fn turn(&mut self, _: Now) -> NextTurn {
        self.queue.serve(self.sink.as_mut())
    }
}

fn deliver(message: SinkMessage, sink: &mut dyn BlockSink) {
    match message {
        SinkMessage::Opened(segment) => sink.opened(&segment),
        SinkMessage::Block(block) => {
            let records = block.buffer.get(block.records.clone()).unwrap_or_default();
            sink.block(&block.name, block.offset, records);
        }
        SinkMessage::Hole(name) => sink.hole(&name),
        SinkMessage::Sealed(segment) => sink.sealed(&segment),
        SinkMessage::Abandoned(name) => sink.abandoned(&name),
    }
}
