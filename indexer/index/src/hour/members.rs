//! The segments that have each of the rows of a block: a template, an address, a port.
//!
//! `HOUR-FORMAT.md`, "Members", is normative.

use super::set::SegmentSet;
use crate::column::{self, BLOCK_ROWS, take_values};
use crate::positions::{self, BitReader, BitWriter};

/// Rows in more segments than this have their bits counted, so that a reader can skip them.
pub(super) const MEMBERS_WITHOUT_LENGTH_MAX: u64 = 64;

/// Appends the members of at most 128 rows: of each, numbers of segments, which ascend. No row is without.
pub(super) fn put(block: &mut Vec<u8>, rows: &[&[u32]]) {
    let mut bits = BitWriter::default();
    let (mut gaps, mut lengths) = (Vec::new(), Vec::new());
    for &row in rows {
        let (Some(&first), Some(&last)) = (row.first(), row.last()) else { continue };
        if row.len() == 1 {
            continue;
        }
        gaps.push(u64::from(last - first + 1) - row.len() as u64);
        let before = bits.bits();
        positions::put(&mut bits, &row[1..row.len() - 1], first, last);
        if row.len() as u64 > MEMBERS_WITHOUT_LENGTH_MAX {
            lengths.push(bits.bits() - before);
        }
    }
    bits.finish();
    column::put(block, &rows.iter().map(|row| row.len() as u64 - 1).collect::<Vec<_>>());
    column::put(block, &rows.iter().map(|row| u64::from(row[0])).collect::<Vec<_>>());
    column::put(block, &gaps);
    column::put(block, &lengths);
    block.extend_from_slice(&bits.bytes);
}

/// Adds the segments that have one of the rows in `wanted` to `found`, from a block of `rows` rows; `None` where it is not one.
pub(super) fn add(
    mut block: &[u8],
    rows: usize,
    wanted: std::ops::Range<usize>,
    segments: u32,
    found: &mut SegmentSet,
) -> Option<()> {
    let (mut more, mut firsts) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS]);
    let (mut gaps, mut lengths) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS]);
    take_values(&mut block, rows, &mut more)?;
    take_values(&mut block, rows, &mut firsts)?;
    let several = more[..rows].iter().filter(|&&more| more > 0).count();
    take_values(&mut block, several, &mut gaps)?;
    let counted = more[..rows].iter().filter(|&&more| more >= MEMBERS_WITHOUT_LENGTH_MAX).count();
    take_values(&mut block, counted, &mut lengths)?;
    let (mut gaps, mut lengths) = (gaps[..several].iter(), lengths[..counted].iter());
    let mut bits = BitReader::new(block);
    let mut between = Vec::new();
    for (row, (&more, &first)) in more[..rows].iter().zip(&firsts).enumerate() {
        let first = u32::try_from(first).ok().filter(|&first| first < segments)?;
        if more == 0 {
            if wanted.contains(&row) {
                found.insert(first);
            }
            continue;
        }
        let last = u64::from(first).checked_add(more)?.checked_add(*gaps.next()?)?;
        let last = u32::try_from(last).ok().filter(|&last| last < segments)?;
        let length = if more >= MEMBERS_WITHOUT_LENGTH_MAX { Some(*lengths.next()?) } else { None };
        if row >= wanted.end {
            break;
        }
        match length.filter(|_| row < wanted.start) {
            Some(length) => bits.skip(length)?,
            None => {
                // A segment's number is below `segments`, and so is their count.
                between.clear();
                between.resize(usize::try_from(more - 1).ok()?, 0);
                positions::take(&mut bits, &mut between, first, last)?;
                if wanted.contains(&row) {
                    found.insert(first);
                    between.iter().for_each(|&number| found.insert(number));
                    found.insert(last);
                }
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn members_come_back(
            rows in proptest::collection::vec(proptest::collection::btree_set(0u32..400, 1..150), 1..=BLOCK_ROWS),
            (from, to) in (0..BLOCK_ROWS, 0..=BLOCK_ROWS),
        ) {
            let rows: Vec<Vec<u32>> = rows.into_iter().map(|row| row.into_iter().collect()).collect();
            let mut block = Vec::new();
            put(&mut block, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut found = SegmentSet::none(400);
            add(&block, rows.len(), from..to, 400, &mut found).unwrap();
            let mut expected = SegmentSet::none(400);
            let wanted = rows.iter().take(to).skip(from);
            wanted.flatten().for_each(|&number| expected.insert(number));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_end(
            block in proptest::collection::vec(any::<u8>(), 0..200), rows in 1..=BLOCK_ROWS, segments in 0u32..5000,
        ) {
            let _ = add(&block, rows, 0..rows, segments, &mut SegmentSet::none(segments));
        }
    }
}
