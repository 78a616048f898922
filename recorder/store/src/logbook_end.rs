//! End of the logbook, beside its days: how many lines are known to be durable, so that a lack of the last ones is noticed.
//! `FORMAT.md`, "The end of the logbook".

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::Timestamp;
use crate::time::DAY_NS;

/// Bytes of the file.
pub const LOGBOOK_END_BYTES: usize = 64;
/// First bytes of the file; the digit is its version.
const MAGIC: [u8; 8] = *b"NRWLOGB1";
const FIELD_MAGIC: Range<usize> = 0..8;
const FIELD_DAY: Range<usize> = 8..16;
const FIELD_LINES: Range<usize> = 16..24;
const FIELD_OTHER_DAY: Range<usize> = 24..32;
const FIELD_OTHER_LINES: Range<usize> = 32..40;
const FIELD_CHECKSUM: Range<usize> = 56..64;

/// Promise of the logbook's writer: the file of a day has at least a line of this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayEnd {
    /// The day, in days since 1970.
    pub day: u64,
    /// Number of the last line that is known to be durable; zero if nothing is promised.
    pub lines: u64,
}

impl DayEnd {
    /// The end of a day with so many lines.
    pub fn of(at: Timestamp, lines: u64) -> Self {
        Self { day: at.ns() / DAY_NS, lines }
    }

    /// Date of the day.
    pub fn date(&self) -> String {
        Timestamp(self.day.saturating_mul(DAY_NS)).date()
    }
}

/// Ends of the last day, and of another one that was written to since, or before: lines of yesterday can come late, and clocks are
/// set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogbookEnd {
    /// The last day.
    pub last: DayEnd,
    /// The other one.
    pub other: DayEnd,
}

impl LogbookEnd {
    /// The same after a day has been written to.
    #[must_use]
    pub fn with(self, written: DayEnd) -> Self {
        let Self { last, .. } = self;
        if written.day == last.day {
            return Self { last: DayEnd { lines: written.lines.max(last.lines), ..last }, ..self };
        }
        if written.day < last.day {
            Self { other: written, ..self }
        } else {
            Self { last: written, other: last }
        }
    }

    /// Each promise.
    pub fn days(&self) -> impl Iterator<Item = DayEnd> {
        [self.last, self.other].into_iter().filter(|day| day.lines > 0)
    }

    /// The bytes to publish. They are written by one call, over the previous ones.
    pub fn to_bytes(&self) -> [u8; LOGBOOK_END_BYTES] {
        let mut bytes = [0; LOGBOOK_END_BYTES];
        bytes[FIELD_MAGIC].copy_from_slice(&MAGIC);
        bytes[FIELD_DAY].copy_from_slice(&self.last.day.to_le_bytes());
        bytes[FIELD_LINES].copy_from_slice(&self.last.lines.to_le_bytes());
        bytes[FIELD_OTHER_DAY].copy_from_slice(&self.other.day.to_le_bytes());
        bytes[FIELD_OTHER_LINES].copy_from_slice(&self.other.lines.to_le_bytes());
        let checksum = xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        bytes[FIELD_CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads them; `None` where they are not valid, for instance because a write was under way: read again.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LOGBOOK_END_BYTES] = bytes.try_into().ok()?;
        let number = |field: Range<usize>| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[field]);
            u64::from_le_bytes(word)
        };
        let is_sound =
            bytes[FIELD_MAGIC] == MAGIC && number(FIELD_CHECKSUM) == xxh3_64(&bytes[..FIELD_CHECKSUM.start]);
        is_sound.then(|| Self {
            last: DayEnd { day: number(FIELD_DAY), lines: number(FIELD_LINES) },
            other: DayEnd { day: number(FIELD_OTHER_DAY), lines: number(FIELD_OTHER_LINES) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_every_flipped_bit_is_noticed() {
        let day = DayEnd::of(Timestamp::new(1_795_339_861, 5), 17);
        let end = LogbookEnd::default().with(DayEnd { day: day.day - 1, lines: 4 }).with(day);
        assert_eq!(
            (end.last.date(), LogbookEnd::from_bytes(&end.to_bytes())),
            ("2026-11-22".into(), Some(end))
        );
        for bit in 0..LOGBOOK_END_BYTES * 8 {
            let mut bytes = end.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(LogbookEnd::from_bytes(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn the_last_day_stays_promised_when_an_earlier_one_is_written_to() {
        let at = |day, lines| DayEnd { day, lines };
        let end = LogbookEnd::default().with(at(5, 1)).with(at(5, 9)).with(at(6, 2));
        assert_eq!(end.days().collect::<Vec<_>>(), [at(6, 2), at(5, 9)]);
        assert_eq!(end.with(at(5, 10)).with(at(6, 1)).days().collect::<Vec<_>>(), [at(6, 2), at(5, 10)]);
    }
}
