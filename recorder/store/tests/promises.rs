//! What a store promises, kept on a file system that fails at every operation in turn, fills up, and loses its power.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use netrewind_sim::{EIO, ENOSPC, FileFault, FileOperation, SimFiles};
use netrewind_store::catalog::{CATALOG_VERSION, Hour, Manifest};
use netrewind_store::files::{Files, OpenMode};
use netrewind_store::logbook::{self, LogbookEntry, LogbookLine};
use netrewind_store::store::{CatalogFolder, ListedSegment, StoreListing, Watcher};
use netrewind_store::{Event, Logbook, SegmentName, Store, StoreError, Timestamp};

const NOW: Timestamp = Timestamp(1_795_339_861_000_000_005);
const NAME: SegmentName = SegmentName { opened: NOW, lane: 0 };
/// Power cuts that are tried with what may survive left to chance.
const CUTS: u64 = 40;

/// Numbers with a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn open(files: &SimFiles) -> Store {
    Store::open_or_create_in(Arc::new(files.clone()), Path::new("/stores/one"), NOW, 7).unwrap()
}

/// A store with the segment [`NAME`], sealed.
fn with_segment() -> (SimFiles, Store) {
    let files = SimFiles::new();
    let store = open_above(&files);
    store.prepare_folder(&NAME).unwrap();
    files.open(&store.open_path(&NAME), OpenMode::Create).unwrap().sync_all().unwrap();
    store.seal(&NAME).unwrap();
    (files, store)
}

/// The store, in a folder that is durable.
fn open_above(files: &SimFiles) -> Store {
    files.create_folder(Path::new("/stores")).unwrap();
    files.sync_file_system(Path::new("/")).unwrap();
    open(files)
}

/// Calls `act` with the operation of each number failing in each way, and then `check`, until `act` has fewer operations.
fn fail_each(
    make: &dyn Fn() -> (SimFiles, Store),
    act: &dyn Fn(&Store) -> Result<(), StoreError>,
    check: &dyn Fn(&SimFiles, &Store, bool),
) {
    for fault in [FileFault::Fails(EIO), FileFault::Torn(3, ENOSPC)] {
        for failing in 0.. {
            let (files, store) = make();
            let done = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&done);
            files.set_faults(move |_, _| {
                (counted.fetch_add(1, Ordering::Relaxed) == failing).then_some(fault)
            });
            let is_done = act(&store).is_ok();
            files.clear_faults();
            check(&files, &store, is_done);
            if done.load(Ordering::Relaxed) <= failing {
                assert!(is_done && failing > 0, "nothing failed");
                break;
            }
        }
    }
}

/// Calls `check` with the store as it is after power cuts that lose everything unsynced, nothing, and anything.
fn cut_power(files: &SimFiles, check: &dyn Fn(&SimFiles, &Store)) {
    let mut chance = Chance(1);
    let cut = |below: &mut dyn FnMut(u64) -> u64| {
        let left = files.after_power_cut(below);
        check(&left, &open(&left));
    };
    cut(&mut |_| 0);
    cut(&mut |n| n - 1);
    (0..CUTS).for_each(|_| cut(&mut |n| chance.below(n)));
}

fn index(store: &Store) -> Option<Vec<u8>> {
    store.open_index(&NAME).unwrap().map(|file| file.read_all().unwrap())
}

#[test]
fn an_index_is_there_whole_or_not_at_all() {
    let (old, new) = (vec![1; 2000], vec![2; 3000]);
    let with_old = || {
        let (files, store) = with_segment();
        store.write_index(&NAME, &old).unwrap();
        (files, store)
    };
    let makers: [&dyn Fn() -> (SimFiles, Store); 2] = [&with_segment, &with_old];
    for make in makers {
        let before = index(&make().1);
        fail_each(make, &|store| store.write_index(&NAME, &new), &|files, store, is_done| {
            let wanted = if is_done { Some(&new) } else { before.as_ref() };
            assert_eq!(index(store).as_ref(), wanted);
            let names = files.names(store.index_path(&NAME).parent().unwrap()).unwrap();
            assert_eq!(names.len(), 1 + usize::from(wanted.is_some()), "{names:?}");
            cut_power(files, &|_, store| {
                let found = index(store);
                assert!(found.as_ref() == Some(&new) || found == before || found.is_none());
            });
        });
    }
}

#[test]
fn an_index_for_which_there_is_no_room_leaves_nothing_behind() {
    let (files, store) = with_segment();
    let used = store.disk_bytes().unwrap();
    let free = files.space(store.root()).unwrap().free_bytes;
    files.set_capacity(u64::MAX - free + 8192);
    let error = store.write_index(&NAME, &[1; 10_000]).unwrap_err();
    assert!(matches!(error, StoreError::Io { source, .. } if source.raw_os_error() == Some(ENOSPC)));
    assert_eq!((index(&store), store.disk_bytes().unwrap()), (None, used));
    store.write_index(&NAME, &[1; 8000]).unwrap();
}

