//! The catalog of a store: written for hours that are over, read where packets are no longer kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use netrewind_catalog::Catalog;
use netrewind_catalog::build::Catalogued;
use netrewind_catalog::condition::Condition;
use netrewind_catalog::expiry::CatalogLimits;
use netrewind_catalog::settle::{boundary_adds_up, boundary_is_due, boundary_of, rollup_adds_up};
use netrewind_catalog_tantivy::{HourReader, HourWriter, Range, TantivyCatalog};
use netrewind_extractor::{Extractor, Options};
use netrewind_recorder::retention::Keeper;
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::logbook::{self, DayExcerpt, LogbookEntry, LogbookLine};
use netrewind_store::store::ListedSegment;
use netrewind_store::{Event, Logbook, SegmentName, SegmentState, Store, StoreError, locked};

use crate::clock;
use crate::index_writer::CATCH_UP_NICENESS;

/// Interval between two looks for hours that are over.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two checks for the end.
const STOP_INTERVAL: Duration = Duration::from_millis(200);
/// Looks after which an hour that could not be written is tried again.
const LOOKS_AFTER_FAILURE: u32 = 60;

/// A reader for the catalog of any store.
pub fn reader() -> Arc<dyn Catalog> {
    Arc::new(TantivyCatalog)
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

/// The hours in which kept segments were opened, with these segments.
pub fn hours(store: &Store) -> anyhow::Result<BTreeMap<Hour, Vec<ListedSegment>>> {
    let mut hours: BTreeMap<Hour, Vec<ListedSegment>> = BTreeMap::new();
    for segment in store.segments()? {
        hours.entry(Hour::of(segment.name.opened)).or_default().push(segment);
    }
    Ok(hours)
}

/// State of an hour with these segments.
pub fn look(store: &Store, hour: Hour, segments: &[ListedSegment]) -> anyhow::Result<HourState> {
    if segments.iter().any(|segment| segment.state == SegmentState::Open) {
        return Ok(HourState::Unfinished);
    }
    let manifest = match store.manifest(hour) {
        Ok(Some(manifest)) => manifest,
        Ok(None) | Err(StoreError::Manifest { .. }) => return Ok(HourState::Missing),
        Err(error) => return Err(error.into()),
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
pub fn is_rebuildable(store: &Store, hour: Hour, segments: &[ListedSegment]) -> anyhow::Result<bool> {
    Ok(match store.manifest(hour) {
        Err(StoreError::Manifest { .. }) => true,
        manifest => manifest?.is_none_or(|manifest| has_all(&manifest, segments)),
    })
}

fn has_all(manifest: &Manifest, segments: &[ListedSegment]) -> bool {
    let is_kept = |name| segments.iter().any(|segment| segment.name == name);
    manifest.segments.iter().all(|segment| is_kept(segment.name))
}

/// Writes an hour, replacing any earlier one.
pub fn write(
    store: &Store,
    extractor: &Extractor,
    hour: Hour,
    stop: &AtomicBool,
) -> anyhow::Result<Manifest> {
    let mut writer = HourWriter::new(store, hour)?;
    let mut failed = None;
    let made = extractor.catalogue(hour, &mut &*stop, &mut |flow| {
        failed = writer.add(flow).err();
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let Catalogued { mut manifest, rollup } = made?;
    match lost_with(store, &manifest) {
        Some(lost) => manifest.lacks.push(lost),
        None => rollup.map_or(Ok(()), |rollup| store.write_rollup(hour, &rollup))?,
    }
    writer.finish(&manifest)?;
    Ok(manifest)
}

/// Notice that a damaged hour may have covered expired segments, which the hour that replaces it cannot.
fn lost_with(store: &Store, manifest: &Manifest) -> Option<String> {
    let hour = manifest.hour;
    if store.manifest(hour).is_ok() {
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
    match store.manifest(hour) {
        Err(StoreError::Manifest { .. }) => Ok(None),
        manifest => manifest,
    }
}

/// An hour and the one before, if both exist.
fn with_the_one_before(store: &Store, hour: Hour) -> anyhow::Result<Option<(Manifest, Manifest)>> {
    let Some(before) = hour.before() else { return Ok(None) };
    Ok(readable(store, before)?.zip(readable(store, hour)?))
}

/// Writes the seam of flows that cross the boundary of an hour and the one before, unless it exists already.
pub fn write_seam(store: &Store, hour: Hour, stop: &AtomicBool) -> anyhow::Result<()> {
    if let Some((before, after)) = with_the_one_before(store, hour)?
        && boundary_is_due(store, &before, &after)
    {
        let bytes = boundary_of(&TantivyCatalog, store, &before, &after, &|| stop.load(Ordering::Relaxed));
        store.write_seam(hour, &bytes.map_err(anyhow::Error::msg)?)?;
    }
    Ok(())
}

/// Reads an hour from end to end; the error describes the fault.
pub fn check(store: &Store, hour: Hour) -> anyhow::Result<()> {
    // One that has expired since is no fault.
    let Some(manifest) = store.manifest(hour)? else { return Ok(()) };
    anyhow::ensure!(manifest.lacks.is_empty(), "it lacks {}", manifest.lacks.join(", "));
    let reader = HourReader::open(store, &manifest)?;
    reader.verify()?;
    let mut records = 0;
    reader.visit(&Condition::Everything, Range::EVERYTHING, &mut |_| {
        records += 1;
        true
    })?;
    anyhow::ensure!(records == manifest.records, "{records} records, but {} were written", manifest.records);
    anyhow::ensure!(
        rollup_adds_up(store, &manifest),
        "its rollup does not match its records, and is not used: run netrewind index --catalog --rebuild"
    );
    if let Some((before, after)) = with_the_one_before(store, hour)? {
        anyhow::ensure!(
            boundary_adds_up(&TantivyCatalog, store, &before, &after).map_err(anyhow::Error::msg)?,
            "its boundary with the previous hour is damaged, and is not used: run netrewind index --catalog --rebuild"
        );
    }
    Ok(())
}

/// An extractor that reads segments to write the catalog: one thread, and no catalog.
pub fn extractor(store: &Store) -> Extractor {
    Extractor::new(store.clone(), Options { helpers: 0, ..Options::default() })
}

/// Writes the catalog behind a recording, at the lowest priority.
pub struct CatalogThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    keeper: Arc<Mutex<Option<Arc<Keeper>>>>,
}

impl CatalogThread {
    /// Starts the thread.
    pub fn start(store: &Store, logbook: Arc<Mutex<Logbook>>, limits: CatalogLimits) -> anyhow::Result<Self> {
        store.remove_unfinished_hours()?;
        let (stop, keeper) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let mut follower = Follower {
            extractor: extractor(store),
            store: store.clone(),
            logbook,
            limits,
            keeper: Arc::clone(&keeper),
            stop: Arc::clone(&stop),
            rests: 0,
        };
        let thread = std::thread::Builder::new().name("catalog".into()).spawn(move || {
            // Of this thread, and those that it starts: nice(2) on Linux.
            let _ = rustix::process::nice(CATCH_UP_NICENESS);
            follower.follow();
        })?;
        Ok(Self { stop, thread, keeper })
    }

    /// Sets the keeper that makes room in the store for new hours.
    pub fn set_keeper(&self, keeper: &Arc<Keeper>) {
        *locked(&self.keeper) = Some(Arc::clone(keeper));
    }

    /// Ends; an hour that is being written is given up, and left to the next process.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there has been printed; the next process writes the missing hours.
        let _ = self.thread.join();
    }
}

struct Follower {
    store: Store,
    extractor: Extractor,
    logbook: Arc<Mutex<Logbook>>,
    limits: CatalogLimits,
    keeper: Arc<Mutex<Option<Arc<Keeper>>>>,
    stop: Arc<AtomicBool>,
    /// Looks to skip.
    rests: u32,
}

impl Follower {
    fn follow(&mut self) {
        while !self.is_over() {
            if self.rests > 0 {
                self.rests -= 1;
            } else if self.turn().is_err() {
                self.rests = LOOKS_AFTER_FAILURE;
            }
            let looks = LOOK_INTERVAL.as_millis() / STOP_INTERVAL.as_millis();
            (0..looks).take_while(|_| !self.is_over()).for_each(|_| std::thread::sleep(STOP_INTERVAL));
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn log(&self, event: Event) {
        let mut logbook = locked(&self.logbook);
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = logbook.append(clock::now(), event);
    }

    /// Writes the hours that are over and whose segments all have indexes, and removes the oldest ones.
    fn turn(&mut self) -> anyhow::Result<()> {
        let now = clock::now();
        for (hour, segments) in hours(&self.store)? {
            let is_over = hour.end() <= now && segments.iter().all(|segment| segment.has_index);
            if self.is_over() || !is_over {
                continue;
            }
            if matches!(look(&self.store, hour, &segments)?, HourState::Missing | HourState::Stale) {
                self.write(hour, &segments)?;
            }
            if let Err(error) = write_seam(&self.store, hour, &self.stop)
                && !self.is_over()
            {
                self.log(Event::CatalogBehind { hour, reason: format!("{error:#}") });
                return Err(error);
            }
        }
        self.limits.keep(&self.store, now, &mut |event| self.log(event))?;
        Ok(())
    }

    fn write(&self, hour: Hour, segments: &[ListedSegment]) -> anyhow::Result<()> {
        let keeper = locked(&self.keeper).clone();
        if let Some(keeper) = keeper {
            // An hour takes less than the indexes that it is made of.
            let indexes =
                segments.iter().map(|segment| segment.disk_bytes.saturating_sub(segment.file_bytes));
            keeper.make_room(indexes.sum())?;
        }
        match write(&self.store, &self.extractor, hour, &self.stop) {
            Ok(manifest) => {
                let listed = self.store.listed_hours()?;
                let bytes =
                    listed.iter().find(|listed| listed.hour == hour).map_or(0, |listed| listed.disk_bytes);
                self.log(Event::Catalogued { hour, records: manifest.records, bytes });
                Ok(())
            }
            Err(_) if self.is_over() => Ok(()),
            Err(error) => {
                self.log(Event::CatalogBehind { hour, reason: format!("{error:#}") });
                Err(error)
            }
        }
    }
}
