//! The texts of labels: distinct, ascending, each without the bytes at its front that the one before has too.
//!
//! `FORMAT.md`, "Strings", is normative.

use crate::IndexError;
use crate::blocks::{BlockReader, BlockWriter};
use crate::column::{self, BLOCK_ROWS, take, take_values};
use crate::layout::Section;

/// The longest text, in bytes.
pub(crate) const STRING_BYTES_MAX: usize = 1024;

/// Writes the blocks of ascending distinct texts.
pub(crate) fn put(sorted: &[&str]) -> BlockWriter {
    let mut writer = BlockWriter::new(Section::Strings);
    for rows in sorted.chunks(BLOCK_ROWS) {
        let mut common = vec![0];
        common.extend(rows.windows(2).map(|pair| common_bytes(pair[0], pair[1])));
        let rest = |(text, common): (&&'_ str, &u64)| text.len() as u64 - common;
        let rests: Vec<u64> = rows.iter().zip(&common).map(rest).collect();
        writer.put(&[], |block| {
            column::put(block, &common);
            column::put(block, &rests);
            for (text, &common) in rows.iter().zip(&common) {
                block.extend_from_slice(&text.as_bytes()[common as usize..]);
            }
        });
    }
    writer
}

fn common_bytes(one: &str, other: &str) -> u64 {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count() as u64
}

/// The texts of an index, block by block as they are asked for.
#[derive(Debug)]
pub(crate) struct StringTable<'a> {
    blocks: BlockReader<'a, 0>,
    read: Vec<Option<Texts>>,
}

/// The texts of a block, one behind the other, and where each ends.
#[derive(Clone, Debug)]
struct Texts {
    all: Box<str>,
    ends: Box<[u32]>,
}

impl Texts {
    fn get(&self, row: usize) -> Option<&str> {
        let begin = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.all.get(begin as usize..*self.ends.get(row)? as usize)
    }
}

impl<'a> StringTable<'a> {
    pub(crate) fn new(blocks: BlockReader<'a, 0>) -> Self {
        Self { read: vec![None; blocks.count()], blocks }
    }

    /// Compares the checksums of all blocks.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        self.blocks.check()
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> u32 {
        self.blocks.rows()
    }

    /// The text with a number.
    pub(crate) fn get(&mut self, number: u32) -> Result<&str, IndexError> {
        const DAMAGED: IndexError = Section::Strings.damaged();
        let (block, row) = (number as usize / BLOCK_ROWS, number as usize % BLOCK_ROWS);
        let slot = self.read.get_mut(block).ok_or(DAMAGED)?;
        let texts = match slot {
            Some(texts) => texts,
            None => {
                let bytes = self.blocks.block(block)?;
                slot.insert(decode(bytes, self.blocks.rows_of(block)).ok_or(DAMAGED)?)
            }
        };
        texts.get(row).ok_or(DAMAGED)
    }
}

fn decode(mut block: &[u8], rows: usize) -> Option<Texts> {
    let (mut common, mut rests) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS]);
    take_values(&mut block, rows, &mut common)?;
    take_values(&mut block, rows, &mut rests)?;
    let (mut all, mut ends, mut begin) = (Vec::new(), Vec::with_capacity(rows), 0);
    for (&common, &rest) in common.iter().zip(&rests).take(rows) {
        let (common, rest) = (usize::try_from(common).ok()?, usize::try_from(rest).ok()?);
        if common.checked_add(rest)? > STRING_BYTES_MAX || common > all.len() - begin {
            return None;
        }
        let before = begin..begin + common;
        begin = all.len();
        all.extend_from_within(before);
        all.extend_from_slice(take(&mut block, rest)?);
        std::str::from_utf8(&all[begin..]).ok()?;
        ends.push(u32::try_from(all.len()).ok()?);
    }
    Some(Texts { all: String::from_utf8(all).ok()?.into(), ends: ends.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn texts_come_back(texts in proptest::collection::btree_set("[aé]{0,9}(b|c\u{20ac}){0,3}", 0..400)) {
            let sorted: Vec<&str> = texts.iter().map(String::as_str).collect();
            let writer = put(&sorted);
            let rows = sorted.len() as u32;
            let blocks = BlockReader::new(Section::Strings, &writer.blocks, &writer.directory, rows).unwrap();
            let mut table = StringTable::new(blocks);
            for (number, text) in (0..).zip(&sorted) {
                prop_assert_eq!(table.get(number).unwrap(), *text);
            }
            prop_assert!(table.get(rows).is_err());
        }

        #[test]
        fn any_bytes_are_texts_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0..=BLOCK_ROWS) {
            let _ = decode(&bytes, rows);
        }
    }
}
