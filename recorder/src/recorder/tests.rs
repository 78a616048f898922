//! The whole pipeline over real files, from a source that makes its packets.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netrewind_store::sink::{BlockSink, SegmentEnd, SegmentStart};
use netrewind_store::store::{ListedSegment, StoreLock};
use netrewind_store::{
    Event, LaneLoad, LinkType, Mark, RecordHeader, Records, SegmentName, SegmentState, Store, Timestamp,
    logbook,
};

use super::{Recorder, RecordingDescription, import};
use crate::config::Config;
use crate::platform::Platform;
use crate::source::{Packet, Received, Source, SourceCounters, SourceError};

mod turns;

/// `left` packets whose second is their number, a few at a time.
struct Made {
    name: String,
    next: u32,
    left: u32,
    link_types: Vec<LinkType>,
    is_live: bool,
}

impl Made {
    fn new(packets: u32) -> Self {
        let link_types = vec![LinkType::ETHERNET];
        Self { name: "made".into(), next: 0, left: packets, link_types, is_live: false }
    }
}

fn length(number: u32) -> usize {
    60 + (number as usize * 7919) % 3000
}

impl Source for Made {
    fn name(&self) -> &str {
        &self.name
    }
    fn receive(
        &mut self,
        patience: Duration,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Result<Received, SourceError> {
        if self.left == 0 {
            std::thread::sleep(patience);
            return Ok(if self.is_live { Received::Quiet } else { Received::End });
        }
        let burst = self.left.min(200);
        for number in self.next..self.next + burst {
            let bytes = vec![number as u8 | 1; length(number)];
            let header =
                RecordHeader { seconds: number, nanoseconds: 0, caplen: bytes.len() as u32, len: 9000 };
            let link_type = self.link_types[number as usize % self.link_types.len()];
            take(Packet { header, link_type, head: &bytes, tag: None, tail: &[], interface: None });
        }
        self.next += burst;
        self.left -= burst;
        Ok(Received::Packets(burst.into()))
    }
    fn is_live(&self) -> bool {
        self.is_live
    }
    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        Ok(SourceCounters { received: self.next.into(), dropped: 0 })
    }
}

/// The numbers of a sealed segment's packets; every byte is looked at.
fn numbers(store: &Store, name: &SegmentName) -> Vec<u32> {
    let bytes = std::fs::read(store.sealed_path(name)).unwrap();
    let mut records = Records::of_segment(&bytes);
    let mut numbers = Vec::new();
    for record in records.by_ref() {
        let number = record.header.seconds;
        assert_eq!(record.packet.len(), length(number));
        assert!(record.packet.iter().all(|&byte| byte == number as u8 | 1));
        numbers.push(number);
    }
    assert!(records.is_exhausted());
    numbers
}

fn all_numbers(store: &Store) -> Vec<u32> {
    let segments = ListedSegment::all(store).unwrap();
    assert!(segments.iter().all(|segment| segment.state == SegmentState::Sealed));
    segments.iter().flat_map(|segment| numbers(store, &segment.name)).collect()
}

fn events(store: &Store) -> Vec<Event> {
    let mut events = Vec::new();
    logbook::read(store, Timestamp::MIN, Timestamp::MAX, true, |line| match line {
        logbook::LogbookLine::Entry(entry) => events.push(entry.event),
        other => panic!("{other:?}"),
    })
    .unwrap();
    events
}

