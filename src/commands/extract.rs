//! `netrewind extract`: exactly the packets of a query, as a capture file.

mod evidence;
mod hits;
mod opened_output;
mod output;
mod own_name;

use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use netrewind_cases::EvidenceSource;
use netrewind_extractor::events::{self, LoggedEvent};
use netrewind_extractor::flows::FlowId;
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Answer, AnswerLimits, DedupWindow, Estimate, Query};

use self::evidence::Evidence;
pub use self::evidence::{manifest_path, signature_path};
use self::hits::OpenedHits;
use self::opened_output::{AnswerForm, OpenedOutput};
use self::own_name::own_name;
use super::event_log::EventLogArguments;
use super::hint;
use super::keylog;
use super::keys;
use super::progress::ProgressDisplay;
use super::query::{self, QueryArguments, workers};
use super::target::{QueryTarget, TargetArguments};
use crate::outcome::{Failure, Outcome};
use crate::{arguments, signals, terminal};

/// Mode of a new folder: packets are private until their owner decides otherwise.
const NEW_FOLDER_MODE: u32 = 0o700;

/// Files that `--each` writes at most.
const EACH_MAX: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  netrewind extract --store /data/nr --from '2h ago' --filter 'host 10.1.2.3 and port 443' -o talk.pcap
  netrewind extract --store /data/nr --from 2026-11-22T09:30:00Z --to 2026-11-22T09:35:00Z -o five-minutes.pcapng
  netrewind extract --store /data/nr --from '5m ago' --filter 'port 53' --format text -o -
  netrewind extract --store /data/nr --filter 'icmp' -o - | wireshark -k -i -
  netrewind extract --store /data/nr --from now --filter 'port 53' --follow -o - | tcpdump -n -r -
  netrewind extract --store /data/nr --filter 'not port 443' --count
  netrewind extract --url https://nr1:8640 --url https://nr2:8640 --token-file token --from '5m ago' -o both.pcapng
  netrewind extract --store /data/nr --vni 42 --filter 'host 10.0.0.5' --decapsulate -o inner.pcap
  netrewind extract --store /data/nr --filter 'host 10.0.0.5' --dedup 5ms -o both-ends-mirrored.pcap
  netrewind extract --store /data/nr --query 'sni:example.com AND bytes:>1M' -o example.pcap
  netrewind extract --store /data/nr --community-id '1:wCb3OG7yAFWelaUydu0D+125CLM=' --around 2026-11-22T09:31:01Z -o alert.pcap
  grep alert eve.json | netrewind extract --store /data/nr --eve - --window 30s --each alerts
  netrewind extract --store /data/nr --filter 'port 443' --keylog ~/sslkeys.log -o decrypted.pcapng
  netrewind extract --store /data/nr --filter 'host 10.0.0.5' -o leak.pcap --manifest --sign key.pem
  netrewind extract --store /data/nr --from '7d ago' --hosts-file indicators.txt --hits hits.csv -o hits.pcap
  netrewind extract --store /data/nr --flow 18eb1f3a2c5d6e700123456789abcdef -o conversation.pcap

The filter is a pcap-filter(7) expression. Times: 2026-11-22T09:31:01.628448290Z, '2026-11-22 09:30' (with --tz), 09:30 (today),
'yesterday 14:00', 1795339861.5 (Unix seconds), '2h ago' or -2h; --to +5m counts from --from.
The packets are those with from <= time < to, in order of time.
Whether the answer is complete stands on standard error and in the exit status: 0 complete, 1 incomplete.";

