//! The thread of one lane: between its source, its state machine and the clock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use netrewind_segment::Event;

use super::Shared;
use crate::account;
use crate::clock::Now;
use crate::disk::Disk;
use crate::lane::Lane;
use crate::source::{Received, Source, SourceCounters, SourceError};

/// How long a source is waited for at most.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long it is waited for while the disk is at work and will want to be asked for the next thing.
const PATIENCE_WHILE_WRITING: Duration = Duration::from_millis(5);
/// Longer than the kernel keeps a ring block that does not fill.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(200);
/// How often the status is brought up to date.
const STATUS_INTERVAL_NS: u64 = 200_000_000;
/// How long the disk may fail at the end before what is left to be written is given up.
const END_PATIENCE_NS: u64 = 20_000_000_000;

pub(super) struct LaneThread<D> {
    number: u16,
    source: Box<dyn Source>,
    lane: Lane<D>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    down: Option<String>,
    counters: SourceCounters,
    reported_ns: u64,
}

impl<D: Disk> LaneThread<D> {
    pub fn new(
        number: u16,
        source: Box<dyn Source>,
        lane: Lane<D>,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let counters = SourceCounters::default();
        Self { number, source, lane, shared, events, down: None, counters, reported_ns: 0 }
    }

    pub fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let patience = if self.lane.is_disk_busy() { PATIENCE_WHILE_WRITING } else { PATIENCE };
            match self.turn(patience) {
                Ok(Received::End) => break,
                Ok(_) => self.note_up(),
                Err(error) => {
                    self.note_down(&error);
                    if !self.source.is_live() {
                        break;
                    }
                    std::thread::sleep(PATIENCE);
                }
            }
        }
        if self.source.is_live() {
            self.drain();
        }
        self.finish();
    }

    /// Does what is due, and takes what the source has, if there is room for it.
    fn turn(&mut self, patience: Duration) -> Result<Received, SourceError> {
        let now = self.step();
        self.report(now, false);
        if !self.lane.is_ready() {
            self.lane.wait(patience);
            return Ok(Received::Packets(0));
        }
        let lane = &mut self.lane;
        self.source.receive(patience, &mut |packet| lane.accept(&packet))
    }

    fn step(&mut self) -> Now {
        let now = self.shared.clock.now();
        self.lane.step(now);
        now
    }

    fn note_down(&mut self, error: &SourceError) {
        if self.down.is_none() {
            let reason = error.to_string();
            let _ = self.events.send(Event::Down { lane: self.number, reason: reason.clone() });
            self.down = Some(reason);
        }
    }

    fn note_up(&mut self) {
        if self.down.take().is_some() {
            let _ = self.events.send(Event::Up { lane: self.number });
        }
    }

    /// Takes what arrived before the end.
    fn drain(&mut self) {
        if let Err(error) = self.source.stop() {
            self.note_down(&error);
        }
        while let Ok(Received::Packets(_)) = self.turn(PATIENCE_AT_THE_END) {}
    }

    fn finish(&mut self) {
        let now = self.shared.clock.now();
        self.lane.finish(now);
        let mut failing_since_ns = None;
        while !self.lane.is_idle() {
            let now = self.step();
            self.report(now, false);
            failing_since_ns =
                self.lane.is_disk_failing().then(|| failing_since_ns.unwrap_or(now.monotonic_ns));
            let has_failed_long = |since_ns: u64| now.monotonic_ns.saturating_sub(since_ns) > END_PATIENCE_NS;
            if failing_since_ns.is_some_and(has_failed_long) {
                self.lane.give_up();
            }
            self.lane.wait(PATIENCE_WHILE_WRITING);
        }
        let now = self.step();
        self.report(now, true);
        let account = account::with_source(&self.lane.account(), &self.counters);
        let _ = self.events.send(Event::Stop { lane: self.number, account });
    }

    /// Tells the watch what happened, and brings the status up to date.
    fn report(&mut self, now: Now, is_end: bool) {
        for event in self.lane.take_events() {
            let _ = self.events.send(event);
        }
        if now.monotonic_ns.saturating_sub(self.reported_ns) < STATUS_INTERVAL_NS && !is_end {
            return;
        }
        self.reported_ns = now.monotonic_ns;
        match self.source.counters() {
            Ok(counters) => self.counters = counters,
            Err(error) => self.note_down(&error),
        }
        self.lane.take_notices().into_iter().for_each(|notice| self.shared.notice(notice));
        let mut status = self.shared.status();
        if let Some(lane) = status.lanes.get_mut(usize::from(self.number)) {
            lane.account = account::with_source(&self.lane.account(), &self.counters);
            lane.source = self.counters;
            lane.cut_packets = self.lane.cut_packets();
            lane.down.clone_from(&self.down);
            lane.is_disk_failing = self.lane.is_disk_failing();
            lane.has_ended = is_end;
        }
    }
}
