//! `netrewind import`: capture files into a store.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_indexer::{Indexer, Workplace};
use netrewind_recorder::Platform;
use netrewind_recorder::recorder::ImportedSource;
use netrewind_recorder::source::Source;
use netrewind_recorder::source::capture_file::{CaptureFile, LeftOut};
use netrewind_store::Account;
use netrewind_store::room::Room;

use super::store::{StoreArgument, WritingArguments};
use super::{keylog, record};
use crate::confine::{Calls, Walls};
use crate::outcome::{Failure, Outcome};
use crate::signals;
use crate::terminal::{self, StatusLine};
use crate::writable_store::WritableStore;

const EXAMPLES: &str = "\
Examples:
  netrewind import --store ./store capture.pcap more.pcapng.gz
  netrewind import --store ./store --keylog ~/sslkeys.log capture.pcap
  ssh probe tcpdump -i eth0 -w - | netrewind import --store ./store -

Reads pcap and pcapng, of either byte order, in micro- or nanoseconds, compressed by gzip or zstd or not. A damaged file is imported up to the damage; the error gives file and offset (exit status 1), and answers about the time after it are incomplete.
Packets keep the interface that the file names, or else get the file's name as their interface: extract --interface NAME selects it. TLS
secrets, in the file or of --keylog, are kept as well: extract puts them into pcapng files. Other decryption secrets, names, comments and directions are not
kept; the import says how many there were.";

/// Arguments of `netrewind import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArguments {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    writing: WritingArguments,
    /// Keep the TLS secrets in this file (SSLKEYLOGFILE) with the packets of all files, for Wireshark to decrypt them
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
    /// Print the account as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
    /// Capture files; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &ImportArguments) -> Result<Outcome, Failure> {
    arguments
        .files
        .iter()
        .filter(|file| file.as_path() != Path::new("-"))
        .try_for_each(|file| check_readable(file))?;
    if arguments.files.iter().any(|file| file.as_path() == Path::new("-")) && std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is a terminal: pipe a capture into it"));
    }
    let key_log = arguments.keylog.as_deref().map(keylog::read).transpose()?.unwrap_or_default();
    has_room(&arguments.files, arguments.writing.config().budget_bytes)?;
    let stop = signals::patient_stop_flag()?;
    // Those that are pipes are opened when their turn comes.
    let walls = arguments.files.iter().fold(Walls::new(), |walls, file| walls.reading(file));
    let walls = walls.calling(Calls::with_ring);
    let mut writing =
        WritableStore::open(&arguments.store.store, "import", &arguments.writing.sharing, walls)?;
    writing.raised.say_gaps();
    arguments.writing.ports.apply(&mut writing)?;
    let store = &writing.store;
    let platform = Platform::system();
    let place = Workplace {
        store: store.clone(),
        logbook: writing.logbook.clone(),
        clock: platform.clock.clone(),
        threads: platform.threads.clone(),
        watcher: None,
    };
    let mut indexer = Indexer::start(place, writing.without_index)?;
    let mut sinks = |_lane: u16, room: &Arc<dyn Room>| Some(indexer.sink(room));
    let mut unopened = Vec::new();
    let mut sources = arguments.files.iter().filter_map(|file| match open(file, &key_log) {
        Ok(source) => Some(source),
        Err(error) => {
            unopened.push(error.to_string());
            None
        }
    });
    let mut line = StatusLine::new();
    let config = arguments.writing.config();
    let imported = netrewind_recorder::recorder::import(
        config,
        store,
        &writing.lock,
        &mut sources,
        &mut sinks,
        &platform,
        &mut |account| {
            show(&mut line, account);
            !stop.load(Ordering::Relaxed)
        },
    )?;
    indexer.finish();
    line.clear();
    let outcome = report_import(&imported, &unopened, config.budget_bytes, &stop)?;
    if arguments.json {
        terminal::if_read(terminal::print(terminal::object(&in_json(&imported, &unopened))?))?;
    }
    Ok(outcome)
}

