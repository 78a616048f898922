//! Sessions of a recorder, one after another, on the same store.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_extractor::Query;
use netrewind_indexer::{Indexer, Workplace, index_writer};
use netrewind_recorder::disk::FileDisks;
use netrewind_recorder::recorder::by_source;
use netrewind_recorder::source::Source;
use netrewind_recorder::{Config, Platform, Recorder, RecordingDescription, RecordingSummary, recover};
use netrewind_sim::{FileFault, FileOperation, SimFiles, SimThreads};
use netrewind_store::clock::{Clock, ManualClock};
use netrewind_store::room::Room;
use netrewind_store::store::ListedSegment;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{Logbook, SegmentName, SegmentState, Store, StoreLock, Timestamp};

use crate::chance::Chance;
use crate::plan::{FaultPlace, FaultPlan, Plan, SessionEnding, SessionPlan, WorldEvent};
use crate::reading::{read, reader};
use crate::traffic::{Interface, Wire, WirePacket};
use crate::verdict::Truth;

/// Folder of the store.
pub const STORE: &str = "/store";
/// The wall clock when a world begins.
const BEGIN: Timestamp = Timestamp(1_795_339_861_000_000_005);
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Bytes of a block: two packets of any length fit in.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that the disk has.
const DISK_BYTES: u64 = 64 << 20;
/// Turns between two looks at the budget.
const LOOK_INTERVAL: u64 = 16;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    worlds: u64,
    packets: u64,
    kept: u64,
    dropped_by_rings: u64,
    stops: u64,
    kills: u64,
    power_cuts: u64,
    failed_operations: u64,
    clock_steps: u64,
    readings: u64,
    expiries: u64,
    cold_segments: u64,
    turns: u64,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.packets += other.packets;
        self.kept += other.kept;
        self.dropped_by_rings += other.dropped_by_rings;
        self.stops += other.stops;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.failed_operations += other.failed_operations;
        self.clock_steps += other.clock_steps;
        self.readings += other.readings;
        self.expiries += other.expiries;
        self.cold_segments += other.cold_segments;
        self.turns += other.turns;
    }

    /// True if nothing stands at zero.
    pub fn has_tried_everything(&self) -> bool {
        let Self { stops, kills, power_cuts, failed_operations, clock_steps, readings, .. } = *self;
        [
            stops,
            kills,
            power_cuts,
            failed_operations,
            clock_steps,
            readings,
            self.expiries,
            self.cold_segments,
        ]
        .iter()
        .all(|&count| count > 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets on the wire, {} kept, {} lost in rings; {} stops, {} kills, {} power cuts, {} failed operations, {} clock steps, {} readings meanwhile, {} worlds in which segments expired, {} segments became cold; {} turns",
            self.packets,
            self.kept,
            self.dropped_by_rings,
            self.stops,
            self.kills,
            self.power_cuts,
            self.failed_operations,
            self.clock_steps,
            self.readings,
            self.expiries,
            self.cold_segments,
            self.turns
        )
    }
}

/// A world while it runs.
struct World<'t> {
    clock: Arc<ManualClock>,
    files: SimFiles,
    wire: Wire,
    chance: Chance,
    sets_clock_back: bool,
    tally: &'t mut Tally,
}

/// Runs a world, checks what has to be true, and returns a number that is the same each time.
pub fn run(plan: &Plan, tally: &mut Tally) -> u64 {
    tally.worlds += 1;
    let mut chance = Chance::new(plan.seed ^ 0x5eed);
    let mut world = World {
        clock: Arc::new(ManualClock::new(BEGIN)),
        files: SimFiles::new(),
        wire: Wire::default(),
        chance: chance.split(),
        sets_clock_back: plan.sets_clock_back(),
        tally,
    };
    world.files.set_capacity(DISK_BYTES);
    let mut promised = BTreeSet::new();
    for session in &plan.sessions {
        let kept = world.session(session, plan.buffers);
        // What a reader had once is still there, unless it has expired.
        if session.budget_bytes.is_none() && plan.sessions.iter().all(|session| session.is_roomy()) {
            promised.extend(kept);
        }
        world.pause(session.pause);
    }
    world.finish(&promised)
}

impl SessionPlan {
    /// True if nothing can have to expire.
    fn is_roomy(&self) -> bool {
        let fills =
            |event: &WorldEvent| matches!(event, WorldEvent::DiskFilled { .. } | WorldEvent::Fault { .. });
        self.budget_bytes.is_none() && !self.events.iter().any(|(_, event)| fills(event))
    }
}

