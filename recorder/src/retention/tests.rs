//! The keeper over stores in files.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, mpsc};

use netrewind_store::catalog::Hour;
use netrewind_store::clock::{ManualClock, Waker};
use netrewind_store::room::Room;
use netrewind_store::store::{HourFiles, ListedSegment};
use netrewind_store::turns::queue;
use netrewind_store::{Event, Store};

use super::keeper::{Attempt, FREED_LOOK_INTERVAL};
use super::*;

fn kept(opened: u64, bytes: u64) -> ExpiryCandidate {
    ExpiryCandidate { name: SegmentName { opened: Timestamp(opened), lane: 0 }, bytes }
}

#[test]
fn the_oldest_go_first_and_no_more_than_needed() {
    let mut segments = vec![kept(30, 5), kept(10, 5), kept(99, 5), kept(20, 5)];
    sort_by_age(&mut segments, Timestamp(40));
    assert_eq!(segments, [kept(99, 5), kept(10, 5), kept(20, 5), kept(30, 5)]);
    let counts = [0, 1, 5, 6, 20, 21].map(|bytes| oldest_to_free(&segments, bytes));
    assert_eq!(counts, [0, 1, 1, 2, 4, 4]);
    let is_old = |opened| is_too_old(Timestamp(opened), Timestamp(40), Duration::from_nanos(20));
    assert_eq!([10, 20, 21, 99].map(is_old), [true, true, false, false]);
}

fn clock(wall_ns: u64) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp(wall_ns)))
}

fn sealed(store: &Store, opened: u64, bytes: usize) -> SegmentName {
    let name = SegmentName { opened: Timestamp(opened), lane: 0 };
    store.prepare_folder(&name).unwrap();
    std::fs::write(store.open_path(&name), vec![1; bytes]).unwrap();
    store.seal(&name).unwrap();
    name
}

