//! A store's folder: its files, their names, and the few changes that are made to them.
//!
//! **Invariant:** no other module of the project builds a path inside a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

mod cases;
mod cold_files;
mod held;
mod hour_files;
mod hours;
mod identity;
mod joined;
mod listing;
mod lock;
mod mark_files;
pub mod secret_files;
mod sharing;
mod upload_files;
mod watcher;

use crate::cold::ColdFile;
use crate::error::at;
use crate::files::{FileIdentity, Files, OpenMode, StoreFile, SystemFiles, unless_missing};
use crate::logbook_end::{DayEnd, LOGBOOK_END_BYTES, LogbookEnd};
use crate::replacing::replace;
use crate::{Mark, SegmentName, StoreError, Timestamp, layout, locked};

pub use cases::{CaseFiles, CasePart, Confirmation, HeldAccount};
pub use cold_files::ColdFiles;
pub use held::FileLocation;
pub use hour_files::{DayFiles, HourFiles, SegmentStamps};
pub use hours::{CatalogFolder, ListedHour};
pub use identity::{FORMAT_VERSION, StoreIdentity};
pub use joined::JoinedFiles;
pub use listing::{ListedSegment, StoreListing, Unlisted};
pub use lock::{StoreLock, StoreWriter};
pub use mark_files::MarkFiles;
pub use sharing::{Readers, share};
pub use upload_files::UploadFiles;
pub use watcher::Watcher;

const LOCK: &str = "lock";
const SEGMENTS: &str = "segments";
const LOGBOOK: &str = "logbook";
/// Of the logbook's days, and of the audit.
const LINES_EXTENSION: &str = ".jsonl";
/// File that says how far the logbook reaches. The name comes before those of days: in a copy made in that order, while lines are
/// added, no day is shorter.
const LOGBOOK_END: &str = ".end";
const UNFINISHED_LOGBOOK_END: &str = ".end.new";
const CATALOG: &str = "catalog";
const AUDIT: &str = "audit";
const SEALED_EXTENSION: &str = ".pcap";
const OPEN_EXTENSION: &str = ".pcap.open";
const COLD_EXTENSION: &str = ".pcap.zst";
const UNFINISHED_COLD_EXTENSION: &str = ".pcap.zst.new";
const MARK_EXTENSION: &str = ".mark";
const INDEX_EXTENSION: &str = ".idx";
const UNFINISHED_INDEX_EXTENSION: &str = ".idx.new";

/// Reads of the logbook's end that is being rewritten before it counts as damaged.
const LOGBOOK_END_READS_MAX: usize = 16;
/// Attempts to open a segment that is being sealed, under either name.
const OPEN_TRIES_MAX: usize = 8;

/// State of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentState {
    /// Being written, or left behind by a writer that ended early.
    Open,
    /// Complete and unchanging.
    Sealed,
}

/// A segment opened for reading.
#[derive(Debug)]
pub struct OpenedSegment {
    /// The file.
    pub file: Box<dyn StoreFile>,
    /// State of the segment when it was opened.
    pub state: SegmentState,
    /// Bytes of it that may be read.
    pub readable_bytes: u64,
}

/// A store's folder.
#[derive(Clone, Debug)]
pub struct Store {
    files: Arc<dyn Files>,
    root: PathBuf,
    identity: StoreIdentity,
    /// Identity of the folder when it was opened.
    root_identity: FileIdentity,
    /// Reason that `store.toml` cannot be used.
    identity_fault: Option<String>,
    /// Held while a line is added to the logbook: its number is that of the line before it, and one.
    logbook_turn: Arc<Mutex<()>>,
}

/// The length of a file; a folder or device in its place is an error.
fn file_bytes(file: &dyn StoreFile) -> io::Result<u64> {
    let found = file.status()?;
    if found.is_folder() {
        return Err(folder_in_its_place());
    }
    Ok(found.bytes)
}

fn folder_in_its_place() -> io::Error {
    io::Error::new(io::ErrorKind::IsADirectory, "there is a folder in its place")
}

/// Names in a folder, sorted; an absent folder has none.
fn names_in(files: &dyn Files, folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = at(folder, unless_missing(files.names(folder)))?.unwrap_or_default();
    names.sort_unstable();
    Ok(names)
}

