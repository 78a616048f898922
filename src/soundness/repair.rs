//! Repair of what is derived from segments. Evidence is never written: neither segments nor lines of the logbook that stand there
//! nor `store.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use netrewind_indexer::{catalog_writer, hour_writer, index_writer, kept_hours};
use netrewind_store::catalog::Hour;
use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::store::{CatalogFolder, HourFiles, ListedSegment, StoreListing};
use netrewind_store::{Event, SegmentName, SegmentState, Store, locked};

use super::derived::faults_of_hour;
use super::logbook::Logged;
use super::report::FaultReport;
use super::segments::{Vouching, marked_late, vouching};
use crate::confine::Walls;
use crate::extracted_hours::ExtractedHours;
use crate::outcome::Failure;
use crate::sharing::SharingArguments;
use crate::writable_store::{WritableStore, write_hour};
use crate::{signals, terminal};

/// Reason for the logbook where an index is built that nothing vouches for.
const LATE: &str =
    "rebuilt by verify --repair, with checksums taken now: nothing vouches for the segment's bytes before";

/// Repairs a store.
pub fn repair(root: &Path, sharing: &SharingArguments, report: &mut FaultReport) -> Result<(), Failure> {
    let store = Store::open(root)?;
    // The next writer seals what a crash has left open, and indexes it as if it had recorded it: so does this one.
    let left_open: BTreeSet<SegmentName> = StoreListing::of(&store)
        .segments
        .iter()
        .filter(|segment| segment.state == SegmentState::Open)
        .map(|segment| segment.name)
        .collect();
    let writing = WritableStore::open(root, "verify", sharing, Walls::new())?;
    let mut repair =
        Repair { writing: &writing, left_open, untrusted: BTreeSet::new(), stop: signals::stop_flag()? };
    let segments = ListedSegment::all(&writing.store)?;
    for (number, segment) in segments.iter().enumerate() {
        report.line.show(&format!("repair: segment {} of {}: {}", number + 1, segments.len(), segment.name));
        repair.segment(segment, report)?;
    }
    let mut hours = kept_hours::hours(&writing.store)?;
    repair.hour_indexes(&hours, report)?;
    repair.catalog(&mut hours, report)?;
    report.line.clear();
    locked(&writing.logbook).sync()?;
    Ok(())
}

struct Repair<'w> {
    writing: &'w WritableStore,
    /// Segments that a crash had left open.
    left_open: BTreeSet<SegmentName>,
    /// Segments that are not as they were recorded: nothing is derived from them.
    untrusted: BTreeSet<SegmentName>,
    stop: std::sync::Arc<AtomicBool>,
}

