//! Consumers of the blocks that a recorder has written: the indexer's entrance.

use crate::{LinkType, SegmentName, Timestamp};

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
