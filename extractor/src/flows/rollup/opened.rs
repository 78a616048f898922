//! Rollups and seams out of a store's files.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::files::StoreFile;
use netrewind_store::{Store, StoreError, locked};

use super::seam::HourBoundary;
use super::sums::SumsFile;
use super::{Rollup, identity};
use crate::store::segment::LOST_PAGES;

/// Limit on files remembered as valid: two for each hour of two years. Beyond it, all are forgotten.
const WHOLE_MAX: usize = 35_136;

/// Identity of a file: hour, inode number, length and time of the last change.
type FileStamp = (Hour, u64, u64, i64);

/// Opens rollups and seams. Their checksums are computed once, not for each query.
#[derive(Debug, Default)]
pub(crate) struct Rollups {
    whole: Mutex<HashSet<FileStamp>>,
    /// Reasons why the files of an hour could not be used when they were last opened.
    faults: Mutex<BTreeMap<(Hour, &'static str), String>>,
}

impl Rollups {
    /// Rollup of an hour, if there is one; one that is damaged, or made for another manifest, counts as none.
    pub(in crate::flows) fn rollup(&self, store: &Store, manifest: &Manifest) -> Option<Rollup> {
        let file = self.open("rollup", store.rollup(manifest.hour), manifest.hour, Rollup::is_whole)?;
        Rollup::of(file, identity(manifest)?)
    }

    /// Seam between two hours.
    pub(in crate::flows) fn seam(
        &self,
        store: &Store,
        before: &Manifest,
        after: &Manifest,
    ) -> Option<HourBoundary> {
        let file = self.open("seam", store.seam(after.hour), after.hour, HourBoundary::is_whole)?;
        HourBoundary::of(file, [identity(before)?, identity(after)?])
    }

    /// Faults of these hours: the file that could not be used, and why. Their records were read instead.
    pub(in crate::flows) fn faults(&self, hours: &HashSet<Hour>) -> Vec<(Hour, &'static str, String)> {
        let faults = locked(&self.faults);
        let of_hours = faults.iter().filter(|((hour, _), _)| hours.contains(hour));
        of_hours.map(|((hour, what), reason)| (*hour, *what, reason.clone())).collect()
    }

    /// Opens a file. One that cannot be opened or mapped counts as none, but the fault is kept: the records give the same totals.
    fn open(
        &self,
        what: &'static str,
        file: Result<Option<Box<dyn StoreFile>>, StoreError>,
        hour: Hour,
        is_whole: fn(&[u8]) -> bool,
    ) -> Option<Arc<SumsFile>> {
        let opened = self.open_whole(file, hour, is_whole);
        let mut faults = locked(&self.faults);
        match opened {
            Ok(file) => {
                faults.remove(&(hour, what));
                file
            }
            Err(reason) => {
                if faults.len() >= WHOLE_MAX {
                    faults.pop_first();
                }
                faults.insert((hour, what), reason);
                None
            }
        }
    }

    fn open_whole(
        &self,
        file: Result<Option<Box<dyn StoreFile>>, StoreError>,
        hour: Hour,
        is_whole: fn(&[u8]) -> bool,
    ) -> Result<Option<Arc<SumsFile>>, String> {
        let reason = |error: std::io::Error| error.to_string();
        let Some(file) = file.map_err(|error| match error {
            StoreError::Io { source, .. } => reason(source),
            other => other.to_string(),
        })?
        else {
            return Ok(None);
        };
        let found = file.status().map_err(reason)?;
        let map = file.map(found.bytes).map_err(reason)?;
        let stamp = (hour, found.identity.inode, found.bytes, found.modified_ns);
        let is_known = || locked(&self.whole).contains(&stamp);
        if !is_known() {
            if !is_whole(&map) {
                return Err("it is damaged".to_owned());
            }
            let mut whole = locked(&self.whole);
            if whole.len() >= WHOLE_MAX {
                whole.clear();
            }
            whole.insert(stamp);
        }
        // A block of it may have gone bad since its checksum was computed.
        map.touch(0..map.len());
        if map.has_lost() {
            return Err(LOST_PAGES.to_owned());
        }
        Ok(Some(Arc::new(SumsFile { map, base: hour.start() })))
    }
}