fn record(
    folder: &Path,
    config: Config,
    source: Made,
    sink: Option<Box<dyn BlockSink>>,
) -> (Store, Recorder) {
    let platform = Platform::system();
    let store = Store::open_or_create(folder, platform.clock.now().wall, 1).unwrap();
    let lock = StoreLock::take(&store, "test").unwrap();
    let description = RecordingDescription { version: "test".into(), ..RecordingDescription::default() };
    let mut sink = sink;
    let sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
    let recorder =
        Recorder::start(config, &description, &store, &lock, sources, &mut |_, _| sink.take(), &platform)
            .unwrap();
    (store, recorder)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A block: its segment, where it begins, and its bytes.
type Collected = (SegmentName, u64, Vec<u8>);

/// A sink that reassembles segments, and is as slow as configured.
#[derive(Clone, Default)]
struct Collector {
    blocks: Arc<Mutex<Vec<Collected>>>,
    ends: Arc<Mutex<Vec<SegmentEnd>>>,
    holes: Arc<AtomicUsize>,
    delay: Duration,
}

impl BlockSink for Collector {
    fn opened(&mut self, _: &SegmentStart) {}
    fn block(&mut self, name: &SegmentName, offset: u64, records: &[u8]) {
        std::thread::sleep(self.delay);
        self.blocks.lock().unwrap().push((*name, offset, records.to_vec()));
    }
    fn hole(&mut self, _: &SegmentName) {
        self.holes.fetch_add(1, Ordering::Relaxed);
    }
    fn sealed(&mut self, segment: &SegmentEnd) {
        self.ends.lock().unwrap().push(segment.clone());
    }
    fn abandoned(&mut self, name: &SegmentName) {
        panic!("{name}");
    }
}

fn folders() -> Vec<tempfile::TempDir> {
    let in_memory = PathBuf::from("/dev/shm");
    let mut folders = vec![tempfile::tempdir().unwrap()];
    if in_memory.is_dir() {
        folders.push(tempfile::tempdir_in(in_memory).unwrap());
    }
    folders
}

#[test]
fn everything_is_recorded_rotated_sealed_and_told() {
    for folder in folders() {
        let sink = Collector::default();
        let config = Config { segment_bytes: 20 << 20, wait_for_sink: true, ..Config::default() };
        let (store, recorder) =
            record(folder.path(), config, Made::new(40_000), Some(Box::new(sink.clone())));
        wait_until("the source ends", || recorder.is_finished());
        let summary = recorder.stop();
        assert_eq!(summary.discrepancies, Vec::<String>::new());
        assert!(summary.account.adds_up() && summary.account.dropped.total() == 0);
        assert_eq!((summary.account.received, summary.account.written), (40_000, 40_000));
        assert!(all_numbers(&store).into_iter().eq(0..40_000));
        let segments = ListedSegment::all(&store).unwrap();
        assert_eq!(summary.account.segments, segments.len() as u64);
        assert!(segments.len() > 2 && segments.iter().all(|segment| segment.file_bytes <= 20 << 20));

        let mut sealed = sink.ends.lock().unwrap().clone();
        sealed.retain(|end| end.complete);
        assert_eq!(sealed.len(), segments.len());
        for end in sealed {
            let bytes = std::fs::read(store.sealed_path(&end.name)).unwrap();
            let blocks = sink.blocks.lock().unwrap();
            let blocks = blocks.iter().filter(|(name, ..)| *name == end.name);
            let mut at = 24;
            for (_, offset, block) in blocks {
                assert_eq!(*offset, at as u64);
                assert!(bytes[at..at + block.len()] == block[..]);
                at += block.len();
            }
            assert_eq!((at, end.bytes), (bytes.len(), bytes.len() as u64));
        }
        let events = events(&store);
        assert!(matches!(events.first(), Some(Event::Start { lane: 0, .. })));
        assert!(
            events
                .iter()
                .any(|event| matches!(event, Event::Stop { account, .. } if *account == summary.account))
        );
        let seals = events.iter().filter(|event| matches!(event, Event::Seal { .. })).count();
        assert_eq!(seals, segments.len());
        let written: u64 = events
            .iter()
            .map(|event| if let Event::Second { written, .. } = event { *written } else { 0 })
            .sum();
        assert_eq!(written, 40_000);
        let mut pace = LaneLoad::default();
        events.iter().for_each(|event| {
            if let Event::Second { pace: second, .. } = event {
                pace.add(second)
            }
        });
        // Each segment took a write at least, and one for each buffer that it filled.
        assert!(pace.writes.total() >= segments.len() as u64, "{pace:?}");
        assert!(pace.writes.total_us >= pace.writes.slowest_us && pace.writes.slowest_us > 0, "{pace:?}");
        assert_eq!(pace.ring, None, "these packets come through no ring");
    }
}

#[test]
fn a_slow_sink_gets_holes_and_costs_no_packet() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Collector { delay: Duration::from_millis(300), ..Collector::default() };
    let config = Config { segment_bytes: 512 << 20, buffer_bytes: 1 << 20, ..Config::default() };
    let (store, recorder) = record(folder.path(), config, Made::new(60_000), Some(Box::new(sink.clone())));
    wait_until("the source ends", || recorder.is_finished());
    let summary = recorder.stop();
    assert_eq!((summary.account.written, summary.account.dropped.total()), (60_000, 0));
    assert!(all_numbers(&store).into_iter().eq(0..60_000));
    assert_eq!(sink.holes.load(Ordering::Relaxed), 1);
    assert!(sink.ends.lock().unwrap().iter().all(|end| !end.complete));
    assert!(events(&store).iter().any(|event| matches!(event, Event::IndexBehind { .. })));
}

