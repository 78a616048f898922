//! Seam through which the bytes of a segment are read: a range of it becomes a block, which its reader owns.
//!
//! A segment is a file that is mapped, or a [cold](crate::cold) one, whose frames are decompressed when they are read, or it lies in an
//! [archive](crate::archived), from which they are fetched. Whoever reads
//! through [`Medium`] does not know which: a block stays whole whatever happens to the segment, and nothing is looked up again
//! behind it. What can get lost after all, pages of a map and frames that are damaged, [`SegmentBlock::first_lost`] tells.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::archived::PlainObject;
use crate::cold::ColdSegment;
use crate::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES, RecordHeader};
use crate::segment::Records;
use crate::sys::Map;

/// Bytes of a cold segment that are decompressed at a time where all of it is read.
const PIECE_BYTES: u64 = 4 << 20;
// A whole record fits into a piece, wherever the piece begins.
const _: () = assert!(PIECE_BYTES > 2 * CAPLEN_MAX as u64);

/// Bytes of a segment, to be read in ranges. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Medium {
    source: Source,
    /// Bytes of the segment that belong to it.
    bytes: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Mapped(Arc<Map>),
    Cold(Arc<ColdSegment>),
    /// In an archive, and not cold.
    Archived(Arc<PlainObject>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Mapped(Arc::default())
    }
}

/// Range of a segment that has been read. It belongs to its reader.
#[derive(Clone, Debug)]
pub struct SegmentBlock {
    map: Arc<Map>,
    /// Offset in the segment of the map's first byte.
    base: u64,
    /// Offsets in the segment.
    range: Range<u64>,
    /// Offset in the segment of the first byte that was lost when it was read.
    lost: Option<u64>,
}

