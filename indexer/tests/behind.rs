//! The work behind a recording, turn by turn: on files in memory where it may fail, by a clock that moves when all wait.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_catalog::build::Catalogued;
use netrewind_catalog::condition::CatalogRecord;
use netrewind_catalog::expiry::CatalogLimits;
use netrewind_indexer::hour_export::{HourAccount, HourExport};
use netrewind_indexer::index_writer::{self, IndexState};
use netrewind_indexer::{HourSource, Indexer, Workplace, hour_writer};
use netrewind_sim::{SimFiles, SimThreads};
use netrewind_store::catalog::{CATALOG_VERSION, CataloguedSegment, Hour, Manifest};
use netrewind_store::clock::{Clock, ManualClock};
use netrewind_store::files::OpenMode;
use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::logbook::{self, LogbookLine};
use netrewind_store::room::Room;
use netrewind_store::sink::{SegmentEnd, SegmentStart};
use netrewind_store::store::{CatalogFolder, HourFiles, ListedSegment};
use netrewind_store::{Event, LinkType, Logbook, PcapWriter, RecordHeader, SegmentName, Store, Timestamp};

const OPENED: Timestamp = Timestamp(1_795_339_861_000_000_005);
const LIMITS: CatalogLimits = CatalogLimits { budget_bytes: None, age_max: None };
const RECORDS: u64 = 100;

/// Room without end, or none.
struct Endless(bool);

impl Room for Endless {
    fn make_room(&self, _: u64) -> io::Result<()> {
        if self.0 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

struct Rig {
    store: Store,
    clock: Arc<ManualClock>,
    threads: SimThreads,
    place: Workplace,
}

/// A store on `store`'s files, an hour after [`OPENED`].
fn rig(store: Store) -> Rig {
    let clock = Arc::new(ManualClock::new(OPENED.plus_ns(3_600_000_000_000)));
    let threads = SimThreads::new(clock.clone(), |_| 0);
    let logbook = Arc::new(Mutex::new(Logbook::new(&store)));
    let place = Workplace {
        store: store.clone(),
        logbook,
        clock: clock.clone(),
        threads: Arc::new(threads.clone()),
        watcher: None,
    };
    Rig { store, clock, threads, place }
}

fn in_memory() -> Rig {
    rig(Store::open_or_create_in(Arc::new(SimFiles::new()), Path::new("/store"), OPENED, 7).unwrap())
}

/// A segment of [`RECORDS`] packets.
fn segment() -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    for number in 0..RECORDS as u32 {
        let seconds = (OPENED.ns() / 1_000_000_000) as u32 + number;
        writer.write(&RecordHeader { seconds, nanoseconds: 0, caplen: 60, len: 60 }, &[7; 60]).unwrap();
    }
    writer.finish().unwrap()
}

fn name(number: u64) -> SegmentName {
    SegmentName { opened: OPENED.plus_ns(number), lane: 0 }
}

fn seal(store: &Store, name: &SegmentName) -> Vec<u8> {
    let bytes = segment();
    store.prepare_folder(name).unwrap();
    let file = store.files().open(&store.open_path(name), OpenMode::Create).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    store.seal(name).unwrap();
    bytes
}

impl Rig {
    /// Lets the workers go on for so long.
    fn run(&self, time: Duration) {
        let until = self.clock.now().after(time);
        while self.clock.now().monotonic_ns < until && self.threads.step() {}
    }

    /// Lines of the logbook, by event.
    fn events(&self) -> BTreeMap<&'static str, usize> {
        let mut events = BTreeMap::new();
        logbook::read(&self.store, Timestamp::MIN, Timestamp::MAX, true, |line| {
            let LogbookLine::Entry(entry) = line else { panic!("{line:?}") };
            *events
                .entry(match entry.event {
                    Event::IndexBehind { .. } => "index behind",
                    Event::CatalogBehind { .. } => "catalog behind",
                    Event::Catalogued { .. } => "catalogued",
                    Event::Exported { .. } => "exported",
                    Event::ExportBehind { .. } => "export behind",
                    other => panic!("{other:?}"),
                })
                .or_default() += 1;
        })
        .unwrap();
        events
    }

    fn is_indexed(&self, name: &SegmentName) -> bool {
        let segments = ListedSegment::all(&self.store).unwrap();
        let listed = segments.iter().find(|segment| segment.name == *name).unwrap();
        matches!(index_writer::index_state(&self.store, listed).unwrap(), IndexState::Good)
    }
}

