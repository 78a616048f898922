//! The keeper over stores in files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, mpsc};

use netrewind_store::catalog::Hour;
use netrewind_store::clock::{ManualClock, Waker};
use netrewind_store::files::LockKind;
use netrewind_store::hold::{CaseFormat, CasePackets, HOLD_VERSION, HeldSegment, HoldHead};
use netrewind_store::room::Room;
use netrewind_store::store::{CaseFiles, HourFiles, ListedSegment};
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

fn hold(store: &Store, case: &str, names: &[SegmentName]) {
    let files = CaseFiles::of(store);
    files.prepare().unwrap();
    let head = HoldHead {
        hold: case.parse().unwrap(),
        version: HOLD_VERSION,
        made: Timestamp(5000),
        from: None,
        to: None,
        by: String::new(),
        note: String::new(),
        segments: names.len() as u64,
        packets: None,
    };
    let segments: Vec<_> = names.iter().map(|&segment| HeldSegment { segment, bytes: 0 }).collect();
    files.write(&head, &segments).unwrap();
}

#[test]
fn held_segments_go_neither_for_room_nor_by_age_and_their_logbook_and_hours_stay() {
    const DAY_NS: u64 = 86_400_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    let names: Vec<_> = (1..=5).map(|day| sealed(&store, day * DAY_NS, 1 << 20)).collect();
    for name in &names {
        std::fs::write(store.logbook_path(&name.date()), "{}\n").unwrap();
        HourFiles::of(&store).write(Hour::of(name.opened), &[1; 100]).unwrap();
    }
    hold(&store, "one", &names[1..2]);
    let (sender, events) = queue(&Waker::default());
    let clock = clock(9 * DAY_NS);
    let age_max = Some(Duration::from_nanos(6 * DAY_NS));
    let keeper = Keeper::new(store.clone(), None, age_max, 1, clock.clone(), sender);
    let usage = keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), [&names[1..2], &names[3..]].concat());
    assert!(usage.held_bytes >= 1 << 20 && usage.held_bytes < 2 << 20);
    let hours = HourFiles::of(&store).hours().unwrap();
    assert_eq!(hours, left(&store).iter().map(|name| Hour::of(name.opened)).collect());
    let dates: Vec<_> = names[1..].iter().map(SegmentName::date).collect();
    assert_eq!(
        store.logbook_dates().unwrap(),
        dates,
        "from the held day on, nothing of the logbook is missing"
    );
    assert!(events.try_iter().all(|event| matches!(event, Event::Expire { held_bytes: None, .. })));
    assert!(CaseFiles::of(&store).remove(&"one".parse().unwrap()).unwrap());
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), names[3..]);
    assert_eq!(store.logbook_dates().unwrap(), dates[2..]);
}

#[test]
fn holds_that_leave_no_room_are_named() {
    let (_folder, store, names) = four();
    hold(&store, "INC-7", &names);
    let (keeper, clock, events) = keeper(&store, Some(store.disk_bytes().unwrap() + 100), None);
    let error = create((&keeper, &clock), 0, 1 << 20, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("release one of the holds: INC-7"), "{error}");
    assert!(keeper.lacks_room().is_some_and(|why| why.contains("INC-7")));
    assert_eq!((left(&store), events.try_iter().count()), (names, 0));
}

#[test]
fn holds_that_cannot_be_listed_keep_everything() {
    let (_folder, store, names) = four();
    std::fs::write(CaseFiles::of(&store).folder(), "a file in its place").unwrap();
    let (keeper, _clock, _events) = keeper(&store, None, Some(1));
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), names);
    assert!(keeper.troubles_of_holds().iter().any(|trouble| trouble.contains("none of them expires")));
}

#[test]
fn what_is_held_while_it_should_expire_makes_others_go() {
    let (_folder, store, names) = four();
    let (keeper, clock, _events) = keeper(&store, Some(store.disk_bytes().unwrap() + (1 << 19)), None);
    keeper.look_ahead(1 << 20).unwrap();
    // Somebody is just confirming a hold of the oldest one.
    let confirming = store.open_segment(&names[0]).unwrap().unwrap().file;
    assert!(confirming.try_lock(LockKind::Shared).unwrap());
    assert!(matches!(keeper.create(0, 1 << 20, |_| Ok(())).unwrap(), Attempt::Wait));
    assert_eq!(left(&store), names);
    hold(&store, "late", &names[..1]);
    drop(confirming);
    let budget = store.disk_bytes().unwrap() + (1 << 19);
    create((&keeper, &clock), 0, 1 << 20, |bytes| {
        assert!(store.disk_bytes().unwrap() + bytes <= budget);
        Ok(())
    })
    .unwrap();
    assert!(left(&store).contains(&names[0]) && !left(&store).contains(&names[1]));
}

