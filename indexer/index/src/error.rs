//! Errors in building and using an index.

use thiserror::Error;

/// An index cannot be used. Every case has the same remedy: answer from the segment without it, and build it again
/// (`netrewind index --rebuild`), unless it may be the segment that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IndexError {
    /// The bytes are not an index, or not the ones that were written.
    #[error("the index is damaged at its {part}: rebuild it with `netrewind index --rebuild`")]
    Damaged {
        /// The part that is wrong: a section's name of `FORMAT.md`, or "header".
        part: &'static str,
    },
    /// The index has another version of the format.
    #[error(
        "the index has format version {found}, this netrewind reads version {known}: build it again with `netrewind index --rebuild`"
    )]
    Version {
        /// The version that it names.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// The index belongs to another segment, or to another state of this one.
    #[error(
        "the index does not match the segment ({reason}): run `netrewind verify` to see which of them has changed"
    )]
    Foreign {
        /// The mismatch.
        reason: &'static str,
    },
    /// A part of its file could not be read while it was being used.
    #[error(
        "part of the index cannot be read: its file was shortened, or its disk fails (see the kernel's log)"
    )]
    Unreadable,
    /// The index takes other UDP ports for tunnels than the store does.
    #[error(
        "the index was built with other tunnel ports than the store has now: rebuild it with `netrewind index`"
    )]
    OtherPorts,
}

/// An index cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The segment cannot be read to its end.
    #[error(transparent)]
    Segment(#[from] netrewind_store::SegmentError),
    /// The segment is longer than an index can describe.
    #[error("the segment has more than {max} bytes, the limit of an index")]
    TooLong {
        /// As much as an index describes.
        max: u64,
    },
}
