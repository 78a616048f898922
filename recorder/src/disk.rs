//! The disk, as the lanes see it: operations that are submitted, and complete later in any order.
//!
//! Ownership crosses with the operation: a buffer passed to [`Disk::write`] comes back with its completion. Every operation
//! completes exactly once, unless documented otherwise.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::{Mark, SegmentName, Store};

use crate::buffer_pool::{BufferPool, Lease};
use crate::retention::Keeper;

mod file;
mod file_worker;
#[cfg(test)]
pub(crate) mod sim;

pub use file::{FileDisk, FileDisks};

/// A lane's key for one of its segments while that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey(pub u64);

/// A write under way: the first `bytes` of `buffer` go to `offset` of the segment. Both are multiples of
/// [`ALIGNMENT_BYTES`](crate::buffer_pool::ALIGNMENT_BYTES).
#[derive(Debug)]
pub struct Write {
    /// The segment.
    pub segment: SegmentKey,
    /// The buffer that is written.
    pub buffer: Lease,
    /// Number of its bytes.
    pub bytes: usize,
    /// Offset in the segment.
    pub offset: u64,
}

/// Completion of an operation, or an event of the disk.
#[derive(Debug)]
pub enum DiskEvent {
    /// Completes [`Disk::create`].
    Created {
        /// The segment.
        segment: SegmentKey,
        /// Bytes of space that it has; after an error there is no such segment.
        result: io::Result<u64>,
    },
    /// Completes [`Disk::write`].
    Written {
        /// The request, which returns the buffer.
        write: Write,
        /// Latency, from submission until the completion was seen.
        took_ns: u64,
        /// Success means that all of it is in the file; after an error, any part may be.
        result: io::Result<()>,
    },
    /// Completes [`Disk::sync`].
    Synced {
        /// The segment.
        segment: SegmentKey,
        /// Success means that every write that had completed before the sync was submitted is durable, and so is the mark.
        result: io::Result<()>,
    },
    /// Completes [`Disk::seal`].
    Sealed {
        /// The segment.
        segment: SegmentKey,
        /// After an error the segment is still open, and sealing can be retried; except after [not
        /// found](io::ErrorKind::NotFound): the file is gone, and the segment with it.
        result: io::Result<()>,
    },
    /// The file of an open segment has been removed by another process, and its contents are lost. Unsolicited.
    Gone {
        /// The segment.
        segment: SegmentKey,
        /// The cause, in words.
        reason: String,
    },
    /// A part of the store was moved away, and has been restored. Unsolicited.
    Mended(String),
    /// The disk works, but with a limitation; reported once.
    Notice(String),
}

/// The disk of a lane, whichever it is.
pub type LaneDisk = Box<dyn Disk + Send>;

/// Opens the disk of each lane.
pub trait Disks: Send + Sync {
    /// A disk that puts segments into `store`, for which `keeper` makes room, out of the buffers of `pool`.
    fn open(&self, store: &Store, keeper: &Arc<Keeper>, pool: &Arc<BufferPool>) -> io::Result<LaneDisk>;
}

/// Keeps open segments.
pub trait Disk {
    /// Room for a segment of `wanted_bytes`, as far as known without a look.
    fn room_bytes(&self, wanted_bytes: u64) -> u64;

    /// Creates a segment's file and its mark, with `wanted_bytes` of space that read as zero until written, or as many as there
    /// is room for.
    fn create(&mut self, segment: SegmentKey, name: SegmentName, wanted_bytes: u64);

    /// Writes to a segment that was created.
    fn write(&mut self, write: Write);

    /// Makes durable what has been written, and then the mark that promises it to recovery.
    fn sync(&mut self, segment: SegmentKey, mark: &Mark);

    /// Publishes the readable length of the segment: a mark that was synced. Effective when the call returns.
    fn publish(&mut self, segment: SegmentKey, mark: &Mark) -> io::Result<()>;

    /// Truncates the segment to its length, makes it durable, gives it its sealed name. Only when no write or sync of it is
    /// outstanding.
    fn seal(&mut self, segment: SegmentKey, bytes: u64);

    /// Removes an open segment. Has no completion. Only when no write or sync of it is outstanding.
    fn discard(&mut self, segment: SegmentKey);

    /// Lets go of an open segment, and leaves its file, if any, as it is. Has no completion. Only when no write or sync of it is
    /// outstanding.
    fn leave(&mut self, segment: SegmentKey);

    /// The next completion or event, waiting at most `patience` for it.
    fn next_event(&mut self, patience: Duration) -> Option<DiskEvent>;
}

impl Disk for LaneDisk {
    fn room_bytes(&self, wanted_bytes: u64) -> u64 {
        (**self).room_bytes(wanted_bytes)
    }

    fn create(&mut self, segment: SegmentKey, name: SegmentName, wanted_bytes: u64) {
        (**self).create(segment, name, wanted_bytes);
    }

    fn write(&mut self, write: Write) {
        (**self).write(write);
    }

    fn sync(&mut self, segment: SegmentKey, mark: &Mark) {
        (**self).sync(segment, mark);
    }

    fn publish(&mut self, segment: SegmentKey, mark: &Mark) -> io::Result<()> {
        (**self).publish(segment, mark)
    }

    fn seal(&mut self, segment: SegmentKey, bytes: u64) {
        (**self).seal(segment, bytes);
    }

    fn discard(&mut self, segment: SegmentKey) {
        (**self).discard(segment);
    }

    fn leave(&mut self, segment: SegmentKey) {
        (**self).leave(segment);
    }

    fn next_event(&mut self, patience: Duration) -> Option<DiskEvent> {
        (**self).next_event(patience)
    }
}
