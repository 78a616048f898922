//! Figures for those who watch over the service: the OpenMetrics text that Prometheus reads.
//!
//! The logbook, with one line a second, tells what the recorder does, in this process or in another.

mod archive;
mod exports;
mod interfaces;
mod pace;
mod process;
mod recording;
mod sample;

use std::sync::Mutex;
use std::time::Duration;

use netrewind_store::store::{CaseFiles, ListedSegment};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{SegmentState, Store, StoreError, Timestamp, locked};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::audit::Ending;
use crate::slots::Pool;
pub use process::{ProcessFigures, ProcessMeter};
pub(crate) use recording::LogbookTally;
pub use recording::{Recording, RecordingState};
use sample::{MetricLabels, add_counter, add_gauge};

/// The media type of the text.
pub const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper bounds of the buckets of answers' times, in seconds: from an answer out of memory to one that reads for a minute.
const TIME_BOUNDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// Label for requests to no route.
const NO_ROUTE: &str = "none";

/// Facts of the program's build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFacts {
    /// Its version.
    pub version: String,
    /// The commit that it was built from, or `unknown`.
    pub commit: String,
    /// Parts that a build may lack, such as the page.
    pub features: String,
    /// Version of the libpcap that it runs with.
    pub libpcap: String,
}

/// What is looked at for figures beside the service's counters.
pub(crate) enum LookedAt<'a> {
    /// A store, and what is known of its logbook.
    Store(&'a Store, &'a Mutex<LogbookTally>),
    /// Several recorders, which have figures of their own.
    Recorders {
        /// Those that are served.
        served: u64,
        /// Those that cannot be read.
        unreadable: u64,
    },
}

/// Counters of the service.
pub struct Metrics {
    registry: Registry,
    requests: Family<MetricLabels, Counter>,
    request_seconds: Family<MetricLabels, Histogram, fn() -> Histogram>,
    extractions: Family<MetricLabels, Counter>,
    packets: Counter,
    bytes: Counter,
}

