//! Compares a segment's bytes with those that its index was built from.

use std::ops::Range;

use super::sections::IndexSections;
use crate::{IndexError, checksums};

/// Result of comparing the checksums of a segment's granules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Changed ranges of the segment: whole granules, ascending, with neighbours joined.
    pub altered: Vec<Range<u64>>,
    /// Granules whose checksum is as it was.
    pub sound: u32,
    /// Granules that cannot be checked: the index has no valid checksum of them.
    pub unknown: u32,
}

/// The checksum of each granule; none where the part of the index in which it stands is damaged. Of an index that was built
/// without checksums, nothing.
pub(super) fn checksums<B: AsRef<[u8]>>(index: &IndexSections<B>) -> Result<Vec<Option<u32>>, IndexError> {
    Ok(index.checksum_blocks()?.as_ref().map(checksums::take_all).unwrap_or_default())
}

/// Compares with the checksums that the granules of the segment have now (see [`crate::GranuleChecksums`]), which is `bytes`
/// bytes long now. Of a segment that is shorter or longer than it was, the part is compared that it had and has.
pub(super) fn compare<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    now: &[u32],
    bytes: u64,
) -> Result<Comparison, IndexError> {
    let (granule_bytes, then_bytes) = (1 << index.header.granule_shift, index.header.segment_bytes);
    let mut comparison = Comparison::default();
    for ((then, now), number) in checksums(index)?.into_iter().zip(now).zip(0u64..) {
        let begin = number * granule_bytes;
        let end = begin + granule_bytes;
        if bytes != then_bytes && end > bytes.min(then_bytes) {
            break;
        }
        match then {
            None => comparison.unknown += 1,
            Some(then) if then == *now => comparison.sound += 1,
            Some(_) => {
                let end = end.min(bytes);
                match comparison.altered.last_mut() {
                    Some(before) if before.end == begin => before.end = end,
                    _ => comparison.altered.push(begin..end),
                }
            }
        }
    }
    Ok(comparison)
}
