//! The marks of open segments, beside the published one, which [`Store::mark`] reads.

use super::{Store, at};
use crate::{Mark, SegmentName, StoreError, layout};

/// The marks of a store's open segments.
#[derive(Clone, Copy, Debug)]
pub struct MarkFiles<'s>(&'s Store);

impl<'s> MarkFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// The synced mark, for recovery; `None` as for the published one, and where the writer was of a version that had none.
    pub fn synced(&self, name: &SegmentName) -> Result<Option<Mark>, StoreError> {
        let path = self.0.mark_path(name);
        let Some(file) = self.0.open_file(&path)? else { return Ok(None) };
        at(&path, Mark::read(&*file, layout::mark::SYNCED_AT))
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
