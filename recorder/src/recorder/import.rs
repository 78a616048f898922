//! Capture files into a store, as fast as they can be read: the same lanes, driven by one thread.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use netrewind_segment::{Account, Event, LinkType, Logbook, Store, StoreError};

use super::{RecorderError, SinkMaker, file_lane, start_sink};
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::FileDisk;
use crate::lane::Lane;
use crate::retention::Keeper;
use crate::source::{Packet, Received, Source, SourceError};

/// Link types that have a lane of their own at one time; those beyond share the last lane, in short segments.
pub const IMPORT_LANES_MAX: usize = 8;
/// Buffers of each lane of an import.
const IMPORT_BUFFERS: u16 = 12;
/// How long a disk may fail before an import ends.
const FAILING_PATIENCE_NS: u64 = 10_000_000_000;
/// How long one wait for the disk takes at most.
const WAIT: Duration = Duration::from_millis(5);
/// How long a source that is read from a stream is waited for at a time.
const SOURCE_PATIENCE: Duration = Duration::from_millis(100);

/// What an import came to.
#[derive(Debug, Default)]
pub struct Import {
    /// Packets received, written and dropped (by a failing disk).
    pub account: Account,
    /// Each source's name, how many packets it gave, and what was wrong with it.
    pub sources: Vec<(String, u64, Option<SourceError>)>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// It was told to stop, or gave up on the disk, before the sources ended.
    pub is_cut_short: bool,
}

struct Importer<'a, 'b> {
    config: Config,
    store: &'a Store,
    keeper: Arc<Keeper>,
    sinks: &'a mut SinkMaker<'b>,
    clock: Arc<dyn Clock>,
    lanes: Vec<(LinkType, Lane<FileDisk>)>,
    sink_threads: Vec<JoinHandle<()>>,
    logbook: Logbook,
    expired: mpsc::Receiver<Event>,
    failing_since_ns: Option<u64>,
    source_name: String,
    error: Option<RecorderError>,
}

