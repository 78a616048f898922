//! The disk, as the lanes see it: operations that are begun and answered later, in any order.
//!
//! Ownership crosses with the operation: a buffer handed to [`Disk::write`] comes back with its answer. Every operation
//! that is begun is answered exactly once, unless it says otherwise.

use std::io;
use std::time::Duration;

use netrewind_segment::{Mark, SegmentName};

use crate::pool::Lease;

mod attendant;
mod file;
#[cfg(test)]
pub(crate) mod sim;

pub use file::FileDisk;

/// How one lane calls a segment of its own while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey(pub u64);

/// A write under way: the first `bytes` of `buffer` go to `offset` of the segment. Both are multiples of
/// [`ALIGNMENT_BYTES`](crate::pool::ALIGNMENT_BYTES).
#[derive(Debug)]
pub struct Write {
    /// The segment.
    pub segment: SegmentKey,
    /// What is written.
    pub buffer: Lease,
    /// How much of it.
    pub bytes: usize,
    /// To where.
    pub offset: u64,
}

/// The answer to an operation.
#[derive(Debug)]
pub enum DiskEvent {
    /// To [`Disk::create`].
    Created {
        /// The segment.
        segment: SegmentKey,
        /// How much space it has; after an error there is no such segment.
        result: io::Result<u64>,
    },
    /// To [`Disk::write`].
    Written {
        /// What was asked for; the buffer is given back with it.
        write: Write,
        /// How long that took, from when the system was asked to when its answer was seen.
        took_ns: u64,
        /// After success all of it is in the file, after an error any part.
        result: io::Result<()>,
    },
    /// To [`Disk::sync`].
    Synced {
        /// The segment.
        segment: SegmentKey,
        /// After success, every write that was answered before the sync was asked for is durable.
        result: io::Result<()>,
    },
    /// To [`Disk::seal`].
    Sealed {
        /// The segment.
        segment: SegmentKey,
        /// After an error the segment is still open, and sealing it can be tried again; but of one that was
        /// [not found](io::ErrorKind::NotFound) the file is gone, and the segment with it.
        result: io::Result<()>,
    },
    /// The file of an open segment has been removed by somebody: nothing of it will be found again. Not asked for.
    Gone {
        /// The segment.
        segment: SegmentKey,
        /// What has happened.
        reason: String,
    },
    /// A part of the store had been moved away, and is there again. Not asked for.
    Mended(String),
    /// The disk works, but not in the way that it should; said once.
    Notice(String),
}

/// Keeps open segments.
pub trait Disk {
    /// What a segment of `wanted_bytes` could have, as far as is known without asking.
    fn room_bytes(&self, wanted_bytes: u64) -> u64;

    /// Creates a segment's file, with `wanted_bytes` of space that read as zero until they are written, or as much of it as
    /// there is, and its mark.
    fn create(&mut self, segment: SegmentKey, name: SegmentName, wanted_bytes: u64);

    /// Writes to a segment that was created.
    fn write(&mut self, write: Write);

    /// Makes durable what has been written.
    fn sync(&mut self, segment: SegmentKey);

    /// Publishes how far the segment can be read. Done when the call returns, and lasts as long as the system runs;
    /// through a power cut it lasts somewhat later.
    fn publish(&mut self, segment: SegmentKey, mark: &Mark) -> io::Result<()>;

    /// Cuts the segment to its length, makes it durable, gives it its sealed name. Only when no write or sync of it is
    /// under way.
    fn seal(&mut self, segment: SegmentKey, bytes: u64);

    /// Removes an open segment. Not answered. Only when no write or sync of it is under way.
    fn discard(&mut self, segment: SegmentKey);

    /// Lets go of an open segment, and leaves its file as it is, if there is any. Not answered. Only when no write or sync of it
    /// is under way.
    fn leave(&mut self, segment: SegmentKey);

    /// The next answer, waiting at most `patience` for it.
    fn next_event(&mut self, patience: Duration) -> Option<DiskEvent>;
}
