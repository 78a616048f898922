//! Comparison of what is read with the checksums of granules that the index of its segment has.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

use netrewind_store::{SegmentName, locked};

use super::reader::Run;
use crate::answer::completeness::Unreadable;

/// Compares runs, and remembers the segments of which it could not.
#[derive(Debug, Default)]
pub(crate) struct ByteCheck {
    unvouched: Mutex<BTreeSet<SegmentName>>,
}

impl ByteCheck {
    /// Ranges of the granules in which a run lies that are not as they were recorded: neighbours joined.
    pub(crate) fn altered(&self, run: &Run) -> Vec<Range<u64>> {
        let segment = &run.segment;
        let found = segment.index.as_ref().and_then(|index| {
            let granule_bytes = index.granule_bytes();
            let mut altered = Vec::new();
            for granules in granules(&run.ranges, granule_bytes) {
                let first = granules.start;
                // The last granule of a segment can be shorter.
                let bytes = segment.medium.read(first * granule_bytes..granules.end * granule_bytes);
                altered.extend(index.altered(first, &bytes).ok()?);
            }
            // Checksums that were taken later say nothing of the time before.
            (!index.is_late() || !altered.is_empty()).then_some(altered)
        });
        found.unwrap_or_else(|| {
            locked(&self.unvouched).insert(segment.name);
            Vec::new()
        })
    }

    /// Remark about the segments that could not be compared.
    pub(crate) fn note(&self) -> Option<String> {
        let unvouched = locked(&self.unvouched);
        let first = unvouched.first()?;
        let why = "open, or its index is missing, damaged, or was lost and built again";
        Some(match unvouched.len() {
            1 => format!("the bytes of segment {first} could not be compared with checksums: it is {why}"),
            count => format!(
                "the bytes of {count} segments, the first {first}, could not be compared with checksums: each is {why}"
            ),
        })
    }
}

/// A place that is not as it was recorded; its packets are given all the same.
pub(crate) fn altered_at(segment: SegmentName, range: Range<u64>) -> Unreadable {
    let Range { start, end } = range;
    let reason = format!(
        "bytes {start} to {end} differ from those recorded; packets are given as they stand there: netrewind verify lists all such places"
    );
    Unreadable { segment, offset: start, reason }
}

/// The numbers of the granules in which ranges lie, ascending, neighbours joined.
fn granules(ranges: &[Range<u64>], granule_bytes: u64) -> Vec<Range<u64>> {
    let mut granules: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| range.start < range.end) {
        let (first, end) = (range.start / granule_bytes, range.end.div_ceil(granule_bytes));
        match granules.last_mut() {
            Some(last) if first <= last.end => last.end = last.end.max(end),
            _ => granules.push(first..end),
        }
    }
    granules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_granule_in_which_a_byte_lies_is_compared_once() {
        assert_eq!(granules(&[24..100, 100..500, 513..514, 2000..2048], 512), [0..2, 3..4]);
        assert_eq!(
            granules(&[24..1024, 1024..1025, 4096..4096], 512).as_slice(),
            std::slice::from_ref(&(0..3))
        );
        assert_eq!(granules(&[], 512), [0..0; 0]);
    }
}
