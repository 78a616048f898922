//! Everything that happens in a world, as its seed decides it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use netrewind_sim::FileOperation;

use crate::chance::Chance;
use crate::session::{self, Tally};

/// Runs in which a failing plan is made smaller.
const SHRINKING_RUNS_MAX: usize = 200;

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Buffers of a lane: with few, packets soon wait in the ring while the disk fails.
    pub buffers: u16,
    pub sessions: Vec<SessionPlan>,
}

/// A recording, from the start of the process to its end.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    pub traffic: Vec<TrafficPlan>,
    pub takes: Duration,
    pub segment_age: Duration,
    pub segment_bytes: u64,
    pub budget_bytes: Option<u64>,
    /// Age of a segment from which it is compressed.
    pub compress_after: Option<Duration>,
    /// Time before the next session begins.
    pub pause: Duration,
    /// In order of time.
    pub events: Vec<(Duration, WorldEvent)>,
    pub ending: SessionEnding,
}

/// Packets of an interface.
#[derive(Clone, Debug)]
pub struct TrafficPlan {
    pub packets_per_second: u64,
    pub length_max: u64,
    /// Packets that wait at most.
    pub ring_packets: u64,
    /// Packets of which one has a time that is years wrong; 0 for none.
    pub wrong_time_once_in: u64,
    /// Nobody sends for a while, once in this many seconds.
    pub quiet_once_in: u64,
}

/// Something that happens to a recorder.
#[derive(Clone, Debug)]
pub enum WorldEvent {
    /// The wall clock is set.
    ClockStep { forward: bool, by: Duration },
    /// Operations fail until then.
    Fault { fault: FaultPlan, until: Duration },
    /// Others fill the disk, but for so many bytes, until then.
    DiskFilled { left_bytes: u64, until: Duration },
    /// Somebody reads.
    Read,
}

/// Operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// `None`: all that can.
    pub operation: Option<FileOperation>,
    pub place: FaultPlace,
    pub error: i32,
    /// One in so many fails.
    pub once_in: u64,
    /// Writes are torn.
    pub is_torn: bool,
}

/// Files that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPlace {
    Everywhere,
    Segments,
    Logbook,
    Indexes,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnding {
    /// The recorder is asked to stop.
    Stop,
    /// kill -9: the system goes on.
    Kill,
    /// Any part of what was not synced is lost.
    PowerCut,
}

impl Plan {
    /// The world of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut sessions: Vec<_> = (0..1 + chance.below(2)).map(|_| SessionPlan::of(&mut chance)).collect();
        // Drawn apart, so that a seed's other events are what they were before.
        let mut chance = Chance::new(!seed);
        for session in &mut sessions {
            let age = chance.one_of(&[0, 0, 3000]);
            session.compress_after = chance.once_in(2).then(|| Duration::from_millis(age));
        }
        Self { seed, buffers: chance.one_of(&[3, 6, 6, 12]), sessions }
    }

    /// True if a clock was set back, so that a time was there twice.
    pub fn sets_clock_back(&self) -> bool {
        let is_set_back = |event: &WorldEvent| matches!(event, WorldEvent::ClockStep { forward: false, .. });
        self.sessions.iter().any(|session| session.events.iter().any(|(_, event)| is_set_back(event)))
    }

    fn fails(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| session::run(self, &mut Tally::default()))).is_err()
    }

    /// The smallest plan found that fails as this one does.
    pub fn smallest_that_fails(&self) -> String {
        let mut smallest = self.clone();
        let mut runs = 0;
        'smaller: while runs < SHRINKING_RUNS_MAX {
            for plan in smallest.smaller() {
                runs += 1;
                if plan.fails() {
                    smallest = plan;
                    continue 'smaller;
                }
            }
            break;
        }
        let why = catch_unwind(AssertUnwindSafe(|| session::run(&smallest, &mut Tally::default()))).err();
        let why = why.and_then(|why| why.downcast::<String>().ok()).map_or(String::new(), |why| *why);
        format!("the smallest plan that fails: {smallest:?}\n{why}")
    }

    /// Plans with one thing less.
    fn smaller(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            plans.push(plan);
        };
        for at in 0..self.sessions.len() {
            if self.sessions.len() > 1 {
                add(&|plan| {
                    plan.sessions.remove(at);
                });
            }
            let session = &self.sessions[at];
            for event in 0..session.events.len() {
                add(&|plan| {
                    plan.sessions[at].events.remove(event);
                });
            }
            if session.traffic.len() > 1 {
                add(&|plan| {
                    plan.sessions[at].traffic.pop();
                });
            }
            if session.takes > Duration::from_secs(2) {
                add(&|plan| plan.sessions[at].takes /= 2);
            }
            if session.budget_bytes.is_some() {
                add(&|plan| plan.sessions[at].budget_bytes = None);
            }
            if session.compress_after.is_some() {
                add(&|plan| plan.sessions[at].compress_after = None);
            }
            if session.ending != SessionEnding::Stop {
                add(&|plan| plan.sessions[at].ending = SessionEnding::Stop);
            }
        }
        plans
    }
}