/// Arguments of `netrewind extract`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExtractArguments {
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    query: QueryArguments,
    /// Write the innermost packet without its tunnel; the tunnel's fragments are reassembled
    #[arg(long)]
    decapsulate: bool,
    /// Compare what is read with the checksums taken while recording; what has changed since is named, and the answer incomplete
    #[arg(long, conflicts_with_all = ["follow", "estimate"])]
    check: bool,
    /// Leave out copies of a packet recorded within this time before it (5ms; at most 10s), also in another tunnel or VLAN, or
    /// with another TTL
    #[arg(long, value_name = "DURATION", value_parser = dedup_window)]
    dedup: Option<DedupWindow>,
    /// Only packets of conversations that this search finds, as netrewind flows --query lists them
    #[arg(long = "query", value_name = "SEARCH", conflicts_with_all = ["follow", "eve", "zeek"])]
    search: Option<String>,
    /// Only packets of the conversations with this Community ID, as other tools write it
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "eve", "zeek"])]
    community_id: Option<String>,
    /// Only packets of the conversation with this id, as in the output of netrewind flows --format json
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "eve", "zeek"])]
    flow: Option<FlowId>,
    #[command(flatten)]
    log: EventLogArguments,
    /// Write the packets of each event of --eve or --zeek to a file of its own in this folder, instead of one file for all
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "count", "estimate"])]
    each: Option<PathBuf>,
    /// pcap (one link type), pcapng (several; interfaces, drops and completeness inside), or text: a line for each packet
    /// [default: by the file's name]
    #[arg(long, value_name = "FORMAT", value_parser = ["pcap", "pcapng", "text"])]
    format: Option<String>,
    /// Put the TLS secrets in this file (SSLKEYLOGFILE) into the answer, so that Wireshark decrypts it: pcapng only
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "estimate"])]
    keylog: Option<PathBuf>,
    /// Leave out the TLS secrets that imported captures came with, which a pcapng answer has otherwise, so that Wireshark decrypts it
    #[arg(long)]
    no_secrets: bool,
    /// Bytes kept of each packet, which keeps its true length; 0 keeps all [default: all]
    #[arg(long, value_name = "N", value_parser = arguments::snaplen, conflicts_with_all = ["count", "estimate"])]
    snaplen: Option<u32>,
    /// Stop after this many packets
    #[arg(long, value_name = "N", value_parser = arguments::count)]
    max_packets: Option<u64>,
    /// Stop before the packets have more bytes than this
    #[arg(long, value_name = "SIZE", value_parser = arguments::bytes)]
    max_bytes: Option<u64>,
    /// Print the number of packets instead of writing them
    #[arg(long, conflicts_with_all = ["estimate", "output"])]
    count: bool,
    /// Print an upper bound of the number of packets, without reading any
    #[arg(long, conflicts_with = "output")]
    estimate: bool,
    /// Write the addresses of --hosts-file that the packets have to this file, as CSV: address, entry, packets, bytes, first, last;
    /// - for standard output
    #[arg(long, value_name = "FILE", requires = "hosts_file", conflicts_with_all = ["estimate", "each"])]
    hits: Option<PathBuf>,
    /// Continue with new packets as they are recorded, until Ctrl-C, a limit, or --to has passed
    #[arg(long, short = 'F', conflicts_with_all = ["count", "estimate", "eve", "zeek"])]
    follow: bool,
    /// Write FILE.manifest.json beside the file: its SHA-256, the query, its completeness; netrewind verify FILE checks it
    #[arg(long, conflicts_with_all = ["count", "estimate"])]
    manifest: bool,
    /// Sign the manifest with this private key (Ed25519, PKCS#8 PEM): FILE.manifest.json.sig
    #[arg(long, value_name = "KEY.pem", requires = "manifest")]
    sign: Option<PathBuf>,
    /// Print the answer's account (packets, bytes, completeness) as one JSON object: on standard output with --count and
    /// --estimate, else on standard error
    #[arg(long)]
    json: bool,
    /// Print neither completeness nor progress
    #[arg(long, short)]
    quiet: bool,
    /// The file to write, compressed if its name ends in .gz or .zst; - for standard output. A new file can be read by its owner
    /// alone (0600); an existing one keeps its mode, and a link keeps pointing at it [default: standard output if that is piped,
    /// else a new file, named by range and filter]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ExtractArguments {
    /// Sets the token for recorders, if no file holds it.
    pub fn set_token(&mut self, token: Option<String>) {
        self.target.token = token;
    }
}

