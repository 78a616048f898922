//! Seam through which the bytes of a segment are read: a range of it becomes a block, which its reader owns.
//!
//! Today every segment is a file that is mapped. Whoever reads through [`Medium`] does not know that, and keeps working where a
//! segment is compressed or lies elsewhere: a block stays whole whatever happens to the segment, and nothing is looked up again
//! behind it. What can get lost after all, pages of a map, [`SegmentBlock::first_lost`] tells.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::segment::Records;
use crate::sys::Map;

/// Bytes of a segment, to be read in ranges. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Medium {
    map: Arc<Map>,
    /// Bytes of the map that belong to it.
    bytes: usize,
}

/// Range of a segment that has been read. It belongs to its reader.
#[derive(Clone, Debug)]
pub struct SegmentBlock {
    map: Arc<Map>,
    range: Range<usize>,
}

/// Index in memory; an offset that does not fit lies behind everything that is there.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Medium {
    /// A segment that is mapped.
    pub fn mapped(map: Map) -> Self {
        Self { bytes: map.len(), map: Arc::new(map) }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// The first bytes of it, at most all of them.
    #[must_use]
    pub fn front(&self, bytes: u64) -> Self {
        Self { map: Arc::clone(&self.map), bytes: index(bytes).min(self.bytes) }
    }

    /// Reads a range; as much of it as is there.
    pub fn read(&self, range: Range<u64>) -> SegmentBlock {
        let end = index(range.end).min(self.bytes);
        SegmentBlock { map: Arc::clone(&self.map), range: index(range.start).min(end)..end }
    }

    /// Reads all of it.
    pub fn read_all(&self) -> SegmentBlock {
        self.read(0..self.bytes())
    }

    /// Starts reading a range ahead, and returns at once.
    pub fn will_need(&self, range: Range<u64>) {
        self.map.will_need(index(range.start)..index(range.end).min(self.bytes));
    }

    /// Expects reads from front to back.
    pub fn read_in_order(&self) {
        self.map.read_in_order();
    }

    /// Expects reads only of what [`Self::will_need`] asks for.
    pub fn read_as_told(&self) {
        self.map.read_as_told();
    }

    /// The first byte within the range that was found lost: see [`SegmentBlock::first_lost`].
    pub fn first_lost(&self, range: Range<u64>) -> Option<u64> {
        let range = index(range.start)..index(range.end).min(self.bytes);
        self.map.first_lost(range).map(|at| at as u64)
    }

    /// True if any byte was found lost.
    pub fn has_lost(&self) -> bool {
        self.first_lost(0..self.bytes()).is_some()
    }
}

impl SegmentBlock {
    /// Offset of its first byte in the segment.
    pub fn begin(&self) -> u64 {
        self.range.start as u64
    }

    /// Offset of the first byte behind it in the segment.
    pub fn end(&self) -> u64 {
        self.range.end as u64
    }

    /// Records in it: one begins with its first byte.
    pub fn records(&self) -> Records<'_> {
        Records::new(self, self.begin())
    }

    /// Records in it from this offset on, where one begins; none where it does not have them.
    pub fn records_from(&self, offset: u64) -> Records<'_> {
        Records::new(self.from(offset), offset)
    }

    /// This one and `next` as one; `None` if that does not begin where this ends.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let follows = Arc::ptr_eq(&self.map, &next.map) && self.range.end == next.range.start;
        follows.then(|| Self { map: Arc::clone(&self.map), range: self.range.start..next.range.end })
    }

    /// A part of it, in offsets of the segment; as much as it has of that.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        let end = index(range.end).min(self.range.end);
        let start = index(range.start).max(self.range.start).min(end);
        Self { map: Arc::clone(&self.map), range: start..end }
    }

    /// The bytes from this offset of the segment on; none where it does not have them.
    pub fn from(&self, offset: u64) -> &[u8] {
        let at = index(offset).checked_sub(self.range.start);
        at.and_then(|at| self.get(at..)).unwrap_or_default()
    }

    /// Offset in the segment of its first byte that was found lost: it has read, or will read, as zero. Bytes that were never
    /// read are not known to be lost.
    pub fn first_lost(&self) -> Option<u64> {
        self.map.first_lost(self.range.clone()).map(|at| at as u64)
    }

    /// Likewise, of a range of the segment that it has.
    pub fn first_lost_in(&self, range: Range<u64>) -> Option<u64> {
        let range = index(range.start).max(self.range.start)..index(range.end).min(self.range.end);
        self.map.first_lost(range).map(|at| at as u64)
    }

    /// Reads a little of each of its pages, so that [`Self::first_lost`] knows of all of them.
    pub fn touch(&self) {
        self.map.touch(self.range.clone());
    }
}

impl Deref for SegmentBlock {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
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