fn root_identity(files: &dyn Files, root: &Path) -> Result<FileIdentity, StoreError> {
    at(root, files.identity(root))?.ok_or_else(|| StoreError::Missing(root.to_owned()))
}

impl Store {
    /// Opens the store in `root`.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_in(Arc::new(SystemFiles), root)
    }

    /// Opens the store in the folder `root` of `files`.
    pub fn open_in(files: Arc<dyn Files>, root: &Path) -> Result<Self, StoreError> {
        let identity = identity::read(&*files, root)?;
        let root_identity = root_identity(&*files, root)?;
        Ok(Self {
            files,
            root: root.to_owned(),
            identity,
            root_identity,
            identity_fault: None,
            logbook_turn: Arc::default(),
        })
    }

    /// Opens the store in `root` for reading. A `store.toml` that is missing or cannot be read is replaced by the defaults, and
    /// [`Self::identity_fault`] gives the reason.
    pub fn open_to_read(root: &Path) -> Result<Self, StoreError> {
        Self::open_to_read_in(Arc::new(SystemFiles), root)
    }

    /// Does the same in the folder `root` of `files`.
    pub fn open_to_read_in(files: Arc<dyn Files>, root: &Path) -> Result<Self, StoreError> {
        let is_store = || files.link_status(&root.join(SEGMENTS)).is_ok();
        let fault = match Self::open_in(files.clone(), root) {
            Err(StoreError::Missing(_)) if is_store() => "it is missing".to_owned(),
            Err(StoreError::Io { source, .. }) if is_store() => source.to_string(),
            Err(StoreError::Identity { reason, .. }) if is_store() => {
                let first_line = reason.lines().next().unwrap_or_default().trim_end();
                format!("it is not valid ({first_line})")
            }
            opened => return opened,
        };
        let identity = StoreIdentity {
            format_version: FORMAT_VERSION,
            id: String::new(),
            created: Timestamp::MIN,
            tunnel_ports: Vec::new(),
        };
        let root_identity = root_identity(&*files, root)?;
        Ok(Self {
            files,
            root: root.to_owned(),
            identity,
            root_identity,
            identity_fault: Some(fault),
            logbook_turn: Arc::default(),
        })
    }

    /// Reason that `store.toml` cannot be read, if it cannot.
    pub fn identity_fault(&self) -> Option<&str> {
        self.identity_fault.as_deref()
    }

    /// Path of a file relative to the store, for messages.
    pub fn part(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Opens the store in `root`, creating it where there is none. `chance` makes the identity unlike any other.
    pub fn open_or_create(root: &Path, now: Timestamp, chance: u64) -> Result<Self, StoreError> {
        Self::open_or_create_in(Arc::new(SystemFiles), root, now, chance)
    }

    /// Does the same in the folder `root` of `files`.
    pub fn open_or_create_in(
        files: Arc<dyn Files>,
        root: &Path,
        now: Timestamp,
        chance: u64,
    ) -> Result<Self, StoreError> {
        match Self::open_in(files.clone(), root) {
            Err(StoreError::Missing(_)) => {}
            opened => return opened,
        }
        at(root, files.create_folders(&root.join(SEGMENTS)))?;
        at(root, files.create_folders(&root.join(LOGBOOK)))?;
        let identity = StoreIdentity {
            format_version: FORMAT_VERSION,
            id: format!("{:016x}{chance:016x}", now.ns()),
            created: now,
            tunnel_ports: Vec::new(),
        };
        identity::write(&*files, root, &identity)?;
        // As far as it may be read: the folder above is not the store's.
        let _ = root.parent().map(|above| files.sync_folder(above));
        Self::open_in(files, root)
    }

    /// The file system that it is on.
    pub fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Contents of `store.toml`.
    pub fn identity(&self) -> &StoreIdentity {
        &self.identity
    }

    fn day_folder(&self, name: &SegmentName) -> PathBuf {
        self.root.join(SEGMENTS).join(name.date())
    }

    fn path(&self, name: &SegmentName, extension: &str) -> PathBuf {
        self.day_folder(name).join(name.stem() + extension)
    }

    /// Path of a sealed segment.
    pub fn sealed_path(&self, name: &SegmentName) -> PathBuf {
        self.path(name, SEALED_EXTENSION)
    }

    /// Path of a cold segment.
    pub fn cold_path(&self, name: &SegmentName) -> PathBuf {
        self.path(name, COLD_EXTENSION)
    }

    /// Path of a segment that is complete, cold or not.
    pub fn complete_path(&self, name: &SegmentName) -> PathBuf {
        let (sealed, cold) = (self.sealed_path(name), self.cold_path(name));
        if !self.files.exists(&sealed) && self.files.exists(&cold) { cold } else { sealed }
    }

    /// Path of an open segment.
    pub fn open_path(&self, name: &SegmentName) -> PathBuf {
        self.path(name, OPEN_EXTENSION)
    }

    /// Path of an open segment's committed mark.
    pub fn mark_path(&self, name: &SegmentName) -> PathBuf {
        self.path(name, MARK_EXTENSION)
    }

    /// Path of a segment's index.
    pub fn index_path(&self, name: &SegmentName) -> PathBuf {
        self.path(name, INDEX_EXTENSION)
    }

    /// Makes sure that the folder for a new segment exists, durably.
    pub fn prepare_folder(&self, name: &SegmentName) -> Result<(), StoreError> {
        let (segments, folder) = (self.root.join(SEGMENTS), self.day_folder(name));
        if !self.files.status(&folder).is_ok_and(|found| found.is_folder()) {
            // The store's own folder is not created: if it is missing, this is not our store.
            for made in [&segments, &folder] {
                match self.files.create_folder(made) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    created => at(made, created)?,
                }
            }
            at(&segments, self.files.sync_folder(&segments))?;
        }
        Ok(())
    }

    /// Fails if the store's folder is not the one that was opened.
    pub fn is_in_place(&self) -> Result<(), StoreError> {
        let root = self.root();
        let gone = |how: &'static str| Err(StoreError::Gone { path: root.to_owned(), how });
        match at(root, self.files.identity(root))? {
            Some(found) if found == self.root_identity => Ok(()),
            Some(_) => gone("another folder has taken its place"),
            None => gone("it has been removed or renamed"),
        }
    }

    /// The folder of a new segment's day, open, so that its files can be found wherever it is moved.
    pub fn open_day_folder(&self, name: &SegmentName) -> Result<Box<dyn StoreFile>, StoreError> {
        let folder = self.day_folder(name);
        at(&folder, self.files.open(&folder, OpenMode::Read))
    }

    /// Gives an open segment, already cut to its length and synced, its sealed name.
    pub fn seal(&self, name: &SegmentName) -> Result<(), StoreError> {
        let open = self.open_path(name);
        at(&open, self.files.rename(&open, &self.sealed_path(name)))?;
        let mark = self.mark_path(name);
        at(&mark, unless_missing(self.files.remove_file(&mark)))?;
        let folder = self.day_folder(name);
        at(&folder, self.files.sync_folder(&folder))
    }

    /// Gives an open segment its sealed name in the folder in which it was created, wherever that is now.
    pub fn seal_in(&self, folder: &dyn StoreFile, name: &SegmentName) -> Result<(), StoreError> {
        let named = |extension: &str| name.stem() + extension;
        let path = self.open_path(name);
        at(&path, folder.rename_within(&named(OPEN_EXTENSION), &named(SEALED_EXTENSION)))?;
        at(&path, unless_missing(folder.remove_within(&named(MARK_EXTENSION))))?;
        at(&path, folder.sync_all())
    }

    /// Time at which a sealed segment was written, as far as known: that of its name, unless a clock that was ahead gave it. Then
    /// it is the file's modification time, limited to `now`.
    pub fn written(&self, name: &SegmentName, now: Timestamp) -> Result<Timestamp, StoreError> {
        if name.opened <= now {
            return Ok(name.opened);
        }
        let path = self.complete_path(name);
        let Some(file) = self.open_file(&path)? else { return Ok(now) };
        let modified = at(&path, file.status())?.modified();
        if modified <= now {
            return Ok(modified);
        }
        at(&path, file.set_modified(now))?;
        Ok(now)
    }

    /// Writes an index beside its segment, whole or not at all.
    pub fn write_index(&self, name: &SegmentName, index: &[u8]) -> Result<(), StoreError> {
        replace(self.files(), &self.path(name, UNFINISHED_INDEX_EXTENSION), &self.index_path(name), index)
    }

    /// Removes the segment's index, if there is one.
    pub fn remove_index(&self, name: &SegmentName) -> Result<(), StoreError> {
        let path = self.index_path(name);
        at(&path, unless_missing(self.files.remove_file(&path)))?;
        Ok(())
    }

    /// Removes a segment and everything that belongs to it, and its day's folder if that was the last. A reader that has it open
    /// can go on.
    pub fn remove(&self, name: &SegmentName) -> Result<(), StoreError> {
        let extensions = [
            INDEX_EXTENSION,
            UNFINISHED_INDEX_EXTENSION,
            UNFINISHED_COLD_EXTENSION,
            SEALED_EXTENSION,
            COLD_EXTENSION,
            OPEN_EXTENSION,
            MARK_EXTENSION,
        ];
        for extension in extensions {
            let path = self.path(name, extension);
            at(&path, unless_missing(self.files.remove_file(&path)))?;
        }
        // Refused while anything else is in it: that is the check.
        let _ = self.files.remove_folder(&self.day_folder(name));
        Ok(())
    }

    /// Opens a segment for reading, up to its present readable length. `None` where it does not exist any more.
    pub fn open_segment(&self, name: &SegmentName) -> Result<Option<OpenedSegment>, StoreError> {
        let (sealed, open, cold) = (self.sealed_path(name), self.open_path(name), self.cold_path(name));
        for _ in 0..OPEN_TRIES_MAX {
            if let Some(file) = self.open_file(&sealed)? {
                let readable_bytes = at(&sealed, file_bytes(&*file))?;
                return Ok(Some(OpenedSegment { file, state: SegmentState::Sealed, readable_bytes }));
            }
            let Some(file) = self.open_file(&open)? else {
                // The cold file is there before the other goes.
                if let Some(file) = self.open_file(&cold)? {
                    at(&cold, file_bytes(&*file))?;
                    let file = at(&cold, ColdFile::new(file))?;
                    let readable_bytes = file.segment_bytes();
                    let file = Box::new(file);
                    return Ok(Some(OpenedSegment { file, state: SegmentState::Sealed, readable_bytes }));
                }
                if self.files.exists(&sealed) {
                    continue; // sealed between the two looks
                }
                // A dangling symbolic link is not an expired segment.
                let name =
                    [&sealed, &open, &cold].into_iter().find(|path| self.files.link_status(path).is_ok());
                let Some(path) = name else { return Ok(None) };
                if at(path, unless_missing(self.files.status(path)))?.is_some() {
                    continue; // there again
                }
                let source = io::Error::new(io::ErrorKind::NotFound, "a link to a file that is not there");
                return Err(StoreError::Io { path: path.clone(), source });
            };
            let mark = self.mark(name)?;
            if mark.is_none() && self.files.exists(&sealed) {
                continue; // sealed since: its whole length can be read
            }
            let written = at(&open, file_bytes(&*file))?;
            let readable_bytes = mark.unwrap_or_default().committed_bytes.min(written);
            return Ok(Some(OpenedSegment { file, state: SegmentState::Open, readable_bytes }));
        }
        Ok(None)
    }

    /// Starts fetching segments that are about to be opened, with their indexes, if they lie in an archive.
    pub fn will_open(&self, names: impl Iterator<Item = SegmentName>) {
        self.files.will_open(&mut names.flat_map(|name| [self.sealed_path(&name), self.cold_path(&name)]));
    }

    /// The published mark of an open segment; `None` where there is none (yet, or any more) or it is damaged.
    pub fn mark(&self, name: &SegmentName) -> Result<Option<Mark>, StoreError> {
        let path = self.mark_path(name);
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        at(&path, Mark::read(&*file, layout::mark::PUBLISHED_AT))
    }

    /// True if an open segment has begun to hold packets, whether or not a mark says so.
    pub fn holds_packets(&self, name: &SegmentName) -> Result<bool, StoreError> {
        let path = self.open_path(name);
        let Some(file) = self.open_file(&path)? else { return Ok(false) };
        let mut header = [0; layout::RECORD_HEADER_BYTES];
        let read = at(&path, file.read_at_most(&mut header, layout::FILE_HEADER_BYTES as u64))?;
        Ok(read == header.len() && header != [0; layout::RECORD_HEADER_BYTES])
    }

    /// The bytes of a segment's index; `None` where there is none.
    pub fn open_index(&self, name: &SegmentName) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        let path = self.index_path(name);
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        at(&path, file_bytes(&*file))?;
        Ok(Some(file))
    }

    /// True if the segment is there under its sealed name.
    pub fn is_sealed(&self, name: &SegmentName) -> bool {
        self.files.exists(&self.sealed_path(name)) || self.files.exists(&self.cold_path(name))
    }

    /// True if the segment is there under its open name.
    pub fn is_open(&self, name: &SegmentName) -> bool {
        self.files.exists(&self.open_path(name))
    }

    /// True if an index lies beside the segment.
    pub fn has_index(&self, name: &SegmentName) -> bool {
        self.files.exists(&self.index_path(name))
    }

    /// A file, open for reading; `None` where there is none.
    fn open_file(&self, path: &Path) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        at(path, unless_missing(self.files.open(path, OpenMode::Read)))
    }

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
        self.root.join(LOGBOOK).join(format!("{date}{LINES_EXTENSION}"))
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
        Ok(names.iter().filter_map(|name| Some(name.strip_suffix(LINES_EXTENSION)?.to_owned())).collect())
    }

    /// Removes a day's logbook, if there is one.
    pub fn remove_logbook(&self, date: &str) -> Result<(), StoreError> {
        let path = self.logbook_path(date);
        at(&path, unless_missing(self.files.remove_file(&path)))?;
        Ok(())
    }

    /// Path of the file that says how far the logbook reaches.
    pub fn logbook_end_path(&self) -> PathBuf {
        self.root.join(LOGBOOK).join(LOGBOOK_END)
    }

    /// Lines that the logbook has at least; `None` in a store that only earlier versions have written to. A damaged file is an
    /// error.
    pub fn logbook_end(&self) -> Result<Option<LogbookEnd>, StoreError> {
        let path = self.logbook_end_path();
        let Some(file) = self.open_file(&path)? else { return Ok(None) };
        for _ in 0..LOGBOOK_END_READS_MAX {
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
        let new = self.root.join(LOGBOOK).join(UNFINISHED_LOGBOOK_END);
        replace(self.files(), &new, &path, &bytes)
    }

    /// Waits until no other part of this process adds to the logbook, and keeps the others waiting.
    pub(crate) fn logbook_turn(&self) -> MutexGuard<'_, ()> {
        locked(&self.logbook_turn)
    }

    /// Path of the audit log of extractions: number 0 is the current file, higher numbers are the full files before it, youngest
    /// first.
    pub fn audit_path(&self, number: u32) -> PathBuf {
        match number {
            0 => self.root.join(format!("{AUDIT}{LINES_EXTENSION}")),
            _ => self.root.join(format!("{AUDIT}.{number}{LINES_EXTENSION}")),
        }
    }

    /// The numbers of the files of the audit that there are, ascending.
    pub fn audit_numbers(&self) -> Result<Vec<u32>, StoreError> {
        let number = |name: &String| {
            let number = name.strip_prefix(AUDIT)?.strip_suffix(LINES_EXTENSION)?;
            if number.is_empty() { Some(0) } else { number.strip_prefix('.')?.parse().ok() }
        };
        let mut numbers: Vec<u32> = names_in(&*self.files, &self.root)?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A file of the audit, open for reading; `None` where there is none.
    pub fn open_audit(&self, number: u32) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        self.open_file(&self.audit_path(number))
    }

    /// Bytes that everything in the store takes on the disk: what the budget bounds.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        folder_disk_bytes(&*self.files, &self.root)
    }
}

fn folder_disk_bytes(files: &dyn Files, folder: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for name in names_in(files, folder)? {
        let path = folder.join(name);
        match at(&path, unless_missing(files.link_status(&path)))? {
            Some(found) if found.is_folder() => bytes += folder_disk_bytes(files, &path)?,
            Some(found) => bytes += found.disk_bytes,
            None => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
