//! The live tail, round by round: what the store does happens while the follower waits.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_extractor::{Answer, FollowClock, HOLD_BACK, Query, SinkError};
use netrewind_store::Timestamp;
use netrewind_store::clock::{Clock, ManualClock, Now};
use support::{Collect, Stored, TestStore, name, packet};

/// What happens in one wait.
type Step<'s> = Box<dyn FnOnce(&mut TestStore) + 's>;

/// Clocks that go on by 100 ms a wait, and a store in which something happens meanwhile.
struct Script<'s> {
    store: &'s RefCell<TestStore>,
    steps: RefCell<std::vec::IntoIter<Step<'s>>>,
    clock: ManualClock,
    stop: &'s AtomicBool,
}

impl FollowClock for Script<'_> {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn wait(&self, _: Duration) -> Result<(), SinkError> {
        self.clock.advance(Duration::from_millis(100));
        match self.steps.borrow_mut().next() {
            Some(step) => step(&mut self.store.borrow_mut()),
            None => self.stop.store(true, Ordering::Relaxed),
        }
        Ok(())
    }
}

/// The time of [`packet`] number `n`.
fn at(n: u32) -> Timestamp {
    packet(n, 0, 60).at()
}

/// Follows a store from `begun` on, through these steps.
fn follow(store: TestStore, begun: Timestamp, steps: Vec<Step<'_>>) -> (Vec<Stored>, Answer, TestStore) {
    follow_query(&Query::default(), store, begun, steps)
}

fn follow_query(
    query: &Query,
    store: TestStore,
    begun: Timestamp,
    steps: Vec<Step<'_>>,
) -> (Vec<Stored>, Answer, TestStore) {
    let extractor = store.extractor();
    let store = RefCell::new(store);
    let stop = AtomicBool::new(false);
    let steps = RefCell::new(steps.into_iter());
    let script = Script { store: &store, steps, clock: ManualClock::new(begun), stop: &stop };
    let mut sink = Collect::default();
    let answer = extractor.follow(query, &mut sink, &mut &stop, &script).unwrap();
    assert_eq!(answer.packets, sink.0.len() as u64);
    drop(script);
    (sink.0, answer, store.into_inner())
}

fn packets(numbers: std::ops::Range<u32>, lane: u32) -> Vec<Stored> {
    numbers.step_by(2).map(|n| packet(n, lane, 60)).collect()
}

fn idle<'s>(waits: usize) -> Vec<Step<'s>> {
    (0..waits).map(|_| Box::new(|_: &mut TestStore| {}) as Step<'s>).collect()
}

#[test]
fn lanes_that_commit_at_different_moments_come_in_order() {
    let mut store = TestStore::default();
    let (even, odd) = (packets(0..800, 0), packets(1..801, 1));
    store.open(name(1, 0), even.clone(), 50);
    store.open(name(1, 1), odd.clone(), 1);
    let mut steps: Vec<Step<'_>> = Vec::new();
    for part in 1..=8usize {
        let (even, odd) = (even.clone(), odd.clone());
        steps.push(Box::new(move |store| {
            store.segments.clear();
            // The one is half a second ahead of the other.
            store.open(name(1, 0), even, (50 * part + 250).min(400));
            store.open(name(1, 1), odd, 50 * part);
        }));
    }
    steps.extend(idle(9));
    let (found, answer, store) = follow(store, at(100), steps);
    let later = support::extract(&store.extractor(), &Query::default()).unwrap().0;
    assert_eq!(later.len(), 800);
    assert!(found == later, "as if it had been asked for later");
    assert!(answer.completeness.notes.is_empty(), "{:?}", answer.completeness.notes);
}

#[test]
fn what_is_committed_too_late_is_given_and_told() {
    let mut store = TestStore::default();
    store.open(name(1, 0), packets(0..400, 0), 200);
    let mut steps = idle(20);
    steps.push(Box::new(|store| store.open(name(1, 1), packets(1..401, 1), 200)));
    steps.extend(idle(2));
    let (found, answer, _) = follow(store, at(400), steps);
    assert_eq!(found.len(), 400, "nothing is lost");
    assert!(found[200..].is_sorted_by_key(Stored::at) && !found.is_sorted_by_key(Stored::at));
    let notes = answer.completeness.notes.join("\n");
    assert!(
        notes.contains("199 packets are out of order: they were committed more than 750 ms after"),
        "{notes}"
    );
}

#[test]
fn timestamps_of_the_future_are_held_no_longer_than_others() {
    let mut store = TestStore::default();
    store.open(name(1, 0), packets(0..400, 0), 200);
    let begun = Timestamp(at(0).ns() - 3_600_000_000_000);
    let extractor = store.extractor();
    let (store, stop) = (RefCell::new(store), AtomicBool::new(false));
    let rounds = HOLD_BACK.as_millis().div_ceil(100) as usize;
    for (waits, expected) in [(rounds - 2, 200), (rounds + 2, 200)] {
        stop.store(false, Ordering::Relaxed);
        let steps = RefCell::new(idle(waits).into_iter());
        let script = Script { store: &store, steps, clock: ManualClock::new(begun), stop: &stop };
        let mut sink = Collect::default();
        extractor.follow(&Query::default(), &mut sink, &mut &stop, &script).unwrap();
        assert_eq!(sink.0.len(), expected, "what is held when it ends is given all the same");
    }
}

#[test]
fn segments_sealed_indexed_and_expired_meanwhile_are_given_once() {
    let mut store = TestStore::default();
    store.seal_indexed(name(0, 0), packets(0..100, 0));
    store.open(name(1, 0), packets(100..300, 0), 10);
    let seal = |second: u32, range: std::ops::Range<u32>| -> Step<'static> {
        Box::new(move |store| {
            std::fs::remove_file(store.store.open_path(&name(second, 0))).ok();
            std::fs::remove_file(store.store.mark_path(&name(second, 0))).ok();
            store.seal_indexed(name(second, 0), packets(range, 0));
        })
    };
    let remove = |second: u32| -> Step<'static> {
        Box::new(move |store| store.store.remove(&name(second, 0)).unwrap())
    };
    let mut steps = idle(2);
    steps.extend([seal(1, 100..300), seal(2, 300..500)]);
    steps.extend(idle(1));
    steps.extend([remove(0), remove(1), seal(3, 500..600), remove(2)]);
    steps.extend(idle(2));
    let (found, answer, _) = follow(store, at(10_000), steps);
    assert!(found == packets(0..600, 0), "each once, in order");
    assert!(answer.completeness.is_complete(), "{:?}", answer.completeness);
}