impl SessionPlan {
    fn of(chance: &mut Chance) -> Self {
        let takes = Duration::from_millis(chance.within(500..12_000));
        let traffic: Vec<_> = (0..1 + chance.below(2)).map(|_| TrafficPlan::of(chance)).collect();
        let mut events: Vec<_> = (0..chance.below(5)).map(|_| event_within(takes, chance)).collect();
        events.sort_by_key(|(at, _)| *at);
        let lanes = traffic.len() as u64;
        Self {
            traffic,
            takes,
            segment_age: Duration::from_millis(chance.within(500..8_000)),
            segment_bytes: chance.one_of(&[1 << 20, 2 << 20]),
            budget_bytes: chance.once_in(2).then(|| lanes * chance.within(5 << 20..12 << 20)),
            compress_after: None,
            pause: Duration::from_millis(chance.below(20_000)),
            events,
            ending: chance.one_of(&[
                SessionEnding::Stop,
                SessionEnding::Kill,
                SessionEnding::PowerCut,
                SessionEnding::PowerCut,
            ]),
        }
    }
}

impl TrafficPlan {
    fn of(chance: &mut Chance) -> Self {
        Self {
            packets_per_second: chance.one_of(&[3, 40, 200, 400]),
            length_max: chance.one_of(&[100, 1500, 1500, 9000]),
            ring_packets: chance.one_of(&[20, 300, 3000]),
            wrong_time_once_in: if chance.once_in(8) { chance.one_of(&[2, 50]) } else { 0 },
            quiet_once_in: chance.one_of(&[0, 2, 5]),
        }
    }
}

fn event_within(takes: Duration, chance: &mut Chance) -> (Duration, WorldEvent) {
    let milliseconds = takes.as_millis() as u64;
    let at = chance.below(milliseconds);
    // Some faults never end.
    let until = Duration::from_millis(chance.within(at..2 * milliseconds));
    let event = match chance.below(8) {
        0 => {
            let by = Duration::from_millis(chance.one_of(&[900, 5_000, 3_700_000, 90_000_000]));
            WorldEvent::ClockStep { forward: chance.once_in(2), by }
        }
        1 => WorldEvent::DiskFilled { left_bytes: chance.below(6 << 20), until },
        2 | 3 => WorldEvent::Read,
        _ => WorldEvent::Fault { fault: FaultPlan::of(chance), until },
    };
    (Duration::from_millis(at), event)
}

impl FaultPlan {
    fn of(chance: &mut Chance) -> Self {
        use FileOperation as O;
        let operations = [
            O::Open,
            O::Create,
            O::Status,
            O::List,
            O::Write,
            O::Write,
            O::Change,
            O::Sync,
            O::Sync,
            O::Rename,
            O::Remove,
        ];
        let places = [FaultPlace::Everywhere, FaultPlace::Segments, FaultPlace::Logbook, FaultPlace::Indexes];
        Self {
            operation: if chance.once_in(6) { None } else { Some(chance.one_of(&operations)) },
            place: chance.one_of(&places),
            error: chance.one_of(&[netrewind_sim::EIO, netrewind_sim::ENOSPC]),
            once_in: chance.one_of(&[1, 1, 2, 5]),
            is_torn: chance.once_in(2),
        }
    }
}