#[test]
fn the_budget_holds_before_anything_is_created() {
    const DAY_NS: u64 = 86_400_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    let names: Vec<_> = (1..=4).map(|day| sealed(&store, day * DAY_NS, 1 << 20)).collect();
    for name in &names {
        std::fs::write(store.logbook_path(&name.date()), "{}\n").unwrap();
    }
    let bare = store.disk_bytes().unwrap();
    let hours = |names: &[SegmentName]| -> BTreeSet<Hour> {
        names.iter().map(|name| Hour::of(name.opened)).collect()
    };
    for hour in hours(&names).iter() {
        HourFiles::of(&store).write(*hour, &[1; 5000]).unwrap();
    }
    assert!(store.disk_bytes().unwrap() >= bare + 4 * 5000, "what is beside the segments counts");
    let budget = store.disk_bytes().unwrap() + (1 << 20);
    let (sender, events) = queue(&Waker::default());
    let clock = clock(9 * DAY_NS);
    let keeper = Keeper::new(store.clone(), Some(budget), None, 1, clock.clone(), sender);
    keeper.sealed(0, 2 << 20, 2 << 20);
    let ((), bytes) = create((&keeper, &clock), 0, 2 << 20, |bytes| {
        assert!(store.disk_bytes().unwrap() + bytes <= budget);
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes, 2 << 20);
    let left: Vec<_> = ListedSegment::all(&store).unwrap().iter().map(|segment| segment.name).collect();
    assert_eq!(left, names[2..]);
    assert_eq!(HourFiles::of(&store).hours().unwrap(), hours(&names[2..]), "hours go with their segments");
    assert!(!store.sealed_path(&names[0]).parent().unwrap().exists());
    assert_eq!(store.logbook_dates().unwrap(), [names[2].date(), names[3].date()]);
    assert_eq!(events.try_iter().count(), 2);
}

/// A store of four segments of a mebibyte.
fn four() -> (tempfile::TempDir, Store, Vec<SegmentName>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    let names = (1..=4).map(|i| sealed(&store, i * 1000, 1 << 20)).collect();
    (folder, store, names)
}

fn left(store: &Store) -> Vec<SegmentName> {
    ListedSegment::all(store).unwrap().iter().map(|segment| segment.name).collect()
}

/// A keeper at the time 5000.
fn keeper(
    store: &Store,
    budget_bytes: Option<u64>,
    age_max_ns: Option<u64>,
) -> (Keeper, Arc<ManualClock>, mpsc::Receiver<Event>) {
    let (sender, events) = queue(&Waker::default());
    let age_max = age_max_ns.map(Duration::from_nanos);
    let clock = clock(5000);
    (Keeper::new(store.clone(), budget_bytes, age_max, 1, clock.clone(), sender), clock, events)
}

/// Creates a file, trying again as often as the keeper wants.
fn create<T>(
    (keeper, clock): (&Keeper, &ManualClock),
    lane: u16,
    wanted_bytes: u64,
    mut create: impl FnMut(u64) -> io::Result<T>,
) -> io::Result<(T, u64)> {
    loop {
        match keeper.create(lane, wanted_bytes, &mut create)? {
            Attempt::Done(made, bytes) => return Ok((made, bytes)),
            Attempt::Wait => clock.advance(FREED_LOOK_INTERVAL),
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

#[test]
fn a_segment_is_made_smaller_before_history_goes() {
    let (_folder, store, names) = four();
    let budget = store.disk_bytes().unwrap() + (5 << 20);
    let (keeper, clock, _events) = keeper(&store, Some(budget), None);
    keeper.look_ahead(1 << 30).unwrap();
    assert_eq!(keeper.room_bytes(1 << 30), 4 << 20);
    assert_eq!(create((&keeper, &clock), 0, 1 << 30, |_| Ok(())).unwrap().1, 4 << 20);
    assert_eq!(left(&store), names);
}

#[test]
fn nothing_goes_where_that_makes_no_room() {
    let (_folder, store, names) = four();
    let (keeper, clock, events) = keeper(&store, Some(100), None);
    let error = create((&keeper, &clock), 0, 1 << 20, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("raise the budget"), "{error}");
    assert!(keeper.lacks_room().is_some_and(|why| why.contains("raise the budget")));
    assert!(keeper.make_room(1).is_err());
    keeper.enforce_limits().unwrap();
    assert_eq!((left(&store), events.try_iter().count()), (names, 0));
}

#[test]
fn a_disk_with_less_than_it_says_gets_smaller_segments_then_loses_the_oldest_and_not_all() {
    let (_folder, store, names) = four();
    let (keeper, clock, events) = keeper(&store, None, None);
    // A quota has room for a few mebibytes.
    let made = create((&keeper, &clock), 0, 64 << 20, |bytes| {
        if bytes > 5 << 20 { Err(io::ErrorKind::QuotaExceeded.into()) } else { Ok(()) }
    });
    assert_eq!(made.unwrap().1, 4 << 20);
    assert_eq!(left(&store), names);
    // No file can be created before two have gone, as where a file system has no more inodes.
    let made =
        create((&keeper, &clock), 0, 64 << 20, |_| if left(&store).len() > 2 { Err(full()) } else { Ok(()) });
    assert!(made.is_ok() && left(&store) == names[2..]);
    assert_eq!(events.try_iter().count(), 2);
}

#[test]
fn what_others_take_at_once_is_not_made_free_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    for i in 1..=20 {
        sealed(&store, i * 10, 4096);
    }
    let (keeper, clock, _events) = keeper(&store, None, None);
    for _ in 0..5 {
        assert!(create((&keeper, &clock), 0, 1 << 20, |_| Err::<(), _>(full())).is_err());
    }
    assert!(left(&store).len() >= 16, "{} are left", left(&store).len());
    create((&keeper, &clock), 0, 1 << 20, |_| Ok(())).unwrap();
    // Other errors are none of room.
    let error =
        create((&keeper, &clock), 0, 1 << 20, |_| Err::<(), _>(io::ErrorKind::ReadOnlyFilesystem.into()))
            .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(left(&store).len() >= 16);
}

#[test]
fn age_expires_what_is_old_also_where_its_name_is_of_the_future() {
    let (_folder, store, names) = four();
    // Named by a clock that was ahead; its file's time is as well, being that of this test.
    let ahead = sealed(&store, 9_000_000, 1 << 20);
    let (sender, _events) = queue(&Waker::default());
    let clock = Arc::new(ManualClock::new(Timestamp(5000)));
    let keeper = Keeper::new(store.clone(), None, Some(Duration::from_nanos(2500)), 1, clock.clone(), sender);
    let usage = keeper.enforce_limits().unwrap();
    assert_eq!((usage.segments, usage.oldest), (3, Some(names[2].opened)));
    assert!(left(&store).contains(&ahead), "it is as old as what it was first seen beside");
    clock.set_wall(Timestamp(7000));
    keeper.expire_old(&|name| *name == names[3]).unwrap();
    assert_eq!(left(&store), [names[3], ahead]);
    clock.set_wall(Timestamp(8000));
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), []);
}