/// Checks that a file can be read, without consuming any of it: a pipe is opened once, when its turn comes.
fn check_readable(file: &Path) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
    let metadata = std::fs::metadata(file).map_err(|error| wrong(&error))?;
    if metadata.is_dir() {
        return Err(wrong(&"it is a directory: name the files in it"));
    }
    if metadata.is_file() {
        std::fs::File::open(file).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// Divisor of a capture file's size that gives the least space of its packets: pcapng may hold more besides them than a segment.
const PACKETS_DIVISOR: u64 = 2;

/// Refuses files that exceed the budget: nothing in the store should expire for packets that would expire themselves.
fn has_room(files: &[PathBuf], budget_bytes: Option<u64>) -> Result<(), Failure> {
    let Some(budget_bytes) = budget_bytes else { return Ok(()) };
    let bytes = |file: &PathBuf| {
        std::fs::metadata(file).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
    };
    let all: u64 = files.iter().map(bytes).sum();
    if all / PACKETS_DIVISOR < budget_bytes {
        return Ok(());
    }
    let (all, budget) = (terminal::bytes(all), terminal::bytes(budget_bytes));
    Err(Failure::usage(format!(
        "the files have {all}, which does not fit in the budget of {budget}: nothing was imported; raise --budget, or import less"
    )))
}

fn open(file: &Path, key_log: &[u8]) -> Result<Box<dyn Source>, netrewind_recorder::source::SourceError> {
    let opened = match file == Path::new("-") {
        true => record::standard_input()?,
        false => CaptureFile::open(file)?,
    };
    Ok(Box::new(opened.keeping_secrets(key_log)))
}

fn show(line: &mut StatusLine, account: &Account) {
    if line.is_visible() {
        let packets = terminal::thousands(account.received as f64);
        line.show(&format!("{packets}packets, {}", terminal::bytes(account.bytes)));
    }
}

/// The account, with the words of `record --json`, and the fault of each file that has one.
fn in_json(imported: &netrewind_recorder::recorder::Import, unopened: &[String]) -> serde_json::Value {
    let Account { received, written, dropped, bytes, segments } = imported.account;
    let of_file = |source: &ImportedSource| {
        let error = source.error.as_ref().map(ToString::to_string);
        serde_json::json!({"name": source.name, "received": source.records, "error": error})
    };
    let files: Vec<_> = imported.sources.iter().map(of_file).collect();
    serde_json::json!({
        "received": received,
        "written": written,
        "dropped": { "kernel": dropped.kernel, "disk": dropped.disk },
        "bytes": bytes,
        "segments": segments,
        "expired": imported.expired_packets,
        "secrets_bytes": imported.secrets_bytes,
        "secrets_lost": imported.secrets_lost,
        "files": files,
        "unopened": unopened,
    })
}

/// Remedy for contents that are not kept.
fn remedy(left_out: &LeftOut) -> &'static str {
    match (left_out.secrets > 0, left_out.times_moved > 0) {
        (_, true) => "; packets with such times are stored at the nearest time that a segment can hold",
        (true, false) => {
            "; keep the file: its packets cannot be decrypted without these secrets, and a store keeps those of TLS alone, at most 16 MiB a file"
        }
        (false, false) => "",
    }
}

fn report_import(
    imported: &netrewind_recorder::recorder::Import,
    unopened: &[String],
    budget_bytes: Option<u64>,
    stop: &AtomicBool,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Done;
    for ImportedSource { name, records, error, left_out } in &imported.sources {
        if let Some(error) = error {
            terminal::say(format_args!("{error}; the {records} packets before it were imported"));
            outcome = Outcome::Incomplete;
        }
        if !left_out.is_nothing() {
            terminal::say(format_args!("{name}: not kept: {left_out}{}", remedy(left_out)));
        }
        if left_out.times_moved > 0 {
            outcome = Outcome::Incomplete;
        }
    }
    for error in unopened {
        terminal::say(error);
        outcome = Outcome::Incomplete;
    }
    if imported.reported_drops > 0 {
        terminal::say(format_args!(
            "these captures report {} packets dropped while they were made; answers about that time will say so",
            imported.reported_drops
        ));
    }
    imported.notices.iter().for_each(terminal::say);
    if imported.secrets_bytes > 0 {
        let bytes = terminal::bytes(imported.secrets_bytes);
        terminal::say(format_args!(
            "{bytes} of TLS secrets are kept with these packets, readable by their owner alone"
        ));
    }
    for lost in &imported.secrets_lost {
        terminal::say(lost);
        outcome = Outcome::Incomplete;
    }
    let Account { written, dropped, bytes, segments, .. } = imported.account;
    terminal::say(format_args!("{written} packets ({}) in {segments} new segments", terminal::bytes(bytes)));
    if imported.expired_packets > 0 {
        let limit = budget_bytes.map_or_else(
            || "the disk is full".to_owned(),
            |budget| format!("the budget of {} is used up: raise --budget", terminal::bytes(budget)),
        );
        terminal::say(format_args!(
            "{} of these packets have already expired: {limit}",
            imported.expired_packets
        ));
        outcome = Outcome::Incomplete;
    }
    let failure = imported.failure.as_deref().unwrap_or("the disk failed");
    if dropped.total() > 0 {
        terminal::say(format_args!("{} packets could not be written: {failure}", dropped.total()));
        outcome = Outcome::Incomplete;
    }
    if imported.unlogged > 0 {
        terminal::say(format_args!(
            "{} lines could not be written to the logbook: answers will not report the drops and gaps in them",
            imported.unlogged
        ));
        outcome = Outcome::Incomplete;
    }
    if imported.is_cut_short {
        let why = if stop.load(Ordering::Relaxed) { "interrupted" } else { failure };
        terminal::say(format_args!("stopped before the end: {why}"));
        outcome = Outcome::Incomplete;
    }
    Ok(outcome)
}