#[test]
fn a_sealed_segment_survives_a_power_cut() {
    let files = SimFiles::new();
    let store = open_above(&files);
    store.prepare_folder(&NAME).unwrap();
    let segment = files.open(&store.open_path(&NAME), OpenMode::Create).unwrap();
    segment.write_all_at(b"packets", 0).unwrap();
    segment.sync_all().unwrap();
    store.files().write(&store.mark_path(&NAME), b"mark").unwrap();
    store.seal(&NAME).unwrap();
    cut_power(&files, &|_, store| {
        let opened = store.open_segment(&NAME).unwrap().unwrap();
        assert_eq!(opened.file.read_all().unwrap(), b"packets");
        assert_eq!(store.mark(&NAME).unwrap(), None);
    });
}

fn up(lane: u16) -> LogbookEntry {
    LogbookEntry::new(NOW.plus_ns(u64::from(lane)), Event::Up { lane })
}

/// The lanes of the lines that can be read, and the number of those that cannot.
fn lanes(store: &Store) -> (BTreeSet<u16>, usize) {
    let (mut lanes, mut unreadable) = (BTreeSet::new(), 0);
    logbook::read(store, Timestamp::MIN, Timestamp::MAX, true, |line| match line {
        LogbookLine::Entry(LogbookEntry { event: Event::Up { lane }, at, .. }) => {
            assert_eq!(at, up(lane).at);
            lanes.insert(lane);
        }
        LogbookLine::Unreadable(_) => unreadable += 1,
        other => panic!("{other:?}"),
    })
    .unwrap();
    (lanes, unreadable)
}

#[test]
fn lines_that_were_synced_survive_and_those_that_were_torn_are_noticed() {
    let files = SimFiles::new();
    let store = open_above(&files);
    let mut logbook = Logbook::new(&store);
    (0..40).for_each(|lane| logbook.append_entry(&up(lane)).unwrap());
    logbook.sync().unwrap();
    (40..80).for_each(|lane| logbook.append_entry(&up(lane)).unwrap());
    let torn = Mutex::new(0);
    cut_power(&files, &|_, store| {
        let (found, unreadable) = lanes(store);
        assert!((0..40).all(|lane| found.contains(&lane)) && found.iter().all(|&lane| lane < 80));
        *torn.lock().unwrap() += unreadable;
        // A line that is written later begins on a line of its own.
        let mut logbook = Logbook::new(store);
        logbook.append_entry(&up(99)).unwrap();
        assert!(lanes(store).0.contains(&99));
    });
    assert!(*torn.lock().unwrap() > 0, "no cut has torn a line");
}

#[test]
fn a_line_is_written_whole_or_not_at_all_and_spoils_no_other() {
    let make = || {
        let files = SimFiles::new();
        let store = open_above(&files);
        (files, store)
    };
    let append = |store: &Store| -> Result<(), StoreError> {
        let mut logbook = Logbook::new(store);
        logbook.append_entry(&up(1))?;
        logbook.sync()
    };
    fail_each(&make, &append, &|_, store, is_done| {
        let (found, unreadable) = lanes(store);
        assert!(unreadable == 0 && (!is_done || found.contains(&1)));
        append(store).unwrap();
        assert_eq!(lanes(store), (BTreeSet::from([1]), 0), "said twice, it counts once");
    });
    // Neither written whole nor cut off again.
    let (files, store) = make();
    let mut logbook = Logbook::new(&store);
    logbook.append_entry(&up(1)).unwrap();
    files.set_faults(|operation, _| match operation {
        FileOperation::Write => Some(FileFault::Torn(9, EIO)),
        FileOperation::Change => Some(FileFault::Fails(EIO)),
        _ => None,
    });
    logbook.append_entry(&up(2)).unwrap_err();
    files.clear_faults();
    logbook.append_entry(&up(3)).unwrap();
    assert_eq!(lanes(&store), (BTreeSet::from([1, 3]), 1));
    let mut faults = Vec::new();
    logbook::check_day(&store, &NOW.date(), false, &mut |_| {}, &mut |fault| faults.push(fault.line))
        .unwrap();
    assert_eq!(faults, [2]);
}