/// Writes all packets of `sources`, in their order, into `store`, whose lock the caller holds. Waits for the sinks, so
/// that no segment is left without index. `go_on` is asked now and then, and told how many packets there were.
pub fn import(
    config: Config,
    store: &Store,
    sources: &mut dyn Iterator<Item = Box<dyn Source>>,
    sinks: &mut SinkMaker<'_>,
    clock: Arc<dyn Clock>,
    go_on: &mut dyn FnMut(&Account) -> bool,
) -> Result<Import, RecorderError> {
    let config = Config { wait_for_sink: true, buffers: IMPORT_BUFFERS, ..config };
    let config = config.fitted(IMPORT_LANES_MAX).or_else(|_| config.fitted(1))?;
    let (events, expired) = mpsc::channel();
    let keeper = Keeper::new(store.clone(), config.budget_bytes, config.age_max, clock.clone(), events);
    let mut importer = Importer {
        config,
        store,
        keeper: Arc::new(keeper),
        sinks,
        clock,
        lanes: Vec::new(),
        sink_threads: Vec::new(),
        logbook: Logbook::new(store),
        expired,
        failing_since_ns: None,
        source_name: String::new(),
        error: None,
    };
    let mut result = Import::default();
    for source in sources {
        importer.take_source(source, &mut result, go_on);
        if result.is_cut_short || importer.error.is_some() {
            break;
        }
    }
    importer.finish(&mut result);
    match importer.error {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

impl Importer<'_, '_> {
    fn take_source(
        &mut self,
        mut source: Box<dyn Source>,
        result: &mut Import,
        go_on: &mut dyn FnMut(&Account) -> bool,
    ) {
        self.source_name = source.name().to_owned();
        let before = self.account().received;
        let mut error = None;
        loop {
            match source.receive(SOURCE_PATIENCE, &mut |packet| self.accept(&packet)) {
                Ok(Received::End) => break,
                Ok(_) => {}
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
            self.step(result);
            if self.error.is_some() || self.has_failed_long() || !go_on(&self.account()) {
                result.is_cut_short = true;
                break;
            }
        }
        let records = self.account().received - before;
        let damage = error.as_ref().map(ToString::to_string);
        let file = self.source_name.clone();
        let event = Event::Import { file, records, damage, first: None, last: None, left_out: None };
        self.log(event, result);
        result.sources.push((self.source_name.clone(), records, error));
    }

    fn accept(&mut self, packet: &Packet<'_>) {
        let known = self.lanes.iter().position(|(link_type, _)| *link_type == packet.link_type);
        let at = known.or_else(|| self.open_lane(packet.link_type));
        if let Some((_, lane)) = at.and_then(|at| self.lanes.get_mut(at)) {
            lane.accept(packet);
        }
    }

    #[cold]
    fn open_lane(&mut self, link_type: LinkType) -> Option<usize> {
        if self.lanes.len() == IMPORT_LANES_MAX {
            return Some(IMPORT_LANES_MAX - 1);
        }
        let number = u16::try_from(self.lanes.len()).unwrap_or(u16::MAX);
        match self.new_lane(number) {
            Ok(lane) => self.lanes.push((link_type, lane)),
            Err(error) => {
                self.error.get_or_insert(error);
                return None;
            }
        }
        Some(usize::from(number))
    }

    fn new_lane(&mut self, number: u16) -> Result<Lane<FileDisk>, RecorderError> {
        let feed = match (self.sinks)(number, &self.keeper) {
            Some(sink) => {
                let (feed, thread) = start_sink(number, sink)?;
                self.sink_threads.push(thread);
                Some(feed)
            }
            None => None,
        };
        file_lane(number, &self.source_name, self.config, self.store, &self.keeper, feed, &self.clock)
    }

    fn account(&self) -> Account {
        let mut account = Account::default();
        self.lanes.iter().for_each(|(_, lane)| account.add(&lane.account()));
        account
    }

    fn step(&mut self, result: &mut Import) {
        let now = self.clock.now();
        let mut is_failing = false;
        let mut events: Vec<Event> = self.expired.try_iter().collect();
        for (_, lane) in &mut self.lanes {
            lane.step(now);
            is_failing |= lane.is_disk_failing();
            events.extend(lane.take_events());
            result.notices.extend(lane.take_notices());
        }
        events.into_iter().for_each(|event| self.log(event, result));
        self.failing_since_ns = match is_failing {
            true => self.failing_since_ns.or(Some(now.monotonic_ns)),
            false => None,
        };
    }

    fn has_failed_long(&self) -> bool {
        let now_ns = self.clock.now().monotonic_ns;
        self.failing_since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > FAILING_PATIENCE_NS)
    }

    fn log(&mut self, event: Event, result: &mut Import) {
        if let Err(error) = self.logbook.append(self.clock.now().wall, event) {
            let error: StoreError = error;
            result.notices.push(format!("the logbook cannot be written: {error}"));
        }
    }

    fn finish(&mut self, result: &mut Import) {
        let now = self.clock.now();
        self.lanes.iter_mut().for_each(|(_, lane)| lane.finish(now));
        while self.lanes.iter().any(|(_, lane)| !lane.is_idle()) {
            self.step(result);
            for (_, lane) in &mut self.lanes {
                if !lane.is_idle() {
                    lane.wait(WAIT);
                }
            }
            if self.has_failed_long() {
                self.lanes.iter_mut().for_each(|(_, lane)| lane.give_up());
                result.is_cut_short = true;
            }
        }
        self.step(result);
        result.account = self.account();
        self.lanes.clear();
        for thread in self.sink_threads.drain(..) {
            if thread.join().is_err() {
                result.notices.push("a sink ended by a fault of the program".into());
            }
        }
        if let Err(error) = self.logbook.sync() {
            result.notices.push(error.to_string());
        }
    }
}
