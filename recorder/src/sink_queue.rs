//! The queue from a lane to the sink of its written blocks.
//!
//! **Invariant:** no sink can make the recorder drop a packet. A sink runs on a thread of its own at low priority; the buffers
//! that it may hold at a time are limited, and if it does not keep up it gets no more blocks of that segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, TryRecvError};

use netrewind_store::SegmentName;
use netrewind_store::clock::{Now, Waker};
use netrewind_store::sink::{BlockSink, SegmentEnd, SegmentStart};
use netrewind_store::turns::{self, NextTurn, QueueSender, Worker};

use crate::buffer_pool::Lease;

/// The niceness of a sink's thread: a lane that has work goes first.
pub const SINK_NICENESS: i32 = 5;
/// Limit on messages that wait for a sink. A segment opened while more wait is not announced to it at all.
pub const SINK_QUEUE_MAX: usize = 4096;

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
    pub(crate) fn buffers_held(&self) -> usize {
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
