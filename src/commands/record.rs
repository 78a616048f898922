//! `netrewind record`: interfaces, streams and files into a store.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::FromArgMatches;
use netrewind_archive::upload::ArchiveThread;
use netrewind_catalog::expiry::CatalogLimits;
use netrewind_http::Server;
use netrewind_indexer::{Indexer, Workplace};
use netrewind_ipfix::IpfixThread;
use netrewind_recorder::recorder::{Recorder, RecordingDescription, Status};
use netrewind_recorder::source::capture_file::CaptureFile;
use netrewind_recorder::source::pcap_over_ip::{Endpoint, PcapOverIp};
use netrewind_recorder::source::replay::{Replay, ReplayOptions, Speed};
use netrewind_recorder::source::{Source, SourceError};
use netrewind_recorder::{Config, Platform};
use netrewind_store::clock::Clock;
use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::room::Room;

use super::serve::{PreparedService, ServingArguments};
use super::store::{StoreArgument, WritingArguments};
use crate::broker::{Broker, BrokerRights};
use crate::config::reload::RunningSettings;
use crate::config::{ConfigArgument, Settings};
use crate::confine::{self, Calls, Walls};
use crate::extracted_hours::ExtractedHours;
use crate::manager::{Manager, Turns};
use crate::outcome::{Failure, Outcome};
use crate::signals::Requests;
use crate::terminal;
use crate::writable_store::WritableStore;

pub mod archiving;
pub mod exporting;
mod interfaces;
mod report;
mod screen;

use archiving::ArchivingArguments;
use exporting::ExportArguments;
use interfaces::{RingOptions, one_each};
use report::report_account;
use screen::Screen;

/// Interval between two checks of signals and sources.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Checks per second, the interval of the status line.
const LOOKS_PER_STATUS: u32 = 20;

const EXAMPLES: &str = "\
Examples:
  sudo netrewind record --store /data/nr --interface eth1 --budget 500GiB
  sudo netrewind record --store /data/nr --interface eth1 --interface eth2 --lanes 2 --max-age 14d
  sudo netrewind record --store /data/nr --interface eth1 --capture-filter 'not port 4789' --snaplen 256
  ssh probe tcpdump -i eth0 -U -w - | netrewind record --store ./store --stdin
  netrewind record --store ./store --pcap-over-ip listen:0.0.0.0:57012 --pcap-over-ip connect:10.0.0.5:57012
  netrewind record --store ./store --replay capture.pcap --replay-now
  sudo netrewind record --config /etc/netrewind/netrewind.toml

--pcap-over-ip takes what `tcpdump -U -w - | nc HOST 57012`, PolarProxy and the like send: a capture file as a TCP stream,
pcap or pcapng. It is not encrypted and asks nobody who they are: listen where only those you trust can connect.
Recording an interface needs the capability CAP_NET_RAW: run it with sudo, or once: sudo setcap cap_net_raw+ep $(command -v netrewind)
Ctrl-C (or SIGTERM, or SIGHUP when the terminal goes) writes what has arrived, seals, indexes, and prints the account; asked
again, it leaves indexes for later. Without a terminal SIGHUP reads the file of settings again. SIGUSR1 prints how it does.";

/// Arguments of `netrewind record`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RecordArguments {
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    store: StoreArgument,
    /// Interface to record, or any for all of them; one that is not there is waited for; may be given several times
    #[arg(long, required_unless_present_any = ["replay", "pcap_over_ip", "stdin"], value_name = "IF")]
    interface: Vec<String>,
    /// Record a capture stream over TCP: connect to a peer, and again whenever the connection ends, or listen for peers (eight at
    /// a time); may be given several times
    #[arg(long, value_name = "connect:HOST:PORT|listen:ADDRESS:PORT")]
    pcap_over_ip: Vec<Endpoint>,
    /// Record the capture stream that comes on standard input, until it ends
    #[arg(long)]
    stdin: bool,
    /// Record a capture file as if its packets arrived now; may be given several times, and beside interfaces
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,
    /// Speed of the replay: a factor of the recorded speed, or max
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = replay_speed, requires = "replay")]
    replay_speed: Speed,
    /// Give replayed packets the time at which they are replayed instead of their own
    #[arg(long, requires = "replay")]
    replay_now: bool,
    /// Rings and writers for each interface, which share its packets by conversation
    #[arg(long, value_name = "N", default_value = "1", value_parser = crate::arguments::lanes)]
    lanes: u16,
    /// Bytes kept of each packet; 0 keeps all [default: all]
    #[arg(long, value_name = "N", value_parser = crate::arguments::snaplen)]
    snaplen: Option<u32>,
    /// Record only what this pcap-filter(7) expression accepts, as `tcpdump -i` understands it
    #[arg(long, value_name = "EXPR", requires = "interface")]
    capture_filter: Option<String>,
    #[command(flatten)]
    writing: WritingArguments,
    /// Disk space that the catalog of conversations may take, of the budget; its oldest hour goes first
    /// [default: a twentieth of the budget]
    #[arg(long, value_name = "SIZE", value_parser = crate::arguments::bytes)]
    catalog_budget: Option<u64>,
    /// Age at which hours of the catalog expire
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = crate::arguments::duration)]
    catalog_max_age: Duration,
    #[command(flatten)]
    exporting: ExportArguments,
    #[command(flatten)]
    archiving: ArchivingArguments,
    /// Age of a segment at which the next one begins
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::arguments::duration)]
    segment_age: Duration,
    /// Age of a segment from which it is compressed in the background [default: never]
    #[arg(long, value_name = "DURATION", value_parser = crate::arguments::duration)]
    compress_after: Option<Duration>,
    /// Memory of each ring, which holds packets while the disk is slow
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = crate::arguments::bytes)]
    ring: u64,
    /// Do not receive frames for other stations
    #[arg(long)]
    no_promiscuous: bool,
    /// Use the interface's own time stamps if it has any (its clock must be kept synchronized, as by ptp4l)
    #[arg(long)]
    hardware_timestamps: bool,
    /// Have packet sockets opened by the broker that listens on this socket, as netrewind-sockets.socket does: this process then
    /// needs no capability
    #[arg(long, value_name = "SOCKET")]
    broker: Option<PathBuf>,
    /// Print the account as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