/// Index in memory; an offset that does not fit lies behind everything that is there.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Medium {
    /// A segment that is mapped.
    pub fn mapped(map: Map) -> Self {
        Self { bytes: map.len() as u64, source: Source::Mapped(Arc::new(map)) }
    }

    /// A cold segment.
    pub fn cold(segment: Arc<ColdSegment>) -> Self {
        Self { bytes: segment.bytes(), source: Source::Cold(segment) }
    }

    /// A segment in an archive that is not cold.
    pub(crate) fn archived(object: Arc<PlainObject>) -> Self {
        Self { bytes: object.bytes(), source: Source::Archived(object) }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True for a cold segment.
    pub fn is_cold(&self) -> bool {
        matches!(self.source, Source::Cold(_))
    }

    /// True if its bytes are fetched from an archive.
    pub fn is_archived(&self) -> bool {
        match &self.source {
            Source::Mapped(_) => false,
            Source::Cold(segment) => segment.is_archived(),
            Source::Archived(_) => true,
        }
    }

    /// Reason why bytes could not be fetched from the archive, if any were not.
    pub fn unfetched(&self) -> Option<String> {
        match &self.source {
            Source::Mapped(_) => None,
            Source::Cold(segment) => segment.lost_reason().filter(|_| segment.is_archived()),
            Source::Archived(object) => object.lost().reason(),
        }
    }

    /// Bytes of its file that have to be there; fewer mean that the file was shortened.
    pub fn file_bytes(&self) -> u64 {
        match &self.source {
            Source::Mapped(_) => self.bytes,
            Source::Cold(segment) => segment.file_bytes(),
            Source::Archived(object) => object.bytes(),
        }
    }

    /// What is known to be wrong with the file of a cold segment.
    pub fn fault(&self) -> Option<&str> {
        match &self.source {
            Source::Mapped(_) | Source::Archived(_) => None,
            Source::Cold(segment) => segment.fault(),
        }
    }

    /// The first bytes of it, at most all of them.
    #[must_use]
    pub fn front(&self, bytes: u64) -> Self {
        Self { source: self.source.clone(), bytes: bytes.min(self.bytes) }
    }

    /// Reads a range; as much of it as is there.
    pub fn read(&self, range: Range<u64>) -> SegmentBlock {
        let end = range.end.min(self.bytes);
        let range = range.start.min(end)..end;
        match &self.source {
            Source::Mapped(map) => SegmentBlock { map: Arc::clone(map), base: 0, range, lost: None },
            Source::Cold(segment) => {
                let (map, base) = segment.read(range.clone());
                SegmentBlock { map, base, lost: segment.first_lost(range.clone()), range }
            }
            Source::Archived(object) => {
                let map = Arc::new(object.read(&range));
                SegmentBlock { map, base: range.start, lost: object.lost().first_in(&range), range }
            }
        }
    }

    /// Reads several ranges, ascending. Neighbours are read in one go, and can be [joined](SegmentBlock::joined) at no cost.
    pub fn read_ranges(&self, ranges: &[Range<u64>]) -> Vec<SegmentBlock> {
        if let Source::Mapped(_) = &self.source {
            return ranges.iter().map(|range| self.read(range.clone())).collect();
        }
        self.will_fetch(ranges);
        let mut blocks = Vec::with_capacity(ranges.len());
        for neighbours in ranges.chunk_by(|before, next| before.end == next.start) {
            if let [first, .., last] | [first @ last] = neighbours {
                let whole = self.read(first.start..last.end);
                blocks.extend(neighbours.iter().map(|range| whole.part(range.clone())));
            }
        }
        blocks
    }

    /// Everything from an offset on, where a record begins: in pieces that hold whole records, the last one with whatever follows
    /// on them.
    pub fn pieces(&self, from: u64) -> Pieces<'_> {
        Pieces { medium: self, at: Some(from) }
    }

    /// Starts reading a range ahead, and returns at once.
    pub fn will_need(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.bytes);
        match &self.source {
            Source::Mapped(map) => map.will_need(index(range.start)..index(range.end)),
            Source::Cold(segment) => segment.will_need(&[range]),
            Source::Archived(object) => object.will_need(&[range]),
        }
    }

    /// Starts fetching ranges, which ascend, if they lie in an archive: those that are near each other are fetched in one go.
    pub fn will_fetch(&self, ranges: &[Range<u64>]) {
        match &self.source {
            Source::Archived(object) => object.will_need(ranges),
            Source::Cold(segment) if segment.is_archived() => segment.will_need(ranges),
            Source::Mapped(_) | Source::Cold(_) => {}
        }
    }

    fn map(&self) -> Option<&Map> {
        match &self.source {
            Source::Mapped(map) => Some(map),
            Source::Cold(segment) => segment.map(),
            Source::Archived(_) => None,
        }
    }

    /// Expects reads from front to back.
    pub fn read_in_order(&self) {
        if let Some(map) = self.map() {
            map.read_in_order();
        }
    }

    /// Expects reads only of what [`Self::will_need`] asks for.
    pub fn read_as_told(&self) {
        if let Some(map) = self.map() {
            map.read_as_told();
        }
    }

    /// The first byte within the range that was found lost: see [`SegmentBlock::first_lost`].
    pub fn first_lost(&self, range: Range<u64>) -> Option<u64> {
        let range = range.start..range.end.min(self.bytes);
        match &self.source {
            Source::Mapped(map) => map.first_lost(index(range.start)..index(range.end)).map(|at| at as u64),
            Source::Cold(segment) => segment.first_lost(range),
            Source::Archived(object) => object.lost().first_in(&range),
        }
    }

    /// True if any byte was found lost.
    pub fn has_lost(&self) -> bool {
        self.first_lost(0..self.bytes()).is_some()
    }
}

/// Pieces of a segment, one after the other: [`Medium::pieces`].
#[derive(Debug)]
pub struct Pieces<'m> {
    medium: &'m Medium,
    /// Where the next one begins.
    at: Option<u64>,
}

impl Iterator for Pieces<'_> {
    type Item = SegmentBlock;

    fn next(&mut self) -> Option<SegmentBlock> {
        let from = self.at.take()?;
        let end = self.medium.bytes();
        if from >= end {
            return None;
        }
        if let Source::Mapped(_) = self.medium.source {
            return Some(self.medium.read(from..end));
        }
        // The one behind it is on its way meanwhile.
        self.medium.will_fetch(std::slice::from_ref(&(from..end.min(from.saturating_add(2 * PIECE_BYTES)))));
        let piece = self.medium.read(from..from.saturating_add(PIECE_BYTES));
        if piece.end() == end {
            return Some(piece);
        }
        // A record that cannot be whole leaves nothing to go on with: the reader finds it at the end of the last piece.
        let whole = piece.end_of_records();
        if whole == from {
            return Some(self.medium.read(from..end));
        }
        self.at = Some(whole);
        Some(piece.part(from..whole))
    }
}

impl SegmentBlock {
    /// Offset of its first byte in the segment.
    pub fn begin(&self) -> u64 {
        self.range.start
    }

    /// Offset of the first byte behind it in the segment.
    pub fn end(&self) -> u64 {
        self.range.end
    }