/// A fragment of a UDP packet to port 53, or to 54 where its id is odd. A later one shows no port.
fn fragment(n: u32, id: u32, is_first: bool) -> Stored {
    let mut stored = packet(n, 0, 50);
    let flags = if is_first { [0x20, 0] } else { [0, 2] };
    let (id, port) = (id as u8, 53 + (id % 2) as u8);
    stored.bytes[14..38].copy_from_slice(&[
        0x45, 0, 0, 36, 0, id, flags[0], flags[1], 64, 17, 0, 0, 10, 0, 0, 1, 10, 9, 0, 1, 4, 0, 0, port,
    ]);
    stored
}

/// Commits the packets as their time comes, up to the middle of a fragmented packet.
fn committed_in_time(packets: &[Stored], rounds: u32) -> Vec<Step<'static>> {
    let step = |round: u32| -> Step<'static> {
        let packets = packets.to_vec();
        let committed = packets.iter().filter(|packet| packet.at() < at(100 * round - 35)).count();
        Box::new(move |store| {
            store.segments.clear();
            store.open(name(1, 0), packets, committed.max(1));
        })
    };
    (1..=rounds).map(step).collect()
}

#[test]
fn fragments_are_linked_with_a_first_one_of_another_round() {
    let query = Query { filter: "port 53".to_owned(), ..Query::default() };
    let mut all = Vec::new();
    for id in 0..100u32 {
        // Now and then the later one comes first, or the first one never.
        let (first, later) = if id % 10 < 2 { (20 * id + 10, 20 * id) } else { (20 * id, 20 * id + 10) };
        all.extend((id % 9 > 0).then(|| fragment(first, id, true)));
        all.push(fragment(later, id, false));
    }
    all.sort_by_key(Stored::at);
    let mut store = TestStore::default();
    store.open(name(1, 0), all.clone(), 1);
    let mut steps = committed_in_time(&all, 22);
    steps.extend(idle(30));
    let (found, answer, store) = follow_query(&query, store, at(0), steps);
    let later = support::extract(&store.extractor(), &query).unwrap().0;
    assert_eq!(later.len(), 2 * (0..100).step_by(2).filter(|id| id % 9 > 0).count());
    assert!(found == later, "as if it had been asked for later");
    assert!(answer.completeness.notes.is_empty(), "{:?}", answer.completeness.notes);
}

#[test]
fn a_fragment_long_before_the_first_of_its_packet_is_given_late_and_told() {
    let query = Query { filter: "port 53".to_owned(), ..Query::default() };
    let mut all = vec![fragment(0, 2, true), fragment(100, 4, false)];
    all.extend((20..95).map(|n| fragment(10 * n, 6, true)));
    all.extend([fragment(980, 4, true), fragment(990, 4, false), fragment(2990, 8, true)]);
    let mut store = TestStore::default();
    store.open(name(1, 0), all.clone(), 1);
    let mut steps = committed_in_time(&all, 32);
    steps.extend(idle(30));
    let (mut found, answer, store) = follow_query(&query, store, at(0), steps);
    assert!(!found.is_sorted_by_key(Stored::at));
    found.sort_by_key(Stored::at);
    let later = support::extract(&store.extractor(), &query).unwrap().0;
    assert!(found == later && later.len() == all.len(), "{} of {}", found.len(), later.len());
    let notes = answer.completeness.notes.join("\n");
    assert!(
        notes.starts_with("1 packets") && notes.contains("before the first fragment of their packet"),
        "{notes}"
    );
}
