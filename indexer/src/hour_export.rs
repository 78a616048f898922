//! Hours of the catalog on their way out of the store, behind a recording.
//!
//! **Invariant:** an export that fails delays nothing but itself: hours are written to the catalog all the same.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Event, Store, StoreError, Timestamp};

use crate::kept_hours::{hours, is_settled};
use crate::workplace::Workplace;

/// Looks for hours after which one that could not be exported is tried again.
const LOOKS_AFTER_FAILURE: u32 = 60;

/// Takes hours of the catalog out of the store.
pub trait HourExport: Send {
    /// True if the hour is out already, as the catalog has it.
    fn is_current(&self, store: &Store, manifest: &Manifest) -> bool;

    /// Exports an hour, until `stop` is set.
    fn export(
        &self,
        store: &Store,
        manifest: &Manifest,
        stop: &AtomicBool,
    ) -> Result<HourAccount, Box<dyn Error + Send + Sync>>;
}

/// Account of an hour that was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourAccount {
    /// Records of conversations.
    pub records: u64,
    /// Bytes that they take where they are now.
    pub bytes: u64,
    /// Parts of the hour that are not there, in words.
    pub lacks: Vec<String>,
}

/// Hours that wait to be exported.
pub(crate) struct ExportQueue {
    export: Box<dyn HourExport>,
    waiting: VecDeque<Hour>,
    /// Hours that are out, by the stamp that they had then in the catalog.
    done: BTreeMap<Hour, (u64, i64)>,
    /// Times that an hour could not be exported.
    failures: BTreeMap<Hour, u32>,
    /// Looks to skip.
    rests: u32,
}

impl ExportQueue {
    pub(crate) fn new(export: Box<dyn HourExport>) -> Self {
        Self { export, waiting: VecDeque::new(), done: BTreeMap::new(), failures: BTreeMap::new(), rests: 0 }
    }

    /// Looks for hours that are over, are as they should be, and are not out yet.
    pub(crate) fn look(&mut self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        if self.rests > 0 {
            self.rests -= 1;
            return Ok(());
        }
        let folder = CatalogFolder::of(store);
        let (in_catalog, kept) = (folder.hours()?, hours(store)?);
        self.done.retain(|hour, _| in_catalog.binary_search(hour).is_ok());
        self.failures.retain(|hour, _| in_catalog.binary_search(hour).is_ok());
        let mut waiting = Vec::new();
        for hour in in_catalog {
            let stamp = folder.hour_stamp(hour).unwrap_or_default();
            let is_out = stamp.is_some() && self.done.get(&hour) == stamp.as_ref();
            if hour.end() > now || is_out {
                continue;
            }
            let segments = kept.get(&hour).map_or(&[][..], Vec::as_slice);
            // One that cannot be read is told of when its turn comes.
            let is_settled = folder
                .manifest(hour)
                .map_or(true, |manifest| manifest.is_some_and(|manifest| is_settled(&manifest, segments)));
            if is_settled {
                waiting.push(hour);
            }
        }
        // Those that failed come last.
        waiting.sort_by_key(|hour| (self.failures.get(hour).copied().unwrap_or(0), *hour));
        self.waiting = waiting.into();
        Ok(())
    }

    /// Exports the next hour that waits; true if others do.
    pub(crate) fn export_next(&mut self, place: &Workplace, stop: &AtomicBool) -> bool {
        let Some(hour) = self.waiting.pop_front() else { return false };
        let stamp = CatalogFolder::of(&place.store).hour_stamp(hour).unwrap_or_default();
        match self.export_hour(place, hour, stop) {
            Ok(()) => {
                self.failures.remove(&hour);
                self.done.extend(stamp.map(|stamp| (hour, stamp)));
            }
            Err(_) if stop.load(Ordering::Relaxed) => {}
            Err(error) => {
                *self.failures.entry(hour).or_default() += 1;
                place.log(Event::ExportBehind { hour, reason: error.to_string() });
                // Most reasons are not the hour's own.
                self.waiting.clear();
                self.rests = LOOKS_AFTER_FAILURE;
            }
        }
        !self.waiting.is_empty()
    }

    fn export_hour(
        &self,
        place: &Workplace,
        hour: Hour,
        stop: &AtomicBool,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let store = &place.store;
        // One that has expired since is out of reach.
        let Some(manifest) = CatalogFolder::of(store).manifest(hour)? else { return Ok(()) };
        if self.export.is_current(store, &manifest) {
            return Ok(());
        }
        let HourAccount { records, bytes, lacks } = self.export.export(store, &manifest, stop)?;
        place.log(Event::Exported { hour, records, bytes });
        if !lacks.is_empty() {
            place.log(Event::ExportBehind { hour, reason: format!("it lacks {}", lacks.join("; ")) });
        }
        Ok(())
    }
}
