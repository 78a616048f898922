//! The watch thread: writes the logbook with a line per lane and second, and keeps the store within its limits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::logbook::{LogbookEntry, TOLD_WITHIN_NS};
use netrewind_store::time::{MILLISECOND_NS, SECOND_NS};
use netrewind_store::turns::{NextTurn, Worker};
use netrewind_store::{Account, Event, LaneLoad, Store, StoreError, Timestamp};

use super::guard::Guard;
use super::journal::Journal;
use super::status::{LaneStatus, RecorderState};
use crate::account;
use crate::clock::ClockWatch;
use crate::retention::Keeper;

/// Longest time between two turns of the watch thread.
const PATIENCE: Duration = Duration::from_millis(100);
/// Interval of logbook lines for a lane without traffic.
const SIGN_OF_LIFE_SECONDS: u64 = 10;
/// Seconds between two checks of the whole store's age and size.
const TEND_INTERVAL_SECONDS: u64 = 5;
/// A line that covers more time than this also gives the start.
const SINCE_AFTER_NS: u64 = SECOND_NS / 2 * 3;
/// Attempts to write a failing logbook at the end.
const END_TRIES: u32 = 20;

/// Work of the watch thread.
pub(super) struct Housekeeping {
    journal: Journal,
    shared: Arc<RecorderState>,
    keeper: Arc<Keeper>,
    guard: Guard,
    events: mpsc::Receiver<Event>,
    clock: ClockWatch,
    second_began_ns: u64,
    seconds: u64,
    logged: Vec<LoggedLane>,
    phase: HousekeepingPhase,
}

/// What the logbook says of a lane so far.
#[derive(Clone, Copy, Debug)]
struct LoggedLane {
    account: Account,
    /// End of the time that the account covers.
    until: Timestamp,
    was_behind: bool,
}

/// Part of the recording that a turn belongs to.
#[derive(Clone, Copy, Debug)]
enum HousekeepingPhase {
    Begin,
    Recording,
    /// All lanes have ended; the logbook has failed to take the last lines so many times.
    End(u32),
}

impl Worker for Housekeeping {
    fn turn(&mut self, now: Now) -> NextTurn {
        if let HousekeepingPhase::End(tries) = self.phase {
            return self.end(now, tries);
        }
        if let HousekeepingPhase::Begin = self.phase {
            self.maintain_store();
            self.phase = HousekeepingPhase::Recording;
        }
        // Read before the queue: what was sent before the end is in it.
        let is_end = self.shared.lanes_ended.load(Ordering::Acquire);
        if self.log_events(now) {
            // Packets of which the logbook says nothing would look like all that there were.
            let written = self.journal.write();
            self.note(written);
        }
        self.look_after_store(now);
        let passed_ns = now.monotonic_ns.saturating_sub(self.second_began_ns);
        if passed_ns >= SECOND_NS || is_end {
            self.second(now, passed_ns);
        }
        if is_end {
            self.maintain_store();
            self.keeper.log_alone();
            self.log_events(now);
            return self.end(now, 0);
        }
        NextTurn::At(now.after(PATIENCE))
    }
}

impl Housekeeping {
    pub fn new(
        store: &Store,
        guard: Guard,
        shared: Arc<RecorderState>,
        keeper: Arc<Keeper>,
        events: mpsc::Receiver<Event>,
        now: Now,
    ) -> Self {
        Self {
            journal: Journal::new(store),
            shared,
            keeper,
            guard,
            events,
            clock: ClockWatch::new(now),
            second_began_ns: now.monotonic_ns,
            seconds: 0,
            logged: Vec::new(),
            phase: HousekeepingPhase::Begin,
        }
    }

    /// Writes the remaining lines, unless the logbook fails for too long.
    fn end(&mut self, now: Now, tries: u32) -> NextTurn {
        let written = self.journal.write();
        if self.note(written) {
            return NextTurn::Never;
        }
        self.phase = HousekeepingPhase::End(tries + 1);
        if tries + 1 < END_TRIES {
            return NextTurn::At(now.after(PATIENCE));
        }
        self.shared.set_unlogged(self.journal.unwritten());
        NextTurn::Never
    }

    /// Notes that the logbook cannot be written, on a full disk for instance; recording goes on. The lines are retried every
    /// second.
    fn note(&self, written: Result<(), StoreError>) -> bool {
        let is_written = written.is_ok();
        if let Err(error) = written {
            self.shared.notice(format!(
                "the logbook cannot be written: {error}; entries are kept and written later"
            ));
        }
        is_written
    }

    /// Logs the events that have come in; true if a lane has started.
    fn log_events(&mut self, now: Now) -> bool {
        let mut has_started = false;
        while let Ok(event) = self.events.try_recv() {
            has_started |= matches!(event, Event::Start { .. });
            self.log(now, event);
        }
        has_started
    }

    fn log(&mut self, now: Now, event: Event) {
        let logged = self.journal.log(now.wall, event);
        self.note(logged);
    }

