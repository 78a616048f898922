//! `netrewind verify`: checks every byte of a store, and builds what is derived again.

use std::path::{Path, PathBuf};

use netrewind_extractor::{Damage, Query};
use netrewind_indexer::index_writer;
use netrewind_store::store::{ListedSegment, MarkFiles, OpenedSegment, StoreListing, StoreWriter, Unlisted};
use netrewind_store::{RecordReader, SegmentState, Store};

use super::archived::{PreparedArchive, ReadArchiveArguments};
use super::query;
use super::store::STORE_VARIABLE;
use crate::confine::Walls;
use crate::extracted_hours;
use crate::outcome::{Failure, Outcome};
use crate::sharing::SharingArguments;
use crate::soundness::{self, FaultReport, Logged, LoggedCounts, ReportForm, Vouching};
use crate::{arguments, terminal};

mod evidence;

const EXAMPLES: &str = "\
Examples:
  netrewind verify --store /data/nr
  netrewind verify --store /data/nr --repair    # build again what is derived
  netrewind verify --store /data/nr --json | jq '.faults[].part'
  netrewind verify leak.pcap --key public.pem   # with its manifest and signature

With --store it reads every segment from end to end, compares every byte with the checksums in its index, builds the index again and compares,
and compares the counts with the logbook; reads every line of the logbook and of the audit, and every file of the catalog, and
compares checksums and numbers. Each fault is one line on standard output (exit status 1); the last line says what is good.

--repair writes indexes, indexes of hours and hours of the catalog that are damaged or missing. It never writes to segments, to
lines of the logbook or to store.toml, and makes no damage look sound: the index of a segment that nothing vouches for any more
says so from then on, and so does every later verify.";

/// Arguments of `netrewind verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArguments {
    /// The store's folder
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true,
        required_unless_present_any = ["file", "archive"], conflicts_with = "file")]
    store: Option<PathBuf>,
    #[command(flatten)]
    archive: ReadArchiveArguments,
    /// A file that extract --manifest wrote, or a case's packets; FILE.manifest.json is beside it
    #[arg(value_name = "FILE", conflicts_with = "archive")]
    file: Option<PathBuf>,
    /// The public key (Ed25519, PEM) that the manifest has to be signed with
    #[arg(long, value_name = "PUBLIC.pem", requires = "file")]
    key: Option<PathBuf>,
    /// Build again what is derived from segments and is damaged or missing; then verify
    #[arg(long, conflicts_with_all = ["file", "archive"])]
    repair: bool,
    /// Print one JSON object, or one for each recorder; times are in UTC
    #[arg(long)]
    json: bool,
    /// Time zone of printed times: UTC, local, or a zone such as Europe/Rome or +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    tz: String,
    #[command(flatten)]
    sharing: SharingArguments,
}

/// Runs the command.
pub fn run(arguments: &VerifyArguments) -> Result<Outcome, Failure> {
    match verified(arguments) {
        // What was told before its reader went away was a fault, or not all of it.
        Err(failure) if failure.is_reader_gone() => Ok(Outcome::Incomplete),
        ended => ended,
    }
}

fn verified(arguments: &VerifyArguments) -> Result<Outcome, Failure> {
    let form = ReportForm { json: arguments.json, zone: arguments::zone(&arguments.tz)? };
    match (&arguments.file, &arguments.store) {
        (Some(file), _) => evidence::verify(file, arguments.key.as_deref(), &form),
        (None, store) if arguments.archive.archive.is_some() => {
            let Some(archive) = arguments.archive.prepare_without_cache(store.as_deref())? else {
                return Ok(Outcome::Done);
            };
            verify_archive(&archive, &form)
        }
        (None, Some(store)) => verify_store(store, arguments, &form),
        (None, None) => Err(Failure::usage("name a store with --store, or a file that has a manifest")),
    }
}

fn verify_store(folder: &Path, arguments: &VerifyArguments, form: &ReportForm) -> Result<Outcome, Failure> {
    let mut report = FaultReport::new(form);
    if arguments.repair {
        soundness::repair(folder, &arguments.sharing, &mut report)?;
    }
    let store = Store::open_to_read(folder)?;
    if !arguments.repair {
        Walls::around(&store).raise().say_gaps();
    }
    verify_opened(&store, report)
}

