//! `netrewind extract`: exactly the packets of a query, as a capture file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netrewind_extractor::flows::{FlowId, Search};
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{
    Answer, AnswerLimits, DedupWindow, Estimate, ExtractError, PcapSink, PcapngSink, Query, Sink, SinkError,
};

use super::destination::Destination;
use super::following::FollowingClock;
use super::hint;
use super::progress::ProgressDisplay;
use super::query::{QueryArguments, workers};
use super::target::{NoAnswer, QueryTarget, TargetArguments};
use crate::outcome::{Failure, Outcome};
use crate::{arguments, signals, terminal};

/// Bytes of the answer gathered before they are written.
const OUTPUT_BUFFER_BYTES: usize = 1 << 18;

const EXAMPLES: &str = "\
Examples:
  netrewind extract --store /data/nr --from '2h ago' --filter 'host 10.1.2.3 and port 443' -o talk.pcap
  netrewind extract --store /data/nr --from 2026-11-22T09:30:00Z --to 2026-11-22T09:35:00Z -o five-minutes.pcapng
  netrewind extract --store /data/nr --filter 'icmp' -o - | wireshark -k -i -
  netrewind extract --store /data/nr --from now --filter 'port 53' --follow -o - | tcpdump -n -r -
  netrewind extract --store /data/nr --filter 'not port 443' --count
  netrewind extract --url https://nr1:8640 --url https://nr2:8640 --token-file token --from '5m ago' -o both.pcapng
  netrewind extract --store /data/nr --vni 42 --filter 'host 10.0.0.5' --decapsulate -o inner.pcap
  netrewind extract --store /data/nr --filter 'host 10.0.0.5' --dedup 5ms -o both-ends-mirrored.pcap
  netrewind extract --store /data/nr --query 'sni:example.com AND bytes:>1M' -o example.pcap
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
    /// Leave out copies of a packet recorded within this time before it (5ms; at most 10s), also in another tunnel or VLAN, or
    /// with another TTL
    #[arg(long, value_name = "DURATION", value_parser = dedup_window)]
    dedup: Option<DedupWindow>,
    /// Only packets of conversations that this search finds, as netrewind flows --query lists them
    #[arg(long = "query", value_name = "SEARCH", conflicts_with = "follow")]
    search: Option<String>,
    /// Only packets of the conversation with this id, as in the output of netrewind flows --format json
    #[arg(long, value_name = "ID", conflicts_with = "follow")]
    flow: Option<FlowId>,
    /// pcap (one link type) or pcapng (several; interfaces, drops and completeness inside) [default: by the file's name]
    #[arg(long, value_name = "FORMAT", value_parser = ["pcap", "pcapng"])]
    format: Option<String>,
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
    /// Continue with new packets as they are recorded, until Ctrl-C, a limit, or --to has passed
    #[arg(long, short = 'F', conflicts_with_all = ["count", "estimate"])]
    follow: bool,
    /// Print the answer's account (packets, bytes, completeness) as one JSON object: on standard output with --count and
    /// --estimate, else on standard error
    #[arg(long)]
    json: bool,
    /// Print neither completeness nor progress
    #[arg(long, short)]
    quiet: bool,
    /// The file to write; - for standard output. A new file can be read by its owner alone (0600); an existing one keeps
    /// its mode, and a link keeps pointing at it
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["count", "estimate"])]
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
    if arguments.output.as_deref() == Some(Path::new("-")) && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "standard output is a terminal: write to a file with -o FILE, or pipe the output to another program",
        ));
    }
    let query = query(arguments)?;
    let stop = signals::stop_flag()?;
    let workers = match arguments.target.store {
        Some(_) => workers(arguments.query.filter())?,
        None => None, // recorders compile it
    };
    let target = arguments.target.open(workers)?;
    let is_silent = arguments.quiet || arguments.json || arguments.follow;
    let mut control = ProgressDisplay::new(stop, is_silent, arguments.query.zone()?);
    let is_written = !arguments.estimate && !arguments.count;
    let output = is_written.then(|| OpenedOutput::open(arguments)).transpose();
    let output = match output {
        Err(NoAnswer::ReaderGone) => return Ok(Outcome::Done),
        Err(NoAnswer::Because(failure)) => return Err(failure),
        Ok(output) => output,
    };
    let folder = output.as_ref().and_then(OpenedOutput::folder);
    let walls = folder.iter().fold(target.walls(), |walls, folder| walls.renaming_in(folder));
    let raised = walls.raise();
    if !arguments.quiet {
        raised.say_gaps();
    }
    if arguments.estimate {
        let estimate = match target.estimate(&query, &mut control) {
            Ok(estimate) => estimate,
            Err(NoAnswer::ReaderGone) => return Ok(Outcome::Done),
            Err(NoAnswer::Because(failure)) => return Err(failure),
        };
        print_estimate(&estimate.bounds, arguments.json)?;
        estimate.troubles.iter().for_each(terminal::say);
        return Ok(if estimate.troubles.is_empty() { Outcome::Done } else { Outcome::Incomplete });
    }
    let begun = Instant::now();
    let answer = match output {
        Some(output) => output.extract(&target, &query, arguments, &mut control),
        None => target.count(&query, &mut control),
    };
    control.end();
    match answer {
        Ok(mut answer) => {
            if answer.packets == 0 && !arguments.quiet && !arguments.follow {
                target.add_hint(&query, &mut answer, begun.elapsed());
            }
            let outcome = report_answer(arguments, &answer, begun.elapsed())?;
            Ok(outcome)
        }
        // Whoever read the answer has seen enough.
        Err(NoAnswer::ReaderGone) => Ok(Outcome::Done),
        Err(NoAnswer::Because(failure)) => Err(failure),
    }
}