fn replay_speed(text: &str) -> Result<Speed, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Speed::Unlimited),
        (_, Ok(factor)) if factor > 0.0 && factor.is_finite() => Ok(Speed::Recorded(factor)),
        _ => Err("write a factor such as 1, 0.5 or 10, or max".into()),
    }
}

/// Divisor of the budget that gives the catalog's default budget.
const CATALOG_BUDGET_DIVISOR: u64 = 20;

impl RecordArguments {
    fn catalog_limits(&self) -> CatalogLimits {
        let share = self.writing.budget.map(|budget| budget / CATALOG_BUDGET_DIVISOR);
        CatalogLimits { budget_bytes: self.catalog_budget.or(share), age_max: Some(self.catalog_max_age) }
    }

    /// What would be found wrong once recording began, in words. Interfaces are waited for, and not looked at.
    pub fn faults(&self) -> Vec<String> {
        let lanes = self.interface.len() * usize::from(self.lanes) + self.pcap_over_ip.len();
        let fitted = self.config().fitted(lanes).err().map(|error| error.to_string());
        let group = self.writing.sharing.check().err().map(|failure| failure.text());
        let missing = self.replay.iter().filter_map(|file| Some((file, std::fs::File::open(file).err()?)));
        let missing = missing.map(|(file, error)| format!("--replay: {}: {error}", file.display()));
        fitted.into_iter().chain(group).chain(missing).collect()
    }

    /// Takes over the settings that change while it records.
    fn follow(&self, recorder: &Recorder, indexer: &Indexer) -> Result<(), Failure> {
        recorder.set_limits(&self.config()).map_err(Failure::usage)?;
        indexer.set_catalog_limits(self.catalog_limits());
        Ok(())
    }

    fn config(&self) -> Config {
        Config {
            segment_age: self.segment_age,
            snaplen: self.snaplen.unwrap_or(CAPLEN_MAX),
            ..self.writing.config()
        }
    }

