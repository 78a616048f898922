//! `netrewind verify`: checks every segment, index and count.

use std::collections::{HashMap, HashSet};

use netrewind_extractor::{Damage, Query};
use netrewind_indexer::{catalog_writer, hour_writer, index_writer};
use netrewind_store::catalog::Hour;
use netrewind_store::logbook::{Fault, LogbookEntry, check_day};
use netrewind_store::store::{
    CatalogFolder, HourFiles, ListedSegment, OpenedSegment, StoreListing, StoreWriter, Unlisted,
};
use netrewind_store::{Event, RecordReader, SegmentName, SegmentState, Store, StoreError};

use super::query;
use super::store::StoreArgument;
use crate::confine::Walls;
use crate::extracted_hours;
use crate::outcome::{Failure, Outcome};
use crate::soundness;
use crate::terminal::{self, StatusLine};

const EXAMPLES: &str = "\
Example:
  netrewind verify --store /data/nr

Reads every segment from end to end, compares every byte with the checksums in its index, builds the index again and compares,
and compares the counts with the logbook; reads every line of the logbook, and every hour of the catalog, and compares checksums
and counts.
Each fault is one line on standard output (exit status 1).";

/// Arguments of `netrewind verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArguments {
    #[command(flatten)]
    store: StoreArgument,
}