fn dedup_window(text: &str) -> Result<DedupWindow, String> {
    arguments::duration(text)?.try_into()
}

fn query(arguments: &ExtractArguments) -> Result<Query, Failure> {
    let search = arguments.search.as_deref().map(str::parse::<Search>).transpose();
    search.map_err(|error| Failure::usage(format!("--query: {error}")))?;
    Ok(Query {
        flow: arguments.flow,
        search: arguments.search.clone(),
        decapsulate: arguments.decapsulate,
        dedup: arguments.dedup,
        limits: AnswerLimits { packets: arguments.max_packets, bytes: arguments.max_bytes },
        ..arguments.query.query(arguments.follow)?
    })
}

/// Where an answer is written to: standard output, or a file that is complete or not there at all.
struct OpenedOutput {
    file: File,
    /// `None` for standard output.
    destination: Option<Destination>,
    is_pcapng: bool,
}

impl OpenedOutput {
    fn open(arguments: &ExtractArguments) -> Result<Self, NoAnswer> {
        let output = arguments.output.as_deref().unwrap_or(Path::new("-"));
        let is_pcapng = match &arguments.format {
            Some(format) => format == "pcapng",
            None => output.extension().is_some_and(|extension| extension == "pcapng"),
        };
        if output == Path::new("-") {
            let file = standard_output().map_err(io_error)?;
            return Ok(Self { file, destination: None, is_pcapng });
        }
        let opened = Destination::open(output, arguments.follow);
        let (file, destination) = opened.map_err(|error| named(arguments, &error))?;
        Ok(Self { file, destination: Some(destination), is_pcapng })
    }

    fn folder(&self) -> Option<PathBuf> {
        self.destination.as_ref().and_then(Destination::folder)
    }

    /// Writes the answer.
    fn extract(
        self,
        target: &QueryTarget,
        query: &Query,
        arguments: &ExtractArguments,
        control: &mut ProgressDisplay,
    ) -> Result<Answer, NoAnswer> {
        let Self { file, destination, is_pcapng } = self;
        let reader = file.try_clone().map_err(io_error)?;
        let file = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, file);
        let mut sink: Box<dyn Sink> =
            if is_pcapng { Box::new(PcapngSink::new(file)) } else { Box::new(PcapSink::new(file)) };
        let clock = arguments.follow.then(|| FollowingClock::new(reader));
        let answer = target.extract(query, sink.as_mut(), control, clock.as_ref());
        drop(sink);
        let kept = match destination {
            Some(destination) if answer.is_ok() => destination.keep(),
            Some(destination) => destination.give_up(),
            None => Ok(()),
        };
        answer.and_then(|answer| Ok(kept.map_err(|error| named(arguments, &error)).map(|()| answer)?))
    }
}

fn io_error(error: io::Error) -> ExtractError {
    ExtractError::Sink(SinkError::Io(error))
}

/// An error about the output, with its name.
fn named(arguments: &ExtractArguments, error: &io::Error) -> ExtractError {
    let output = arguments.output.as_deref().unwrap_or(Path::new("-")).display();
    io_error(io::Error::new(error.kind(), format!("{output}: {error}")))
}

/// Standard output without a line buffer.
fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
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
    answer.completeness.lines().iter().for_each(|line| terminal::say(in_zone(line, &zone)));
    answer.hint.iter().map(hint::line).for_each(terminal::say);
    Ok(outcome)
}