impl World<'_> {
    fn wire(&self) -> Vec<WirePacket> {
        self.wire.lock().unwrap().clone()
    }

    fn pause(&mut self, time: Duration) {
        self.clock.advance(time);
        self.files.set_time(self.clock.now().wall);
    }

    /// Opens the store as a recorder does that starts.
    fn start(&mut self) -> (Store, StoreLock, Logbook, Vec<SegmentName>) {
        let now = self.clock.now().wall;
        let files = Arc::new(self.files.clone());
        let store =
            Store::open_or_create_in(files, Path::new(STORE), now, self.chance.below(u64::MAX)).unwrap();
        let lock = StoreLock::take(&store, "the world").unwrap();
        let mut logbook = Logbook::new(&store);
        recover(&store, &mut |event| logbook.append(now, event).unwrap()).unwrap();
        logbook.sync().unwrap();
        let segments = ListedSegment::all(&store).unwrap();
        let without =
            segments.iter().filter(|segment| !segment.has_index).map(|segment| segment.name).collect();
        (store, lock, logbook, without)
    }

    /// Runs a session to its end, and returns the packets that are kept then.
    fn session(&mut self, plan: &SessionPlan, buffers: u16) -> BTreeSet<u64> {
        let began_ns = self.clock.now().monotonic_ns;
        let (store, lock, logbook, without_index) = self.start();
        let mut order = self.chance.split();
        let threads = SimThreads::new(self.clock.clone(), move |n| order.below(n as u64) as usize);
        let (clock, in_turns): (Arc<dyn Clock>, _) = (self.clock.clone(), Arc::new(threads.clone()));
        let disks = Arc::new(FileDisks { clock: clock.clone(), threads: in_turns.clone() });
        let platform = Platform { clock: clock.clone(), threads: in_turns.clone(), disks };
        let place = Workplace {
            store: store.clone(),
            logbook: Arc::new(Mutex::new(logbook)),
            clock,
            threads: in_turns,
            watcher: None,
        };
        let mut indexer = Indexer::start(place, without_index).unwrap();
        if let Some(after) = plan.compress_after {
            indexer = indexer.with_compression(after).unwrap();
        }
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (number, traffic) in plan.traffic.iter().enumerate() {
            let chance = self.chance.split();
            sources.push(Box::new(Interface::new(number, traffic, chance, &self.clock, &self.wire)));
        }
        let config = Config {
            segment_bytes: plan.segment_bytes,
            segment_age: plan.segment_age,
            buffer_bytes: BUFFER_BYTES,
            buffers,
            budget_bytes: plan.budget_bytes,
            ..Config::default()
        };
        let description = RecordingDescription { version: "world".into(), ..RecordingDescription::default() };
        let mut sinks = |_, room: &Arc<dyn Room>| Some(indexer.sink(room));
        let recorder =
            Recorder::start(config, &description, &store, &lock, sources, &mut sinks, &platform).unwrap();
        self.let_run(plan, began_ns, &threads);
        self.end(plan, &threads, recorder, indexer, lock)
    }

    /// Lets the session go on until its end is due.
    fn let_run(&mut self, plan: &SessionPlan, began_ns: u64, threads: &SimThreads) {
        let passed = |world: &Self| Duration::from_nanos(world.clock.now().monotonic_ns - began_ns);
        let (mut due, mut turns) = (plan.events.iter().peekable(), 0_u64);
        let mut filled_until = None;
        while passed(self) < plan.takes {
            while let Some((_, event)) = due.next_if(|(at, _)| *at <= passed(self)) {
                match event {
                    WorldEvent::DiskFilled { left_bytes, until } => {
                        self.files.set_capacity(self.used_bytes() + left_bytes);
                        filled_until = Some(*until);
                    }
                    event => self.happen(event, began_ns),
                }
            }
            if filled_until.is_some_and(|until| until <= passed(self)) {
                self.files.set_capacity(DISK_BYTES);
                filled_until = None;
            }
            assert!(threads.step(), "nobody goes on: {:?}", threads.running());
            self.files.set_time(self.clock.now().wall);
            turns += 1;
            if turns.is_multiple_of(LOOK_INTERVAL) {
                self.check_budget(plan);
            }
        }
        self.tally.turns += turns;
    }

    fn used_bytes(&self) -> u64 {
        let store = Store::open_in(Arc::new(self.files.clone()), Path::new(STORE));
        store.and_then(|store| store.disk_bytes()).unwrap_or(0)
    }

    fn check_budget(&self, plan: &SessionPlan) {
        if let Some(budget_bytes) = plan.budget_bytes {
            let used_bytes = self.used_bytes();
            assert!(used_bytes <= budget_bytes, "{used_bytes} bytes are used of {budget_bytes}");
        }
    }

    fn happen(&mut self, event: &WorldEvent, began_ns: u64) {
        match event {
            WorldEvent::ClockStep { forward, by } => {
                let (now_ns, by_ns) = (self.clock.now().wall.ns(), by.as_nanos() as u64);
                self.clock.set_wall(Timestamp(if *forward { now_ns + by_ns } else { now_ns - by_ns }));
                self.tally.clock_steps += 1;
            }
            WorldEvent::Fault { fault, until } => {
                let until_ns = began_ns + until.as_nanos() as u64;
                self.let_fail(*fault, until_ns);
            }
            WorldEvent::Read => self.read_meanwhile(),
            WorldEvent::DiskFilled { .. } => {}
        }
    }

    /// Makes operations fail until the monotonic clock shows `until_ns`.
    fn let_fail(&mut self, fault: FaultPlan, until_ns: u64) {
        let (clock, mut chance) = (self.clock.clone(), self.chance.split());
        self.tally.failed_operations += 1;
        self.files.set_faults(move |operation, path| {
            let is_now = clock.now().monotonic_ns < until_ns;
            if !is_now || !fault.meets(operation, path) || !chance.once_in(fault.once_in) {
                return None;
            }
            Some(match fault.is_torn && operation == FileOperation::Write {
                true => FileFault::Torn(torn_at(path, &mut chance), fault.error),
                false => FileFault::Fails(fault.error),
            })
        });
    }

    /// Reads while the recorder writes: what the answer covers, it has or says that it has not.
    fn read_meanwhile(&mut self) {
        let wire = self.wire();
        let Ok(reader) = reader(&self.files) else { return };
        let reading = read(&reader, &wire, &Query::default());
        self.tally.readings += 1;
        let completeness = &reading.answer.completeness;
        if self.sets_clock_back || !completeness.is_complete() {
            return;
        }
        let given: BTreeSet<u64> = reading.numbers.iter().copied().collect();
        let covered = completeness.covered;
        // One lane may be behind another.
        let due = Timestamp(self.clock.now().wall.ns().saturating_sub(SECOND_NS));
        let is_covered = |packet: &&WirePacket| {
            packet.has_right_time()
                && packet.arrived < due
                && covered.is_some_and(|span| span.from <= packet.at && packet.at < span.to)
        };
        let missing = wire.iter().filter(is_covered).find(|packet| !given.contains(&packet.number));
        assert!(
            missing.is_none(),
            "meanwhile: {missing:?} is missing of {covered:?}, and the answer says that it is complete"
        );
    }

    fn end(
        &mut self,
        plan: &SessionPlan,
        threads: &SimThreads,
        recorder: Recorder,
        indexer: Indexer,
        lock: StoreLock,
    ) -> BTreeSet<u64> {
        // What a reader has before a kill it has after it; after a power cut once the store is recovered.
        let (mut before, mut until_recovery) = (BTreeSet::new(), BTreeSet::new());
        match plan.ending {
            SessionEnding::Stop => {
                self.tally.stops += 1;
                let summary = recorder.stop();
                self.files.clear_faults();
                self.files.set_capacity(DISK_BYTES);
                indexer.finish();
                self.check_summary(plan, &summary);
                drop(lock);
            }
            SessionEnding::Kill => {
                self.tally.kills += 1;
                self.files.clear_faults();
                before = self.readable();
                threads.kill();
                self.files = self.files.after_power_cut(&mut |n| n - 1);
            }
            SessionEnding::PowerCut => {
                self.tally.power_cuts += 1;
                self.files.clear_faults();
                until_recovery = self.readable();
                threads.kill();
                let mut chance = self.chance.split();
                self.files = self.files.after_power_cut(&mut |n| chance.below(n));
            }
        }
        self.files.set_capacity(DISK_BYTES);
        // Nobody has recovered the store yet.
        let mut kept = self.check("before recovery");
        let lost = before.difference(&kept).next();
        assert!(lost.is_none(), "packet {lost:?} was there before the recorder was killed");
        kept.append(&mut until_recovery);
        kept
    }

    /// Packets that a reader has now.
    fn readable(&self) -> BTreeSet<u64> {
        let reading = read(&reader(&self.files).unwrap(), &self.wire(), &Query::default());
        reading.numbers.into_iter().collect()
    }

    fn check(&mut self, when: &str) -> BTreeSet<u64> {
        let wire = self.wire();
        let truth = Truth { wire: &wire, sets_clock_back: self.sets_clock_back };
        let mut chance = self.chance.split();
        truth.check(when, &reader(&self.files).unwrap(), &mut chance)
    }

    /// A recording that was stopped accounts for every packet.
    fn check_summary(&self, plan: &SessionPlan, summary: &RecordingSummary) {
        let is_faultless = plan
            .events
            .iter()
            .all(|(_, event)| !matches!(event, WorldEvent::Fault { .. } | WorldEvent::DiskFilled { .. }));
        for source in by_source(&summary.lanes) {
            let (account, counters) = (&source.account, &source.counters);
            assert!(account.adds_up(), "{source:?}");
            assert_eq!(account.received, counters.received, "{source:?}");
            if is_faultless {
                assert_eq!(account.dropped.disk, 0, "{source:?}: the disk was well");
            }
        }
        if is_faultless {
            assert!(summary.discrepancies.is_empty(), "{:?}", summary.discrepancies);
        }
    }

    /// Recovers the store, gives each segment its index, and checks everything again.
    fn finish(&mut self, promised: &BTreeSet<u64>) -> u64 {
        let (store, lock, logbook, without_index) = self.start();
        let kept = self.check("after recovery");
        let lost = promised.difference(&kept).next();
        assert!(lost.is_none(), "packet {lost:?} was there before recovery");
        for name in without_index {
            let index = index_writer::build(&store, &name).unwrap();
            store.write_index(&name, &index).unwrap();
        }
        assert!(self.check("with every index") == kept);
        let mut hash = DefaultHasher::new();
        for ListedSegment { name, state, is_cold, .. } in ListedSegment::all(&store).unwrap() {
            assert_eq!(state, SegmentState::Sealed, "{name} after recovery");
            let index = store.files().read(&store.index_path(&name)).unwrap();
            assert!(
                index == index_writer::build(&store, &name).unwrap(),
                "the index of {name} is not what its rebuild gives"
            );
            let path = if is_cold { store.cold_path(&name) } else { store.sealed_path(&name) };
            store.files().read(&path).unwrap().hash(&mut hash);
            self.tally.cold_segments += u64::from(is_cold);
        }
        let mut has_expired = false;
        for date in store.logbook_dates().unwrap() {
            let day = store.files().read(&store.logbook_path(&date)).unwrap();
            has_expired |= String::from_utf8_lossy(&day).contains("\"event\":\"expire\"");
            day.hash(&mut hash);
        }
        self.tally.expiries += u64::from(has_expired);
        drop((lock, logbook));
        let wire = self.wire();
        self.tally.packets += wire.len() as u64;
        self.tally.kept += kept.len() as u64;
        self.tally.dropped_by_rings += wire.iter().filter(|packet| !packet.was_taken).count() as u64;
        kept.hash(&mut hash);
        hash.finish()
    }
}

/// Bytes of a write that reach the disk before it fails: whole sectors of a segment, which is written past the page cache.
fn torn_at(path: &Path, chance: &mut Chance) -> usize {
    let bytes = chance.below(1 << 16) as usize;
    let is_segment = path.to_string_lossy().ends_with(".pcap.open");
    if is_segment { bytes / SECTOR_BYTES * SECTOR_BYTES } else { bytes }
}

impl FaultPlan {
    fn meets(&self, operation: FileOperation, path: &Path) -> bool {
        let is_meant = self.operation.is_none_or(|meant| meant == operation);
        let text = path.to_string_lossy();
        is_meant
            && match self.place {
                FaultPlace::Everywhere => true,
                FaultPlace::Logbook => text.contains("/logbook"),
                FaultPlace::Indexes => text.contains(".idx"),
                FaultPlace::Segments => text.contains("/segments") && !text.contains(".idx"),
            }
    }
}