/// Counts of a sealed segment in the logbook.
#[derive(Clone, Copy)]
struct LoggedCounts {
    records: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(arguments: &VerifyArguments) -> Result<Outcome, Failure> {
    let store = Store::open_to_read(&arguments.store.store)?;
    Walls::around(&store).raise().say_gaps();
    let mut report = FaultReport::default();
    let StoreListing { segments, unlisted } = StoreListing::of(&store);
    for Unlisted { path, reason } in unlisted {
        report.fault(store.part(&path), &reason)?;
    }
    let mut told = Logged::of(&store, &mut report)?;
    let mut records = 0;
    for (number, segment) in segments.iter().enumerate() {
        let name = segment.name;
        report.line.show(&format!("segment {} of {}: {name}", number + 1, segments.len()));
        let mut faults = Vec::new();
        records += check(&store, segment, told.counted.remove(&name), &mut faults).unwrap_or_else(|error| {
            faults.push(format!("{error:#}"));
            0
        });
        for fault in faults {
            report.fault(format!("segment {name}"), &fault)?;
        }
    }
    told.tell_missing(&store, &mut report)?;
    check_hours(&store, &segments, &mut report)?;
    check_catalog(&store, &mut report)?;
    tell_what_answers_lack(&store, &mut report)?;
    report.line.clear();
    terminal::print(format_args!(
        "{} segments, {records} packets, {} faults",
        segments.len(),
        report.faults
    ))?;
    Ok(if report.faults == 0 { Outcome::Done } else { Outcome::Incomplete })
}

/// Faults found so far.
struct FaultReport {
    line: StatusLine,
    faults: usize,
    /// Parts that have been named already.
    parts: HashSet<String>,
}

impl Default for FaultReport {
    fn default() -> Self {
        Self { line: StatusLine::new(), faults: 0, parts: HashSet::new() }
    }
}

impl FaultReport {
    fn fault(&mut self, part: String, reason: &str) -> std::io::Result<()> {
        self.line.clear();
        self.faults += 1;
        terminal::print(format_args!("{part}: {reason}"))?;
        self.parts.insert(part);
        Ok(())
    }
}

/// Segments according to the logbook.
#[derive(Default)]
struct Logged {
    counted: HashMap<SegmentName, LoggedCounts>,
    expired: HashSet<SegmentName>,
}

impl Logged {
    /// Reads the whole logbook, and reports its faults.
    fn of(store: &Store, report: &mut FaultReport) -> Result<Self, Failure> {
        let mut logged = Self::default();
        let dates = match store.logbook_dates() {
            Ok(dates) => dates,
            Err(StoreError::Io { path, source }) => {
                report.fault(store.part(&path), &source.to_string())?;
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let is_written = matches!(StoreWriter::of(store), Ok(Some(_)));
        for date in &dates {
            let part = store.part(&store.logbook_path(date));
            let is_last = Some(date) == dates.last();
            let mut faults = Vec::new();
            let mut take = |entry: LogbookEntry| logged.take(entry.event);
            let checked =
                check_day(store, date, is_written && is_last, &mut take, &mut |fault| faults.push(fault));
            for Fault { line, reason, is_later } in faults {
                match is_later {
                    true => terminal::print(format_args!("{part}: line {line}: {reason}: no fault"))?,
                    false => report.fault(part.clone(), &format!("line {line}: {reason}"))?,
                }
            }
            match checked {
                // One that has expired since is no fault.
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(StoreError::Io { source, .. }) => report.fault(part, &source.to_string())?,
                other => other?,
            }
        }
        Ok(logged)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Seal { segment, records, bytes, .. } => {
                self.counted.insert(segment, LoggedCounts { records, bytes });
            }
            Event::Recover { segment, records, kept_bytes, .. } => {
                self.counted.insert(segment, LoggedCounts { records, bytes: kept_bytes });
            }
            Event::Expire { segment, .. } => {
                self.expired.insert(segment);
            }
            _ => {}
        }
    }

    /// Reports segments that were sealed, and neither exist nor have expired.
    fn tell_missing(&self, store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
        let is_missing = |(name, counted): &(&SegmentName, &LoggedCounts)| {
            counted.records > 0
                && !self.expired.contains(name)
                && matches!(store.open_segment(name), Ok(None))
        };
        let mut missing: Vec<_> = self.counted.iter().filter(is_missing).collect();
        missing.sort_unstable_by_key(|(name, _)| **name);
        for (name, LoggedCounts { records, .. }) in missing {
            let reason = format!(
                "it is missing: the logbook says that it was sealed with {records} packets, and not that it expired"
            );
            report.fault(format!("segment {name}"), &reason)?;
        }
        Ok(())
    }
}

/// Checks the indexes of hours.
fn check_hours(store: &Store, segments: &[ListedSegment], report: &mut FaultReport) -> Result<(), Failure> {
    let hours = match HourFiles::of(store).hours() {
        Ok(hours) => hours,
        // Listing the segments has told of it.
        Err(_) => return Ok(()),
    };
    for hour in hours {
        report.line.show(&format!("index of hour {hour}"));
        let of_hour: Vec<ListedSegment> =
            segments.iter().filter(|segment| Hour::of(segment.name.opened) == hour).copied().collect();
        if let Err(fault) = hour_writer::check(store, hour, &of_hour, crate::clock::now()) {
            report.fault(format!("index of hour {hour}"), &format!("{fault:#}"))?;
        }
    }
    Ok(())
}

fn check_catalog(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let hours = match CatalogFolder::of(store).hours() {
        Ok(hours) => hours,
        Err(StoreError::Io { path, source }) => {
            report.fault(store.part(&path), &source.to_string())?;
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    for hour in hours {
        report.line.show(&format!("hour {hour} of the catalog"));
        if let Err(fault) = catalog_writer::check(store, hour) {
            report.parts.insert(store.part(&CatalogFolder::of(store).hour_path(hour)));
            report.fault(format!("hour {hour}"), &format!("{fault:#}"))?;
        }
    }
    Ok(())
}

/// Reports the gaps that an answer about everything would have, unless named already.
fn tell_what_answers_lack(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let extractor = extracted_hours::extractor(store);
    let completeness = extractor.completeness(&Query::default()).map_err(query::failure)?;
    for at in &completeness.unreadable {
        let part = format!("segment {}", at.segment);
        if !report.parts.contains(&part) {
            report.fault(part, &at.reason)?;
        }
    }
    for Damage { part, reason, .. } in &completeness.damaged {
        let is_named = report.parts.iter().any(|named| part == named || part.ends_with(named));
        if !is_named {
            report.fault(part.clone(), reason)?;
        }
    }
    Ok(())
}

/// Checks one segment; returns its packets.
fn check(
    store: &Store,
    segment: &ListedSegment,
    counted: Option<LoggedCounts>,
    faults: &mut Vec<String>,
) -> anyhow::Result<u64> {
    // One that has expired since is no fault.
    let Some(opened) = store.open_segment(&segment.name)? else { return Ok(0) };
    let bytes = opened.readable_bytes;
    let sealed = opened.state == SegmentState::Sealed;
    if !sealed && bytes == 0 {
        return Ok(0); // nothing is promised yet
    }
    let records = match walk(opened) {
        Ok(records) => records,
        Err((records, fault)) => {
            faults.push(fault);
            records
        }
    };
    if !sealed {
        return Ok(records);
    }
    if let Some(counted) = counted
        && (counted.records, counted.bytes) != (records, bytes)
    {
        faults.push(format!(
            "{records} packets in {bytes} bytes, but the logbook says {} in {}",
            counted.records, counted.bytes
        ));
    }
    let is_read = is_as_recorded(store, segment, faults);
    if let Err(error) = if is_read { check_index(store, segment, faults) } else { Ok(()) } {
        faults.push(format!("its index cannot be read: {error:#}"));
    }
    Ok(records)
}

/// True if nothing shows that the segment's bytes have changed since they were recorded; otherwise its index cannot be checked
/// against them.
fn is_as_recorded(store: &Store, segment: &ListedSegment, faults: &mut Vec<String>) -> bool {
    let alterations = soundness::alterations(store, &segment.name)
        .unwrap_or_else(|error| vec![format!("its bytes cannot be compared with its index: {error:#}")]);
    let is_sound = alterations.is_empty();
    faults.extend(alterations);
    is_sound
}

/// Walks a segment from end to end; returns its records, or those before a fault and its description.
fn walk(opened: OpenedSegment) -> Result<u64, (u64, String)> {
    use std::io::Read;
    let mut reader = RecordReader::new(opened.file.reader(0).take(opened.readable_bytes))
        .map_err(|error| (0, error.to_string()))?;
    let mut records = 0;
    loop {
        match reader.next_record() {
            Ok(Some(_)) => records += 1,
            Ok(None) => return Ok(records),
            Err(error) => {
                return Err((records, format!("{error}; the {records} packets before it can be read")));
            }
        }
    }
}

fn check_index(store: &Store, segment: &ListedSegment, faults: &mut Vec<String>) -> anyhow::Result<()> {
    let Some(file) = store.open_index(&segment.name)? else {
        faults.push("it has no index: build it with `netrewind index`".into());
        return Ok(());
    };
    let found = file.read_all()?;
    match index_writer::build(store, &segment.name) {
        Ok(wanted) if wanted == found => {}
        Ok(_) => {
            let reason = match index_writer::index_state(store, segment)? {
                index_writer::IndexState::Bad(error) => error.to_string(),
                _ => {
                    "its index does not match the segment: rebuild it with `netrewind index --rebuild`".into()
                }
            };
            faults.push(reason);
        }
        Err(error) => faults.push(format!("its index cannot be checked: {error:#}")),
    }
    Ok(())
}
