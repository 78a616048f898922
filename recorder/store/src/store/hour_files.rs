//! The files of hours: one beside the segments of each hour, and the stamps that show whether it still speaks of these.
//!
//! **Invariant:** a file with an hour's name is whole: it is written under another name, synced, and renamed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::listing::is_date;
use super::{
    COLD_EXTENSION, INDEX_EXTENSION, SEALED_EXTENSION, SEGMENTS, at, file_bytes, names_in, unless_missing,
};
use crate::catalog::Hour;
use crate::files::{FileStamp, OpenMode, StoreFile};
use crate::replacing::replace;
use crate::{SegmentName, Store, StoreError};

const HOUR_EXTENSION: &str = ".hour";
const UNFINISHED_HOUR_EXTENSION: &str = ".hour.new";

/// The stamps of a segment's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStamps {
    /// Of the sealed segment, cold or not.
    pub segment: FileStamp,
    /// Of its index.
    pub index: FileStamp,
}

/// The files of a store's hours.
#[derive(Clone, Copy, Debug)]
pub struct HourFiles<'s>(&'s Store);

/// Name of an hour's file in its day.
pub(super) fn name_of(hour: Hour) -> String {
    hour.of_day() + HOUR_EXTENSION
}

/// The hour that a file in a day's folder is of; `None` for any other file.
pub(super) fn hour_of(date: &str, file: &str) -> Option<Hour> {
    format!("{date}T{}", file.strip_suffix(HOUR_EXTENSION)?).parse().ok()
}

/// The folder of a day, open to look at the files in it.
#[derive(Debug)]
pub struct DayFiles(Box<dyn StoreFile>);

impl<'s> HourFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    fn day_path(&self, date: &str) -> PathBuf {
        self.0.root().join(SEGMENTS).join(date)
    }

    fn path_with(&self, hour: Hour, extension: &str) -> PathBuf {
        self.day_path(&hour.start().date()).join(hour.of_day() + extension)
    }

    /// Path of an hour's file.
    pub fn path(&self, hour: Hour) -> PathBuf {
        self.path_with(hour, HOUR_EXTENSION)
    }

    /// Starts fetching the files of hours that are about to be opened, if they lie in an archive.
    pub fn will_open(&self, hours: impl Iterator<Item = Hour>) {
        self.0.files.will_open(&mut hours.map(|hour| self.path(hour)));
    }

    /// An hour's file; `None` where there is none.
    pub fn open(&self, hour: Hour) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        let path = self.path(hour);
        let Some(file) = self.0.open_file(&path)? else { return Ok(None) };
        at(&path, file_bytes(&*file))?;
        Ok(Some(file))
    }

    /// Writes an hour's file, whole or not at all, replacing any earlier one.
    pub fn write(&self, hour: Hour, bytes: &[u8]) -> Result<(), StoreError> {
        let new = self.path_with(hour, UNFINISHED_HOUR_EXTENSION);
        replace(self.0.files(), &new, &self.path(hour), bytes)
    }

    /// Removes an hour's file, if there is one, and what is left of one that was being written.
    pub fn remove(&self, hour: Hour) -> Result<(), StoreError> {
        for extension in [HOUR_EXTENSION, UNFINISHED_HOUR_EXTENSION] {
            let path = self.path_with(hour, extension);
            at(&path, unless_missing(self.0.files.remove_file(&path)))?;
        }
        Ok(())
    }

    /// The hours that have a file, even one that is not finished, earliest first.
    pub fn hours(&self) -> Result<BTreeSet<Hour>, StoreError> {
        let mut hours = BTreeSet::new();
        for date in names_in(&*self.0.files, &self.0.root().join(SEGMENTS))? {
            self.add_hours_of(&date, &mut hours)?;
        }
        Ok(hours)
    }

    fn add_hours_of(&self, date: &str, hours: &mut BTreeSet<Hour>) -> Result<(), StoreError> {
        if !is_date(date) {
            return Ok(());
        }
        for name in names_in(&*self.0.files, &self.day_path(date))? {
            let of_day = name.strip_suffix(HOUR_EXTENSION).or(name.strip_suffix(UNFINISHED_HOUR_EXTENSION));
            hours.extend(of_day.and_then(|of_day| format!("{date}T{of_day}").parse::<Hour>().ok()));
        }
        Ok(())
    }

    /// Removes the files of hours up to `first`, and on the same day, that have no segments any more. `kept` are those that have.
    pub fn remove_spent(&self, kept: &BTreeSet<Hour>, first: Option<Hour>) -> Result<(), StoreError> {
        let last = first.map(|first| first.start().date());
        for date in names_in(&*self.0.files, &self.0.root().join(SEGMENTS))? {
            if last.as_ref().is_some_and(|last| date > *last) {
                break;
            }
            let mut hours = BTreeSet::new();
            self.add_hours_of(&date, &mut hours)?;
            let mut is_removed = false;
            for hour in hours.difference(kept) {
                self.remove(*hour)?;
                is_removed = true;
            }
            if is_removed {
                // Refused while anything else is in it: that is the check.
                let _ = self.0.files.remove_folder(&self.day_path(&date));
            }
        }
        Ok(())
    }

    /// The folder in which an hour's segments are; `None` where it cannot be opened.
    pub fn day(&self, hour: Hour) -> Option<DayFiles> {
        let folder = self.day_path(&hour.start().date());
        self.0.files.open(&folder, OpenMode::Read).ok().map(DayFiles)
    }
}