/// Runs the command.
pub fn run(arguments: &ExtractArguments) -> Result<Outcome, Failure> {
    let is_binary = arguments.format.as_deref() != Some("text");
    if arguments.output.as_deref() == Some(Path::new("-")) && io::stdout().is_terminal() && is_binary {
        return Err(Failure::usage(
            "standard output is a terminal: write to a file with -o FILE, or pipe the output to another program",
        ));
    }
    // A terminal has no use for packets, and whoever pipes them wants no file.
    let is_named = arguments.output.is_some() || arguments.each.is_some();
    let names_itself = !is_named && is_binary && io::stdout().is_terminal();
    let is_stdout =
        !names_itself && arguments.output.as_deref().is_none_or(|output| output == Path::new("-"));
    if arguments.manifest && arguments.each.is_none() && is_stdout {
        return Err(Failure::usage(
            "--manifest is written beside a file, and standard output has no name: write to a file with -o FILE",
        ));
    }
    let secrets = arguments.keylog.as_deref().map(keylog::read).transpose()?.unwrap_or_default();
    let signer = arguments.sign.as_deref().map(keys::signer).transpose()?;
    let events = events_of(arguments)?;
    let asked = query_of(arguments)?;
    let query = match &events {
        Some(events) => events::query_for_all(events, &asked),
        None => asked.clone(),
    };
    let stop = signals::stop_flag()?;
    let workers = match arguments.target.url[..] {
        [] => workers(&query.filter)?,
        _ => None, // recorders compile it
    };
    let target = arguments.target.open(workers)?;
    let source = match &target {
        QueryTarget::Local(extractor) => EvidenceSource::from(extractor.store()),
        QueryTarget::Archived(target) => EvidenceSource::Recorders(vec![target.url()]),
        QueryTarget::Remote(_) => EvidenceSource::Recorders(arguments.target.url.clone()),
    };
    let evidence = arguments.manifest.then_some(Evidence { source, signer, snaplen: arguments.snaplen });
    let form = AnswerForm {
        evidence: evidence.as_ref(),
        secrets: &secrets,
        format: arguments.format.as_deref(),
        snaplen: arguments.snaplen,
        follows: arguments.follow,
    };
    let is_silent = arguments.quiet || arguments.json || arguments.follow;
    let mut control = ProgressDisplay::new(stop, is_silent, arguments.query.zone()?);
    let is_written = !arguments.estimate && !arguments.count && arguments.each.is_none();
    let own_name = (is_written && names_itself).then(|| {
        let is_pcapng = arguments.keylog.is_some() || arguments.format.as_deref() == Some("pcapng");
        own_name(&query, if is_pcapng { "pcapng" } else { "pcap" })
    });
    let output = arguments.output.as_deref().or(own_name.as_deref()).unwrap_or(Path::new("-"));
    let output = is_written.then(|| OpenedOutput::open(output, form)).transpose()?;
    let hits = arguments.hits.as_deref().map(|name| OpenedHits::open(name, &query)).transpose()?;
    let mut hits = hits.flatten();
    let folders =
        output.iter().flat_map(OpenedOutput::folders).chain(hits.iter().filter_map(OpenedHits::folder));
    let walls = folders.fold(target.walls(), |walls, folder| walls.renaming_in(&folder));
    let walls = match &arguments.each {
        Some(folder) => {
            create_folder(folder)?;
            walls.logging_in(folder)
        }
        None => walls,
    };
    let raised = walls.raise();
    if !arguments.quiet {
        raised.say_gaps();
    }
    if arguments.estimate {
        let estimate = target.estimate(&query, &mut control)?;
        print_estimate(&estimate.bounds, arguments.json)?;
        estimate.troubles.iter().for_each(terminal::say);
        return Ok(if estimate.troubles.is_empty() { Outcome::Done } else { Outcome::Incomplete });
    }
    if let Some(folder) = &arguments.each {
        let events = events.unwrap_or_default();
        let asked = (&asked, &events[..]);
        return extract_each(&target, asked, (folder, form), arguments, &mut control);
    }
    let begun = Instant::now();
    let answer = match (output, &mut hits) {
        (Some(output), hits) => output.extract(&target, &query, &mut control, hits.as_mut()),
        (None, Some(hits)) => hits.count(&target, &query, &mut control),
        (None, None) => target.count(&query, &mut control),
    };
    control.end();
    match (hits, answer.is_ok()) {
        (Some(hits), true) => hits.keep()?,
        (Some(hits), false) => hits.give_up(),
        (None, _) => {}
    }
    let mut answer = answer?;
    if answer.packets == 0 && !arguments.quiet && !arguments.follow {
        target.add_hint(&query, &mut answer, begun.elapsed());
    }
    if let Some(name) = own_name.filter(|_| !arguments.json) {
        terminal::say(format_args!("{}:", name.display()));
    }
    report_answer(arguments, &answer, begun.elapsed())
}

fn dedup_window(text: &str) -> Result<DedupWindow, String> {
    arguments::duration(text)?.try_into()
}

