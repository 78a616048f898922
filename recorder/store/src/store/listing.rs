//! Listing the segments of a store.

use std::io;
use std::path::{Path, PathBuf};

use super::{
    COLD_EXTENSION, OPEN_EXTENSION, SEALED_EXTENSION, SEGMENTS, Store, at, names_in, unless_missing,
};
use crate::files::Files;
use crate::{SegmentName, SegmentState, StoreError, Timestamp};

/// A segment as the folder lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSegment {
    /// Its name.
    pub name: SegmentName,
    /// State of the segment.
    pub state: SegmentState,
    /// Bytes of the file; for an open segment this includes reserved space, a cold one is compressed.
    pub file_bytes: u64,
    /// Bytes that it takes on the disk, its index and mark included.
    pub disk_bytes: u64,
    /// True if an index lies beside it.
    pub has_index: bool,
    /// True if its file is compressed.
    pub is_cold: bool,
    /// True if it lies in an archive.
    pub is_archived: bool,
}

/// A part of the store whose contents are unknown.
#[derive(Debug)]
pub struct Unlisted {
    /// Its path.
    pub path: PathBuf,
    /// Reason that it cannot be listed.
    pub reason: String,
}

impl Unlisted {
    /// Parts of an archive, where these are such files.
    pub(super) fn in_archive(files: &dyn Files) -> Vec<Self> {
        files.unlisted().into_iter().map(|(path, reason)| Self { path, reason }).collect()
    }

    pub(super) fn of(error: StoreError) -> Self {
        match error {
            StoreError::Io { path, source } => Self { path, reason: source.to_string() },
            other => Self { path: PathBuf::new(), reason: other.to_string() },
        }
    }
}

/// Contents of a store's folders.
#[derive(Debug, Default)]
pub struct StoreListing {
    /// The segments, oldest first.
    pub segments: Vec<ListedSegment>,
    /// Parts that could not be listed.
    pub unlisted: Vec<Unlisted>,
}

/// True if a name in the folder of segments is that of a day.
pub(super) fn is_date(name: &str) -> bool {
    Timestamp::from_date_and_time(name, "000000.000000000Z").is_some_and(|day| day.date() == name)
}

/// The name of a sealed segment, cold or not, in the name of its file.
pub(super) fn sealed_stem(file: &str) -> Option<&str> {
    file.strip_suffix(SEALED_EXTENSION).or(file.strip_suffix(COLD_EXTENSION))
}

/// True if there is a day's folder to list. A name that is not a date is ignored; a file in the place of a day's folder is an
/// error.
fn is_day(files: &dyn Files, folder: &Path, date: &str) -> Result<bool, StoreError> {
    if !is_date(date) {
        return Ok(false);
    }
    // A link is followed: days may lie on another disk. A dangling link is not an expired day.
    let found = match (files.status(folder), files.link_status(folder)) {
        (Err(error), Err(_)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        (found, _) => at(folder, found)?,
    };
    if !found.is_folder() {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "there is a file in its place");
        return Err(StoreError::Io { path: folder.to_owned(), source });
    }
    Ok(true)
}

/// Names in the folder of a day, sorted; none where it is no folder of a day.
pub(super) fn names_in_day(files: &dyn Files, folder: &Path, date: &str) -> Result<Vec<String>, StoreError> {
    if is_day(files, folder, date)? { names_in(files, folder) } else { Ok(Vec::new()) }
}

impl ListedSegment {
    /// All segments, oldest first; an error if some of them cannot be listed.
    pub fn all(store: &Store) -> Result<Vec<Self>, StoreError> {
        let StoreListing { segments, unlisted } = StoreListing::of(store);
        match unlisted.into_iter().next() {
            None => Ok(segments),
            Some(Unlisted { path, reason }) => Err(StoreError::Io { path, source: io::Error::other(reason) }),
        }
    }

    /// Looks at a segment that was listed in this state; `has_cold` says that its cold file was listed.
    fn look_at(
        store: &Store,
        name: SegmentName,
        listed: SegmentState,
        has_cold: bool,
    ) -> Result<Option<Self>, StoreError> {
        let look_at = |path: PathBuf| {
            let found = at(&path, unless_missing(store.files.status(&path)))?;
            if found.is_none() && store.files.link_status(&path).is_ok() && store.files.status(&path).is_err()
            {
                let source = io::Error::new(io::ErrorKind::NotFound, "a link to a file that is not there");
                return Err(StoreError::Io { path, source });
            }
            Ok(found)
        };
        let (mut cold_disk_bytes, mut is_cold) = (0, false);
        let mut look = |state| match state {
            SegmentState::Open => look_at(store.open_path(&name)),
            SegmentState::Sealed => {
                let sealed = look_at(store.sealed_path(&name))?;
                // While it takes the other's place, both are there; it may have done so since they were listed.
                let is_to_be_looked_at = has_cold || sealed.is_none();
                let cold = if is_to_be_looked_at { look_at(store.cold_path(&name))? } else { None };
                cold_disk_bytes = sealed.and(cold).map_or(0, |cold| cold.disk_bytes);
                is_cold = sealed.is_none() && cold.is_some();
                Ok(sealed.or(cold))
            }
        };
        let (state, found) = match (look(listed)?, listed) {
            (Some(found), _) => (listed, found),
            (None, SegmentState::Sealed) => return Ok(None),
            (None, SegmentState::Open) => match look(SegmentState::Sealed)? {
                Some(found) => (SegmentState::Sealed, found),
                None => return Ok(None),
            },
        };
        let index_path = store.index_path(&name);
        let index = at(&index_path, unless_missing(store.files.link_status(&index_path)))?;
        Ok(Some(Self {
            name,
            state,
            file_bytes: found.bytes,
            disk_bytes: found.disk_bytes + cold_disk_bytes + index.map_or(0, |index| index.disk_bytes),
            has_index: index.is_some(),
            is_cold,
            is_archived: found.is_archived(),
        }))
    }
}

impl StoreListing {
    /// All segments that can be listed, and the parts that cannot.
    pub fn of(store: &Store) -> Self {
        let root = store.root.join(SEGMENTS);
        let mut listing = Self::default();
        match names_in(&*store.files, &root) {
            Ok(dates) => dates.iter().for_each(|date| listing.add_day(store, &root.join(date), date)),
            Err(error) => listing.unlisted.push(Unlisted::of(error)),
        }
        listing.unlisted.extend(Unlisted::in_archive(&*store.files));
        listing.segments.sort_unstable_by_key(|segment| segment.name);
        listing
    }

    fn add_day(&mut self, store: &Store, folder: &Path, date: &str) {
        let files = match names_in_day(&*store.files, folder, date) {
            Ok(files) => files,
            Err(error) => {
                self.unlisted.push(Unlisted::of(error));
                return;
            }
        };
        for file in &files {
            let (stem, state) = match (sealed_stem(file), file.strip_suffix(OPEN_EXTENSION)) {
                (Some(stem), _) => (stem, SegmentState::Sealed),
                (_, Some(stem)) => (stem, SegmentState::Open),
                _ => continue,
            };
            let Some(name) = SegmentName::parse(date, stem) else { continue };
            let has_cold = files.binary_search(&format!("{stem}{COLD_EXTENSION}")).is_ok();
            match ListedSegment::look_at(store, name, state, has_cold) {
                // It may have been sealed or expired since the folder was read.
                Ok(None) => {}
                Ok(Some(segment)) => {
                    if self.segments.last().is_none_or(|last| last.name != name) {
                        self.segments.push(segment);
                    }
                }
                Err(error) => self.unlisted.push(Unlisted::of(error)),
            }
        }
    }
}
