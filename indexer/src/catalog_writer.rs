//! The catalog of a store: written for hours that are over, read where packets are no longer kept.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use netrewind_catalog::build::Catalogued;
use netrewind_catalog::condition::{CatalogRecord, Condition};
use netrewind_catalog::expiry::CatalogLimits;
use netrewind_catalog::settle::{boundary_adds_up, boundary_is_due, boundary_of, rollup_adds_up};
use netrewind_catalog_tantivy::{HourReader, HourWriter, Range, TantivyCatalog};
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::clock::Now;
use netrewind_store::logbook::{self, DayExcerpt, LogbookEntry, LogbookLine};
use netrewind_store::store::{CatalogFolder, ListedSegment};
use netrewind_store::turns::{NextTurn, Worker};
use netrewind_store::{Event, SegmentName, SegmentState, Store, StoreError, Timestamp, locked};

use crate::background::{Background, BackgroundThread, LOOK_INTERVAL, LOOKS_AFTER_FAILURE};
use crate::error::IndexerError;
use crate::hour_export::{ExportQueue, HourExport};
use crate::hour_writer;
use crate::kept_hours::{has_all, hours};
use crate::workplace::Workplace;

/// Makes the records of hours out of segments and their indexes.
pub trait HourSource: Send {
    /// Gives the records of the sealed segments that were opened in an hour to `take`, until it refuses one or `stop` is set, and
    /// returns their manifest and rollup.
    fn catalogue(
        &self,
        hour: Hour,
        stop: &AtomicBool,
        take: &mut dyn FnMut(&CatalogRecord) -> bool,
    ) -> Result<Catalogued, Box<dyn Error + Send + Sync>>;
}

/// State of a catalog hour whose segments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HourState {
    /// Some of its segments are still being written.
    Unfinished,
    /// It does not exist, or cannot be read.
    Missing,
    /// It was made from other segments than those that exist.
    Stale,
    /// It exists and fits; or it fits the segments that existed when it was written, some of which have expired.
    Good,
}

/// State of an hour with these segments.
pub fn hour_state(store: &Store, hour: Hour, segments: &[ListedSegment]) -> Result<HourState, StoreError> {
    if segments.iter().any(|segment| segment.state == SegmentState::Open) {
        return Ok(HourState::Unfinished);
    }
    let manifest = match CatalogFolder::of(store).manifest(hour) {
        Ok(Some(manifest)) => manifest,
        Ok(None) | Err(StoreError::Manifest { .. }) => return Ok(HourState::Missing),
        Err(error) => return Err(error),
    };
    let has_all = has_all(&manifest, segments);
    let is_current = segments.iter().all(|segment| manifest.knows(&segment.name));
    Ok(match HourReader::open(store, &manifest) {
        // Written again, it would lack the records of segments that have expired since.
        _ if !has_all => HourState::Good,
        Err(_) => HourState::Missing,
        Ok(_) if is_current => HourState::Good,
        Ok(_) => HourState::Stale,
    })
}

/// True if an existing hour can be rebuilt from these segments without losing any.
pub fn is_rebuildable(store: &Store, hour: Hour, segments: &[ListedSegment]) -> Result<bool, StoreError> {
    Ok(match CatalogFolder::of(store).manifest(hour) {
        Err(StoreError::Manifest { .. }) => true,
        manifest => manifest?.is_none_or(|manifest| has_all(&manifest, segments)),
    })
}

