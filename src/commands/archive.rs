//! `netrewind archive`: what a store has that its archive has not, and uploading it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use netrewind_archive::upload::{self, ArchiveUpload, Waiting};
use netrewind_archive::{ArchiveUrl, Bucket};
use netrewind_recorder::Platform;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{SegmentName, Store, Timestamp};
use serde::Serialize;

use super::record::archiving::{ArchivePace, waiting_text};
use super::store::StoreArgument;
use crate::archive_access;
use crate::clock;
use crate::confine::Walls;
use crate::outcome::{Failure, Outcome};
use crate::sharing::SharingArguments;
use crate::signals;
use crate::terminal::{self, StatusLine};
use crate::writable_store::WritableStore;

const EXAMPLES: &str = "\
Examples:
  netrewind archive --store /data/nr --archive s3://packets/office
  netrewind archive --store /data/nr --archive s3://packets/office --now
  netrewind archive --store /data/nr --archive file:///mnt/nas/packets --now

While a recorder runs, it uploads by itself: netrewind record --archive URL. Keys come from the environment (AWS_ACCESS_KEY_ID,
GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT, ...), from AWS_PROFILE, or from the machine's role.
Exit status: 0 everything is there, 1 something waits, 2 wrong usage, 3 failed.";

/// Arguments of `netrewind archive`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ArchiveArguments {
    #[command(flatten)]
    store: StoreArgument,
    /// The archive: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER
    #[arg(long, value_name = "URL")]
    archive: ArchiveUrl,
    /// Upload what is not there yet, and end
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    pace: ArchivePace,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sharing: SharingArguments,
}

/// An archive at a glance.
#[derive(Debug, Serialize)]
struct ArchiveReport {
    archive: String,
    store_id: String,
    /// Segments uploaded by this command, and the bytes of their objects.
    archived_segments: u64,
    archived_bytes: u64,
    /// Objects removed because of their age.
    removed_objects: u64,
    waiting_segments: u64,
    waiting_bytes: u64,
    /// Time at which the oldest of them was opened, and how long ago that is.
    oldest: Option<Timestamp>,
    lag_seconds: Option<u64>,
    /// Those that can be uploaded: they have an index.
    segments: Vec<SegmentName>,
    trouble: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &ArchiveArguments) -> Result<Outcome, Failure> {
    if arguments.now { upload_all(arguments) } else { show(arguments) }
}

fn open_bucket(arguments: &ArchiveArguments) -> Result<Bucket, Failure> {
    let environment = archive_access::environment();
    Ok(Bucket::open_at_rate(&arguments.archive, &environment, arguments.pace.archive_rate)?)
}

fn show(arguments: &ArchiveArguments) -> Result<Outcome, Failure> {
    let store = Store::open(&arguments.store.store)?;
    let bucket = open_bucket(arguments)?;
    let environment = archive_access::environment();
    archive_access::reading_walls(Walls::around(&store), &arguments.archive, &environment).raise().say_gaps();
    let now = clock::now();
    let (waiting, due) = upload::look(&store, &bucket, now)?;
    let report = ArchiveReport {
        segments: due.iter().map(|segment| segment.name).collect(),
        ..report(arguments, &store, &waiting, now)
    };
    if arguments.json {
        terminal::print(terminal::object(&report)?)?;
    } else {
        for segment in &due {
            terminal::print(format_args!("{}  {}", segment.name, terminal::bytes(segment.file_bytes)))?;
        }
        terminal::say(lag_text(&report, &waiting));
        let without_index = waiting.segments - due.len() as u64;
        if without_index > 0 {
            terminal::say(format_args!(
                "{without_index} of them have no index yet, and wait for it: a recorder builds it, or netrewind index"
            ));
        }
    }
    Ok(if waiting.segments == 0 { Outcome::Done } else { Outcome::Incomplete })
}

fn report(arguments: &ArchiveArguments, store: &Store, waiting: &Waiting, now: Timestamp) -> ArchiveReport {
    ArchiveReport {
        archive: arguments.archive.to_string(),
        store_id: store.identity().id.clone(),
        archived_segments: 0,
        archived_bytes: 0,
        removed_objects: 0,
        waiting_segments: waiting.segments,
        waiting_bytes: waiting.bytes,
        oldest: waiting.oldest,
        lag_seconds: waiting.oldest.map(|oldest| now.ns_since(oldest) / SECOND_NS),
        segments: Vec::new(),
        trouble: None,
    }
}

fn lag_text(report: &ArchiveReport, waiting: &Waiting) -> String {
    match report.lag_seconds {
        None => format!("Everything is in {}", report.archive),
        Some(lag) => {
            format!("{}; the oldest was opened {} ago", waiting_text(waiting), terminal::span(lag))
        }
    }
}

fn upload_all(arguments: &ArchiveArguments) -> Result<Outcome, Failure> {
    Store::open(&arguments.store.store)?; // archiving makes no store
    let stop = signals::stop_flag()?;
    let bucket = open_bucket(arguments)?;
    let environment = archive_access::environment();
    let walls = archive_access::writing_walls(Walls::new(), &arguments.archive, &environment);
    let writing = WritableStore::open(&arguments.store.store, "archive", &arguments.sharing, walls)?;
    writing.raised.say_gaps();
    let Platform { clock, .. } = Platform::system();
    let mut line = StatusLine::new();
    let upload = ArchiveUpload::new(bucket, arguments.pace.archive_max_age);
    let mut tell = |status: &upload::ArchiveStatus| {
        line.show(&format!("{} segments archived, {}", status.segments, waiting_text(&status.waiting)));
    };
    let status = upload.run(&writing.store, Arc::clone(&writing.logbook), clock, &stop, &mut tell)?;
    line.clear();
    let report = ArchiveReport {
        archived_segments: status.segments,
        archived_bytes: status.bytes,
        removed_objects: status.removed,
        trouble: status.trouble.clone(),
        ..report(arguments, &writing.store, &status.waiting, clock::now())
    };
    if arguments.json {
        terminal::if_read(terminal::print(terminal::object(&report)?))?;
    }
    let removed = match status.removed {
        0 => String::new(),
        removed => format!(", {removed} objects expired"),
    };
    terminal::say(format_args!(
        "{} segments archived, {}{removed}. {}",
        status.segments,
        terminal::bytes(status.bytes),
        lag_text(&report, &status.waiting)
    ));
    status.trouble.iter().for_each(terminal::say);
    let is_done = status.waiting.segments == 0 && status.trouble.is_none();
    Ok(if is_done && !stop.load(Ordering::Relaxed) { Outcome::Done } else { Outcome::Incomplete })
}