    fn ring_options(&self) -> RingOptions<'_> {
        RingOptions {
            interfaces: &self.interface,
            capture_filter: self.capture_filter.as_deref(),
            lanes: self.lanes.into(),
            snaplen: self.snaplen.unwrap_or(CAPLEN_MAX),
            is_promiscuous: !self.no_promiscuous,
            use_hardware_timestamps: self.hardware_timestamps,
            ring_bytes: self.ring,
        }
    }

    /// The process that opens sockets when this one may not any more, if that will be needed.
    fn broker(&self) -> Result<Option<Arc<Broker>>, Failure> {
        match &self.broker {
            _ if self.interface.is_empty() => Ok(None),
            Some(socket) => Broker::at(socket).map(Some),
            None if !confine::is_on() => Ok(None),
            None => {
                let rights = BrokerRights {
                    sockets: true,
                    timestamps: self.hardware_timestamps,
                    ..BrokerRights::default()
                };
                Broker::start(rights).map(Some)
            }
        }
    }

    /// What the recorder needs once its sources are open, besides its store.
    fn walls(&self) -> Walls {
        let peer_ports = self.pcap_over_ip.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Connect { port, .. } => Some(*port),
            Endpoint::Listen { .. } => None,
        });
        Walls::new().connecting(peer_ports).calling(Calls::with_ring).calling(Calls::asking_for_interfaces)
    }

    fn sources(
        &self,
        clock: &Arc<dyn Clock>,
        broker: Option<&Arc<Broker>>,
    ) -> Result<Vec<Box<dyn Source>>, Failure> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        self.ring_options().open(clock, broker)?.into_iter().for_each(|ring| sources.push(Box::new(ring)));
        for endpoint in &self.pcap_over_ip {
            let streams = PcapOverIp::open(endpoint, clock)?;
            if let (Endpoint::Listen { .. }, Some(stream)) = (endpoint, streams.first()) {
                terminal::say(format_args!("Waiting for peers: {}", stream.name()));
            }
            streams.into_iter().for_each(|stream| sources.push(Box::new(stream)));
        }
        if self.stdin {
            if std::io::stdin().is_terminal() {
                return Err(Failure::usage("--stdin: standard input is a terminal: pipe a capture into it"));
            }
            sources.push(Box::new(standard_input()?));
        }
        if !self.replay.is_empty() {
            let open = |file: &PathBuf| {
                CaptureFile::open(file).map_err(|error| Failure::usage(format!("--replay: {error}")))
            };
            let files = self.replay.iter().map(open).collect::<Result<Vec<_>, Failure>>()?;
            let options = ReplayOptions {
                speed: self.replay_speed,
                new_timestamps: self.replay_now,
                ..ReplayOptions::default()
            };
            sources.push(Box::new(Replay::new(files, options, clock.clone())));
        }
        Ok(sources)
    }

    /// Names of the sources, for the user.
    fn names(&self) -> String {
        let files = self.replay.iter().map(|file| file.display().to_string());
        let streams = self.pcap_over_ip.iter().map(ToString::to_string);
        let stdin = self.stdin.then(|| STDIN_NAME.to_owned());
        let interfaces = one_each(&self.interface, |_| ()).into_iter().map(str::to_owned);
        interfaces.chain(streams).chain(stdin).chain(files).collect::<Vec<_>>().join(", ")
    }
}

/// Name of standard input in the logbook.
const STDIN_NAME: &str = "standard input";

/// Standard input as a capture.
pub fn standard_input() -> Result<CaptureFile, SourceError> {
    // Not through the standard library's buffer: bytes in it would not be reported as ready.
    let pipe = rustix::io::dup(std::io::stdin())
        .map_err(|error| SourceError::System { what: STDIN_NAME.to_owned(), source: error.into() })?;
    CaptureFile::from_stream(STDIN_NAME, std::fs::File::from(pipe))
}

/// Records until told to stop.
pub fn run(arguments: &RecordArguments, settings: &Settings) -> Result<Outcome, Failure> {
    record(arguments, None, settings)
}

