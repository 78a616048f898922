//! A part of a store in an archive, as a file that can only be read.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{ArchivedCopy, ArchivedLines, ArchivedObject, ArchivedStore, PlainObject};
use crate::files::{ARCHIVE_DEVICE, FileIdentity, FileKind, FileStatus, LockKind, StoreFile, only_read};
use crate::medium::Medium;
use crate::sys::Map;
use crate::{Timestamp, locked};

/// Bytes of a segment that are fetched ahead of who reads it as a file.
const AHEAD_BYTES: u64 = 8 << 20;

/// A piece of the logbook that was read, by its number.
type LastPiece = Option<(usize, Arc<Vec<u8>>)>;

/// A folder, of which an archive may have some of the files.
pub(crate) trait FolderFacts: Debug + Send + Sync {
    /// Its own facts.
    fn status(&self) -> FileStatus;

    /// Those of a file in it.
    fn status_within(&self, name: &str) -> io::Result<FileStatus>;
}

/// A file of an archive.
#[derive(Debug)]
pub(crate) enum ArchivedFile {
    /// A folder.
    Folder(Box<dyn FolderFacts>),
    /// A segment, of which ranges are fetched.
    Segment(Arc<dyn ArchivedObject>),
    /// An object that was fetched whole.
    Copy(ArchivedCopy),
    /// A day of the logbook, in pieces.
    Lines(ArchivedDay),
}

/// A day of the logbook, in pieces.
#[derive(Debug)]
pub(crate) struct ArchivedDay {
    store: Arc<dyn ArchivedStore>,
    date: String,
    /// The pieces, and where each ends in the day.
    pieces: Vec<(ArchivedLines, u64)>,
    last: Mutex<LastPiece>,
}

impl ArchivedDay {
    pub(crate) fn new(store: &Arc<dyn ArchivedStore>, date: &str, pieces: &[ArchivedLines]) -> Self {
        let mut end = 0;
        let placed = pieces.iter().map(|piece| {
            end += piece.bytes();
            (piece.clone(), end)
        });
        Self {
            store: Arc::clone(store),
            date: date.to_owned(),
            pieces: placed.collect(),
            last: Mutex::default(),
        }
    }

    fn bytes(&self) -> u64 {
        self.pieces.last().map_or(0, |(_, end)| *end)
    }

    /// Bytes from an offset on: as many as the piece has that they are in.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let number = self.pieces.partition_point(|(_, end)| *end <= offset);
        let Some((piece, end)) = self.pieces.get(number) else { return Ok(0) };
        let known = locked(&self.last).clone().filter(|(known, _)| *known == number);
        let bytes = match known {
            Some((_, bytes)) => bytes,
            None => {
                let read = Arc::new(self.store.lines(&self.date, piece)?);
                *locked(&self.last) = Some((number, Arc::clone(&read)));
                read
            }
        };
        let begin = end - piece.bytes();
        Ok(copy(&bytes, piece.skipped + (offset - begin), to))
    }
}

/// Copies bytes from an offset on, and returns how many there were.
fn copy(from: &[u8], at: u64, to: &mut [u8]) -> usize {
    let found = usize::try_from(at).ok().and_then(|at| from.get(at..)).unwrap_or_default();
    let length = found.len().min(to.len());
    to[..length].copy_from_slice(&found[..length]);
    length
}

/// Facts of a file that an archive has: of all that can change, there is its length alone.
pub(crate) fn status_of(kind: FileKind, bytes: u64) -> FileStatus {
    FileStatus {
        kind,
        identity: FileIdentity { device: ARCHIVE_DEVICE, inode: 0 },
        bytes,
        disk_bytes: bytes,
        names: 1,
        modified_ns: 0,
        changed_ns: 0,
        mode: 0o400,
        group: 0,
    }
}

impl ArchivedFile {
    fn bytes(&self) -> u64 {
        match self {
            Self::Folder(_) => 0,
            Self::Segment(object) => object.bytes(),
            Self::Copy(copy) => copy.bytes(),
            Self::Lines(day) => day.bytes(),
        }
    }
}

impl StoreFile for ArchivedFile {
    fn status(&self) -> io::Result<FileStatus> {
        match self {
            Self::Folder(folder) => Ok(folder.status()),
            _ => Ok(status_of(FileKind::File, self.bytes())),
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = self.bytes().saturating_sub(offset).min(bytes.len() as u64);
        let bytes = &mut bytes[..usize::try_from(wanted).unwrap_or(0)];
        if bytes.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
            Self::Segment(object) => {
                let ahead = offset..offset.saturating_add(AHEAD_BYTES).min(object.bytes());
                object.will_need(std::slice::from_ref(&ahead));
                Ok(copy(&object.read(offset..offset + wanted)?, 0, bytes))
            }
            Self::Copy(ArchivedCopy::File(file, _)) => file.read_at(bytes, offset),
            Self::Copy(ArchivedCopy::Memory(all)) => Ok(copy(all, offset, bytes)),
            Self::Lines(day) => day.read_at(bytes, offset),
        }
    }

    fn set_modified(&self, _: Timestamp) -> io::Result<()> {
        only_read()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, bytes: u64) -> io::Result<Map> {
        if let Self::Copy(ArchivedCopy::File(file, _)) = self {
            return file.map(bytes.min(self.bytes()));
        }
        let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        self.read_exact_at(&mut all, 0)?;
        Ok(Map::from_bytes(all))
    }

    fn medium(&self, bytes: u64) -> io::Result<Medium> {
        match self {
            Self::Segment(object) => {
                let plain = PlainObject::new(Arc::clone(object));
                Ok(Medium::archived(Arc::new(plain)).front(bytes))
            }
            _ => self.map(bytes).map(Medium::mapped),
        }
    }

    fn archived(&self) -> Option<Arc<dyn ArchivedObject>> {
        match self {
            Self::Segment(object) => Some(Arc::clone(object)),
            Self::Folder(_) | Self::Copy(_) | Self::Lines(_) => None,
        }
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.bytes();
        Ok((offset < end).then_some(offset..end))
    }

    fn lock(&self) -> io::Result<()> {
        only_read()
    }

    fn try_lock(&self, _: LockKind) -> io::Result<bool> {
        only_read()
    }

    fn unlock(&self) -> io::Result<()> {
        only_read()
    }

    fn link_to(&self, _: &Path) -> io::Result<()> {
        only_read()
    }

    fn status_within(&self, name: &str) -> io::Result<FileStatus> {
        match self {
            Self::Folder(folder) => folder.status_within(name),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }
}
