//! Places for tables: a folder, or objects in object storage.

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netrewind_store::Store;
use netrewind_store::catalog::Hour;
use netrewind_store::files::{OpenMode, StoreFile};

use crate::TablesError;
use crate::partial::PartialFile;

/// Folder of all tables of flows, with the version of their columns.
const FLOWS: &str = "flows/v1";
/// End of the names of whole files.
const EXTENSION: &str = ".parquet";
/// Prefix and end of the names of those that are being written. Engines leave out what begins with a dot.
const PARTIAL_PREFIX: &str = ".";
const PARTIAL_EXTENSION: &str = ".partial";
/// Length of the end of a Parquet file: the length of its footer, 4 bytes, and `PAR1`.
const TAIL_BYTES: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// Longest footer in which the hour is looked for.
const FOOTER_BYTES_MAX: u64 = 16 << 20;

/// Objects that tables are written to. Keys are below the place that was chosen.
pub trait TableObjects: fmt::Debug + Send + Sync {
    /// The URL of an object, for messages.
    fn url(&self, key: &str) -> String;
    /// Length of an object; `None` where there is none.
    fn size(&self, key: &str) -> io::Result<Option<u64>>;
    /// Bytes of an object: exactly these.
    fn read(&self, key: &str, range: Range<u64>) -> io::Result<Vec<u8>>;
    /// Writes an object, also in place of another, whole or not at all.
    fn replace(&self, key: &str, bytes: Vec<u8>) -> io::Result<()>;
    /// Removes an object. One that is not there counts as removed.
    fn remove(&self, key: &str) -> io::Result<()>;
}

/// Place in which hours of one store or several are exported.
#[derive(Clone, Debug)]
pub enum TablesPlace {
    /// A folder, which is made when the first hour is exported.
    Folder(PathBuf),
    /// Object storage.
    Objects(Arc<dyn TableObjects>),
}

/// The name of an hour's folder: `flows/v1/recorder=ID/date=2026-11-22/hour=09`.
fn hour_name(store: &Store, hour: Hour) -> String {
    let recorder = &store.identity().id;
    format!("{FLOWS}/recorder={recorder}/date={}/hour={}", hour.start().date(), hour.of_day())
}

fn part_name(number: usize) -> String {
    format!("part-{number}{EXTENSION}")
}

fn partial_name(number: usize) -> String {
    format!("{PARTIAL_PREFIX}part-{number}{PARTIAL_EXTENSION}")
}

/// A file of an hour that does not have its name yet.
pub(crate) enum OpenPart {
    /// Beside the one that it is to become.
    File(PartialFile),
    /// In memory.
    Memory(Vec<u8>),
}

impl OpenPart {
    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.bytes(),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl Write for OpenPart {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(memory) => memory.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of one hour of a store.
pub(crate) struct HourPlace<'p> {
    store: &'p Store,
    place: &'p TablesPlace,
    name: String,
}

impl<'p> HourPlace<'p> {
    pub(crate) fn new(store: &'p Store, place: &'p TablesPlace, hour: Hour) -> Self {
        Self { store, place, name: hour_name(store, hour) }
    }