fn time_histogram() -> Histogram {
    Histogram::new(TIME_BOUNDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("netrewind"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(time_histogram),
            extractions: Family::default(),
            packets: Counter::default(),
            bytes: Counter::default(),
        };
        let Self { registry, requests, request_seconds, extractions, packets, bytes, .. } = &mut metrics;
        registry.register("requests", "Requests, by route and status", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time until an answer begins, by route",
            Unit::Seconds,
            request_seconds.clone(),
        );
        registry.register("extractions", "Extractions that have ended, by result", extractions.clone());
        registry.register("extracted_packets", "Packets given to clients", packets.clone());
        registry.register_with_unit(
            "extracted",
            "Bytes of packets given to clients",
            Unit::Bytes,
            bytes.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Tells which program this is.
    pub fn tell_build(&mut self, facts: &BuildFacts) {
        let BuildFacts { version, commit, features, libpcap } = facts;
        let labels = [("version", version), ("commit", commit), ("features", features), ("libpcap", libpcap)];
        let labels: MetricLabels = labels.map(|(name, value)| (name, value.clone())).into();
        self.registry.register("build", "The program, and the libpcap that it runs with", Info::new(labels));
    }

    /// Counts a request.
    pub fn request(&self, route: Option<&str>, status: u16, time: Duration) {
        let route = route.unwrap_or(NO_ROUTE).to_owned();
        self.request_seconds.get_or_create(&vec![("route", route.clone())]).observe(time.as_secs_f64());
        self.requests.get_or_create(&vec![("route", route), ("status", status.to_string())]).inc();
    }

    /// Counts an extraction.
    pub fn extraction(&self, ending: Ending, packets: u64, bytes: u64) {
        self.extractions.get_or_create(&vec![("ending", ending.name().to_owned())]).inc();
        self.packets.inc_by(packets);
        self.bytes.inc_by(bytes);
    }

    /// All figures as text. Looks at the store, or counts the recorders where there are several.
    pub(crate) fn text(
        &self,
        looked_at: &LookedAt<'_>,
        packets: &Pool,
        process: Option<&ProcessFigures>,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let mut looked = Registry::with_prefix("netrewind");
        add_gauge(&mut looked, "extractions_running", "Extractions that are running", packets.running());
        add_gauge(&mut looked, "extractions_waiting", "Extractions waiting to start", packets.waiting());
        match *looked_at {
            LookedAt::Store(store, recorded) => {
                let recording = locked(recorded).update(store, now)?;
                add_recording(&mut looked, &recording, now);
                add_store(&mut looked, store, now)?;
                let archive = store.files().archive();
                archive.iter().for_each(|facts| archive::add_archive_reading(&mut looked, &facts.requests));
            }
            LookedAt::Recorders { served, unreadable } => {
                add_gauge(&mut looked, "recorders", "Recorders that are served", served);
                let help = "Recorders that cannot be read: /api/v1/recorders says why";
                add_gauge(&mut looked, "recorders_unreadable", help, unreadable);
            }
        }
        let mut text = String::new();
        // Writing into a text does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &looked);
        let process = process.map(process::process_registry);
        let _ = process.iter().try_for_each(|process| encode_registry(&mut text, process));
        let _ = encode_eof(&mut text);
        Ok(text)
    }
}

fn add_recording(registry: &mut Registry, recording: &Recording, now: Timestamp) {
    let Recording { state, account, interfaces, last_line, .. } = recording;
    add_gauge(
        registry,
        "recording",
        "1 while packets are recorded, 0 otherwise",
        (*state == RecordingState::Yes).into(),
    );
    let help = "1 while packets cannot be written to the disk, 0 otherwise";
    add_gauge(registry, "recorder_disk_failing", help, (*state == RecordingState::Failing).into());
    let dropped = Family::<MetricLabels, Counter>::default();
    for (reason, packets) in [("kernel", account.dropped.kernel), ("disk", account.dropped.disk)] {
        dropped.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(packets);
    }
    add_counter(
        registry,
        "recorder_received_packets",
        "Packets received, according to the logbook",
        account.received,
    );
    add_counter(
        registry,
        "recorder_written_packets",
        "Packets written, according to the logbook",
        account.written,
    );
    registry.register("recorder_dropped_packets", "Packets received but not written", dropped);
    add_counter(registry, "recorder_written_bytes", "Bytes of the packets that were written", account.bytes);
    let last = last_line.map_or(0, |at| at.ns() / SECOND_NS);
    add_gauge(registry, "recorder_last_sign_timestamp_seconds", "When the logbook was last written", last);
    exports::add_exports(registry, &recording.exports, now);
    interfaces::add_interfaces(registry, interfaces);
    pace::add_lane_load(registry, recording);
}

fn add_store(registry: &mut Registry, store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let segments = ListedSegment::all(store)?;
    let unindexed = || segments.iter().filter(|s| s.state == SegmentState::Sealed && !s.has_index);
    let age_seconds = |segment: &ListedSegment| now.ns_since(segment.name.opened) / SECOND_NS;
    let lag = unindexed().next().map_or(0, age_seconds);
    let cases = CaseFiles::of(store);
    let held = cases.account(&segments)?;
    // What is held for a case says nothing of how long all the rest is kept.
    let kept = segments.iter().find(|segment| !held.may_hold(&segment.name)).map_or(0, age_seconds);
    let opened = segments.first().map_or(0, |oldest| oldest.name.opened.ns() / SECOND_NS);
    add_gauge(registry, "store_bytes", "Disk space of everything in the store", store.disk_bytes()?);
    // Some file systems do not say.
    if let Some(space) = store.files().space(store.root()) {
        let help = "Bytes that the store's file system has free for every user";
        add_gauge(registry, "store_free_bytes", help, space.available_bytes);
    }
    add_gauge(registry, "store_segments", "Segments in the store", segments.len() as u64);
    match cases.limits() {
        Ok(limits) => {
            if let Some(bytes) = limits.budget_bytes {
                let help = "Disk space that the recorder keeps the store within";
                add_gauge(registry, "recorder_budget_bytes", help, bytes);
            }
        }
        Err(error) => tracing::warn!(%error, "the budget is left out of the figures: it cannot be read"),
    }
    let help =
        "Age of the oldest segment that no case holds: everything received since is kept, but for drops";
    add_gauge(registry, "store_kept_seconds", help, kept);
    add_gauge(registry, "store_oldest_timestamp_seconds", "When the oldest segment was opened", opened);
    add_gauge(
        registry,
        "index_missing_segments",
        "Sealed segments without an index",
        unindexed().count() as u64,
    );
    add_gauge(registry, "held_cases", "Cases that hold segments or packets", held.cases);
    add_gauge(registry, "held_segments", "Segments that retention leaves alone for a case", held.segments);
    add_gauge(registry, "held_bytes", "Disk space of held segments and of the packets of cases", held.bytes);
    let unread = held.faults.len() as u64;
    add_gauge(registry, "holds_unreadable", "Holds that cannot be read, so that more is kept", unread);
    let waiting = unindexed().map(|segment| segment.file_bytes).sum();
    add_gauge(registry, "index_missing_bytes", "Bytes of these segments", waiting);
    add_gauge(registry, "index_lag_seconds", "Age of the oldest of these", lag);
    Ok(())
}

#[cfg(test)]
mod tests {
    use netrewind_store::SegmentName;
    use netrewind_store::hold::{HOLD_VERSION, HeldSegment, HoldHead};

    use super::*;
    use crate::slots::PoolLimits;

    /// Lines of the format, read as its specification says.
    #[test]
    fn the_text_is_in_the_format() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_or_create(folder.path(), Timestamp(1), 1).expect("a store");
        let mut metrics = Metrics::default();
        let facts = BuildFacts { commit: "abc".into(), ..BuildFacts::default() };
        metrics.tell_build(&facts);
        metrics.request(Some("/api/v1/packets"), 200, Duration::from_millis(5));
        metrics.request(None, 404, Duration::from_millis(5));
        metrics.extraction(Ending::ClientGone, 7, 700);
        let pool = Pool::new(PoolLimits { reading_max: 1, answers_max: 1, waiting_max: 1 });
        let figures = ProcessFigures {
            cpu_seconds: 1.5,
            resident_bytes: 4096,
            virtual_bytes: 8192,
            open_files: 9,
            open_files_max: None,
            threads: 3,
            started_seconds: 1_795_339_000.25,
        };
        let now = Timestamp::new(1_795_339_861, 0);
        let text = metrics
            .text(&LookedAt::Store(&store, &Mutex::default()), &pool, Some(&figures), now)
            .expect("figures");
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        let mut types = std::collections::HashMap::new();
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                let (name, kind) = described.split_once(' ').expect("a name and a type");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = sample.split('{').next().expect("a name");
                let is_known =
                    |suffix: &str| name.strip_suffix(suffix).is_some_and(|name| types.contains_key(name));
                assert!(
                    ["", "_total", "_bucket", "_sum", "_count", "_info"].into_iter().any(is_known),
                    "{line}"
                );
            }
        }
        assert!(text.contains("netrewind_extractions_total{ending=\"client-gone\"} 1\n"), "{text}");
        assert!(text.contains("netrewind_requests_total{route=\"none\",status=\"404\"} 1\n"), "{text}");
        assert!(text.contains("netrewind_recording 0\n"), "{text}");
        assert!(text.contains("netrewind_build_info{version=\"\",commit=\"abc\","), "{text}");
        assert!(text.contains("process_cpu_seconds_total 1.5\n") && text.contains("process_open_fds 9\n"));
        assert!(text.contains("process_start_time_seconds 1795339000.25\n"), "{text}");
        assert!(!text.contains("process_max_fds") && !text.contains("recorder_budget_bytes"), "{text}");
        let fast = "netrewind_request_duration_seconds_bucket{le=\"0.005\",route=\"none\"} 1\n";
        assert!(text.contains(fast), "{text}");
    }

    #[test]
    fn held_segments_do_not_count_as_what_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_or_create(folder.path(), Timestamp(1), 1).expect("a store");
        let at = |second: u32| Timestamp::new(1_795_339_000 + second, 0);
        let names = [0, 500, 800].map(|second| SegmentName { opened: at(second), lane: 0 });
        for name in &names {
            store.prepare_folder(name).expect("a folder");
            std::fs::write(store.sealed_path(name), "segment").expect("a file");
        }
        let kept = || {
            let mut registry = Registry::default();
            add_store(&mut registry, &store, at(1000)).expect("figures");
            let mut text = String::new();
            encode_registry(&mut text, &registry).expect("text");
            let line = text.lines().find_map(|line| line.strip_prefix("store_kept_seconds "));
            line.expect("a figure").to_owned()
        };
        assert_eq!(kept(), "1000");
        let head = HoldHead {
            hold: "INC-1".parse().expect("a name"),
            version: HOLD_VERSION,
            made: at(900),
            from: None,
            to: None,
            by: String::new(),
            note: String::new(),
            segments: 1,
            packets: None,
        };
        let cases = CaseFiles::of(&store);
        cases.prepare().expect("a folder");
        cases.write(&head, &[HeldSegment { segment: names[0], bytes: 7 }]).expect("a hold");
        assert_eq!(kept(), "500");
    }
}
