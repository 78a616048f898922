//! Compares a segment's bytes with those that its index was built from.

use std::ops::Range;

use super::sections::IndexSections;
use crate::layout::{Section, granule_checksum};
use crate::sys::xxh3_64;
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

/// Ranges of whole granules, from the number `first` on, that are not as they were: neighbours joined. An error if the index has no
/// valid checksum of one of them.
pub(super) fn altered<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    first: u64,
    bytes: &[u8],
) -> Result<Vec<Range<u64>>, IndexError> {
    let blocks = index.checksum_blocks()?.ok_or(Section::Checksums.damaged())?;
    let granule_bytes = 1 << index.header.granule_shift;
    let mut altered: Vec<Range<u64>> = Vec::new();
    let mut begin = first * granule_bytes;
    for (granule, number) in bytes.chunks(granule_bytes as usize).zip(first..) {
        let number = u32::try_from(number).map_err(|_| Section::Checksums.damaged())?;
        let end = begin + granule.len() as u64;
        if checksums::take_one(&blocks, number)? != granule_checksum(number, xxh3_64(granule)) {
            match altered.last_mut() {
                Some(before) if before.end == begin => before.end = end,
                _ => altered.push(begin..end),
            }
        }
        begin = end;
    }
    Ok(altered)
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
