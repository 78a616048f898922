//! `netrewind compress`: complete segments become smaller, and stay what they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netrewind_indexer::{Workplace, compressor};
use netrewind_recorder::Platform;
use netrewind_store::cold::Compression;
use netrewind_store::store::ListedSegment;

use super::store::StoreArgument;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::sharing::SharingArguments;
use crate::signals;
use crate::terminal::{self, StatusLine};
use crate::writable_store::WritableStore;

const EXAMPLES: &str = "\
Examples:
  netrewind compress --store /data/nr               # every complete segment
  netrewind compress --store /data/nr --after 1d    # only those that are a day old

Answers stay the same, byte for byte, and indexes stay valid. While a recorder runs, it compresses by itself:
netrewind record --compress-after 1h. A segment that would not become a tenth smaller stays as it is.";

/// Arguments of `netrewind compress`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompressArguments {
    #[command(flatten)]
    store: StoreArgument,
    /// Age of a segment from which it is compressed
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = crate::arguments::duration)]
    after: Duration,
    #[command(flatten)]
    sharing: SharingArguments,
}

/// Runs the command.
pub fn run(arguments: &CompressArguments) -> Result<Outcome, Failure> {
    netrewind_store::Store::open(&arguments.store.store)?; // compressing makes no store
    let stop = signals::stop_flag()?;
    let writing = WritableStore::open(&arguments.store.store, "compress", &arguments.sharing, Walls::new())?;
    writing.raised.say_gaps();
    let Platform { clock, threads, .. } = Platform::system();
    let place = Workplace {
        store: writing.store.clone(),
        logbook: Arc::clone(&writing.logbook),
        clock,
        threads,
        watcher: None,
    };
    let now = crate::clock::now();
    let segments = ListedSegment::all(&writing.store)?;
    let due: Vec<_> =
        segments.iter().filter(|segment| compressor::is_due(segment, arguments.after, now)).collect();
    let (mut line, mut before, mut after, mut compressed, mut outcome) =
        (StatusLine::new(), 0, 0, 0_u64, Outcome::Done);
    for (number, segment) in due.iter().enumerate() {
        line.show(&format!("segment {} of {}: {}", number + 1, due.len(), segment.name));
        match compressor::compress(&place, segment, None, &stop) {
            Ok(Compression::Written(file_bytes)) => {
                (before, after) = (before + segment.file_bytes, after + file_bytes);
                compressed += 1;
            }
            Ok(Compression::NotWorthIt) => {}
            Ok(Compression::Stopped) => outcome = Outcome::Incomplete,
            Err(error) => {
                line.clear();
                terminal::say(format_args!("segment {}: {error:#}", segment.name));
                outcome = Outcome::Incomplete;
            }
        }
        if stop.load(Ordering::Relaxed) {
            outcome = Outcome::Incomplete;
            break;
        }
    }
    line.clear();
    let without = segments.iter().filter(|it| !it.has_index && !it.is_cold).count();
    if without > 0 {
        terminal::say(format_args!(
            "{without} segments have no index yet, and are left: run netrewind index"
        ));
    }
    let sizes = match compressed {
        0 => String::new(),
        _ => format!(": {} became {}", terminal::bytes(before), terminal::bytes(after)),
    };
    terminal::say(format_args!("{compressed} of {} segments compressed{sizes}", due.len()));
    super::index::write_hours(&writing, false, &stop, &mut line)?;
    Ok(outcome)
}
