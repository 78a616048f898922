//! The recorder: threads for lanes and sinks, a watch thread, and their status for users.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use netrewind_store::clock::Waker;
use netrewind_store::room::Room;
use netrewind_store::store::CaseFiles;
use netrewind_store::turns::{self, RunningWorker, Worker};
use netrewind_store::{Account, Store, StoreLock, locked};

use crate::config::{Config, ConfigError};
use crate::platform::Platform;
use crate::retention::{Keeper, RetentionLimits};
use crate::source::{Source, SourceCounters};

use self::housekeeping::Housekeeping;
use self::lane_thread::LaneThread;
use self::source_lanes::{LaneFactory, LaneSlot, Lanes};
use self::status::RecorderState;

mod error;
mod guard;
mod housekeeping;
mod import;
mod journal;
mod lane_setup;
mod lane_thread;
mod source_lanes;
mod status;
#[cfg(test)]
mod tests;

pub use error::RecorderError;
pub use import::{IMPORT_LANES_MAX, Import, ImportedSource, import};
pub use lane_setup::{RecordingDescription, SinkMaker};
pub use source_lanes::FURTHER_LANES_MAX;
pub use status::{LaneStatus, Status};

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

/// A running recording. Stop it: dropping it lets its threads go on.
pub struct Recorder {
    shared: Arc<RecorderState>,
    factory: Arc<LaneFactory>,
    lanes: Vec<Box<dyn RunningWorker>>,
    housekeeping: Box<dyn RunningWorker>,
    /// Wakes the housekeeping.
    waker: Waker,
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
        // Without them holds are made within half of what there is.
        let _ = CaseFiles::of(store).set_limits(&config.hold_limits());
        if let Err(error) = keeper.look_ahead(config.segment_bytes) {
            return Err(RecorderError::Start {
                what: "the check of the store",
                source: io::Error::other(error),
            });
        }
        let room: Arc<dyn Room> = keeper.clone();
        let mut slot = |number: usize| {
            let number = u16::try_from(number).map_err(|_| RecorderError::TooManySources)?;
            Ok(LaneSlot { number, sink: sinks(number, &room) })
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

    /// Keeps the store within the budget and the age of this configuration from now on, and holds within theirs; all else of it is
    /// as it was. An error changes nothing.
    pub fn set_limits(&self, config: &Config) -> Result<(), ConfigError> {
        let Config { budget_bytes, hold_budget_bytes, age_max, .. } = *config;
        let config = Config { budget_bytes, hold_budget_bytes, age_max, ..self.factory.config };
        let config = config.fitted(self.lanes.len())?;
        // Without them holds are made within what they were before.
        let _ = CaseFiles::of(&self.factory.store).set_limits(&config.hold_limits());
        self.factory.keeper.set_limits(RetentionLimits { budget_bytes, age_max });
        self.waker.wake();
        Ok(())
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
