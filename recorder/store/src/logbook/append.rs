//! Writing the logbook.

use std::io;
use std::path::Path;

use super::{Event, LogbookEntry};
use crate::files::{Files, OpenMode, StoreFile};
use crate::{Store, StoreError, Timestamp};

/// Appends to a store's logbook.
#[derive(Debug)]
pub struct Logbook {
    store: Store,
    today: Option<(String, Box<dyn StoreFile>)>,
}

impl Logbook {
    /// The logbook of `store`. Only the holder of the store's lock writes to it.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), today: None }
    }

    /// Appends one line, by a single write.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<(), StoreError> {
        self.append_entry(&LogbookEntry::new(at, event))
    }

    /// Appends an entry to the file of its day, whole or not at all. If that file has been removed or renamed, a new one is
    /// started; if the whole store has been moved away, lines go to the file that moved with it.
    pub fn append_entry(&mut self, entry: &LogbookEntry) -> Result<(), StoreError> {
        let date = entry.at.date();
        let path = self.store.logbook_path(&date);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other).map_err(failed)?;
        line.push(b'\n');
        if self
            .today
            .as_ref()
            .is_some_and(|(open_date, file)| *open_date != date || !self.is_ours(&**file, &path))
        {
            self.sync()?;
            self.today = None;
        }
        let file = match &self.today {
            Some((_, file)) => file,
            None => {
                self.store.prepare_logbook()?;
                let file = open_for_append(self.store.files(), &path).map_err(failed)?;
                &self.today.insert((date, file)).1
            }
        };
        append_whole(&**file, &line).map_err(|source| {
            // Reopening the file terminates a line that was only half written.
            self.today = None;
            failed(source)
        })
    }

    /// True if the open file is still the day's file, or the store has moved away and no better file exists.
    fn is_ours(&self, file: &dyn StoreFile, path: &Path) -> bool {
        let identity = file.status().ok().map(|found| found.identity);
        let is_named = identity == self.store.files().identity(path).ok().flatten();
        is_named || self.store.is_in_place().is_err()
    }

    /// Makes everything appended so far survive a power cut. If it fails, the lines since the last successful call may be lost:
    /// append them again. Duplicate lines count once.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let Some((date, file)) = &self.today else { return Ok(()) };
        let Err(source) = file.sync_data() else { return Ok(()) };
        let path = self.store.logbook_path(date);
        self.today = None;
        Err(StoreError::Io { path, source })
    }
}

/// Writes a line, or nothing of it: a part written before the disk was full is cut off again. Other threads have the same file
/// open.
fn append_whole(file: &dyn StoreFile, line: &[u8]) -> io::Result<()> {
    // Without file locks there are no writers on other machines to keep out either.
    let is_locked = file.lock().is_ok();
    let before = file.status()?.bytes;
    let mut written = file.append(line);
    if written.is_err()
        && let Err(error) = file.set_bytes(before)
    {
        written = written.and(Err(error));
    }
    if is_locked {
        file.unlock()?;
    }
    written
}

/// Opens a day's file. A last line that a crash cut short is terminated, so that it does not spoil the next one.
fn open_for_append(files: &dyn Files, path: &Path) -> io::Result<Box<dyn StoreFile>> {
    let file = files.open(path, OpenMode::Append)?;
    let Some(end) = file.status()?.bytes.checked_sub(1) else {
        // New, and perhaps unknown to the folder that is on the disk.
        path.parent().map_or(Ok(()), |folder| files.sync_folder(folder))?;
        return Ok(file);
    };
    let mut last = [0];
    file.read_exact_at(&mut last, end)?;
    if last != *b"\n" {
        file.append(b"\n")?;
    }
    Ok(file)
}