/// Verifies what an archive has of each recorder.
fn verify_archive(archive: &PreparedArchive, form: &ReportForm) -> Result<Outcome, Failure> {
    archive.walls().raise().say_gaps();
    let mut outcome = Outcome::Done;
    let stores = archive.open()?;
    let is_sole = stores.len() == 1;
    for (id, store) in stores {
        let store = match store {
            Ok(store) => store,
            Err(failure) if is_sole => return Err(failure),
            Err(failure) => {
                outcome = Outcome::Incomplete;
                terminal::say(format_args!("{id}: {}", failure.text()));
                continue;
            }
        };
        if !form.json {
            terminal::print(store.root().display())?;
        }
        let found = verify_opened(&store, FaultReport::new(form))?;
        if matches!(found, Outcome::Incomplete) {
            outcome = found;
        }
    }
    Ok(outcome)
}

fn verify_opened(store: &Store, mut report: FaultReport) -> Result<Outcome, Failure> {
    let StoreListing { segments, unlisted } = StoreListing::of(store);
    for Unlisted { path, reason } in unlisted {
        report.fault(&store.part(&path), &reason)?;
    }
    let told = Logged::of(store, &segments, &mut report)?;
    let records = check_segments(store, &segments, &told, &mut report)?;
    told.tell_missing(store, &mut report)?;
    soundness::check_hours(store, &segments, &mut report)?;
    soundness::check_catalog(store, &mut report)?;
    soundness::check_audit(store, &mut report)?;
    soundness::check_cases(store, &mut report)?;
    soundness::check_secrets(store, &mut report)?;
    tell_what_answers_lack(store, &mut report)?;
    report.end(&store.root().display().to_string(), segments.len() as u64, records)?;
    Ok(if report.faults == 0 { Outcome::Done } else { Outcome::Incomplete })
}

/// Checks all segments; returns their packets.
fn check_segments(
    store: &Store,
    segments: &[ListedSegment],
    told: &Logged,
    report: &mut FaultReport,
) -> Result<u64, Failure> {
    let is_written = matches!(StoreWriter::of(store), Ok(Some(_)));
    let (mut records, mut sound, mut sound_records, mut open) = (0, 0, 0, 0);
    for (number, segment) in segments.iter().enumerate() {
        let name = segment.name;
        report.line.show(&format!("segment {} of {}: {name}", number + 1, segments.len()));
        let mut check = SegmentCheck { store, segment, is_written, faults: Vec::new(), remarks: Vec::new() };
        let found = check.run(told.counted.get(&name).copied()).unwrap_or_else(|error| {
            check.faults.push(format!("{error:#}"));
            0
        });
        let part = format!("segment {name}");
        let is_sound = check.faults.is_empty();
        for fault in &check.faults {
            report.fault(&part, fault)?;
        }
        for remark in &check.remarks {
            report.remark(&part, remark)?;
        }
        records += found;
        match segment.state {
            SegmentState::Sealed => {
                sound += u64::from(is_sound);
                sound_records += if is_sound { found } else { 0 };
            }
            SegmentState::Open => open += 1,
        }
    }
    let sealed = segments.len() as u64 - open;
    report.tally(format!("segments with {sound_records} packets"), sound, sealed);
    Ok(records)
}

/// Reports the gaps that an answer about everything would have, unless named already.
fn tell_what_answers_lack(store: &Store, report: &mut FaultReport) -> Result<(), Failure> {
    let extractor = extracted_hours::extractor(store);
    let completeness = extractor.completeness(&Query::default()).map_err(query::failure)?;
    for at in &completeness.unreadable {
        let part = format!("segment {}", at.segment);
        if !report.has_named(&part) {
            report.fault(&part, &at.reason)?;
        }
    }
    for Damage { part, reason, .. } in &completeness.damaged {
        if !report.has_named(part) && !report.has_named_day(store, part) {
            report.fault(part, reason)?;
        }
    }
    Ok(())
}

/// Check of one segment.
struct SegmentCheck<'s> {
    store: &'s Store,
    segment: &'s ListedSegment,
    /// True if a process writes to the store.
    is_written: bool,
    faults: Vec<String>,
    remarks: Vec<String>,
}

