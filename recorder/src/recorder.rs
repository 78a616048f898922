//! The recorder: threads for lanes and sinks, a watch thread, and their status for users.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use netrewind_store::clock::Waker;
use netrewind_store::turns::{self, RunningWorker, Worker};
use netrewind_store::{Account, Event, LaneLoad, Store, StoreLock, Timestamp, locked};

use crate::buffer_pool::BufferPool;
use crate::config::{Config, ConfigError};
use crate::disk::LaneDisk;
use crate::lane::Lane;
use crate::platform::Platform;
use crate::retention::{Keeper, Usage};
use crate::sink_queue::{self, BlockSink, SINK_NICENESS, SinkFeed, SinkWorker};
use crate::source::{Source, SourceCounters};

use self::housekeeping::Housekeeping;
use self::lane_thread::LaneThread;
use self::source_lanes::{LaneFactory, LaneSlot, Lanes};

mod guard;
mod housekeeping;
mod import;
mod journal;
mod lane_thread;
mod source_lanes;
#[cfg(test)]
mod tests;

pub use import::{IMPORT_LANES_MAX, Import, ImportedSource, import};
pub use source_lanes::FURTHER_LANES_MAX;

/// Notices kept at most.
const NOTICES_MAX: usize = 64;

/// Reasons that a recorder could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system has no memory or threads for it.
    #[error("starting {what}: {source}")]
    Start {
        /// The resource that is missing.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// More sources than lanes can be numbered.
    #[error("too many sources")]
    TooManySources,
}

/// Facts of a recording that the logbook states and only the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingDescription {
    /// The capture filter's text.
    pub capture_filter: Option<String>,
    /// The program's version.
    pub version: String,
}

/// Current status of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its number.
    pub lane: u16,
    /// Index of the source that it takes packets from, counted from 0; a source has a lane for each of its link types.
    pub source_number: usize,
    /// Its source's name.
    pub interface: String,
    /// Packets received, written and dropped, including the kernel's drops.
    pub account: Account,
    /// The source's own counters; only in its first lane.
    pub source: SourceCounters,
    /// Packets cut because they were longer than any record may be.
    pub cut_packets: u64,
    /// Reason that nothing can be received at the moment, or ever, if so.
    pub down: Option<String>,
    /// True while the disk takes no packets.
    pub is_disk_failing: bool,
    /// The disk's error, while it takes none.
    pub disk_trouble: Option<String>,
    /// Measures of how well it kept up in the last whole second.
    pub pace: LaneLoad,
    /// The same for the second under way.
    pace_now: LaneLoad,
    /// Status reports of its thread so far: several a second, unless the thread is stuck.
    pub turns: u64,
    /// True if the source, which cannot come back, has ended by an error, or one of its files has.
    pub is_broken: bool,
    /// Time of its thread's last status report.
    pub told_at: Timestamp,
    /// Arrival of the earliest packet dropped since the last line in the logbook, where packets were dropped later than they
    /// arrived.
    lost_since: Option<Timestamp>,
    /// The source has ended, and everything is sealed.
    pub has_ended: bool,
}

/// Current status of a recorder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
    /// Totals of all lanes.
    pub account: Account,
    /// Packets received in the last whole second.
    pub packets_per_second: f64,
    /// Bits of packets written in the last whole second.
    pub bits_per_second: f64,
    /// Disk usage of the store: updated every few seconds.
    pub usage: Usage,
    /// Notices for the user, each given once.
    pub notices: Vec<String>,
    /// Reason that packets cannot be written at the moment, if they cannot.
    pub trouble: Option<String>,
    /// The last such reason, also of a time that is over.
    pub last_trouble: Option<String>,
    /// Reason that there is no room for any segment, found before one was needed.
    no_room: Option<String>,
    /// Reason that the recording has ended by itself: the store is gone.
    pub failure: Option<String>,
}

/// Result of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordingSummary {
    /// Totals of all lanes.
    pub account: Account,
    /// Each lane.
    pub lanes: Vec<LaneStatus>,
    /// Discrepancies in the accounts; empty after every recording that went well.
    pub discrepancies: Vec<String>,
    /// Notices for the user.
    pub notices: Vec<String>,
    /// Last reason that packets could not be written.
    pub last_trouble: Option<String>,
    /// Reason that packets still cannot be written at the end, if so.
    pub unable: Option<String>,
    /// Reason that the recording has ended by itself, if it has.
    pub failure: Option<String>,
}

/// Maker of each lane's sink: called with the lane's number, and with the keeper that makes room for the sink's files.
pub type SinkMaker<'a> = dyn FnMut(u16, &Arc<Keeper>) -> Option<Box<dyn BlockSink>> + 'a;

/// State shared by all threads of a recorder.
struct RecorderState {
    stop: AtomicBool,
    lanes_ended: AtomicBool,
    status: Mutex<Status>,
    /// Lines that the logbook still had not taken at the end.
    unlogged: AtomicUsize,
}