#[test]
fn a_packet_can_be_read_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let source = Made { is_live: true, ..Made::new(600) };
    let (store, recorder) = record(folder.path(), Config::default(), source, None);
    let arrived = Instant::now();
    let mut segment = None;
    wait_until("the mark promises all packets", || {
        let Some(listed) = ListedSegment::all(&store).unwrap().first().copied() else { return false };
        assert_eq!(listed.state, SegmentState::Open);
        let opened = store.open_segment(&listed.name).unwrap().unwrap();
        segment = Some((listed.name, opened.readable_bytes));
        store.mark(&listed.name).unwrap().is_some_and(|mark: Mark| mark.records == 600)
    });
    assert!(arrived.elapsed() < Duration::from_secs(1), "{:?}", arrived.elapsed());
    let (name, _) = segment.unwrap();
    let readable = store.open_segment(&name).unwrap().unwrap().readable_bytes as usize;
    let bytes = std::fs::read(store.open_path(&name)).unwrap();
    assert_eq!(Records::of_segment(&bytes[..readable]).count(), 600);
    assert_eq!(recorder.stop().account.written, 600);
}

#[test]
fn the_budget_is_never_passed() {
    let folder = tempfile::tempdir().unwrap();
    let budget = 12 << 20;
    let config = Config { segment_bytes: 2 << 20, budget_bytes: Some(budget), ..Config::default() };
    let (store, recorder) = record(folder.path(), config, Made::new(40_000), None);
    let mut most = 0;
    wait_until("the source ends", || {
        most = most.max(store.disk_bytes().unwrap_or(0));
        recorder.is_finished()
    });
    let summary = recorder.stop();
    assert_eq!((summary.account.written, summary.account.dropped.total()), (40_000, 0));
    assert!(most <= budget && most > budget / 2, "{most}");
    let left = all_numbers(&store);
    assert!(
        !left.is_empty()
            && left.into_iter().rev().eq((0..40_000)
                .rev()
                .take_while(|&n| n >= numbers(&store, &ListedSegment::all(&store).unwrap()[0].name)[0]))
    );
    assert!(events(&store).iter().any(|event| matches!(event, Event::Expire { .. })));
}

#[test]
fn an_import_keeps_link_types_apart_and_tells_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::system();
    let store = Store::open_or_create(folder.path(), platform.clock.now().wall, 1).unwrap();
    let lock = StoreLock::take(&store, "test").unwrap();
    let link_types = vec![LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL];
    let mixed = Made { link_types, name: "mixed.pcap".into(), ..Made::new(3000) };
    let mut sources = [mixed, Made::new(500)].into_iter().map(|made| Box::new(made) as Box<dyn Source>);
    let sink = Collector { delay: Duration::from_millis(20), ..Collector::default() };
    let mut sinks = |_, _: &_| Some(Box::new(sink.clone()) as Box<dyn BlockSink>);
    let result =
        import(Config::default(), &store, &lock, &mut sources, &mut sinks, &platform, &mut |_| true).unwrap();
    assert_eq!((result.account.written, result.account.dropped.total()), (3500, 0));
    assert!(!result.is_cut_short && result.notices.is_empty(), "{:?}", result.notices);
    let counts: Vec<_> = result.sources.iter().map(|source| (source.name.as_str(), source.records)).collect();
    assert_eq!(counts, [("mixed.pcap", 3000), ("made", 500)]);
    let segments = ListedSegment::all(&store).unwrap();
    let mut counts: Vec<_> = segments.iter().map(|segment| numbers(&store, &segment.name).len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [500, 1000, 1000, 1000], "each file has segments of its own");
    assert!(sink.ends.lock().unwrap().iter().all(|end| end.complete));
    assert_eq!(events(&store).iter().filter(|event| matches!(event, Event::Import { .. })).count(), 2);
}

