//! A whole recording in one thread: its workers take their turns in an order that a seed decides, on files and a disk in memory,
//! by a clock that moves when all have nothing to do.

use netrewind_sim::{SimFiles, SimThreads};
use netrewind_store::clock::{Clock, ManualClock};
use netrewind_store::store::StoreLock;

use super::*;
use crate::buffer_pool::BufferPool;
use crate::disk::sim::{Chance, Faults, SimDisk};
use crate::disk::{Disks, LaneDisk};
use crate::retention::Keeper;

const PACKETS: u32 = 20_000;
const NOW: Timestamp = Timestamp(1_795_339_861_000_000_005);

/// The same disk for the one lane.
struct OneDisk(SimDisk);

impl Disks for OneDisk {
    fn open(&self, _: &Store, _: &Arc<Keeper>, _: &Arc<BufferPool>) -> std::io::Result<LaneDisk> {
        Ok(Box::new(self.0.clone()))
    }
}

/// What is left of a recording: its logbook, and the bytes of its segments.
#[derive(PartialEq)]
struct Recorded {
    logbook: Vec<u8>,
    segments: Vec<Vec<u8>>,
    took: Duration,
}

fn record_by_turns(seed: u64) -> Recorded {
    let clock = Arc::new(ManualClock::new(NOW));
    let mut chance = Chance::new(seed);
    let threads = SimThreads::new(clock.clone(), move |n| chance.below(n as u64) as usize);
    let disk = SimDisk::new(seed, Faults { slowness: 3, ..Faults::default() });
    let disks = Arc::new(OneDisk(disk.clone()));
    let platform = Platform { clock: clock.clone(), threads: Arc::new(threads.clone()), disks };
    let store = Store::open_or_create_in(Arc::new(SimFiles::new()), Path::new("/store"), NOW, 7).unwrap();
    let lock = StoreLock::take(&store, "test").unwrap();
    let config = Config { segment_bytes: 8 << 20, ..Config::default() };
    let description = RecordingDescription { version: "test".into(), ..RecordingDescription::default() };
    let sink = Collector::default();
    let mut sinks = |_, _: &_| Some(Box::new(sink.clone()) as Box<dyn BlockSink>);
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Made::new(PACKETS))];
    let recorder =
        Recorder::start(config, &description, &store, &lock, sources, &mut sinks, &platform).unwrap();
    while !recorder.is_finished() {
        assert!(threads.step(), "nobody goes on: {:?}", threads.running());
    }
    let summary = recorder.stop();
    assert_eq!((threads.running(), summary.discrepancies), (Vec::new(), Vec::new()), "seed {seed}");
    assert_eq!((summary.account.written, summary.account.dropped.total()), (PACKETS.into(), 0));
    assert_eq!(sink.ends.lock().unwrap().len() as u64, summary.account.segments);
    let written: u64 = events(&store)
        .iter()
        .map(|event| if let Event::Second { written, .. } = event { *written } else { 0 })
        .sum();
    assert_eq!(written, u64::from(PACKETS), "seed {seed}");
    let logbook = store.files().read(&store.logbook_path(&NOW.date())).unwrap();
    let disk = disk.0.lock().unwrap();
    let segments = disk.files.values().map(|file| file.sealed.clone().expect("sealed")).collect();
    Recorded { logbook, segments, took: clock.now().since(0) }
}

#[test]
fn a_recording_in_one_thread_has_every_packet_and_is_the_same_each_time() {
    let mut logbooks = std::collections::BTreeSet::new();
    for seed in 1..=8 {
        let recorded = record_by_turns(seed);
        let mut seconds = Vec::new();
        for segment in &recorded.segments {
            seconds.extend(Records::of_segment(segment).map(|record| record.header.seconds));
        }
        assert!(seconds.into_iter().eq(0..PACKETS), "seed {seed}");
        assert!(recorded.segments.len() > 2 && recorded.took > Duration::ZERO);
        assert!(recorded == record_by_turns(seed), "seed {seed} gives another recording the second time");
        logbooks.insert(recorded.logbook);
    }
    assert!(logbooks.len() > 1, "the order of turns makes no difference");
}
