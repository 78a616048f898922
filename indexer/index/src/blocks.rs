//! Sections made of blocks of up to 128 rows, each with its own checksum, and their directories: where each block begins
//! and, for some, what its first row holds.

use crate::IndexError;
use crate::column::BLOCK_ROWS;
use crate::layout::{BLOCK_CHECKSUM_BYTES, Section, block_checksum, is_right};

/// Bytes of a block's offset in a directory entry; the entry's key follows.
const OFFSET_BYTES: usize = 4;

/// Builds a section of blocks and its directory.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    section: Section,
    pub(crate) blocks: Vec<u8>,
    pub(crate) directory: Vec<u8>,
    count: u32,
}

impl BlockWriter {
    pub(crate) fn new(section: Section) -> Self {
        Self { section, blocks: Vec::new(), directory: Vec::new(), count: 0 }
    }

    /// Appends a block, which `write` appends to the buffer that it gets.
    pub(crate) fn put(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.blocks.len();
        self.directory.extend_from_slice(&(start as u32).to_le_bytes());
        self.directory.extend_from_slice(key);
        self.blocks.extend_from_slice(&[0; BLOCK_CHECKSUM_BYTES]);
        write(&mut self.blocks);
        let content = start + BLOCK_CHECKSUM_BYTES;
        let checksum = block_checksum(self.section, self.count, &self.blocks[content..]);
        self.blocks[start..content].copy_from_slice(&checksum.to_le_bytes());
        self.count += 1;
    }
}

/// Reads a section of blocks through its directory, whose checksum has been verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockReader<'a, const KEY_BYTES: usize> {
    section: Section,
    blocks: &'a [u8],
    directory: &'a [u8],
    rows: usize,
}

impl<'a, const KEY_BYTES: usize> BlockReader<'a, KEY_BYTES> {
    const ENTRY_BYTES: usize = OFFSET_BYTES + KEY_BYTES;

    /// `rows` are those of all blocks; the directory must have an entry for each 128.
    pub(crate) fn new(
        section: Section,
        blocks: &'a [u8],
        directory: &'a [u8],
        rows: u32,
    ) -> Result<Self, IndexError> {
        let rows = rows as usize;
        match directory.len() == rows.div_ceil(BLOCK_ROWS) * Self::ENTRY_BYTES {
            true => Ok(Self { section, blocks, directory, rows }),
            false => Err(section.damaged()),
        }
    }

    /// Number of blocks.
    pub(crate) fn count(&self) -> usize {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    /// All rows.
    pub(crate) fn rows(&self) -> u32 {
        u32::try_from(self.rows).unwrap_or(u32::MAX)
    }

    /// Number of rows in a block.
    pub(crate) fn rows_of(&self, block: usize) -> usize {
        self.rows.saturating_sub(block * BLOCK_ROWS).min(BLOCK_ROWS)
    }

    fn entry(&self, block: usize) -> Option<&'a [u8]> {
        self.directory.get(block * Self::ENTRY_BYTES..(block + 1) * Self::ENTRY_BYTES)
    }

    fn offset(&self, block: usize) -> Option<usize> {
        let entry = self.entry(block)?;
        Some(u32::from_le_bytes(entry.get(..OFFSET_BYTES)?.try_into().ok()?) as usize)
    }

    /// The key of a block in the directory; zeros where there is no such block.
    pub(crate) fn key(&self, block: usize) -> [u8; KEY_BYTES] {
        self.entry(block).and_then(|entry| entry[OFFSET_BYTES..].try_into().ok()).unwrap_or([0; KEY_BYTES])
    }

    /// Bytes of a block, after its checksum has been verified.
    pub(crate) fn block(&self, block: usize) -> Result<&'a [u8], IndexError> {
        self.checked_block(block).ok_or(self.section.damaged())
    }

    /// Compares the checksums of all blocks.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        (0..self.count()).try_for_each(|block| self.block(block).map(drop))
    }

    fn checked_block(&self, block: usize) -> Option<&'a [u8]> {
        let end = if block + 1 == self.count() { self.blocks.len() } else { self.offset(block + 1)? };
        let bytes = self.blocks.get(self.offset(block)?..end)?;
        let (checksum, content) = bytes.split_at_checked(BLOCK_CHECKSUM_BYTES)?;
        let found = block_checksum(self.section, u32::try_from(block).ok()?, content);
        is_right(&checksum, &&found.to_le_bytes()[..]).then_some(content)
    }

    /// The last block whose key is not above `wanted`, by an order of keys in which the directory ascends.
    pub(crate) fn find(&self, is_above: impl Fn([u8; KEY_BYTES]) -> bool) -> Option<usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if is_above(self.key(middle)) { high = middle } else { low = middle + 1 }
        }
        low.checked_sub(1)
    }
}
