//! `netrewind verify`: checks every segment, index and count.

use std::collections::HashMap;

use netrewind_segment::logbook::{self, Line};
use netrewind_segment::store::{ListedSegment, OpenedSegment};
use netrewind_segment::{Event, RecordReader, SegmentName, SegmentState, Store, Timestamp};

use super::StoreArgument;
use crate::cataloging;
use crate::indexing;
use crate::outcome::{Failure, Outcome};
use crate::soundness;
use crate::terminal::{self, StatusLine};

const EXAMPLES: &str = "\
Example:
  netrewind verify --store /data/nr

Reads every segment from end to end, compares every byte with the checksums in its index, builds the index again and compares,
and compares the counts with the logbook; reads every hour of the catalog, and compares checksums and counts.
What is wrong is named on standard output, one line each (exit status 1).";

/// Arguments of `netrewind verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArgument,
}

/// What the logbook says of a sealed segment.
#[derive(Clone, Copy)]
struct Counted {
    records: u64,
    bytes: u64,
}

/// Checks it.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let store = Store::open(&arguments.store.store)?;
    let segments = store.segments()?;
    let mut counted = counts(&store)?;
    let mut line = StatusLine::new();
    let (mut records, mut wrong) = (0, 0);
    for (number, segment) in segments.iter().enumerate() {
        line.show(&format!("segment {} of {}: {}", number + 1, segments.len(), segment.name));
        let mut faults = Vec::new();
        records += check(&store, segment, counted.remove(&segment.name), &mut faults)?;
        wrong += faults.len();
        line.clear();
        for fault in faults {
            terminal::print(format_args!("segment {}: {fault}", segment.name))?;
        }
    }
    for hour in store.hours()? {
        line.show(&format!("hour {hour} of the catalog"));
        let checked = cataloging::check(&store, hour);
        line.clear();
        if let Err(fault) = checked {
            wrong += 1;
            terminal::print(format_args!("hour {hour}: {fault:#}"))?;
        }
    }
    terminal::print(format_args!("{} segments, {records} packets, {wrong} faults", segments.len()))?;
    Ok(if wrong == 0 { Outcome::Done } else { Outcome::Incomplete })
}

fn counts(store: &Store) -> Result<HashMap<SegmentName, Counted>, Failure> {
    let mut counts = HashMap::new();
    logbook::read(store, Timestamp::MIN, Timestamp::MAX, false, |line| {
        let Line::Entry(entry) = line else { return };
        match entry.event {
            Event::Seal { segment, records, bytes, .. } => counts.insert(segment, Counted { records, bytes }),
            Event::Recover { segment, records, kept_bytes, .. } => {
                counts.insert(segment, Counted { records, bytes: kept_bytes })
            }
            _ => None,
        };
    })?;
    Ok(counts)
}

/// Checks one segment; returns its packets.
fn check(
    store: &Store,
    segment: &ListedSegment,
    counted: Option<Counted>,
    faults: &mut Vec<String>,
) -> Result<u64, Failure> {
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
            "{records} packets in {bytes} bytes, where the logbook counts {} in {}",
            counted.records, counted.bytes
        ));
    }
    if is_as_recorded(store, segment, faults) {
        check_index(store, segment, faults)?;
    }
    Ok(records)
}

/// Whether nothing tells that the segment's bytes have changed since they were recorded; else its index is not to be judged by them.
fn is_as_recorded(store: &Store, segment: &ListedSegment, faults: &mut Vec<String>) -> bool {
    let alterations = soundness::alterations(store, &segment.name)
        .unwrap_or_else(|error| vec![format!("its bytes cannot be compared with its index: {error:#}")]);
    let is_sound = alterations.is_empty();
    faults.extend(alterations);
    is_sound
}

/// Walks a segment from end to end: its records, or those before what is wrong and what that is.
fn walk(opened: OpenedSegment) -> Result<u64, (u64, String)> {
    use std::io::Read;
    let mut reader =
        RecordReader::new(opened.file.take(opened.readable_bytes)).map_err(|error| (0, error.to_string()))?;
    let mut records = 0;
    loop {
        match reader.next_record() {
            Ok(Some(_)) => records += 1,
            Ok(None) => return Ok(records),
            Err(error) => return Err((records, format!("{error}; {records} packets before it can be read"))),
        }
    }
}

fn check_index(store: &Store, segment: &ListedSegment, faults: &mut Vec<String>) -> Result<(), Failure> {
    use std::io::Read;
    let Some(mut file) = store.open_index(&segment.name)? else {
        faults.push("it has no index: build it with `netrewind index`".into());
        return Ok(());
    };
    let mut found = Vec::new();
    file.read_to_end(&mut found)?;
    match indexing::build(store, &segment.name) {
        Ok(wanted) if wanted == found => {}
        Ok(_) => {
            let reason = match indexing::look(store, segment)? {
                indexing::State::Bad(error) => error.to_string(),
                _ => "its index is not the one that the segment makes: build it again with `netrewind index --rebuild`".into(),
            };
            faults.push(reason);
        }
        Err(error) => faults.push(format!("its index cannot be checked: {error:#}")),
    }
    Ok(())
}