impl DayFiles {
    /// Stamps of a segment's files as they are now; `None` where either cannot be looked at, or is no file.
    pub fn stamps(&self, name: &SegmentName) -> Option<SegmentStamps> {
        let mut file = name.stem();
        let stem_bytes = file.len();
        let mut stamp = |extension: &str| {
            file.truncate(stem_bytes);
            file.push_str(extension);
            let found = self.0.status_within(&file).ok().filter(|found| found.is_file())?;
            Some(found.stamp())
        };
        let segment = stamp(SEALED_EXTENSION).or_else(|| stamp(COLD_EXTENSION))?;
        Some(SegmentStamps { segment, index: stamp(INDEX_EXTENSION)? })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Timestamp;

    fn store() -> (tempfile::TempDir, Store, SegmentName) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let name = SegmentName { opened: Timestamp::new(1_795_339_861, 5), lane: 0 };
        store.prepare_folder(&name).unwrap();
        fs::write(store.sealed_path(&name), "segment").unwrap();
        store.write_index(&name, b"index").unwrap();
        (folder, store, name)
    }

    #[test]
    fn an_hour_goes_with_its_last_segment() {
        let (_folder, store, name) = store();
        let (hours, hour) = (HourFiles::of(&store), Hour::of(name.opened));
        assert!(hours.open(hour).unwrap().is_none() && hours.hours().unwrap().is_empty());
        hours.write(hour, b"hour").unwrap();
        assert_eq!(hours.path(hour).file_name().unwrap(), "09.hour");
        assert_eq!(hours.open(hour).unwrap().unwrap().read_all().unwrap(), b"hour");
        assert_eq!(hours.hours().unwrap(), BTreeSet::from([hour]));
        hours.remove_spent(&BTreeSet::from([hour]), Some(hour)).unwrap();
        assert!(hours.open(hour).unwrap().is_some());
        store.remove(&name).unwrap();
        fs::write(hours.path_with(hour, UNFINISHED_HOUR_EXTENSION), "").unwrap();
        let next = Hour::of(hour.end());
        hours.remove_spent(&BTreeSet::from([next]), Some(next)).unwrap();
        assert!(!hours.day_path(&name.date()).exists());
    }

    #[test]
    fn every_change_to_a_file_shows_in_its_stamp() {
        let (_folder, store, name) = store();
        let day = HourFiles::of(&store).day(Hour::of(name.opened)).unwrap();
        let mut last = day.stamps(&name).unwrap();
        let mut changes = |change: &dyn Fn()| {
            // Longer than a tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change();
            let now = day.stamps(&name);
            assert!(now.is_some_and(|now| now != last));
            last = now.unwrap();
        };
        let (segment, index) = (store.sealed_path(&name), store.index_path(&name));
        changes(&|| fs::write(&segment, "SEGMENT").unwrap());
        changes(&|| fs::write(&segment, "SEG").unwrap());
        changes(&|| store.write_index(&name, b"index").unwrap());
        let modified = fs::metadata(&index).unwrap().modified().unwrap();
        changes(&|| {
            fs::write(&index, "INDEX").unwrap();
            fs::File::options().write(true).open(&index).unwrap().set_modified(modified).unwrap();
        });
        fs::remove_file(&index).unwrap();
        assert_eq!(day.stamps(&name), None);
    }

    #[test]
    fn a_change_of_this_moment_is_not_settled() {
        let at = |changed_ns| FileStamp { changed_ns, ..FileStamp::default() };
        assert!(!at(5_000_000_001).is_settled(Timestamp(5_000_000_001)));
        assert!(at(5_000_000_001).is_settled(Timestamp(5_100_000_001)));
        assert!(!at(5_000_000_000).is_settled(Timestamp(7_900_000_000)));
        assert!(at(5_000_000_000).is_settled(Timestamp(8_000_000_000)));
        assert!(!at(9_000_000_001).is_settled(Timestamp(8_000_000_000)));
    }
}
