//! The marks of open segments.

use std::io;

use super::{Store, at};
use crate::{Mark, SegmentName, StoreError, layout};

/// Reads of a mark that is being rewritten before it counts as damaged.
const MARK_READS_MAX: usize = 16;

/// The marks of a store's open segments.
#[derive(Clone, Copy, Debug)]
pub struct MarkFiles<'s>(&'s Store);

impl<'s> MarkFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// The published mark; `None` where there is none (yet, or any more) or it is damaged.
    pub fn published(&self, name: &SegmentName) -> Result<Option<Mark>, StoreError> {
        self.read(name, layout::mark::PUBLISHED_AT)
    }

    /// The synced mark, for recovery; `None` as for the published one, and where the writer was of a version that had none.
    pub fn synced(&self, name: &SegmentName) -> Result<Option<Mark>, StoreError> {
        self.read(name, layout::mark::SYNCED_AT)
    }

    fn read(&self, name: &SegmentName, at: u64) -> Result<Option<Mark>, StoreError> {
        let path = self.0.mark_path(name);
        let Some(file) = self.0.open_file(&path)? else { return Ok(None) };
        for _ in 0..MARK_READS_MAX {
            let mut bytes = [0; layout::mark::BYTES];
            match file.read_exact_at(&mut bytes, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(source) => return Err(StoreError::Io { path, source }),
            }
            if let Some(mark) = Mark::from_bytes(&bytes) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// True if there is a file of marks beside the segment, sound or not.
    pub fn has(&self, name: &SegmentName) -> bool {
        self.0.files.exists(&self.0.mark_path(name))
    }

    /// True if there is a synced mark that is not sound.
    pub fn has_damaged_synced(&self, name: &SegmentName) -> Result<bool, StoreError> {
        let path = self.0.mark_path(name);
        let Some(file) = self.0.open_file(&path)? else { return Ok(false) };
        let is_there = at(&path, file.status())?.bytes > layout::mark::SYNCED_AT;
        Ok(is_there && self.synced(name)?.is_none())
    }
}