    fn second(&mut self, now: Now, passed_ns: u64) {
        self.second_began_ns = now.monotonic_ns;
        self.seconds += 1;
        if let Some(by_ns) = self.clock.step(now) {
            self.log(now, Event::ClockStep { by_ns });
        }
        let lanes = self.end_second();
        let mut total = Account::default();
        let mut last_second = Account::default();
        for (i, lane) in lanes.iter().enumerate() {
            total.add(&lane.account);
            last_second.add(&self.log_second(i, lane, now.wall));
        }
        let written = self.journal.write();
        self.note(written);
        let per_second = SECOND_NS as f64 / passed_ns.max(1) as f64;
        let mut status = self.shared.status();
        status.account = total;
        status.packets_per_second = last_second.received as f64 * per_second;
        status.bits_per_second = last_second.bytes as f64 * 8.0 * per_second;
        drop(status);
        if self.seconds.is_multiple_of(TEND_INTERVAL_SECONDS) {
            self.maintain_store();
        }
    }

    /// The lanes as they are now, with the pace of the second that ends.
    fn end_second(&self) -> Vec<LaneStatus> {
        let lanes = &mut self.shared.status().lanes;
        lanes.iter_mut().for_each(|lane| lane.pace = std::mem::take(&mut lane.pace_now));
        let seen = lanes.clone();
        lanes.iter_mut().for_each(|lane| lane.lost_since = None);
        seen
    }

    /// Logs a lane's counts since its last line.
    fn log_second(&mut self, i: usize, lane: &LaneStatus, at: Timestamp) -> Account {
        if i >= self.logged.len() {
            // The clock may have been set since its start.
            let nothing = LoggedLane { account: Account::default(), until: lane.began, was_behind: false };
            self.logged.resize(i + 1, nothing);
        }
        let Some(logged) = self.logged.get_mut(i) else { return Account::default() };
        let passed = account::since(&lane.account, &logged.account);
        let is_still = passed.received == 0 && passed.written == 0 && passed.dropped.total() == 0;
        let behind_ms = behind_ms(lane, at);
        let told = logged.until;
        let is_behind = behind_ms > 0;
        let is_quiet = is_still && lane.pace.is_idle() && !logged.was_behind && !is_behind;
        *logged = LoggedLane { account: lane.account, until: lane.told_at.max(told), was_behind: is_behind };
        if is_quiet && !self.seconds.is_multiple_of(SIGN_OF_LIFE_SECONDS) {
            return passed;
        }
        // A stuck lane reports late, and packets lost with a failing disk arrived earlier.
        let began = lane.lost_since.map_or(told, |lost| lost.min(told));
        // Drops are told to the nanosecond: an answer about the second before must not miss them.
        let after_ns = if passed.dropped.total() > 0 { SECOND_NS } else { SINCE_AFTER_NS };
        let is_long = !is_still && at.ns().saturating_sub(began.ns()) > after_ns;
        let event = Event::Second {
            lane: lane.lane,
            received: passed.received,
            written: passed.written,
            dropped: passed.dropped,
            bytes: passed.bytes,
            pace: LaneLoad { behind_ms, ..lane.pace },
        };
        let added = self
            .journal
            .add(LogbookEntry { since: is_long.then_some(began), ..LogbookEntry::new(at, event) });
        self.note(added);
        passed
    }

    /// Restores missing parts of the store, makes room ahead, and publishes the reason that nothing can be written, if any. Ends
    /// the recording if the store is gone.
    fn look_after_store(&mut self, now: Now) {
        let found = self.guard.check(now.monotonic_ns);
        found.events.into_iter().for_each(|event| self.log(now, event));
        found.notices.into_iter().for_each(|notice| self.shared.notice(notice));
        if let Some(reason) = found.end {
            self.shared.fail(reason);
        }
        if let Err(error) = self.keeper.keep_ahead() {
            self.shared.notice(format!("removing old segments: {error}"));
        }
        let trouble = self.shared.update_trouble();
        self.guard.publish_trouble(trouble.as_deref());
    }

    fn maintain_store(&self) {
        let no_room = self.keeper.lacks_room();
        self.shared.status().no_room = no_room;
        match self.keeper.enforce_limits() {
            Ok(usage) => self.shared.status().usage = usage,
            Err(error) => self.shared.notice(format!("removing old segments: {error}")),
        }
        self.keeper.troubles_of_holds().into_iter().for_each(|trouble| self.shared.notice(trouble));
    }
}

/// Milliseconds before `at` within which packets may have arrived that are neither written nor counted.
fn behind_ms(lane: &LaneStatus, at: Timestamp) -> u32 {
    let told = Some(lane.told_at).filter(|told| at.ns_since(*told) > TOLD_WITHIN_NS);
    let since = lane.unwritten_since.into_iter().chain(told).min();
    let behind_ns = since.map_or(0, |since| at.ns_since(since).max(1));
    u32::try_from(behind_ns.div_ceil(MILLISECOND_NS)).unwrap_or(u32::MAX)
}
