//! Rollups and seams out of a store's files.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use netrewind_segment::catalog::{Hour, Manifest};
use netrewind_segment::{Store, StoreError};

use super::seam::Seam;
use super::sums::File;
use super::{Rollup, identity};
use crate::sys::Map;

/// Files that are remembered to be whole: two a hour, of two years. Beyond, all are forgotten.
const WHOLE_MAX: usize = 35_136;

/// Which file it was: of what hour, inode number, length and time of the last change.
type Stamp = (Hour, u64, u64, i64, i64);

/// Opens rollups and seams. Their checksums are computed once, not for each query.
#[derive(Debug, Default)]
pub(crate) struct Rollups(Mutex<HashSet<Stamp>>);

impl Rollups {
    /// What an hour adds up to, where that is kept; one that is damaged, or of another hour than the manifest is of, is none.
    pub(in crate::flows) fn rollup(&self, store: &Store, manifest: &Manifest) -> Option<Rollup> {
        let file = self.open(store.rollup(manifest.hour), manifest.hour, Rollup::is_whole)?;
        Rollup::of(file, identity(manifest)?)
    }

    /// What becomes of conversations between two hours.
    pub(in crate::flows) fn seam(&self, store: &Store, before: &Manifest, after: &Manifest) -> Option<Seam> {
        let file = self.open(store.seam(after.hour), after.hour, Seam::is_whole)?;
        Seam::of(file, [identity(before)?, identity(after)?])
    }

    /// What cannot be opened or mapped is as good as none: records say the same.
    fn open(
        &self,
        file: Result<Option<std::fs::File>, StoreError>,
        hour: Hour,
        is_whole: fn(&[u8]) -> bool,
    ) -> Option<Arc<File>> {
        let file = file.ok()??;
        let metadata = file.metadata().ok()?;
        let map = Map::of(&file, metadata.len()).ok()?;
        let stamp = (hour, metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let is_known = || self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&stamp);
        if !is_known() {
            if !is_whole(&map) {
                return None;
            }
            let mut whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if whole.len() >= WHOLE_MAX {
                whole.clear();
            }
            whole.insert(stamp);
        }
        Some(Arc::new(File { map, base: hour.start() }))
    }
}