/// Records until told to stop, and serves meanwhile if asked to.
pub fn record(
    arguments: &RecordArguments,
    serving: Option<&ServingArguments>,
    settings: &Settings,
) -> Result<Outcome, Failure> {
    let platform = Platform::system();
    let broker = arguments.broker()?;
    let sources = arguments.sources(&platform.clock, broker.as_ref())?;
    let are_down = sources.iter().filter(|source| source.is_down());
    let waited_for = are_down.map(|source| (source.name().to_owned(), String::new())).collect();
    let config = arguments.config().fitted(sources.len()).map_err(Failure::usage)?;
    let requests = Requests::of_recorder()?;
    let service = serving.map(|serving| serving.prepare(None)).transpose()?;
    let exports = arguments.exporting.prepare();
    let archive = arguments.archiving.prepare()?;
    let walls = archive.walls(exports.walls(arguments.walls()));
    let walls = service.iter().fold(walls, |walls, service| service.walls(walls));
    let walls = settings.file.iter().fold(walls, |walls, file| walls.reading_anew(file));
    let mut writing =
        WritableStore::open(&arguments.store.store, "record", &arguments.writing.sharing, walls)?;
    arguments.writing.ports.apply(&mut writing)?;
    let WritableStore { store, lock, logbook, without_index, raised, .. } = writing;
    let server = service.map(|service: PreparedService| service.start(store.clone())).transpose()?;
    let Platform { clock, threads, .. } = platform.clone();
    let place = Workplace { store: store.clone(), logbook, clock, threads, watcher: exports.watcher() };
    let (hours, tables) = (Box::new(ExtractedHours::of(&store)), exports.tables());
    let indexer = Indexer::start(place.clone(), without_index)?;
    let mut indexer = indexer.with_catalog(arguments.catalog_limits(), hours, tables)?;
    if let Some(after) = arguments.compress_after {
        indexer = indexer.with_compression(after)?;
    }
    let states = (exports.state(), archive.state());
    let archive = archive.start(&place)?;
    let mut sinks = |_lane: u16, room: &Arc<dyn Room>| {
        archive.iter().for_each(|archive| archive.set_room(room));
        Some(indexer.sink(room))
    };
    let description = RecordingDescription {
        capture_filter: arguments.capture_filter.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let recorder = Recorder::start(config, &description, &store, &lock, sources, &mut sinks, &platform)?;
    let mut screen = Screen::new(config.budget_bytes, waited_for, states);
    let ipfix = exports.start(&place)?;
    print_start(arguments, &config);
    terminal::say(raised);
    let (mut manager, mut turns) = (Manager::new(), Turns::default());
    manager.ready(&format!("recording {}", arguments.names()));
    let (mut looks, mut running) = (0, RunningSettings::new(settings));
    // After a replay has ended, its packets can still be queried.
    let goes_on =
        |recorder: &Recorder| !recorder.has_failed() && (server.is_some() || !recorder.is_finished());
    while !requests.is_to_stop() && goes_on(&recorder) {
        std::thread::sleep(LOOK_INTERVAL);
        looks += 1;
        if manager.is_due()
            && turns.all_taken(&turns_of(&recorder.status()))
            && server.as_ref().is_none_or(is_well)
        {
            manager.progress();
        }
        screen.tell_trouble(recorder.trouble());
        if looks % LOOKS_PER_STATUS == 0 {
            screen.show(&recorder.status());
        }
        if requests.take_reload() {
            let told = running.reload(&mut |flags| {
                let now = RecordArguments::from_arg_matches(flags)?;
                now.follow(&recorder, &indexer)?;
                screen.budget = now.writing.budget;
                serving.map_or(Ok(()), |_| ServingArguments::from_arg_matches(flags)?.follow())
            });
            screen.tell_reload(&told);
        }
        screen.answer(&requests, &recorder);
    }
    screen.line.clear();
    let hurry = announce_second_stop(&requests)?;
    manager.stopping();
    // Recording goes on while running answers end.
    server.into_iter().for_each(Server::stop);
    let summary = recorder.stop();
    screen.exports.stop();
    // Missing indexes and catalog hours can be built later.
    if !hurry.load(Ordering::Relaxed) {
        indexer.finish();
        // Segments are archived with their indexes.
        let store = &arguments.store.store;
        let said = match archive {
            Some(archive) => Some(archiving::finish(archive, store, &hurry)),
            None => arguments.archiving.left(store),
        };
        said.iter().for_each(terminal::say);
        ipfix.into_iter().for_each(IpfixThread::finish);
        screen.exports.left_out().iter().for_each(terminal::say);
    } else {
        archive.into_iter().for_each(ArchiveThread::finish);
    }
    report_account(&summary, screen.notices, arguments.json)
}

/// A flag that a second stop signal sets: the user is told that ending takes a moment. Everything is sealed first in any case.
fn announce_second_stop(requests: &Requests) -> Result<Arc<AtomicBool>, Failure> {
    let (again, hurry) = (requests.again(), Arc::new(AtomicBool::new(false)));
    let set = Arc::clone(&hurry);
    let watch = move || {
        loop {
            if again.swap(false, Ordering::Relaxed) && !set.swap(true, Ordering::Relaxed) {
                terminal::say(
                    "Sealing what has arrived, which takes a moment; missing indexes are built the next time.",
                );
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    };
    std::thread::Builder::new().name("hurry".into()).spawn(watch)?;
    Ok(hurry)
}

/// True if the service answers. If not, recording goes on: only the service manager decides that.
fn is_well(server: &Server) -> bool {
    !server.is_finished() && server.is_answering()
}

/// Turns of each lane so far; `None` for one that has ended.
fn turns_of(status: &Status) -> Vec<Option<u64>> {
    status.lanes.iter().map(|lane| (!lane.has_ended).then_some(lane.turns)).collect()
}

/// Prints the sources and settings, and the command that extracts packets meanwhile.
fn print_start(arguments: &RecordArguments, config: &Config) {
    let store = arguments.store.store.display();
    let limit = config.budget_bytes.map_or_else(
        || "until the disk is full, then replacing the oldest packets".to_owned(),
        |budget| format!("at most {}, then replacing the oldest packets", terminal::bytes(budget)),
    );
    terminal::say(format_args!("Recording {} into {store}: {limit}. Ctrl-C ends it.", arguments.names()));
    let program: PathBuf = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let program = program.display();
    terminal::say("From another terminal, at any time:");
    terminal::say(format_args!(
        "  {program} extract --store {store} --from '5m ago' --filter 'host 192.0.2.1 and port 443' -o packets.pcap"
    ));
    terminal::say(format_args!("  {program} status --store {store}"));
}