/// Writes an hour, replacing any earlier one.
pub fn write(
    store: &Store,
    source: &dyn HourSource,
    hour: Hour,
    stop: &AtomicBool,
) -> Result<Manifest, IndexerError> {
    let mut writer = HourWriter::new(store, hour)?;
    let mut failed = None;
    let made = source.catalogue(hour, stop, &mut |flow| {
        failed = writer.add(flow).err();
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let Catalogued { mut manifest, rollup } = made.map_err(IndexerError::Records)?;
    match lost_with(store, &manifest) {
        Some(lost) => manifest.lacks.push(lost),
        None => rollup.map_or(Ok(()), |rollup| CatalogFolder::of(store).write_rollup(hour, &rollup))?,
    }
    writer.finish(&manifest)?;
    Ok(manifest)
}

/// Notice that a damaged hour may have covered expired segments, which the hour that replaces it cannot.
fn lost_with(store: &Store, manifest: &Manifest) -> Option<String> {
    let hour = manifest.hour;
    if CatalogFolder::of(store).manifest(hour).is_ok() {
        return None;
    }
    let (mut sealed, mut is_unknown) = (Vec::new(), false);
    // The last segment of a day is sealed on the next.
    for date in [hour.start().date(), hour.end().date()] {
        let read = logbook::read_day(store, &date, DayExcerpt::Whole, |line| match line.parse() {
            LogbookLine::Entry(LogbookEntry { event: Event::Seal { segment, records, .. }, .. })
                if records > 0 =>
            {
                sealed.push(segment);
            }
            LogbookLine::Unreadable(_) => is_unknown = true,
            _ => {}
        });
        is_unknown |= read.is_err();
    }
    is_unknown |= sealed.is_empty();
    let is_lost = |name: &SegmentName| Hour::of(name.opened) == hour && !manifest.knows(name);
    (is_unknown || sealed.iter().any(is_lost)).then(|| {
        "the records of expired segments: the hour was damaged, and written again without them".to_owned()
    })
}

/// Manifest of an hour, if it exists and can be read.
fn readable(store: &Store, hour: Hour) -> Result<Option<Manifest>, StoreError> {
    match CatalogFolder::of(store).manifest(hour) {
        Err(StoreError::Manifest { .. }) => Ok(None),
        manifest => manifest,
    }
}

/// An hour and the one before, if both exist.
fn with_the_one_before(store: &Store, hour: Hour) -> Result<Option<(Manifest, Manifest)>, StoreError> {
    let Some(before) = hour.before() else { return Ok(None) };
    Ok(readable(store, before)?.zip(readable(store, hour)?))
}

/// Writes the seam of flows that cross the boundary of an hour and the one before, unless it exists already.
pub fn write_seam(store: &Store, hour: Hour, stop: &AtomicBool) -> Result<(), IndexerError> {
    if let Some((before, after)) = with_the_one_before(store, hour)?
        && boundary_is_due(store, &before, &after)
    {
        let bytes = boundary_of(&TantivyCatalog, store, &before, &after, &|| stop.load(Ordering::Relaxed));
        CatalogFolder::of(store).write_seam(hour, &bytes.map_err(unsound)?)?;
    }
    Ok(())
}

fn unsound(reason: impl Into<String>) -> IndexerError {
    IndexerError::Unsound(reason.into())
}

/// Succeeds if something is as it should be.
fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), IndexerError> {
    if is_so { Ok(()) } else { Err(IndexerError::Unsound(otherwise())) }
}

/// Reads an hour from end to end; the error describes the fault.
pub fn check(store: &Store, hour: Hour) -> Result<(), IndexerError> {
    check_records(store, hour)?;
    expect(is_boundary_sound(store, hour)?, || {
        "its boundary with the previous hour is damaged, and is not used: run netrewind index --catalog --rebuild"
            .to_owned()
    })
}

/// Checks the boundary of an hour with the one before, if there is one.
pub fn is_boundary_sound(store: &Store, hour: Hour) -> Result<bool, IndexerError> {
    let Some((before, after)) = with_the_one_before(store, hour)? else { return Ok(true) };
    boundary_adds_up(&TantivyCatalog, store, &before, &after).map_err(unsound)
}

/// Reads the records of an hour, and their totals.
pub fn check_records(store: &Store, hour: Hour) -> Result<(), IndexerError> {
    // One that has expired since is no fault.
    let Some(manifest) = CatalogFolder::of(store).manifest(hour)? else { return Ok(()) };
    expect(manifest.lacks.is_empty(), || format!("it lacks {}", manifest.lacks.join(", ")))?;
    let reader = HourReader::open(store, &manifest)?;
    reader.verify()?;
    let mut records = 0;
    reader.visit(&Condition::Everything, Range::EVERYTHING, &mut |_| {
        records += 1;
        true
    })?;
    expect(records == manifest.records, || {
        format!("{records} records, but {} were written", manifest.records)
    })?;
    expect(rollup_adds_up(store, &manifest), || {
        "its rollup does not match its records, and is not used: run netrewind index --catalog --rebuild"
            .to_owned()
    })
}

/// Starts the thread that writes the catalog behind a recording.
pub(crate) fn start(
    place: &Workplace,
    limits: Arc<Mutex<CatalogLimits>>,
    source: Box<dyn HourSource>,
    export: Option<Box<dyn HourExport>>,
) -> Result<BackgroundThread, IndexerError> {
    CatalogFolder::of(&place.store).remove_unfinished_hours()?;
    BackgroundThread::start(place, "catalog", |shared| {
        Box::new(CatalogWriter {
            place: place.clone(),
            source,
            limits,
            shared,
            rests: 0,
            indexed_hours: BTreeMap::new(),
            exports: export.map(ExportQueue::new),
            looks_at_ns: 0,
        })
    })
}

struct CatalogWriter {
    place: Workplace,
    source: Box<dyn HourSource>,
    limits: Arc<Mutex<CatalogLimits>>,
    shared: Background,
    /// Looks to skip.
    rests: u32,
    /// Hours whose index was found or written, or could not be, with this many segments, and cold ones among them: it is not looked
    /// at again before these change.
    indexed_hours: BTreeMap<Hour, (usize, usize)>,
    exports: Option<ExportQueue>,
    /// Time of the next look.
    looks_at_ns: u64,
}

impl Worker for CatalogWriter {
    fn turn(&mut self, now: Now) -> NextTurn {
        if self.shared.is_over() {
            return NextTurn::Never;
        }
        if now.monotonic_ns >= self.looks_at_ns {
            self.look(now);
            // It may have taken long.
            self.looks_at_ns = self.place.clock.now().after(LOOK_INTERVAL);
        }
        let exports = self.exports.as_mut();
        let has_more = exports.is_some_and(|exports| exports.export_next(&self.place, &self.shared.stop));
        NextTurn::At(if has_more { now.monotonic_ns } else { self.looks_at_ns })
    }
}

impl CatalogWriter {
    fn look(&mut self, now: Now) {
        if self.rests > 0 {
            self.rests -= 1;
        } else if self.keep_up(now).is_err() {
            self.rests = LOOKS_AFTER_FAILURE;
        }
        if let Some(exports) = &mut self.exports {
            // What cannot be listed is tried again at the next look, and told of by all others.
            let _ = exports.look(&self.place.store, now.wall);
        }
    }

    /// Writes the hours that are over and whose segments all have indexes, and removes the oldest ones.
    fn keep_up(&mut self, now: Now) -> Result<(), IndexerError> {
        let (store, now) = (&self.place.store.clone(), now.wall);
        let hours = hours(store)?;
        self.indexed_hours.retain(|hour, _| hours.contains_key(hour));
        for (hour, segments) in hours {
            let is_over = hour.end() <= now && segments.iter().all(|segment| segment.has_index);
            if self.shared.is_over() || !is_over {
                continue;
            }
            self.index_hour(hour, &segments, now);
            if matches!(hour_state(store, hour, &segments)?, HourState::Missing | HourState::Stale) {
                self.write(hour, &segments)?;
            }
            if let Err(error) = write_seam(store, hour, &self.shared.stop)
                && !self.shared.is_over()
            {
                self.place.log(Event::CatalogBehind { hour, reason: error.to_string() });
                return Err(error);
            }
        }
        let limits = *locked(&self.limits);
        limits.keep(store, now, &mut |event| self.place.log(event))?;
        Ok(())
    }

    /// Writes the index of an hour, unless it is as it should be. Without one, answers only take longer: what fails is not tried
    /// again before the hour's segments change.
    fn index_hour(&mut self, hour: Hour, segments: &[ListedSegment], now: Timestamp) {
        let counts = (segments.len(), segments.iter().filter(|segment| segment.is_cold).count());
        if self.indexed_hours.get(&hour) == Some(&counts) {
            return;
        }
        let (store, room) = (&self.place.store, self.shared.room());
        let is_done = hour_writer::is_current(store, hour, segments).unwrap_or(false)
            || hour_writer::write(store, hour, segments, now, room.as_deref(), &self.shared.stop)
                .map_or(true, |built| built.is_some_and(|built| !built.is_too_early));
        if is_done {
            self.indexed_hours.insert(hour, counts);
        }
    }

    fn write(&self, hour: Hour, segments: &[ListedSegment]) -> Result<(), IndexerError> {
        let store = &self.place.store;
        let room = self.shared.room();
        if let Some(room) = room {
            // An hour takes less than the indexes that it is made of.
            let indexes =
                segments.iter().map(|segment| segment.disk_bytes.saturating_sub(segment.file_bytes));
            room.make_room(indexes.sum())?;
        }
        match write(store, &*self.source, hour, &self.shared.stop) {
            Ok(manifest) => {
                let listed = CatalogFolder::of(store).listed_hours()?;
                let bytes =
                    listed.iter().find(|listed| listed.hour == hour).map_or(0, |listed| listed.disk_bytes);
                self.place.log(Event::Catalogued { hour, records: manifest.records, bytes });
                Ok(())
            }
            Err(_) if self.shared.is_over() => Ok(()),
            Err(error) => {
                self.place.log(Event::CatalogBehind { hour, reason: error.to_string() });
                Err(error)
            }
        }
    }
}
