//! End of the logbook, beside its days: how many lines are known to be durable, so that a lack of the last ones is noticed.
//! `FORMAT.md`, "The end of the logbook".

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::Timestamp;
use crate::time::DAY_NS;

/// Bytes of the file.
pub const BYTES: usize = 64;
/// First bytes of the file; the digit is its version.
pub const MAGIC: [u8; 8] = *b"NRWLOGB1";
const FIELD_MAGIC: Range<usize> = 0..8;
const FIELD_DAY: Range<usize> = 8..16;
const FIELD_LINES: Range<usize> = 16..24;
const FIELD_CHECKSUM: Range<usize> = 56..64;

/// Promise of the logbook's writer: the file of `day` has at least a line of this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogbookEnd {
    /// The day whose file was written to last, in days since 1970.
    pub day: u64,
    /// Number of the last line that is known to be durable.
    pub lines: u64,
}

impl LogbookEnd {
    /// The end of a day with so many lines.
    pub fn of(at: Timestamp, lines: u64) -> Self {
        Self { day: at.ns() / DAY_NS, lines }
    }

    /// Date of the day.
    pub fn date(&self) -> String {
        Timestamp(self.day.saturating_mul(DAY_NS)).date()
    }

    /// The bytes to publish. They are written by one call, over the previous ones.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[FIELD_MAGIC].copy_from_slice(&MAGIC);
        bytes[FIELD_DAY].copy_from_slice(&self.day.to_le_bytes());
        bytes[FIELD_LINES].copy_from_slice(&self.lines.to_le_bytes());
        let checksum = xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        bytes[FIELD_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads them; `None` where they are not valid, for instance because a write was under way: read again.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let number = |field: Range<usize>| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[field]);
            u64::from_le_bytes(word)
        };
        let is_sound =
            bytes[FIELD_MAGIC] == MAGIC && number(FIELD_CHECKSUM) == xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        is_sound.then(|| Self { day: number(FIELD_DAY), lines: number(FIELD_LINES) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_is_noticed() {
        let end = LogbookEnd::of(Timestamp::new(1_795_339_861, 5), 17);
        assert_eq!((end.date(), LogbookEnd::from_bytes(&end.to_bytes())), ("2026-11-22".into(), Some(end)));
        for bit in 0..BYTES * 8 {
            let mut bytes = end.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LogbookEnd::from_bytes(&bytes), None, "bit {bit}");
        }
    }
}
