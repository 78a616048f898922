//! A cold segment as a file: it reads as the segment does.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::ColdSegment;
use crate::Timestamp;
use crate::files::{FileStatus, LockKind, StoreFile};
use crate::medium::Medium;
use crate::sys::Map;

/// Bytes of an archived segment that are fetched ahead of who reads it as a file.
const AHEAD_BYTES: u64 = 8 << 20;

/// The file of a cold segment. Reading gives the bytes of the segment; its facts are those of the file; it cannot be written.
#[derive(Debug)]
pub(crate) struct ColdFile {
    segment: Arc<ColdSegment>,
    file: Box<dyn StoreFile>,
}

impl ColdFile {
    /// Opens one.
    pub(crate) fn new(file: Box<dyn StoreFile>) -> io::Result<Self> {
        let segment = match file.archived() {
            Some(object) => ColdSegment::archived(object)?,
            None => {
                let map = file.map(file.status()?.bytes)?;
                map.read_as_told();
                ColdSegment::new(map)
            }
        };
        Ok(Self { segment: Arc::new(segment), file })
    }

    /// Bytes of the segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment.bytes()
    }
}

impl StoreFile for ColdFile {
    fn status(&self) -> io::Result<FileStatus> {
        self.file.status()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset.saturating_add(bytes.len() as u64).min(self.segment.bytes());
        if end <= offset {
            return match self.segment.fault() {
                Some(reason) if !bytes.is_empty() => Err(io::Error::other(reason.to_owned())),
                _ => Ok(0),
            };
        }
        if self.segment.is_archived() {
            let ahead = offset..offset.saturating_add(AHEAD_BYTES).min(self.segment.bytes());
            self.segment.will_need(&[ahead]);
        }
        let (map, begin) = self.segment.read(offset..end);
        if let Some(lost) = self.segment.first_lost(offset..end) {
            if lost > offset {
                return self.read_at(&mut bytes[..usize::try_from(lost - offset).unwrap_or(0)], offset);
            }
            let message = match self.segment.lost_reason().filter(|_| self.segment.is_archived()) {
                Some(reason) => format!("bytes {lost} and the following cannot be read: {reason}"),
                None => format!(
                    "the compressed segment is damaged: bytes {lost} and the following cannot be read"
                ),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let index = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX);
        let found = map.get(index(offset)..index(end)).unwrap_or_default();
        bytes[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn set_modified(&self, at: Timestamp) -> io::Result<()> {
        self.file.set_modified(at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map(&self, bytes: u64) -> io::Result<Map> {
        let mut all = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        self.read_exact_at(&mut all, 0)?;
        Ok(Map::from_bytes(all))
    }

    fn medium(&self, bytes: u64) -> io::Result<Medium> {
        Ok(Medium::cold(Arc::clone(&self.segment)).front(bytes))
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.segment.bytes();
        Ok((offset < end).then_some(offset..end))
    }

    fn lock(&self) -> io::Result<()> {
        self.file.lock()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.file.try_lock(kind)
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn link_to(&self, path: &Path) -> io::Result<()> {
        self.file.link_to(path)
    }

    fn status_within(&self, _: &str) -> io::Result<FileStatus> {
        Err(io::ErrorKind::NotADirectory.into())
    }
}