    /// Records in it: one begins with its first byte.
    pub fn records(&self) -> Records<'_> {
        Records::new(self, self.begin())
    }

    /// Records in it from this offset on, where one begins; none where it does not have them.
    pub fn records_from(&self, offset: u64) -> Records<'_> {
        Records::new(self.from(offset), offset)
    }

    /// Offset behind the last record that is whole; one begins with its first byte.
    fn end_of_records(&self) -> u64 {
        let bytes: &[u8] = self;
        let mut at = 0;
        while let Some(header) = bytes.get(at..).and_then(RecordHeader::read) {
            let next = at + header.record_bytes().max(RECORD_HEADER_BYTES);
            if header.caplen > CAPLEN_MAX || next > bytes.len() {
                break;
            }
            at = next;
        }
        self.begin() + at as u64
    }

    /// This one and `next` as one; `None` if that does not begin where this ends, in the same memory.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let follows = Arc::ptr_eq(&self.map, &next.map) && self.range.end == next.range.start;
        follows.then(|| Self {
            map: Arc::clone(&self.map),
            base: self.base,
            range: self.range.start..next.range.end,
            lost: self.lost.or(next.lost),
        })
    }

    /// A part of it, in offsets of the segment; as much as it has of that.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        let end = range.end.min(self.range.end);
        let start = range.start.max(self.range.start).min(end);
        Self { range: start..end, ..self.clone() }
    }

    /// The bytes from this offset of the segment on; none where it does not have them.
    pub fn from(&self, offset: u64) -> &[u8] {
        let at = offset.checked_sub(self.range.start).map(index);
        at.and_then(|at| self.get(at..)).unwrap_or_default()
    }

    /// Offset in the segment of its first byte that was found lost: it has read, or will read, as zero. Bytes that were never
    /// read are not known to be lost.
    pub fn first_lost(&self) -> Option<u64> {
        self.first_lost_in(self.range.clone())
    }

    /// Likewise, of a range of the segment that it has.
    pub fn first_lost_in(&self, range: Range<u64>) -> Option<u64> {
        let range = range.start.max(self.range.start)..range.end.min(self.range.end);
        // Of a frame that is lost, everything up to the frame's end is: of the range, at least what lies behind its first lost byte.
        let in_frames = self.lost.map(|lost| lost.max(range.start)).filter(|lost| *lost < range.end);
        in_frames.or_else(|| {
            let found = self.map.first_lost(self.in_map(&range))?;
            Some(self.base + found as u64)
        })
    }

    /// A range of the segment, as indexes into the map.
    fn in_map(&self, range: &Range<u64>) -> Range<usize> {
        index(range.start.saturating_sub(self.base))..index(range.end.saturating_sub(self.base))
    }

    /// Reads a little of each of its pages, so that [`Self::first_lost`] knows of all of them.
    pub fn touch(&self) {
        self.map.touch(self.in_map(&self.range));
    }
}

impl Deref for SegmentBlock {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.map.get(self.in_map(&self.range)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_the_part_of_a_range_that_is_there() {
        let medium = Medium::mapped(Map::from_bytes((0..100).collect()));
        let front = medium.front(50);
        assert_eq!((medium.bytes(), front.bytes(), medium.front(1000).bytes()), (100, 50, 100));
        for (range, bytes) in [(0..10, 0..10), (40..60, 40..50), (50..60, 50..50), (70..u64::MAX, 50..50)] {
            let block = front.read(range.clone());
            let expected: Vec<u8> = bytes.clone().collect();
            assert_eq!((&*block, block.end()), (&expected[..], u64::from(bytes.end)), "{range:?}");
        }
        let block = medium.read(20..30);
        assert_eq!(
            (block.begin(), &*block.part(25..28), &*block.part(0..22)),
            (20, &[25, 26, 27][..], &[20, 21][..])
        );
        assert_eq!((block.from(28), block.from(19), block.from(31)), (&[28, 29][..], &[][..], &[][..]));
        let joined = block.joined(&medium.read(30..40)).expect("neighbours");
        assert_eq!((joined.begin(), joined.end(), joined.first()), (20, 40, Some(&20)));
        let other = Medium::mapped(Map::from_bytes((0..100).collect()));
        assert!(
            [medium.read(31..40), medium.read(25..40), other.read(30..40)]
                .iter()
                .all(|next| block.joined(next).is_none())
        );
        drop((medium, front, joined));
        assert_eq!(block.len(), 10, "it belongs to its reader");
    }
}