impl RecorderState {
    fn status(&self) -> MutexGuard<'_, Status> {
        // Consistent at every moment: a panic elsewhere does no harm.
        locked(&self.status)
    }

    /// Ends the recording.
    fn fail(&self, reason: String) {
        self.status().failure.get_or_insert(reason);
        self.stop.store(true, Ordering::Release);
    }

    /// Updates the reason that packets cannot be written, and returns it.
    fn update_trouble(&self) -> Option<String> {
        let mut status = self.status();
        let of_lane = |lane: &LaneStatus| {
            let reason = lane.disk_trouble.as_ref()?;
            Some(format!("{}: {reason}", lane.interface))
        };
        let trouble = status.lanes.iter().find_map(of_lane).or_else(|| status.no_room.clone());
        if trouble.is_some() {
            status.last_trouble.clone_from(&trouble);
        }
        status.trouble.clone_from(&trouble);
        trouble
    }

    /// Sets the number of lines that the logbook did not take.
    fn set_unlogged(&self, lines: usize) {
        self.unlogged.store(lines, Ordering::Release);
    }

    /// Adds a notice for the user, once.
    fn notice(&self, text: String) {
        let mut status = self.status();
        if status.notices.len() < NOTICES_MAX && !status.notices.contains(&text) {
            status.notices.push(text);
        }
    }
}

/// A running recording. Stop it: dropping it lets its threads go on.
pub struct Recorder {
    shared: Arc<RecorderState>,
    factory: Arc<LaneFactory>,
    lanes: Vec<Box<dyn RunningWorker>>,
    housekeeping: Box<dyn RunningWorker>,
    /// Wakes the housekeeping.
    waker: Waker,
}

/// Starts the thread of a sink.
fn start_sink(
    lane: u16,
    sink: Box<dyn BlockSink>,
    platform: &Platform,
) -> Result<(SinkFeed, Box<dyn RunningWorker>), RecorderError> {
    let waker = Waker::default();
    let (feed, queue) = sink_queue::queue(&waker);
    let worker = Box::new(SinkWorker::new(queue, sink));
    let started = platform.threads.start(format!("sink-{lane}"), SINK_NICENESS, &waker, worker);
    let source = |source| RecorderError::Start { what: "the index thread", source };
    Ok((feed, started.map_err(source)?))
}

/// A lane with a disk and buffers of its own.
fn open_lane(
    number: u16,
    interface: &str,
    config: Config,
    store: &Store,
    keeper: &Arc<Keeper>,
    feed: Option<SinkFeed>,
    platform: &Platform,
) -> Result<Lane<LaneDisk>, RecorderError> {
    let pool = BufferPool::new(config.buffers, config.buffer_bytes)
        .map_err(|source| RecorderError::Start { what: "buffers", source })?;
    let disk = platform
        .disks
        .open(store, keeper, &pool)
        .map_err(|source| RecorderError::Start { what: "the disk thread", source })?;
    Ok(Lane::new(number, interface, config, disk, pool, feed, platform.clock.now()))
}

impl Recorder {
    /// Records from every source until [`Self::stop`], each in a lane of its own, and in more where it mixes link types. `sinks`
    /// makes the sink of each lane. Recover the store before; hold its lock until everything that writes to it has ended.
    pub fn start(
        config: Config,
        description: &RecordingDescription,
        store: &Store,
        lock: &StoreLock,
        sources: Vec<Box<dyn Source>>,
        sinks: &mut SinkMaker<'_>,
        platform: &Platform,
    ) -> Result<Self, RecorderError> {
        let config = config.fitted(sources.len())?;
        let waker = Waker::default();
        let (events, logbook_events) = turns::queue(&waker);
        let keeper = Arc::new(Keeper::new(
            store.clone(),
            config.budget_bytes,
            config.age_max,
            sources.len(),
            platform.clock.clone(),
            events.clone(),
        ));
        if let Err(error) = keeper.look_ahead(config.segment_bytes) {
            return Err(RecorderError::Start {
                what: "the check of the store",
                source: io::Error::other(error),
            });
        }
        let mut slot = |number: usize| {
            let number = u16::try_from(number).map_err(|_| RecorderError::TooManySources)?;
            Ok(LaneSlot { number, sink: sinks(number, &keeper) })
        };
        let slots = (0..sources.len()).map(&mut slot).collect::<Result<Vec<_>, RecorderError>>()?;
        let further = match sources.iter().any(|source| source.can_wait()) {
            true => LaneFactory::further_lanes(&config, sources.len()),
            false => 0,
        };
        let further = (sources.len()..sources.len() + further).map(slot).collect::<Result<_, _>>()?;
        let shared = Arc::new(RecorderState {
            stop: AtomicBool::new(false),
            lanes_ended: AtomicBool::new(false),
            status: Mutex::default(),
            unlogged: AtomicUsize::new(0),
        });
        let factory = Arc::new(LaneFactory {
            config,
            description: description.clone(),
            store: store.clone(),
            keeper: keeper.clone(),
            shared: shared.clone(),
            platform: platform.clone(),
            events,
            further: Mutex::new(further),
            sink_threads: Mutex::default(),
        });
        let may_wait = platform.threads.may_wait_in_turns();
        let mut ready = Vec::new();
        for (number, (source, slot)) in sources.into_iter().zip(slots).enumerate() {
            let mut lanes =
                Lanes::new(factory.clone(), number, source.name().to_owned(), source.can_wait(), slot);
            if !source.is_spare() {
                lanes.begin()?;
            }
            ready.push(LaneThread::new(source, lanes, shared.clone(), factory.events.clone(), may_wait));
        }
        let start = |what, name: String, waker: &Waker, worker: Box<dyn Worker>| {
            let started = platform.threads.start(name, 0, waker, worker);
            started.map_err(|source| RecorderError::Start { what, source })
        };
        // The lanes' first events wait for it.
        let housekeeping = Housekeeping::new(
            store,
            guard::Guard::new(store, lock),
            shared.clone(),
            keeper,
            logbook_events,
            platform.clock.now(),
        );
        let housekeeping = start("the watch thread", "watch".into(), &waker, Box::new(housekeeping))?;
        let lanes = ready.into_iter().enumerate().map(|(number, thread)| {
            start("a lane thread", format!("lane-{number}"), &Waker::default(), Box::new(thread))
        });
        let lanes = lanes.collect::<Result<_, _>>()?;
        Ok(Self { shared, factory, lanes, housekeeping, waker })
    }

