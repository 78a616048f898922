//! `netrewind index`: indexes that are missing, or all of them again.

use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_indexer::catalog_writer::{self, HourState as Catalogued};
use netrewind_indexer::hour_writer;
use netrewind_indexer::index_writer::{self, IndexState};
use netrewind_indexer::kept_hours;
use netrewind_store::store::{CatalogFolder, ListedSegment};
use netrewind_store::{Event, SegmentName, SegmentState, locked};

use super::store::StoreArgument;
use super::tunnels::PortArguments;
use crate::confine::Walls;
use crate::extracted_hours::ExtractedHours;
use crate::outcome::{Failure, Outcome};
use crate::sharing::SharingArguments;
use crate::signals;
use crate::soundness::{self, Vouching};
use crate::terminal::{self, StatusLine};
use crate::writable_store::{WritableStore, write_hour};

const EXAMPLES: &str = "\
Examples:
  netrewind index --store /data/nr              # what is missing or damaged
  netrewind index --store /data/nr --rebuild    # every index again
  netrewind index --store /data/nr --catalog    # and the catalog of conversations
  netrewind index --store /data/nr --tunnel-port vxlan=5555

With --tunnel-port that port carries VXLAN, in what is stored and what comes. The catalog outlives the packets.
Indexes change no answer, only the time it takes; they can be deleted and built again at any time.";

/// Arguments of `netrewind index`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct IndexArguments {
    #[command(flatten)]
    store: StoreArgument,
    /// Also rebuild indexes that exist and fit
    #[arg(long)]
    rebuild: bool,
    /// Rebuild the index of a segment even if its bytes are not those that were recorded; the logbook keeps the differences, and the
    /// index that nothing vouches for the bytes before
    #[arg(long)]
    accept_damage: bool,
    /// Also write the hours of the catalog that are missing or out of date; with --rebuild, all hours whose segments are kept
    #[arg(long)]
    catalog: bool,
    /// Also write the hour of the catalog that is not over yet: useful after an import
    #[arg(long, requires = "catalog")]
    current_hour: bool,
    #[command(flatten)]
    sharing: SharingArguments,
    #[command(flatten)]
    ports: PortArguments,
}

/// Runs the command.
pub fn run(arguments: &IndexArguments) -> Result<Outcome, Failure> {
    netrewind_store::Store::open(&arguments.store.store)?; // an index makes no store
    let stop = signals::stop_flag()?;
    let mut writing = WritableStore::open(&arguments.store.store, "index", &arguments.sharing, Walls::new())?;
    writing.raised.say_gaps();
    writing.has_indexes = false; // they are built again right here
    arguments.ports.apply(&mut writing)?;
    let store = &writing.store;
    let segments: Vec<_> = ListedSegment::all(store)?
        .into_iter()
        .filter(|segment| segment.state == SegmentState::Sealed)
        .collect();
    let mut line = StatusLine::new();
    let (mut built, mut outcome) = (0, Outcome::Done);
    for (number, segment) in segments.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            line.clear();
            terminal::say(format_args!("interrupted: {built} of {} indexes built", segments.len()));
            return Ok(Outcome::Incomplete);
        }
        line.show(&format!("segment {} of {}: {}", number + 1, segments.len(), segment.name));
        let state = index_writer::index_state(store, segment)?;
        if matches!(state, IndexState::Good) && !arguments.rebuild {
            continue;
        }
        let Some(is_late) = may_build(arguments, &writing, &segment.name, &mut line)? else {
            outcome = Outcome::Incomplete;
            continue;
        };
        if let IndexState::Bad(error) = state {
            line.clear();
            terminal::say(format_args!("segment {}: {error}", segment.name));
            let rejected = Event::IndexRejected { segment: segment.name, reason: error.to_string() };
            let mut logbook = locked(&writing.logbook);
            logbook.append(crate::clock::now(), rejected)?;
        }
        match index_writer::build(store, &segment.name) {
            Ok(index) => {
                let index = if is_late { soundness::marked_late(&index) } else { index };
                store.write_index(&segment.name, &index)?;
                built += 1;
            }
            Err(error) => {
                line.clear();
                terminal::say(format_args!("{error:#}"));
                outcome = Outcome::Incomplete;
            }
        }
    }
    line.clear();
    terminal::say(format_args!("{built} of {} indexes built", segments.len()));
    write_hours(&writing, arguments.rebuild, &stop, &mut line)?;
    if arguments.catalog && write_catalog(arguments, &writing, &stop)? != Outcome::Done {
        outcome = Outcome::Incomplete;
    }
    Ok(outcome)
}

