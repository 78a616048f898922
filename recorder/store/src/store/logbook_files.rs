//! The files of a store's logbook: one a day, and the end of the last.

use std::io;
use std::path::PathBuf;

use super::{LOGBOOK, Store, at, folder_in_its_place, names_in, unless_missing};
use crate::StoreError;
use crate::files::OpenMode;
use crate::logbook_end::{DayEnd, LOGBOOK_END_BYTES, LogbookEnd};

const LOGBOOK_EXTENSION: &str = ".jsonl";
/// File that says how far the logbook reaches. The name comes before those of days: in a copy made in that order, while lines are added, no day
/// is shorter.
const END: &str = ".end";
const END_UNFINISHED: &str = ".end.new";

/// Reads of the logbook's end that is being rewritten before it counts as damaged.
const END_READS_MAX: usize = 16;

impl Store {
    /// Makes sure that the logbook's folder exists, if the store is in place.
    pub fn prepare_logbook(&self) -> Result<(), StoreError> {
        let folder = self.root().join(LOGBOOK);
        if at(&folder, self.files.identity(&folder))?.is_none() {
            self.is_in_place()?;
            at(&folder, self.files.create_folder(&folder))?;
        }
        Ok(())
    }

    /// Path of the logbook of the UTC day `date`.
    pub fn logbook_path(&self, date: &str) -> PathBuf {
        self.root.join(LOGBOOK).join(format!("{date}{LOGBOOK_EXTENSION}"))
    }

    /// Length of a day's logbook; zero where there is none.
    pub fn logbook_bytes(&self, date: &str) -> Result<u64, StoreError> {
        let path = self.logbook_path(date);
        match at(&path, unless_missing(self.files.status(&path)))? {
            Some(found) if found.is_folder() => at(&path, Err(folder_in_its_place())),
            found => Ok(found.map_or(0, |found| found.bytes)),
        }
    }

    /// True if there is a logbook, even an empty one.
    pub fn has_logbook(&self) -> bool {
        self.files.link_status(&self.root.join(LOGBOOK)).is_ok()
    }

    /// The days that have a logbook, earliest first.
    pub fn logbook_dates(&self) -> Result<Vec<String>, StoreError> {
        let names = names_in(&*self.files, &self.root.join(LOGBOOK))?;
        Ok(names.iter().filter_map(|name| Some(name.strip_suffix(LOGBOOK_EXTENSION)?.to_owned())).collect())
    }

    /// Removes a day's logbook, if there is one.
    pub fn remove_logbook(&self, date: &str) -> Result<(), StoreError> {
        let path = self.logbook_path(date);
        at(&path, unless_missing(self.files.remove_file(&path)))?;
        Ok(())
    }

    /// Path of the file that says how far the logbook reaches.
    pub fn logbook_end_path(&self) -> PathBuf {
        self.root.join(LOGBOOK).join(END)
    }

    /// Lines that the logbook has at least; `None` in a store that only earlier versions have written to. A damaged file is an
    /// error.
    pub fn logbook_end(&self) -> Result<Option<LogbookEnd>, StoreError> {
        let path = self.logbook_end_path();
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        for _ in 0..END_READS_MAX {
            // A byte more than there are: a longer file is another one.
            let mut bytes = [0; LOGBOOK_END_BYTES + 1];
            let read = at(&path, file.read_at_most(&mut bytes, 0))?;
            if let Some(end) = LogbookEnd::from_bytes(bytes.get(..read).unwrap_or_default()) {
                return Ok(Some(end));
            }
        }
        at(&path, Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong")))
    }

    /// Publishes how far a day of the logbook reaches: over the last such promise, in place.
    pub(crate) fn write_logbook_end(&self, written: DayEnd) -> Result<(), StoreError> {
        // Nothing is made where the store was.
        self.is_in_place()?;
        let path = self.logbook_end_path();
        // A damaged one has been named for as long as it stood there.
        let before = self.logbook_end().ok().flatten().unwrap_or_default();
        let bytes = before.with(written).to_bytes();
        if let Some(file) = at(&path, unless_missing(self.files.open(&path, OpenMode::Update)))? {
            at(&path, file.write_all_at(&bytes, 0))?;
            return match at(&path, file.status())?.bytes {
                length if length == bytes.len() as u64 => Ok(()),
                _ => at(&path, file.set_bytes(bytes.len() as u64)),
            };
        }
        let new = self.root.join(LOGBOOK).join(END_UNFINISHED);
        at(&new, self.files.write_durably(&new, &bytes))?;
        at(&path, self.files.rename(&new, &path))
    }
}