#[test]
fn what_cannot_be_listed_is_an_error_and_not_empty() {
    let (files, store) = with_segment();
    store.write_index(&NAME, b"index").unwrap();
    Logbook::new(&store).append_entry(&up(1)).unwrap();
    let mut watcher = Watcher::new(&store);
    assert!(watcher.refresh(1) && watcher.unlisted().count() == 0);
    let day = store.sealed_path(&NAME).parent().unwrap().to_owned();
    let places =
        [(FileOperation::List, day.parent().unwrap().to_owned()), (FileOperation::List, day.clone())];
    let facts = [(FileOperation::Status, day), (FileOperation::Status, store.sealed_path(&NAME))];
    for (failing, place) in places.into_iter().chain(facts) {
        let at = place.clone();
        files.set_faults(move |operation, path| {
            (operation == failing && path == at).then_some(FileFault::Fails(EIO))
        });
        assert!(ListedSegment::all(&store).is_err() && store.disk_bytes().is_err(), "{}", place.display());
        let listing = StoreListing::of(&store);
        assert_eq!((listing.segments.len(), listing.unlisted.len()), (0, 1), "{}", place.display());
        let is_file = place == store.sealed_path(&NAME);
        let mut watcher = Watcher::new(&store);
        watcher.refresh(1);
        assert_eq!(watcher.unlisted().count(), usize::from(!is_file), "names alone: {}", place.display());
    }
    files.set_faults(|operation, _| (operation == FileOperation::List).then_some(FileFault::Fails(EIO)));
    assert!(
        store.logbook_dates().is_err()
            && CatalogFolder::of(&store).hours().is_err()
            && CatalogFolder::of(&store).listed_hours().is_err()
    );
    files.set_faults(|operation, _| (operation == FileOperation::Open).then_some(FileFault::Fails(EIO)));
    assert!(store.open_segment(&NAME).is_err() && store.open_index(&NAME).is_err());
    assert!(logbook::read(&store, Timestamp::MIN, Timestamp::MAX, true, |_| {}).is_err());
    assert!(matches!(Store::open_in(Arc::new(files.clone()), store.root()), Err(StoreError::Io { .. })));
    files.clear_faults();
    assert_eq!(ListedSegment::all(&store).unwrap().len(), 1);
}

fn manifest(records: u64) -> Manifest {
    Manifest {
        version: CATALOG_VERSION,
        hour: Hour::of(NOW),
        records,
        packets: 0,
        bytes: 0,
        segments: Vec::new(),
        without_packets: Vec::new(),
        link_types: Vec::new(),
        lacks: Vec::new(),
        is_divided: false,
        files: std::collections::BTreeMap::new(),
    }
}

#[test]
fn an_hour_is_there_whole_or_not_at_all() {
    let write = |store: &Store, records| {
        CatalogFolder::of(store).begin_hour(Hour::of(NOW))?;
        CatalogFolder::of(store).write_rollup(Hour::of(NOW), format!("{records}").as_bytes())?;
        CatalogFolder::of(store).finish_hour(&manifest(records))
    };
    let make = || {
        let (files, store) = with_segment();
        write(&store, 1).unwrap();
        (files, store)
    };
    let is_whole = |store: &Store, is_done: bool| {
        let found = CatalogFolder::of(store).manifest(Hour::of(NOW)).unwrap();
        assert!(!is_done || found.as_ref().map(Manifest::without_files) == Some(manifest(2)));
        if let Some(manifest) = found {
            assert_eq!(CatalogFolder::of(store).changed_files(&manifest), []);
            let rollup = CatalogFolder::of(store).rollup(Hour::of(NOW)).unwrap().unwrap().read_all().unwrap();
            assert_eq!(rollup, format!("{}", manifest.records).as_bytes());
        }
    };
    fail_each(&make, &|store| write(store, 2), &|files, store, is_done| {
        is_whole(store, is_done);
        cut_power(files, &|_, store| {
            is_whole(store, false);
            CatalogFolder::of(store).remove_unfinished_hours().unwrap();
            assert!(CatalogFolder::of(store).hours().unwrap().len() <= 1);
        });
    });
}

#[test]
fn a_new_store_is_there_whole_or_not_at_all() {
    for failing in 0.. {
        let files = SimFiles::new();
        files.create_folder(Path::new("/stores")).unwrap();
        files.sync_file_system(Path::new("/")).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        files.set_faults(move |_, _| {
            (counted.fetch_add(1, Ordering::Relaxed) == failing).then_some(FileFault::Fails(EIO))
        });
        let made = Store::open_or_create_in(Arc::new(files.clone()), Path::new("/stores/one"), NOW, 7);
        files.clear_faults();
        if let Ok(made) = &made {
            cut_power(&files, &|_, store| assert_eq!(store.identity().created, made.identity().created));
        }
        open(&files);
        if done.load(Ordering::Relaxed) <= failing {
            made.unwrap();
            break;
        }
    }
}
