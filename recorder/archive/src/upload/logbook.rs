//! Uploads the logbook in pieces.

use std::collections::{BTreeMap, BTreeSet};

use netrewind_store::Timestamp;
use netrewind_store::files::{OpenMode, StoreFile};

use super::segment::Uploader;
use crate::error::ArchiveError;
use crate::objects::{ArchiveObject, LogbookPiece};

/// Bytes of a piece before it is compressed, at most.
pub const PIECE_BYTES_MAX: u64 = 8 << 20;
/// Level at which pieces are compressed.
const LEVEL: i32 = 9;

/// How far each day's logbook is in the archive.
#[derive(Debug, Default)]
pub struct LogbookUpload {
    /// Ends of the days, as far as they are known.
    ends: BTreeMap<String, u64>,
    /// Wall clock when everything that had been written was sent.
    pub sent_at: Option<Timestamp>,
}

/// End of what the pieces of a day have, from its first byte on.
pub fn end_of(pieces: &BTreeSet<(u64, u64)>) -> u64 {
    pieces.iter().fold(0, |end, &(from, to)| if from <= end { end.max(to) } else { end })
}

impl LogbookUpload {
    /// Sends whatever lines the archive does not have.
    pub fn send(&mut self, to: &Uploader<'_>, now: Timestamp) -> Result<(), ArchiveError> {
        let dates = to.store.logbook_dates()?;
        self.ends.retain(|date, _| dates.contains(date));
        for date in dates {
            self.send_day(to, &date)?;
        }
        self.sent_at = Some(now);
        Ok(())
    }

    fn send_day(&mut self, to: &Uploader<'_>, date: &str) -> Result<(), ArchiveError> {
        let bytes = to.store.logbook_bytes(date)?;
        let mut end = match self.ends.get(date) {
            Some(end) => *end,
            None => self.find_end(to, date)?,
        };
        if bytes < end {
            return Err(ArchiveError::Part(format!(
                "the logbook of {date} has {bytes} bytes, but {end} in the archive: it was begun anew; the archive keeps the longer one"
            )));
        }
        if bytes == end {
            return Ok(());
        }
        let path = to.store.logbook_path(date);
        let file = to.store.files().open(&path, OpenMode::Read)?;
        while end < bytes {
            let Some(lines) = whole_lines(&*file, end, bytes)? else { break };
            let next = end + lines.len() as u64;
            let packed = zstd::bulk::compress(&lines, LEVEL)?;
            let piece = LogbookPiece { date: date.to_owned(), begin: end, end: next };
            to.put(&ArchiveObject::Logbook(piece), packed)?;
            end = next;
            self.ends.insert(date.to_owned(), end);
        }
        Ok(())
    }

    /// Asks the archive how far it has a day.
    fn find_end(&mut self, to: &Uploader<'_>, date: &str) -> Result<u64, ArchiveError> {
        let mut pieces = BTreeSet::new();
        for listed in to.bucket.list(&to.keys.logbook_of(date))? {
            if let Some(ArchiveObject::Logbook(piece)) = to.keys.object(&listed.key) {
                pieces.insert((piece.begin, piece.end));
            }
        }
        let end = end_of(&pieces);
        self.ends.insert(date.to_owned(), end);
        Ok(end)
    }
}

/// The whole lines between two positions, as many as a piece may have; `None` if there is none.
fn whole_lines(file: &dyn StoreFile, begin: u64, end: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
    let wanted = usize::try_from((end - begin).min(PIECE_BYTES_MAX)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; wanted];
    let read = file.read_at_most(&mut bytes, begin)?;
    bytes.truncate(read);
    let lines = bytes.iter().rposition(|byte| *byte == b'\n').map(|last| last + 1);
    if lines.is_none() && read as u64 == PIECE_BYTES_MAX {
        // Damage: no line is so long. It goes as it is.
        return Ok(Some(bytes));
    }
    Ok(lines.map(|lines| {
        bytes.truncate(lines);
        bytes
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_reach_as_far_as_there_is_no_gap() {
        let end = |pieces: &[(u64, u64)]| end_of(&pieces.iter().copied().collect());
        assert_eq!(end(&[]), 0);
        assert_eq!(end(&[(0, 10), (10, 20)]), 20);
        assert_eq!(end(&[(0, 10), (0, 30), (10, 20)]), 30);
        assert_eq!(end(&[(0, 10), (11, 20)]), 10);
        assert_eq!(end(&[(5, 10)]), 0);
    }
}