/// Against a model: what is left is what a list of segments would have left of which the oldest free ones go first.
#[test]
fn retention_beside_holds_is_that_of_a_model() {
    for seed in 0..60 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let budget = (6 << 20) + (chance.u64(0..6) << 20);
        let (keeper, clock, _events) = keeper(&store, Some(budget), None);
        let mut held: BTreeMap<String, Vec<SegmentName>> = BTreeMap::new();
        for step in 0..40 {
            let is_held = |held: &BTreeMap<String, Vec<SegmentName>>, name: &SegmentName| {
                held.values().any(|names| names.contains(name))
            };
            match chance.u8(0..8) {
                0 => {
                    let case = format!("case-{step}");
                    let names: Vec<_> = left(&store).into_iter().filter(|_| chance.u8(0..3) == 0).collect();
                    let all = left(&store)
                        .iter()
                        .filter(|name| is_held(&held, name) || names.contains(name))
                        .count();
                    // As whoever makes holds does: room for recording stays.
                    if !names.is_empty() && (all as u64) << 20 < budget / 2 {
                        hold(&store, &case, &names);
                        held.insert(case, names);
                    }
                }
                1 => {
                    let Some(case) = held.keys().next().cloned() else { continue };
                    CaseFiles::of(&store).remove(&case.parse().unwrap()).unwrap();
                    held.remove(&case);
                }
                _ => {
                    let before = left(&store);
                    let opened = 10_000 + step * 1000;
                    create((&keeper, &clock), 0, 1 << 20, |bytes| {
                        assert!(store.disk_bytes().unwrap() + bytes <= budget, "seed {seed}");
                        Ok(())
                    })
                    .unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
                    let now = left(&store);
                    let gone: Vec<_> = before.iter().filter(|name| !now.contains(name)).copied().collect();
                    let free: Vec<_> = before.iter().filter(|name| !is_held(&held, name)).copied().collect();
                    assert_eq!(gone, free[..gone.len()], "seed {seed}, step {step}: the oldest free ones");
                    clock.set_wall(Timestamp(opened + 1));
                    sealed(&store, opened, 900 << 10);
                    keeper.sealed(0, 900 << 10, 1 << 20);
                }
            }
            let now = left(&store);
            let missing: Vec<_> = held.values().flatten().filter(|name| !now.contains(name)).collect();
            assert!(missing.is_empty(), "seed {seed}, step {step}: {missing:?} were held");
        }
    }
}

#[test]
fn what_expires_after_the_recording_has_ended_is_in_the_logbook() {
    let (_folder, store, names) = four();
    let (keeper, _clock, events) = keeper(&store, Some(store.disk_bytes().unwrap() + 1000), None);
    keeper.make_room(4096).unwrap();
    keeper.log_alone();
    assert_eq!(events.try_iter().count(), 1, "until then, somebody else writes it");
    keeper.make_room(2 << 20).unwrap();
    assert_eq!((left(&store).len(), events.try_iter().count()), (2, 0));
    let date = store.logbook_dates().unwrap().pop().unwrap();
    let text = std::fs::read_to_string(store.logbook_path(&date)).unwrap();
    assert!(text.contains("\"event\":\"expire\"") && text.contains(&names[1].to_string()), "{text}");
}

#[test]
fn room_is_made_for_packets_of_a_case_while_they_are_written() {
    let (_folder, store, names) = four();
    let files = CaseFiles::of(&store);
    files.prepare().unwrap();
    let budget = store.disk_bytes().unwrap() + (1 << 20);
    let (keeper, _clock, _events) = keeper(&store, Some(budget), None);
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), names);
    hold(&store, "packets", &[]);
    let mut head = files.read(&"packets".parse().unwrap()).unwrap().unwrap().head.unwrap();
    head.packets = Some(CasePackets { format: CaseFormat::Pcap, reserved_bytes: 3 << 20 });
    files.write(&head, &[]).unwrap();
    let usage = keeper.enforce_limits().unwrap();
    assert!(store.disk_bytes().unwrap() + (3 << 20) <= budget && usage.bytes <= budget);
    let kept = left(&store);
    assert!(kept.len() < 4 && !kept.is_empty(), "{kept:?}");
    // What has been written of them already is not counted twice.
    let file = files.create_packets(&head.hold, CaseFormat::Pcap, false).unwrap();
    file.write_all_at(&vec![1; 2 << 20], 0).unwrap();
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), kept);
}

#[test]
fn of_a_hold_that_cannot_be_read_also_names_of_the_future_are_kept() {
    let (_folder, store, names) = four();
    let ahead = sealed(&store, u64::MAX / 2, 1 << 20);
    hold(&store, "one", &names[..1]);
    std::fs::write(CaseFiles::of(&store).path_of_hold(&"one".parse().unwrap()), "damage").unwrap();
    let (keeper, _clock, _events) = keeper(&store, Some(1 << 20), Some(1));
    keeper.enforce_limits().unwrap();
    assert_eq!(left(&store), [&names[..], &[ahead]].concat());
}
