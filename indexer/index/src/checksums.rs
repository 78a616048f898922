//! A checksum of every granule of a segment, so that a bit that has changed since is noticed and its place is known.

use std::fmt;

use crate::IndexError;
use crate::blocks::{BlockReader, BlockWriter};
use crate::column::BLOCK_ROWS;
use crate::layout::{Section, granule_checksum};
use crate::sys::xxh3_64;

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;

/// Takes the checksums of a segment's granules from its bytes, which come in their order from the first one on. A granule that comes in
/// one piece is hashed where it stands; of others the pieces are gathered.
#[derive(Clone)]
pub struct GranuleChecksums {
    granule_bytes: usize,
    /// Checksums of whole granules.
    done: Vec<u32>,
    /// The front of the granule that has begun: less than all of it.
    begun: Vec<u8>,
}

impl fmt::Debug for GranuleChecksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GranuleChecksums").field("done", &self.done.len()).finish_non_exhaustive()
    }
}

impl GranuleChecksums {
    /// Checksums of granules of `granule_bytes` bytes, of which there is at least one.
    pub fn new(granule_bytes: u64) -> Self {
        Self { granule_bytes: granule_bytes as usize, done: Vec::new(), begun: Vec::new() }
    }

    /// Forgets all bytes.
    pub fn reset(&mut self) {
        self.done.clear();
        self.begun.clear();
    }

    /// The segment goes on with these bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        if bytes.len() < self.granule_bytes - self.begun.len() {
            self.begun.extend_from_slice(bytes);
        } else {
            self.add_across(bytes);
        }
    }

    fn add_across(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if !self.begun.is_empty() {
            let (last, next) = rest.split_at(self.granule_bytes - self.begun.len());
            self.begun.extend_from_slice(last);
            self.end_begun();
            rest = next;
        }
        let mut granules = rest.chunks_exact(self.granule_bytes);
        granules.by_ref().for_each(|granule| end_granule(&mut self.done, granule));
        self.begun.extend_from_slice(granules.remainder());
    }

    fn end_begun(&mut self) {
        end_granule(&mut self.done, &self.begun);
        self.begun.clear();
    }

    /// The segment ends: the checksums of its granules, of which the last may be shorter.
    pub fn finish(&mut self) -> &[u32] {
        if !self.begun.is_empty() {
            self.end_begun();
        }
        &self.done
    }
}

fn end_granule(done: &mut Vec<u32>, granule: &[u8]) {
    done.push(granule_checksum(done.len() as u32, xxh3_64(granule)));
}

/// Writes the blocks of checksums.
pub(crate) fn put(checksums: &[u32]) -> BlockWriter {
    let mut writer = BlockWriter::new(Section::Checksums);
    for rows in checksums.chunks(BLOCK_ROWS) {
        writer.put(&[], |block| rows.iter().for_each(|row| block.extend_from_slice(&row.to_le_bytes())));
    }
    writer
}

/// Reads all of them; `None` for those in a damaged block.
pub(crate) fn take_all(blocks: &BlockReader<'_, 0>) -> Vec<Option<u32>> {
    let mut checksums = Vec::with_capacity(blocks.rows() as usize);
    for block in 0..blocks.count() {
        let rows = blocks.rows_of(block);
        match take(blocks, block) {
            Ok(found) => {
                checksums.extend(found.as_chunks().0.iter().map(|row| Some(u32::from_le_bytes(*row))))
            }
            Err(_) => checksums.resize(checksums.len() + rows, None),
        }
    }
    checksums
}

/// Reads one of them.
pub(crate) fn take_one(blocks: &BlockReader<'_, 0>, granule: u32) -> Result<u32, IndexError> {
    let (block, row) = (granule as usize / BLOCK_ROWS, granule as usize % BLOCK_ROWS);
    if granule >= blocks.rows() {
        return Err(Section::Checksums.damaged());
    }
    let rows = take(blocks, block)?.as_chunks().0;
    rows.get(row).map(|row| u32::from_le_bytes(*row)).ok_or(Section::Checksums.damaged())
}

/// Verifies all blocks.
pub(crate) fn verify(blocks: &BlockReader<'_, 0>) -> Result<(), IndexError> {
    (0..blocks.count()).try_for_each(|block| take(blocks, block).map(|_| ()))
}

fn take<'a>(blocks: &BlockReader<'a, 0>, block: usize) -> Result<&'a [u8], IndexError> {
    let bytes = blocks.block(block)?;
    match bytes.len() == blocks.rows_of(block) * CHECKSUM_BYTES {
        true => Ok(bytes),
        false => Err(Section::Checksums.damaged()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_however_the_bytes_come() {
        let segment: Vec<u8> = (0..5000u32).map(|byte| ((byte * byte) >> 3) as u8).collect();
        let whole = segment
            .chunks(512)
            .zip(0..)
            .map(|(granule, number)| granule_checksum(number, xxhash_rust::xxh3::xxh3_64(granule)));
        let whole: Vec<u32> = whole.collect();
        let mut checksums = GranuleChecksums::new(512);
        for step in [1, 7, 511, 512, 513, 5000] {
            checksums.reset();
            segment.chunks(step).for_each(|bytes| checksums.add(bytes));
            assert_eq!(checksums.finish(), whole, "{step} bytes at a time");
        }
        checksums.reset();
        segment[..1024].chunks(100).for_each(|bytes| checksums.add(bytes));
        assert_eq!(checksums.finish(), &whole[..2], "no granule begins at the end");
    }
}
