//! `netrewind import`: capture files into a store.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_recorder::retention::Keeper;
use netrewind_recorder::source::Source;
use netrewind_recorder::source::capture_file::CaptureFile;
use netrewind_segment::Account;

use super::{StoreArgument, WritingArguments};
use crate::clock::SystemClock;
use crate::indexing::Indexing;
use crate::outcome::{Failure, Outcome};
use crate::signals;
use crate::terminal::{self, StatusLine};
use crate::writing::Writing;

const EXAMPLES: &str = "\
Examples:
  netrewind import --store ./store capture.pcap more.pcapng.gz
  ssh probe tcpdump -i eth0 -w - | netrewind import --store ./store -

Reads pcap and pcapng, of either byte order, in micro- or nanoseconds, compressed by gzip or zstd or not. What is
damaged is imported up to the damage, and reported by file and offset (exit status 1).";

/// Arguments of `netrewind import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    writing: WritingArguments,
    /// Capture files; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Imports them.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    for file in arguments.files.iter().filter(|file| file.as_path() != Path::new("-")) {
        std::fs::File::open(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    }
    if arguments.files.iter().any(|file| file.as_path() == Path::new("-")) && std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is a terminal: pipe a capture into it"));
    }
    let mut writing = Writing::open(&arguments.store.store, "import", &arguments.writing.sharing)?;
    arguments.writing.ports.apply(&mut writing)?;
    let stop = signals::stop_flag()?;
    let store = &writing.store;
    let mut indexing = Indexing::start(store, writing.logbook.clone(), writing.without_index)?;
    let mut sinks = |_lane: u16, keeper: &Arc<Keeper>| Some(indexing.of_lane(keeper));
    let mut unopened = Vec::new();
    let mut sources = arguments.files.iter().filter_map(|file| match open(file) {
        Ok(source) => Some(source),
        Err(error) => {
            unopened.push(error.to_string());
            None
        }
    });
    let mut line = StatusLine::new();
    let config = arguments.writing.config();
    let clock = Arc::new(SystemClock::new());
    let imported = netrewind_recorder::recorder::import(
        config,
        store,
        &mut sources,
        &mut sinks,
        clock,
        &mut |account| {
            show(&mut line, account);
            !stop.load(Ordering::Relaxed)
        },
    )?;
    indexing.finish();
    line.clear();
    tell(&imported, &unopened, &stop)
}

fn open(file: &Path) -> Result<Box<dyn Source>, netrewind_recorder::source::SourceError> {
    if file == Path::new("-") {
        return Ok(Box::new(CaptureFile::from_stream("standard input", std::io::stdin())?));
    }
    Ok(Box::new(CaptureFile::open(file)?))
}

fn show(line: &mut StatusLine, account: &Account) {
    if line.is_visible() {
        let packets = terminal::thousands(account.received as f64);
        line.show(&format!("{packets}packets, {}", terminal::bytes(account.bytes)));
    }
}

fn tell(
    imported: &netrewind_recorder::recorder::Import,
    unopened: &[String],
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Done;
    let damaged = imported.sources.iter().filter_map(|(_, packets, error)| Some((packets, error.as_ref()?)));
    for (packets, error) in damaged {
        terminal::say(format_args!("{error}; {packets} packets before it were imported"));
        outcome = Outcome::Incomplete;
    }
    for error in unopened {
        terminal::say(error);
        outcome = Outcome::Incomplete;
    }
    imported.notices.iter().for_each(terminal::say);
    let Account { written, dropped, bytes, segments, .. } = imported.account;
    terminal::say(format_args!("{written} packets ({}) in {segments} new segments", terminal::bytes(bytes)));
    if dropped.total() > 0 {
        terminal::say(format_args!("{} packets could not be written", dropped.total()));
        outcome = Outcome::Incomplete;
    }
    if imported.is_cut_short {
        let why = if stop.load(Ordering::Relaxed) { "told to" } else { "the disk failed" };
        terminal::say(format_args!("stopped before the end: {why}"));
        outcome = Outcome::Incomplete;
    }
    Ok(outcome)
}