impl SegmentCheck<'_> {
    /// Runs it; returns the segment's packets.
    fn run(&mut self, counted: Option<LoggedCounts>) -> anyhow::Result<u64> {
        // One that has expired since is no fault.
        let Some(opened) = self.store.open_segment(&self.segment.name)? else { return Ok(0) };
        let bytes = opened.readable_bytes;
        let is_sealed = opened.state == SegmentState::Sealed;
        if !is_sealed {
            self.check_mark()?;
            if bytes == 0 {
                return Ok(0); // nothing is promised yet
            }
        }
        let records = match walk(opened) {
            Ok(records) => records,
            Err((records, fault)) => {
                self.faults.push(fault);
                records
            }
        };
        if !is_sealed {
            self.remarks.push(format!(
                "it is open: nothing vouches for bytes 0 to {bytes} before it is sealed, except that they are whole packets"
            ));
            return Ok(records);
        }
        if let Some(counted) = counted
            && (counted.records, counted.bytes) != (records, bytes)
        {
            self.faults.push(format!(
                "{records} packets in {bytes} bytes, but the logbook says {} in {}",
                counted.records, counted.bytes
            ));
        }
        self.check_bytes(bytes);
        Ok(records)
    }

    /// Checks the mark of an open segment, which a writer that is at work publishes in a moment, and one that has ended left behind.
    fn check_mark(&mut self) -> anyhow::Result<()> {
        let name = &self.segment.name;
        if self.is_written {
            return Ok(());
        }
        let part = self.store.part(&self.store.mark_path(name));
        if self.store.mark(name)?.is_some() {
            if MarkFiles::of(self.store).has_damaged_synced(name)? {
                self.faults.push(format!(
                    "the second of its two marks, {part}, is damaged (bytes 64 to 128): the first is good, and recovery goes by it"
                ));
            }
        } else if MarkFiles::of(self.store).has(name) {
            self.faults.push(format!(
                "its mark, {part}, is damaged (bytes 0 to 64): nothing of it is answered before the next recording recovers it"
            ));
        } else if self.store.holds_packets(name)? {
            self.faults.push(format!(
                "its mark, {part}, is missing: nothing of it is answered before the next recording recovers it"
            ));
        }
        Ok(())
    }

    /// Compares the bytes of a sealed segment with what vouches for them, and its index with one that is built again.
    fn check_bytes(&mut self, bytes: u64) {
        let vouching = soundness::vouching(self.store, &self.segment.name).unwrap_or_else(|error| {
            Vouching::Altered(vec![format!("its bytes cannot be compared with its index: {error:#}")])
        });
        match &vouching {
            Vouching::Altered(lines) => {
                self.faults.extend(lines.iter().cloned());
                return; // its index cannot be compared with it
            }
            Vouching::Nothing(_) if !self.segment.has_index && self.is_written => {
                self.remarks.push("it has no index yet, so that nothing vouches for its bytes".to_owned());
                return;
            }
            Vouching::Nothing(reason) => {
                self.faults.push(format!("{reason}: bytes 0 to {bytes} cannot be vouched for"));
                return;
            }
            Vouching::Late => self.faults.push(format!(
                "its index was lost, and its checksums were taken later: that bytes 0 to {bytes} are as they were recorded cannot be vouched for"
            )),
            Vouching::Sound => {}
        }
        if let Err(error) = self.check_index() {
            self.faults.push(format!("its index cannot be read: {error:#}"));
        }
    }

    fn check_index(&mut self) -> anyhow::Result<()> {
        let (store, name) = (self.store, &self.segment.name);
        let Some(file) = store.open_index(name)? else { return Ok(()) };
        let found = file.read_all()?;
        match index_writer::build(store, name) {
            Ok(wanted) if wanted == found || soundness::marked_late(&wanted) == found => {}
            Ok(wanted) => {
                let at = found.iter().zip(&wanted).position(|(one, other)| one != other);
                let at = at.unwrap_or(found.len().min(wanted.len()));
                let reason = match index_writer::index_state(store, self.segment)? {
                    index_writer::IndexState::Bad(error) => format!("{error} (it differs from byte {at} on)"),
                    _ => format!(
                        "its index does not match the segment, from byte {at} on: rebuild it with `netrewind verify --repair`"
                    ),
                };
                self.faults.push(reason);
            }
            Err(error) => self.faults.push(format!("its index cannot be checked: {error:#}")),
        }
        Ok(())
    }
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