#[test]
fn segments_are_indexed_from_their_blocks_or_else_from_their_files() {
    let rig = in_memory();
    let names: Vec<_> = (0..6).map(name).collect();
    let room: Arc<dyn Room> = Arc::new(Endless(true));
    seal(&rig.store, &names[0]);
    let mut indexer = Indexer::start(rig.place.clone(), vec![names[0]]).unwrap();
    let mut sink = indexer.sink(&room);
    // Four at once, of which two are laid out from their counts; one is not complete.
    for (number, name) in names.iter().enumerate().skip(1) {
        let bytes = seal(&rig.store, name);
        sink.opened(&SegmentStart { name: *name, link_type: LinkType::ETHERNET });
        sink.block(name, FILE_HEADER_BYTES as u64, &bytes[FILE_HEADER_BYTES..]);
        let (first, last) = (OPENED, OPENED.plus_ns(99_000_000_000));
        let (bytes, complete) = (bytes.len() as u64, number != 5);
        sink.sealed(&SegmentEnd { name: *name, bytes, records: RECORDS, first, last, complete });
    }
    rig.run(Duration::from_secs(1));
    assert!(names.iter().all(|name| rig.is_indexed(name)));
    assert_eq!(rig.threads.running(), ["finish", "catch-up"]);
    drop(sink);
    indexer.finish();
    assert_eq!((rig.threads.running(), rig.events()), (Vec::new(), BTreeMap::new()));
}

#[test]
fn an_index_without_room_is_told_of_and_costs_nothing_else() {
    let rig = in_memory();
    let names = [name(0), name(1)];
    names.iter().for_each(|name| drop(seal(&rig.store, name)));
    let room: Arc<dyn Room> = Arc::new(Endless(false));
    let mut indexer = Indexer::start(rig.place.clone(), names.to_vec()).unwrap();
    drop(indexer.sink(&room));
    // One that expires before its turn needs no index.
    rig.store.remove(&names[1]).unwrap();
    indexer.finish();
    assert!(!rig.is_indexed(&names[0]));
    assert_eq!(rig.events(), BTreeMap::from([("index behind", 1)]));
}

/// Hours without records, after so many attempts in vain.
struct Emptied {
    failures: AtomicUsize,
    made: Arc<AtomicUsize>,
}

impl HourSource for Emptied {
    fn catalogue(
        &self,
        hour: Hour,
        _: &AtomicBool,
        _: &mut dyn FnMut(&CatalogRecord) -> bool,
    ) -> Result<Catalogued, Box<dyn Error + Send + Sync>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.fetch_sub(1, Ordering::Relaxed);
            return Err("the disk fails".into());
        }
        let segments =
            vec![CataloguedSegment { name: name(0), first: OPENED, last: OPENED.plus_ns(99_000_000_000) }];
        let manifest = Manifest {
            version: CATALOG_VERSION,
            hour,
            records: 0,
            packets: 0,
            bytes: 0,
            segments,
            without_packets: Vec::new(),
            link_types: vec![1],
            lacks: Vec::new(),
            is_divided: false,
            files: std::collections::BTreeMap::new(),
        };
        Ok(Catalogued { manifest, rollup: None })
    }
}

/// A recording's work whose catalog always fails, with room or without.
fn without_catalog(rig: &Rig, names: Vec<SegmentName>, room: bool) -> Indexer {
    let hours = Emptied { failures: AtomicUsize::new(usize::MAX), made: Arc::default() };
    let indexer = Indexer::start(rig.place.clone(), names).unwrap();
    let mut indexer = indexer.with_catalog(LIMITS, Box::new(hours), None).unwrap();
    let room: Arc<dyn Room> = Arc::new(Endless(room));
    drop(indexer.sink(&room));
    indexer
}

#[test]
fn an_hour_is_indexed_when_it_is_over_and_again_when_it_has_other_segments() {
    let rig = in_memory();
    let hour = Hour::of(OPENED);
    let is_current = || {
        let segments = ListedSegment::all(&rig.store).unwrap();
        hour_writer::is_current(&rig.store, hour, &segments).unwrap()
    };
    seal(&rig.store, &name(0));
    let indexer = without_catalog(&rig, vec![name(0)], true);
    rig.run(Duration::from_secs(30));
    assert!(is_current());
    seal(&rig.store, &name(1));
    rig.store.write_index(&name(1), &index_writer::build(&rig.store, &name(1)).unwrap()).unwrap();
    assert!(!is_current());
    rig.run(Duration::from_secs(3600));
    assert!(is_current());
    rig.store.remove(&name(0)).unwrap();
    assert!(!is_current());
    rig.run(Duration::from_secs(3600));
    assert!(is_current());
    let segments = ListedSegment::all(&rig.store).unwrap();
    hour_writer::check(&rig.store, hour, &segments, rig.clock.now().wall).unwrap();
    indexer.finish();
}