    /// Where the hour's files are, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        match self.place {
            TablesPlace::Folder(folder) => folder.join(&self.name),
            TablesPlace::Objects(objects) => PathBuf::from(objects.url(&self.name)),
        }
    }

    /// Where a file is, for messages.
    pub(crate) fn part_path(&self, number: usize) -> PathBuf {
        self.path().join(part_name(number))
    }

    fn key(&self, number: usize) -> String {
        format!("{}/{}", self.name, part_name(number))
    }

    fn failed(&self, number: usize) -> impl Fn(io::Error) -> TablesError + use<> {
        let path = self.part_path(number);
        move |source| TablesError::File { path: path.clone(), source }
    }

    /// True if the files are whole before any of them has its name.
    pub(crate) fn keeps_all(&self) -> bool {
        matches!(self.place, TablesPlace::Folder(_))
    }

    /// Begins a file.
    pub(crate) fn begin(&self, number: usize) -> Result<OpenPart, TablesError> {
        match self.place {
            TablesPlace::Folder(_) => {
                let folder = self.path();
                self.store.files().create_folders(&folder).map_err(TablesError::at(&folder))?;
                let path = folder.join(partial_name(number));
                PartialFile::begin(self.store, &path).map(OpenPart::File)
            }
            TablesPlace::Objects(_) => Ok(OpenPart::Memory(Vec::new())),
        }
    }

    /// Removes what a file that could not be written has left. The next attempt overwrites what stays.
    pub(crate) fn clear(&self, number: usize) {
        if let TablesPlace::Folder(_) = self.place {
            let _ = self.store.files().remove_file(&self.path().join(partial_name(number)));
        }
    }

    /// Gives a file its name; false if one with the same bytes has it already.
    pub(crate) fn publish(&self, part: OpenPart, number: usize) -> Result<bool, TablesError> {
        let failed = self.failed(number);
        match (part, self.place) {
            (OpenPart::Memory(bytes), TablesPlace::Objects(objects)) => {
                let key = self.key(number);
                let is_same = objects.size(&key).map_err(&failed)? == Some(bytes.len() as u64)
                    && objects.read(&key, 0..bytes.len() as u64).map_err(&failed)? == bytes;
                if !is_same {
                    objects.replace(&key, bytes).map_err(&failed)?;
                }
                Ok(!is_same)
            }
            (OpenPart::File(file), _) => {
                let path = self.part_path(number);
                if file.is_same_as(self.store, &path).map_err(&failed)? {
                    file.give_up(self.store);
                    return Ok(false);
                }
                file.publish(self.store, &path)?;
                Ok(true)
            }
            // A file of another place: there is none.
            (OpenPart::Memory(_), TablesPlace::Folder(_)) => Ok(false),
        }
    }

    /// Removes a file that does not have its name yet.
    pub(crate) fn give_up(&self, part: OpenPart) {
        if let OpenPart::File(file) = part {
            file.give_up(self.store);
        }
    }

    /// True if there is a file with this number.
    pub(crate) fn has(&self, number: usize) -> Result<bool, TablesError> {
        match self.place {
            TablesPlace::Folder(_) => Ok(self.store.files().exists(&self.part_path(number))),
            TablesPlace::Objects(objects) => {
                Ok(objects.size(&self.key(number)).map_err(self.failed(number))?.is_some())
            }
        }
    }

    /// Removes a file; true if there was one.
    pub(crate) fn remove(&self, number: usize) -> Result<bool, TablesError> {
        let failed = self.failed(number);
        match self.place {
            TablesPlace::Folder(_) => match self.store.files().remove_file(&self.part_path(number)) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(failed(error)),
            },
            TablesPlace::Objects(objects) => {
                let is_there = self.has(number)?;
                if is_there {
                    objects.remove(&self.key(number)).map_err(failed)?;
                }
                Ok(is_there)
            }
        }
    }

    /// Makes new names survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), TablesError> {
        match self.place {
            TablesPlace::Folder(_) => {
                let folder = self.path();
                self.store.files().sync_folder(&folder).map_err(TablesError::at(&folder))
            }
            TablesPlace::Objects(_) => Ok(()),
        }
    }

    /// True if the footer of the first file has these bytes somewhere.
    pub(crate) fn footer_has(&self, bytes: &[u8]) -> io::Result<bool> {
        let end = match self.place {
            TablesPlace::Folder(_) => footer(&FileEnd::open(self.store, &self.part_path(0))?)?,
            TablesPlace::Objects(objects) => footer(&ObjectEnd::open(&**objects, self.key(0))?)?,
        };
        Ok(end.windows(bytes.len()).any(|window| window == bytes))
    }
}

/// Something that is read from its end.
trait ReadAt {
    fn bytes(&self) -> u64;
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>>;
}

struct FileEnd {
    file: Box<dyn StoreFile>,
    bytes: u64,
}

impl FileEnd {
    fn open(store: &Store, path: &Path) -> io::Result<Self> {
        let file = store.files().open(path, OpenMode::Read)?;
        let bytes = file.status()?.bytes;
        Ok(Self { file, bytes })
    }
}

impl ReadAt for FileEnd {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }
}

struct ObjectEnd<'o> {
    objects: &'o dyn TableObjects,
    key: String,
    bytes: u64,
}

impl<'o> ObjectEnd<'o> {
    fn open(objects: &'o dyn TableObjects, key: String) -> io::Result<Self> {
        let bytes = objects.size(&key)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { objects, key, bytes })
    }
}

impl ReadAt for ObjectEnd<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.objects.read(&self.key, range)
    }
}

/// The footer of a Parquet file; empty if it is none.
fn footer(file: &dyn ReadAt) -> io::Result<Vec<u8>> {
    let Some(end) = file.bytes().checked_sub(TAIL_BYTES as u64) else { return Ok(Vec::new()) };
    let tail = file.read(end..file.bytes())?;
    let [a, b, c, d, magic @ ..] = &tail[..] else { return Ok(Vec::new()) };
    let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    match end.checked_sub(length).filter(|_| magic == MAGIC && length <= FOOTER_BYTES_MAX) {
        Some(from) => file.read(from..end),
        None => Ok(Vec::new()),
    }
}