impl Repair<'_> {
    fn say(report: &mut FaultReport, what: &str) {
        report.line.clear();
        terminal::say(format_args!("{what}"));
    }

    /// Builds the index of a segment again, unless it is good, or would hide damage.
    fn segment(&mut self, segment: &ListedSegment, report: &mut FaultReport) -> Result<(), Failure> {
        let (store, name) = (&self.writing.store, &segment.name);
        if segment.state == SegmentState::Open {
            return Ok(());
        }
        let Ok(vouching) = vouching(store, name) else {
            self.untrusted.insert(*name); // verify tells why
            return Ok(());
        };
        let is_good =
            || matches!(index_writer::index_state(store, segment), Ok(index_writer::IndexState::Good));
        let is_late = match vouching {
            Vouching::Altered(_) => {
                self.untrusted.insert(*name);
                Self::say(
                    report,
                    &format!("segment {name}: it has changed: its index is kept, which proves it"),
                );
                return Ok(());
            }
            Vouching::Sound | Vouching::Late if is_good() => return Ok(()),
            Vouching::Sound => false,
            Vouching::Late => true,
            Vouching::Nothing(_) => !self.left_open.contains(name),
        };
        let index = match index_writer::build(store, name) {
            Ok(index) if is_late => marked_late(&index),
            Ok(index) => index,
            Err(error) => {
                self.untrusted.insert(*name);
                Self::say(report, &format!("segment {name}: no index can be built of it: {error:#}"));
                return Ok(());
            }
        };
        if is_late {
            let event = Event::IndexRejected { segment: *name, reason: LATE.to_owned() };
            locked(&self.writing.logbook).append(crate::clock::now(), event)?;
        }
        store.write_index(name, &index)?;
        let words = if is_late { ", with checksums taken now" } else { "" };
        Self::say(report, &format!("segment {name}: its index was built again{words}"));
        Ok(())
    }

    /// Writes the indexes of hours that are missing, damaged, or not of what there is now; removes those that cannot be.
    fn hour_indexes(
        &self,
        hours: &BTreeMap<Hour, Vec<ListedSegment>>,
        report: &mut FaultReport,
    ) -> Result<(), Failure> {
        let (store, clock) = (&self.writing.store, SystemClock::new());
        for (hour, segments) in hours {
            let is_current = hour_writer::is_current(store, *hour, segments)?
                && hour_writer::check(store, *hour, segments, clock.now().wall).is_ok();
            if is_current || segments.iter().all(|segment| segment.state == SegmentState::Open) {
                continue;
            }
            write_hour(store, *hour, segments, &self.stop)?;
            Self::say(report, &format!("index of hour {hour}: it was written again"));
        }
        for hour in HourFiles::of(store).hours()?.into_iter().filter(|hour| !hours.contains_key(hour)) {
            if hour_writer::check(store, hour, &[], clock.now().wall).is_err() {
                HourFiles::of(store).remove(hour)?;
                Self::say(report, &format!("index of hour {hour}: it was removed, as its segments are"));
            }
        }
        Ok(())
    }

    /// Writes hours of the catalog again that are damaged or missing, and whose segments are all there, as they were recorded.
    fn catalog(
        &self,
        hours: &mut BTreeMap<Hour, Vec<ListedSegment>>,
        report: &mut FaultReport,
    ) -> Result<(), Failure> {
        let store = &self.writing.store;
        let folder = CatalogFolder::of(store);
        folder.remove_unfinished_hours()?;
        let logged = Logged::quietly(store)?;
        let mut due: BTreeSet<Hour> = folder.hours()?.into_iter().collect();
        due.extend(logged.missing_hours(store));
        for hour in due {
            report.line.show(&format!("repair: hour {hour} of the catalog"));
            let is_missing = matches!(folder.manifest(hour), Ok(None));
            if !is_missing && faults_of_hour(store, hour).is_empty() {
                continue;
            }
            if only_boundary_is_damaged(store, hour) {
                continue;
            }
            let segments = hours.remove(&hour).unwrap_or_default();
            let has_lost = is_missing && logged.has_more(hour, &segments);
            let words = match self.catalogue(hour, &segments, has_lost) {
                Ok(()) => "it was written again".to_owned(),
                Err(error) => error,
            };
            Self::say(report, &format!("hour {hour} of the catalog: {words}"));
        }
        // Boundaries last: they are made of the hours on both sides.
        for hour in folder.hours()? {
            if matches!(catalog_writer::is_boundary_sound(store, hour), Ok(false)) {
                folder.remove_seam(hour)?;
            }
            if let Err(error) = catalog_writer::write_seam(store, hour, &self.stop) {
                Self::say(report, &format!("boundary of hour {hour} with the one before: {error}"));
            }
        }
        Ok(())
    }

    /// Writes an hour again; the error says why not.
    fn catalogue(&self, hour: Hour, segments: &[ListedSegment], has_lost: bool) -> Result<(), String> {
        let store = &self.writing.store;
        if segments.is_empty() {
            return Err(
                "it cannot be written again: its segments have expired; what is good of it stays".to_owned()
            );
        }
        if segments.iter().any(|segment| self.untrusted.contains(&segment.name)) {
            return Err("it is not written again, because a segment of it has changed since it was recorded"
                .to_owned());
        }
        let is_rebuildable = catalog_writer::is_rebuildable(store, hour, segments);
        if has_lost || !is_rebuildable.map_err(|error| error.to_string())? {
            return Err(
                "it cannot be written again: some of its segments have expired; what is good of it stays"
                    .to_owned(),
            );
        }
        let manifest = catalog_writer::write(store, &ExtractedHours::of(store), hour, &self.stop)
            .map_err(|error| error.to_string())?;
        let bytes = CatalogFolder::of(store).hour_disk_bytes(hour).unwrap_or(0);
        let event = Event::Catalogued { hour, records: manifest.records, bytes };
        locked(&self.writing.logbook).append(crate::clock::now(), event).map_err(|error| error.to_string())
    }
}

/// True if everything of an hour but its boundary with the one before is sound.
fn only_boundary_is_damaged(store: &Store, hour: Hour) -> bool {
    let manifest = CatalogFolder::of(store).manifest(hour).ok().flatten();
    let is_whole =
        manifest.is_some_and(|manifest| CatalogFolder::of(store).changed_files(&manifest).is_empty());
    is_whole && catalog_writer::check_records(store, hour).is_ok()
}