/// A small file system of its own, taken away when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder.path());
        match command.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                println!("skipped: needs root, to mount a small file system");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_expires_the_oldest_and_recording_goes_on() {
    let Some(disk) = SmallDisk::mount("size=24m") else { return };
    let config = Config { segment_bytes: 4 << 20, ..Config::default() };
    let (store, recorder) = record(disk.0.path(), config, Made::new(40_000), None);
    wait_until("the source ends", || recorder.is_finished());
    let summary = recorder.stop();
    assert_eq!((summary.account.written, summary.account.dropped.total()), (40_000, 0));
    let left = all_numbers(&store);
    assert!(left.ends_with(&[39_998, 39_999]) && left.is_sorted());
    let is_expiry = |event: &Event| matches!(event, Event::Expire { reason, .. } if reason == "disk full");
    assert!(events(&store).iter().any(is_expiry));
}

#[test]
fn what_a_query_still_reads_of_a_full_disk_is_waited_for() {
    const READ_FOR: Duration = Duration::from_secs(1);
    let Some(disk) = SmallDisk::mount("size=24m") else { return };
    let config = Config { segment_bytes: 4 << 20, ..Config::default() };
    let (store, recorder) = record(disk.0.path(), config, Made::new(24_000), None);
    // Like queries that read every segment, and go on doing so for a while after it has expired.
    let mut read: Vec<(std::path::PathBuf, std::fs::File, Option<Instant>)> = Vec::new();
    wait_until("the source ends", || {
        for segment in ListedSegment::all(&store).unwrap() {
            let path = store.sealed_path(&segment.name);
            if !read.iter().any(|(known, ..)| *known == path)
                && let Ok(file) = std::fs::File::open(&path)
            {
                read.push((path, file, None));
            }
        }
        read.iter_mut().filter(|(path, ..)| !path.exists()).for_each(|(.., gone)| {
            gone.get_or_insert_with(Instant::now);
        });
        read.retain(|(.., gone)| gone.is_none_or(|gone| gone.elapsed() < READ_FOR));
        recorder.is_finished()
    });
    let summary = recorder.stop();
    assert_eq!((summary.account.written, summary.account.dropped.total()), (24_000, 0));
    let told = events(&store);
    assert!(!told.iter().any(|event| matches!(event, Event::DiskError { .. })), "{told:?}");
    let expired = told.iter().filter(|event| matches!(event, Event::Expire { .. })).count() as u64;
    let (written, kept) = (summary.account.segments, ListedSegment::all(&store).unwrap().len() as u64);
    assert_eq!(expired, written - kept);
    assert!(kept >= 3, "no more expires than is needed: {kept} of {written} are kept");
}

#[test]
fn a_disk_without_room_for_a_segment_drops_and_says_so() {
    let Some(disk) = SmallDisk::mount("size=1m") else { return };
    let config = Config { segment_bytes: 16 << 20, ..Config::default() };
    let source = Made { is_live: true, ..Made::new(60_000) };
    let (store, recorder) = record(disk.0.path(), config, source, None);
    wait_until("packets are dropped", || {
        let status = recorder.status();
        status.lanes[0].is_disk_failing && status.lanes[0].account.dropped.disk > 0
    });
    // Room appears: everything from here on is recorded.
    let mut command = std::process::Command::new("mount");
    command.args(["-o", "remount,size=200m"]).arg(disk.0.path());
    assert!(command.output().unwrap().status.success());
    wait_until("the disk works again", || !recorder.status().lanes[0].is_disk_failing);
    let summary = recorder.stop();
    assert_eq!(summary.discrepancies, Vec::<String>::new());
    assert_eq!(summary.account.received, 60_000);
    assert_eq!(summary.account.written, all_numbers(&store).len() as u64);
    assert!(summary.account.written > 0);
    assert!(events(&store).iter().any(|event| matches!(event, Event::DiskError { .. })));
}
