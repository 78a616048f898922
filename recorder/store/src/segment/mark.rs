//! The committed mark: how far an open segment can be read. `FORMAT.md`, "The committed mark".

use std::io;

use super::layout::mark::{
    BYTES, FIELD_CHECKSUM, FIELD_COMMITTED_BYTES, FIELD_FIRST, FIELD_LAST, FIELD_MAGIC, FIELD_RECORDS,
    FILE_BYTES, MAGIC,
};
use crate::Timestamp;
use crate::files::StoreFile;

/// Reads of a mark that is being rewritten before it counts as damaged.
const READS_MAX: usize = 16;

/// Promise of an open segment's writer: everything before `committed_bytes` has been written, and ends with a whole record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of the segment, file header included, that can be read.
    pub committed_bytes: u64,
    /// Records in them.
    pub records: u64,
    /// The earliest timestamp among them.
    pub first: Timestamp,
    /// The latest timestamp among them.
    pub last: Timestamp,
}

impl Mark {
    /// Contents of a file in which both marks, the published and the synced one, are this.
    pub fn to_file(&self) -> [u8; FILE_BYTES] {
        let mut file = [0; FILE_BYTES];
        for place in file.chunks_exact_mut(BYTES) {
            place.copy_from_slice(&self.to_bytes());
        }
        file
    }

    /// The bytes of one mark. They are written by one call, over the previous one.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[FIELD_MAGIC].copy_from_slice(&MAGIC);
        bytes[FIELD_COMMITTED_BYTES].copy_from_slice(&self.committed_bytes.to_le_bytes());
        bytes[FIELD_RECORDS].copy_from_slice(&self.records.to_le_bytes());
        bytes[FIELD_FIRST].copy_from_slice(&self.first.ns().to_le_bytes());
        bytes[FIELD_LAST].copy_from_slice(&self.last.ns().to_le_bytes());
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        bytes[FIELD_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a mark of a file; `None` where there is none, or it is damaged.
    pub fn read(file: &dyn StoreFile, at: u64) -> io::Result<Option<Self>> {
        for _ in 0..READS_MAX {
            let mut bytes = [0; BYTES];
            match file.read_exact_at(&mut bytes, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            if let Some(mark) = Self::from_bytes(&bytes) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// Reads a mark; `None` where the bytes are not valid, for instance because a write was under way: read again.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let number = |field: std::ops::Range<usize>| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[field]);
            u64::from_le_bytes(word)
        };
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        (bytes[FIELD_MAGIC] == MAGIC && number(FIELD_CHECKSUM) == checksum).then(|| Self {
            committed_bytes: number(FIELD_COMMITTED_BYTES),
            records: number(FIELD_RECORDS),
            first: Timestamp(number(FIELD_FIRST)),
            last: Timestamp(number(FIELD_LAST)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_torn_one_is_noticed() {
        let mark = Mark { committed_bytes: 4096, records: 9, first: Timestamp(1), last: Timestamp(u64::MAX) };
        let bytes = mark.to_bytes();
        assert_eq!(Mark::from_bytes(&bytes), Some(mark));
        for at in 0..BYTES {
            let mut torn = bytes;
            torn[at] ^= 1;
            assert_eq!(Mark::from_bytes(&torn), None, "byte {at}");
        }
        assert_eq!(Mark::from_bytes(&bytes[..63]), None);
    }
}
