//! The table of granules: fixed ranges of the segment, the records that begin in each, and their times.

use netrewind_store::Timestamp;

use crate::IndexError;
use crate::blocks::{BlockReader, BlockWriter};
use crate::column::{self, BLOCK_ROWS, Values, take_values};
use crate::layout::Section;

/// A stretch of the segment. A record belongs to the granule in which its header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granule {
    /// Offset of its first record in the segment; without records, that of the next record.
    pub offset: u64,
    /// Number of records that begin in it; zero if one record covers it whole.
    pub records: u32,
    /// Earliest timestamp of them; where there are none, the latest of the granule before.
    pub first: Timestamp,
    /// Latest timestamp of them, likewise.
    pub last: Timestamp,
}

/// Bytes of a directory entry's key: earliest and latest timestamp in the block.
pub(crate) const KEY_BYTES: usize = 16;

/// Writes the blocks of granules; those without records have no offset of their own.
pub(crate) fn put(granules: &[Granule], granule_shift: u8) -> BlockWriter {
    let mut writer = BlockWriter::new(Section::Granules);
    for (number, rows) in granules.chunks(BLOCK_ROWS).enumerate() {
        let base = (number * BLOCK_ROWS) as u64;
        let full = || rows.iter().zip(base..).filter(|(row, _)| row.records > 0);
        let first = full().map(|(row, _)| row.first).min();
        let last = full().map(|(row, _)| row.last).max();
        let records: Vec<u64> = rows.iter().map(|row| u64::from(row.records)).collect();
        let offsets: Vec<u64> = full().map(|(row, number)| row.offset - (number << granule_shift)).collect();
        let mut previous = first.unwrap_or_default();
        let gaps: Vec<u64> = full()
            .map(|(row, _)| row.first.ns().wrapping_sub(std::mem::replace(&mut previous, row.last).ns()))
            .collect();
        let spans: Vec<u64> = full().map(|(row, _)| row.last.ns() - row.first.ns()).collect();
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&first.unwrap_or(Timestamp::MAX).ns().to_le_bytes());
        key[8..].copy_from_slice(&last.unwrap_or(Timestamp::MIN).ns().to_le_bytes());
        writer.put(&key, |block| {
            for values in [&records, &offsets, &gaps, &spans] {
                column::put(block, values);
            }
        });
    }
    writer
}

/// A decoded block of granules. Rows without records have the instants of the row before and no offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GranuleBlock {
    pub(crate) records: [u32; BLOCK_ROWS],
    pub(crate) offsets: [u64; BLOCK_ROWS],
    pub(crate) firsts: [u64; BLOCK_ROWS],
    pub(crate) lasts: [u64; BLOCK_ROWS],
}

/// Reads the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GranuleTable<'a> {
    blocks: BlockReader<'a, KEY_BYTES>,
    granule_shift: u8,
}

impl<'a> GranuleTable<'a> {
    pub(crate) fn new(
        blocks: &'a [u8],
        directory: &'a [u8],
        granules: u32,
        granule_shift: u8,
    ) -> Result<Self, IndexError> {
        Ok(Self { blocks: BlockReader::new(Section::Granules, blocks, directory, granules)?, granule_shift })
    }

    /// Number of blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.count()
    }

    /// Compares the checksums of all blocks.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        self.blocks.check()
    }

    pub(crate) fn rows_of(&self, block: usize) -> usize {
        self.blocks.rows_of(block)
    }

    /// Earliest and latest timestamp in a block; the earliest is above the latest where it has no records.
    pub(crate) fn bounds(&self, block: usize) -> (u64, u64) {
        let key = self.blocks.key(block);
        let (mut first, mut last) = ([0; 8], [0; 8]);
        first.copy_from_slice(&key[..8]);
        last.copy_from_slice(&key[8..]);
        (u64::from_le_bytes(first), u64::from_le_bytes(last))
    }

    pub(crate) fn decode(&self, block: usize) -> Result<GranuleBlock, IndexError> {
        let bytes = self.blocks.block(block)?;
        self.decode_rows(block, bytes).ok_or(Section::Granules.damaged())
    }

    fn decode_rows(&self, block: usize, mut bytes: &[u8]) -> Option<GranuleBlock> {
        let rows = self.rows_of(block);
        let input = &mut bytes;
        let mut records: Values = [0; BLOCK_ROWS];
        let mut columns: [Values; 3] = [[0; BLOCK_ROWS]; 3];
        take_values(input, rows, &mut records)?;
        let full = records[..rows].iter().filter(|&&records| records > 0).count();
        for values in &mut columns {
            take_values(input, full, values)?;
        }
        let mut decoded = GranuleBlock {
            records: [0; BLOCK_ROWS],
            offsets: [0; BLOCK_ROWS],
            firsts: [0; BLOCK_ROWS],
            lasts: [0; BLOCK_ROWS],
        };
        let [offsets, gaps, spans] = &columns;
        let mut next = 0;
        let mut last = self.bounds(block).0;
        for (row, &records) in records[..rows].iter().enumerate() {
            decoded.firsts[row] = last;
            if records > 0 {
                let begin = ((block * BLOCK_ROWS + row) as u64) << self.granule_shift;
                decoded.records[row] = u32::try_from(records).ok()?;
                decoded.offsets[row] = begin + (offsets[next] & ((1 << self.granule_shift) - 1));
                decoded.firsts[row] = last.wrapping_add(gaps[next]);
                last = decoded.firsts[row].wrapping_add(spans[next]);
                next += 1;
            }
            decoded.lasts[row] = last;
        }
        bytes.is_empty().then_some(decoded)
    }
}
