//! Rollups and boundaries out of a store's files.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::files::StoreFile;
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, StoreError, locked};

use crate::boundary::HourBoundary;
use crate::rollup::Rollup;
use crate::sums_file::{FileStamp, SumsFile};

/// Limit on files remembered as valid: two for each hour of two years. Beyond it, all are forgotten.
const WHOLE_MAX: usize = 35_136;

/// Opens rollups and boundaries. Their checksums are computed once, not for each query.
#[derive(Debug, Default)]
pub struct Rollups {
    whole: Mutex<HashSet<(Hour, FileStamp)>>,
    /// Reasons why the files of an hour could not be used when they were last opened.
    faults: Mutex<BTreeMap<(Hour, &'static str), String>>,
}

impl Rollups {
    /// Rollup of an hour, if there is one; one that is damaged, or made for another manifest, counts as none.
    pub fn rollup(&self, store: &Store, manifest: &Manifest) -> Option<Rollup> {
        let file = self.open(
            "rollup",
            CatalogFolder::of(store).rollup(manifest.hour),
            manifest.hour,
            Rollup::is_whole,
        )?;
        Rollup::of(file, manifest)
    }

    /// Boundary between two hours, if it was made of them as they are.
    pub fn boundary(&self, store: &Store, before: &Manifest, after: &Manifest) -> Option<HourBoundary> {
        let file =
            self.open("seam", CatalogFolder::of(store).seam(after.hour), after.hour, HourBoundary::is_whole)?;
        HourBoundary::of(file, before, after)
    }

    /// Faults of these hours: the file that could not be used, and why. Their records were read instead.
    pub fn faults(&self, hours: &HashSet<Hour>) -> Vec<(Hour, &'static str, String)> {
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
        let opened = self.open_whole(what, file, hour, is_whole);
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
        what: &'static str,
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
        let file = SumsFile::map(file, what, hour).map_err(reason)?;
        let stamp = file.stamp().map(|stamp| (hour, stamp));
        let is_known = stamp.is_some_and(|stamp| locked(&self.whole).contains(&stamp));
        if !is_known {
            if !is_whole(&file.map) {
                return Err("it is damaged".to_owned());
            }
            let mut whole = locked(&self.whole);
            if whole.len() >= WHOLE_MAX {
                whole.clear();
            }
            whole.extend(stamp);
        }
        // A block of it may have gone bad since its checksum was computed.
        file.touch();
        match file.fault() {
            Some(fault) => Err(fault),
            None => Ok(Some(Arc::new(file))),
        }
    }
}
