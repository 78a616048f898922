//! The whole recorder in a simulated world: sources, lanes, disks, logbook, retention, indexes, recovery and a reader, in one
//! thread, with time that stands still until all of them wait.
//!
//! A seed decides everything: the traffic, the order of turns, the faults of the file system, steps of the clock, the moment of a
//! kill or a power cut. `NETREWIND_WORLD_SEED=N` runs one seed and prints its story; `NETREWIND_WORLD_RUNS=N` runs so many, one
//! after another from the seed on.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what fails here fails the test")]

mod chance;
mod plan;
mod reading;
mod session;
mod traffic;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use netrewind_recorder::config::BUFFERS;
use plan::Plan;
use session::Tally;

/// Runs of a test; many more are made by hand.
const RUNS: u64 = 300;
/// Power cuts after packets whose times were years wrong, or after the clock was set forward with a segment open, or a disk behind;
/// a clock set in the first second; a logbook that lacks the start. Each of them was found with as many buffers as a lane usually has.
const FOUND_WITH_ALL_BUFFERS: [u64; 12] =
    [1727, 2015, 2257, 2555, 3322, 4691, 13_232, 13_745, 14_293, 17_347, 19_619, 31_781];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a world; the error is what it broke, with the smallest plan that does.
fn run(plan: &Plan, tally: &mut Tally) -> Result<(), String> {
    let ran = catch_unwind(AssertUnwindSafe(|| session::run(plan, tally)));
    let text = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    };
    ran.map(|_| ())
        .map_err(|panic| format!("seed {}: {}\n{}", plan.seed, text(panic), plan.smallest_that_fails()))
}

#[test]
fn every_packet_is_answered_or_accounted_for() {
    let first = number("NETREWIND_WORLD_SEED").or_else(|| number("NETREWIND_TEST_SEED")).unwrap_or(1);
    let runs = number("NETREWIND_WORLD_RUNS").unwrap_or(if number("NETREWIND_WORLD_SEED").is_some() {
        1
    } else {
        RUNS
    });
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    // Told at the end, with the plan.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, failures, totals) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs || failures.lock().unwrap().len() >= 3 {
                        break;
                    }
                    if let Err(text) = run(&Plan::of(first + number), &mut tally) {
                        failures.lock().unwrap().push(text);
                    }
                }
                totals.lock().unwrap().add(&tally);
            });
        }
    });
    drop(std::panic::take_hook());
    let (failures, totals) = (failures.into_inner().unwrap(), totals.into_inner().unwrap());
    println!("{runs} worlds from seed {first} on: {totals}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(runs < RUNS || totals.has_tried_everything(), "a kind of fault was never tried: {totals}");
}

/// Worlds in which an answer said that it was complete, and was not.
#[test]
fn worlds_that_have_found_a_fault_stay_right() {
    for seed in FOUND_WITH_ALL_BUFFERS {
        let plan = Plan { buffers: BUFFERS, ..Plan::of(seed) };
        run(&plan, &mut Tally::default()).unwrap();
    }
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in [3, 14, 159] {
        let plan = Plan::of(seed);
        let ran = || session::run(&plan, &mut Tally::default());
        assert!(ran() == ran(), "seed {seed}");
    }
}
