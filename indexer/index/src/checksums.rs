//! A checksum of every granule of a segment, so that a bit that has changed since is noticed and its place is known.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::IndexError;
use crate::blocks::{BlockReader, BlockWriter};
use crate::column::BLOCK_ROWS;
use crate::layout::{Section, granule_checksum};

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;

/// Takes the checksums of a segment's granules from its bytes, which come in their order from the first one on.
#[derive(Clone)]
pub struct GranuleChecksums {
    granule_bytes: u64,
    /// Checksums of whole granules.
    done: Vec<u32>,
    hash: Xxh3,
    /// Bytes of the granule that has begun.
    begun_bytes: u64,
}

impl fmt::Debug for GranuleChecksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GranuleChecksums").field("done", &self.done.len()).finish_non_exhaustive()
    }
}

impl GranuleChecksums {
    /// Checksums of granules of `granule_bytes` bytes.
    pub fn new(granule_bytes: u64) -> Self {
        Self { granule_bytes, done: Vec::new(), hash: Xxh3::new(), begun_bytes: 0 }
    }

    /// Forgets all bytes.
    pub fn reset(&mut self) {
        self.done.clear();
        self.hash.reset();
        self.begun_bytes = 0;
    }

    /// The segment goes on with these bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        if self.begun_bytes + (bytes.len() as u64) < self.granule_bytes {
            self.hash.update(bytes);
            self.begun_bytes += bytes.len() as u64;
        } else {
            self.add_across(bytes);
        }
    }

    fn add_across(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let room = (self.granule_bytes - self.begun_bytes) as usize;
            let Some((last, next)) = rest.split_at_checked(room) else { break };
            self.hash.update(last);
            self.end_granule();
            rest = next;
        }
        self.hash.update(rest);
        self.begun_bytes += rest.len() as u64;
    }

    fn end_granule(&mut self) {
        let checksum = granule_checksum(self.done.len() as u32, self.hash.digest());
        self.done.push(checksum);
        self.hash.reset();
        self.begun_bytes = 0;
    }

    /// The segment ends: the checksums of its granules, of which the last may be shorter.
    pub fn finish(&mut self) -> &[u32] {
        if self.begun_bytes > 0 {
            self.end_granule();
        }
        &self.done
    }
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