    /// Current status.
    pub fn status(&self) -> Status {
        self.shared.status().clone()
    }

    /// Reason that packets cannot be written at the moment, if they cannot.
    pub fn trouble(&self) -> Option<String> {
        self.shared.status().trouble.clone()
    }

    /// True if the recording has ended by itself because nothing can be written any more.
    pub fn has_failed(&self) -> bool {
        self.shared.status().failure.is_some()
    }

    /// True if all sources have ended by themselves, or all lanes.
    pub fn is_finished(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_finished())
    }

    /// Stops: writes the packets that have arrived, seals all segments, lets the sinks finish. Takes as long as the disk and the
    /// sinks need.
    pub fn stop(self) -> RecordingSummary {
        self.shared.stop.store(true, Ordering::Release);
        let mut discrepancies = Vec::new();
        for (number, lane) in self.lanes.into_iter().enumerate() {
            if !lane.join() {
                discrepancies.push(format!("lane {number} stopped because of a bug (panic) in netrewind"));
            }
        }
        // A lane that was never opened has a sink too, and others may wait for it.
        locked(&self.factory.further).clear();
        let sinks = std::mem::take(&mut *locked(&self.factory.sink_threads));
        if sinks.into_iter().map(RunningWorker::join).filter(|is_well| !is_well).count() > 0 {
            discrepancies.push("a sink stopped because of a bug (panic) in netrewind".into());
        }
        self.shared.lanes_ended.store(true, Ordering::Release);
        self.waker.wake();
        if !self.housekeeping.join() {
            discrepancies.push("the watch thread stopped because of a bug (panic) in netrewind".into());
        }
        let unlogged = self.shared.unlogged.load(Ordering::Acquire);
        if unlogged > 0 {
            discrepancies.push(format!(
                "{unlogged} lines could not be written to the logbook: answers will not report the drops and gaps in them"
            ));
        }
        let status = self.shared.status().clone();
        discrepancies.extend(by_source(&status.lanes).iter().filter_map(SourceAccount::discrepancy));
        let Status { account, lanes, notices, last_trouble, trouble, failure, .. } = status;
        RecordingSummary { account, lanes, discrepancies, notices, last_trouble, unable: trouble, failure }
    }
}

/// Result of one source, over all its lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceAccount {
    /// Its name.
    pub name: String,
    /// Packets received, written and dropped.
    pub account: Account,
    /// The source's own counters.
    pub counters: SourceCounters,
    /// Reason that nothing can be received from it, if so.
    pub down: Option<String>,
    /// True if it cannot come back, and has ended by an error, or one of its files has.
    pub is_broken: bool,
}

impl SourceAccount {
    fn discrepancy(&self) -> Option<String> {
        let counted = (self.counters != SourceCounters::default()).then_some(&self.counters);
        let text = crate::account::discrepancy(&self.account, counted)?;
        Some(format!("{}: {text}", self.name))
    }
}

/// The accounts of lanes, by source.
pub fn by_source(lanes: &[LaneStatus]) -> Vec<SourceAccount> {
    let mut sources = std::collections::BTreeMap::<usize, SourceAccount>::new();
    for lane in lanes {
        let source = sources.entry(lane.source_number).or_default();
        source.name.clone_from(&lane.interface);
        source.account.add(&lane.account);
        source.counters.received += lane.source.received;
        source.counters.dropped += lane.source.dropped;
        source.is_broken |= lane.is_broken;
        source.down = source.down.take().or_else(|| lane.down.clone());
    }
    sources.into_values().collect()
}

fn start_event(lane: u16, interface: &str, config: &Config, description: &RecordingDescription) -> Event {
    let is_whole = config.snaplen == netrewind_store::layout::CAPLEN_MAX;
    Event::Start {
        lane,
        interface: interface.to_owned(),
        snaplen: (!is_whole).then_some(config.snaplen),
        capture_filter: description.capture_filter.clone(),
        version: description.version.clone(),
    }
}