/// Writes the indexes of hours that are missing or not as they should be. An hour that is not over gets one of what it has.
pub fn write_hours(
    writing: &WritableStore,
    rebuild: bool,
    stop: &AtomicBool,
    line: &mut StatusLine,
) -> Result<(), Failure> {
    let store = &writing.store;
    let mut written = 0;
    for (hour, segments) in &kept_hours::hours(store)? {
        if hour_writer::is_current(store, *hour, segments)? && !rebuild {
            continue;
        }
        line.show(&format!("hour {hour}"));
        write_hour(store, *hour, segments, stop)?;
        written += 1;
    }
    line.clear();
    if written > 0 {
        terminal::say(format_args!("{written} hours indexed"));
    }
    Ok(())
}

/// True if an index that is built has to say that its checksums were taken later than the recording; `None` if none may be built: it
/// must not replace one that proves that the segment has changed since, because the new one would hide the damage.
fn may_build(
    arguments: &IndexArguments,
    writing: &WritableStore,
    name: &SegmentName,
    line: &mut StatusLine,
) -> Result<Option<bool>, Failure> {
    let alterations = match soundness::vouching(&writing.store, name) {
        Ok(Vouching::Altered(alterations)) => alterations,
        Ok(vouching) => return Ok(Some(vouching == Vouching::Late)),
        Err(error) => vec![format!("its bytes cannot be compared with its index: {error:#}")],
    };
    line.clear();
    for alteration in &alterations {
        terminal::say(format_args!("segment {name}: {alteration}"));
    }
    if !arguments.accept_damage {
        terminal::say(format_args!("segment {name}: its index is kept; --accept-damage rebuilds it anyway"));
        return Ok(None);
    }
    let reason = format!("rebuilt from a damaged segment: {}", alterations.join("; "));
    let rejected = Event::IndexRejected { segment: *name, reason };
    let mut logbook = locked(&writing.logbook);
    logbook.append(crate::clock::now(), rejected)?;
    Ok(Some(true))
}

/// Writes hours of the catalog.
fn write_catalog(
    arguments: &IndexArguments,
    writing: &WritableStore,
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    let store = &writing.store;
    CatalogFolder::of(store).remove_unfinished_hours()?;
    let source = ExtractedHours::of(store);
    let hours = kept_hours::hours(store)?;
    let now = crate::clock::now();
    let (mut written, mut outcome) = (0, Outcome::Done);
    for (&hour, segments) in &hours {
        if hour.end() > now && !arguments.current_hour {
            terminal::say(format_args!("hour {hour} is not over yet: --current-hour writes it anyway"));
            continue;
        }
        let is_due = match catalog_writer::hour_state(store, hour, segments)? {
            Catalogued::Missing | Catalogued::Stale => true,
            Catalogued::Good => arguments.rebuild && catalog_writer::is_rebuildable(store, hour, segments)?,
            Catalogued::Unfinished => false,
        };
        if !is_due {
            catalog_writer::write_seam(store, hour, stop)?;
            continue;
        }
        let manifest = catalog_writer::write(store, &source, hour, stop);
        match manifest.and_then(|manifest| catalog_writer::write_seam(store, hour, stop).map(|()| manifest)) {
            Ok(manifest) => {
                written += 1;
                let bytes = CatalogFolder::of(store).hour_disk_bytes(hour)?;
                let event = Event::Catalogued { hour, records: manifest.records, bytes };
                locked(&writing.logbook).append(now, event)?;
                terminal::say(format_args!("hour {hour}: {} conversations", manifest.records));
                manifest
                    .lacks
                    .iter()
                    .for_each(|lacks| terminal::say(format_args!("hour {hour} lacks {lacks}")));
            }
            Err(error) => {
                terminal::say(format_args!("hour {hour}: {error:#}"));
                outcome = Outcome::Incomplete;
            }
        }
    }
    locked(&writing.logbook).sync()?;
    terminal::say(format_args!("{written} of {} hours of the catalog written", hours.len()));
    Ok(outcome)
}
