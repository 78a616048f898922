//! Sealed segments whose flows wait to be sent.

use std::collections::VecDeque;
use std::sync::Mutex;

use netrewind_store::clock::Waker;
use netrewind_store::{SegmentName, locked};

/// Segments that wait at most: at one a minute, those of almost three days. The oldest ones make room for others.
pub const SEGMENTS_WAITING_MAX: usize = 4096;

/// Queue of segments. Whoever fills it never waits.
#[derive(Debug, Default)]
pub struct SegmentQueue {
    waiting: Mutex<WaitingSegments>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct WaitingSegments {
    names: VecDeque<SegmentName>,
    dropped: u64,
}

impl SegmentQueue {
    /// Adds a segment that is sealed and has its index.
    pub fn push(&self, name: &SegmentName) {
        let mut waiting = locked(&self.waiting);
        if waiting.names.len() >= SEGMENTS_WAITING_MAX {
            waiting.names.pop_front();
            waiting.dropped += 1;
        }
        waiting.names.push_back(*name);
        drop(waiting);
        self.waker.wake();
    }

    /// Takes the oldest one.
    pub(crate) fn pop(&self) -> Option<SegmentName> {
        locked(&self.waiting).names.pop_front()
    }

    /// Segments that wait.
    pub(crate) fn len(&self) -> u64 {
        locked(&self.waiting).names.len() as u64
    }

    /// Segments that had to make room since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut locked(&self.waiting).dropped)
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::Timestamp;

    use super::*;

    #[test]
    fn the_oldest_segments_make_room_and_are_counted() {
        let queue = SegmentQueue::default();
        let name = |number| SegmentName { opened: Timestamp(number), lane: 0 };
        let count = SEGMENTS_WAITING_MAX as u64 + 3;
        (0..count).for_each(|number| queue.push(&name(number)));
        assert_eq!((queue.len(), queue.take_dropped()), (SEGMENTS_WAITING_MAX as u64, 3));
        assert_eq!((queue.pop(), queue.take_dropped()), (Some(name(3)), 0));
    }
}