fn query_of(arguments: &ExtractArguments) -> Result<Query, Failure> {
    Ok(Query {
        flow: arguments.flow,
        search: query::search(arguments.search.as_deref(), arguments.community_id.as_deref())?,
        decapsulate: arguments.decapsulate,
        check: arguments.check,
        secrets: !arguments.no_secrets,
        dedup: arguments.dedup,
        limits: AnswerLimits { packets: arguments.max_packets, bytes: arguments.max_bytes },
        ..match arguments.log.is_given() {
            true => arguments.query.query_of_events()?,
            false => arguments.query.query(arguments.follow)?,
        }
    })
}

/// The events whose packets are wanted; `None` if the packets are chosen otherwise.
fn events_of(arguments: &ExtractArguments) -> Result<Option<Vec<LoggedEvent>>, Failure> {
    if arguments.each.is_some() && !arguments.log.is_given() {
        return Err(Failure::usage("--each writes the packets of events: give --eve or --zeek"));
    }
    let events = arguments.log.read(&arguments.query)?;
    let files = events.as_ref().map_or(0, Vec::len);
    if arguments.each.is_some() && files > EACH_MAX {
        return Err(Failure::usage(format!(
            "--each would write {files} files, and writes {EACH_MAX} at most: choose some of the log's lines, or write one file"
        )));
    }
    Ok(events)
}

fn create_folder(folder: &Path) -> Result<(), Failure> {
    let created = DirBuilder::new().recursive(true).mode(NEW_FOLDER_MODE).create(folder);
    Ok(created.with_context(|| folder.display().to_string())?)
}

/// Writes the packets of each event to a file of its own.
fn extract_each(
    target: &QueryTarget,
    (asked, events): (&Query, &[LoggedEvent]),
    (folder, form): (&Path, AnswerForm<'_>),
    arguments: &ExtractArguments,
    control: &mut ProgressDisplay,
) -> Result<Outcome, Failure> {
    let extension = match arguments.format.as_deref() {
        Some("text") => "txt",
        format => format.unwrap_or("pcap"),
    };
    let mut outcome = Outcome::Done;
    for event in events {
        let output = folder.join(format!("{}.{extension}", event.name));
        let begun = Instant::now();
        let opened = OpenedOutput::open(&output, form);
        let written = opened.and_then(|opened| opened.extract(target, &event.query(asked), control, None));
        let answer = written?;
        control.end();
        if !arguments.quiet && !arguments.json {
            terminal::say(format_args!("{}:", output.display()));
        }
        if report_answer(arguments, &answer, begun.elapsed())? == Outcome::Incomplete {
            outcome = Outcome::Incomplete;
        }
    }
    Ok(outcome)
}

fn print_estimate(estimate: &Estimate, json: bool) -> Result<(), Failure> {
    if json {
        terminal::print(terminal::object(estimate)?)?;
        return Ok(());
    }
    let Estimate { packets_min, packets_max, bytes_max, segments } = estimate;
    terminal::print(format_args!(
        "{packets_min} to {packets_max} packets, at most {} on the wire, in {segments} segments",
        terminal::bytes(*bytes_max)
    ))?;
    Ok(())
}

/// Reports the answer and its completeness.
fn report_answer(arguments: &ExtractArguments, answer: &Answer, took: Duration) -> Result<Outcome, Failure> {
    let outcome = if answer.completeness.is_sound() { Outcome::Done } else { Outcome::Incomplete };
    if arguments.json {
        let account = terminal::object(answer)?;
        if arguments.count {
            terminal::print(account)?
        } else {
            terminal::say(account)
        }
        return Ok(outcome);
    }
    if arguments.count {
        terminal::print(answer.packets)?;
    }
    if arguments.quiet {
        return Ok(outcome);
    }
    terminal::say(format_args!(
        "{} packets, {} in {:.3} s",
        answer.packets,
        terminal::bytes(answer.bytes),
        took.as_secs_f64()
    ));
    for rejected in answer.rejected_indexes.iter().filter(|rejected| !rejected.is_unreadable) {
        terminal::say(format_args!(
            "segment {} was read without its index: {}",
            rejected.segment, rejected.reason
        ));
    }
    let zone = arguments.query.zone()?;
    answer.completeness.lines().iter().for_each(|line| terminal::say_completeness(&in_zone(line, &zone)));
    answer.hint.iter().map(hint::line).for_each(terminal::say);
    Ok(outcome)
}