#[test]
fn an_hour_without_room_has_no_index() {
    let rig = in_memory();
    seal(&rig.store, &name(0));
    rig.store.write_index(&name(0), &index_writer::build(&rig.store, &name(0)).unwrap()).unwrap();
    let indexer = without_catalog(&rig, Vec::new(), false);
    rig.run(Duration::from_secs(3600));
    assert!(HourFiles::of(&rig.store).hours().unwrap().is_empty());
    indexer.finish();
}

#[test]
fn an_hour_is_written_once_when_it_is_over_and_tried_again_later_if_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(Store::open_or_create(folder.path(), OPENED, 7).unwrap());
    seal(&rig.store, &name(0));
    let (made, room): (Arc<AtomicUsize>, Arc<dyn Room>) = (Arc::default(), Arc::new(Endless(true)));
    let hours = Emptied { failures: AtomicUsize::new(1), made: made.clone() };
    let indexer = Indexer::start(rig.place.clone(), vec![name(0)]).unwrap();
    let mut indexer = indexer.with_catalog(LIMITS, Box::new(hours), None).unwrap();
    rig.run(Duration::from_secs(60));
    assert_eq!(made.load(Ordering::Relaxed), 0, "its segment has no index");
    drop(indexer.sink(&room));
    rig.run(Duration::from_secs(60));
    assert_eq!((made.load(Ordering::Relaxed), rig.events()), (1, BTreeMap::from([("catalog behind", 1)])));
    rig.run(Duration::from_secs(500));
    assert_eq!(made.load(Ordering::Relaxed), 1, "it is left alone for ten minutes");
    rig.run(Duration::from_secs(3600));
    assert_eq!(made.load(Ordering::Relaxed), 2);
    assert_eq!(rig.events(), BTreeMap::from([("catalog behind", 1), ("catalogued", 1)]));
    assert!(CatalogFolder::of(&rig.store).manifest(Hour::of(OPENED)).unwrap().is_some());
    indexer.finish();
    assert_eq!(rig.threads.running(), Vec::<String>::new());
}

/// Takes hours out, but for the first times.
struct Taken {
    failures: AtomicUsize,
    taken: Arc<AtomicUsize>,
}

impl HourExport for Taken {
    fn is_current(&self, _: &Store, _: &Manifest) -> bool {
        false
    }

    fn export(
        &self,
        _: &Store,
        manifest: &Manifest,
        _: &AtomicBool,
    ) -> Result<HourAccount, Box<dyn Error + Send + Sync>> {
        let left = |failures: usize| failures.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err("the folder is away".into());
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(HourAccount { records: manifest.records, bytes: 1, lacks: Vec::new() })
    }
}

#[test]
fn an_hour_is_exported_once_and_tried_again_later_if_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(Store::open_or_create(folder.path(), OPENED, 7).unwrap());
    seal(&rig.store, &name(0));
    rig.store.write_index(&name(0), &index_writer::build(&rig.store, &name(0)).unwrap()).unwrap();
    let taken: Arc<AtomicUsize> = Arc::default();
    let hours = Emptied { failures: AtomicUsize::new(0), made: Arc::default() };
    let export = Taken { failures: AtomicUsize::new(1), taken: taken.clone() };
    let indexer = Indexer::start(rig.place.clone(), Vec::new()).unwrap();
    let indexer = indexer.with_catalog(LIMITS, Box::new(hours), Some(Box::new(export))).unwrap();
    rig.run(Duration::from_secs(500));
    let failed = BTreeMap::from([("catalogued", 1), ("export behind", 1)]);
    assert_eq!((taken.load(Ordering::Relaxed), rig.events()), (0, failed.clone()), "for ten minutes");
    rig.run(Duration::from_secs(7200));
    let exported = failed.into_iter().chain([("exported", 1)]).collect();
    assert_eq!((taken.load(Ordering::Relaxed), rig.events()), (1, exported), "once");
    indexer.finish();
}
