//! The thread of one source: drives the source and its lanes by the clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::time::SECOND_NS;
use netrewind_store::turns::{NextTurn, QueueSender, Worker};
use netrewind_store::{Drops, Event, Timestamp};

use super::error::RecorderError;
use super::source_lanes::Lanes;
use super::status::RecorderState;
use crate::source::{PeerChange, Received, ReportedDrops, Source, SourceCounters, SourceError};

/// Longest wait for a source.
const PATIENCE: Duration = Duration::from_millis(50);
/// Longest wait for a source while the disk is at work and its completion will allow another operation.
const PATIENCE_WHILE_WRITING: Duration = Duration::from_millis(5);
/// Wait at the end: longer than the kernel keeps a ring block that does not fill.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(200);
/// Time at the end for a stream whose peer goes on sending.
const STREAM_END_NS: u64 = SECOND_NS;
/// Interval between two status updates.
const STATUS_INTERVAL_NS: u64 = SECOND_NS / 5;
/// Time that the disk may fail at the end before the remaining packets are given up.
const END_PATIENCE_NS: u64 = 5 * SECOND_NS;

/// Work of the thread of one source. A turn waits for packets, in the source, or for the disk, in a lane.
pub(super) struct LaneThread {
    source: Box<dyn Source>,
    lanes: Lanes,
    shared: Arc<RecorderState>,
    events: QueueSender<Event>,
    phase: LanePhase,
    may_wait: bool,
    down: Option<String>,
    /// Start of the last turn that found the source well.
    well: Option<Timestamp>,
    counters: SourceCounters,
    /// Start of the last turn that took packets. What arrived later may still lie in the source, while the disk fails for seconds.
    taken_at: Option<Timestamp>,
    reported_ns: u64,
    /// The earliest and the latest timestamp of a source that ends, since its last file broke off.
    bounds: Option<(Timestamp, Timestamp)>,
}

/// Part of the recording that a turn belongs to.
#[derive(Clone, Copy, Debug)]
enum LanePhase {
    Recording,
    /// The packets that arrived before the end, which came at this time, are taken.
    Draining {
        since_ns: u64,
    },
    /// Every segment is sealed.
    Finishing {
        failing_since_ns: Option<u64>,
    },
}

impl Worker for LaneThread {
    fn turn(&mut self, now: Now) -> NextTurn {
        match self.phase {
            LanePhase::Recording => self.record(now),
            LanePhase::Draining { since_ns } => self.drain(now, since_ns),
            LanePhase::Finishing { failing_since_ns } => self.finish(now, failing_since_ns),
        }
    }
}

impl LaneThread {
    pub fn new(
        source: Box<dyn Source>,
        lanes: Lanes,
        shared: Arc<RecorderState>,
        events: QueueSender<Event>,
        may_wait: bool,
    ) -> Self {
        Self {
            source,
            lanes,
            shared,
            events,
            phase: LanePhase::Recording,
            may_wait,
            down: None,
            well: None,
            counters: SourceCounters::default(),
            taken_at: None,
            reported_ns: 0,
            bounds: None,
        }
    }

    fn record(&mut self, now: Now) -> NextTurn {
        if self.shared.stop.load(Ordering::Acquire) {
            return self.begin_to_drain(now);
        }
        let patience = if self.lanes.is_disk_busy() { PATIENCE_WHILE_WRITING } else { PATIENCE };
        let received = self.receive(now, patience);
        self.note_changes();
        let mut next = self.after(&received, now, patience);
        match received {
            Ok(Received::End) => return self.begin_to_drain(now),
            // What arrived before it went down.
            Ok(_) if self.source.is_down() => {}
            Ok(_) => {
                self.note_up();
                self.well = Some(now.wall);
            }
            Err(error) if self.source.is_live() => {
                self.note_down(&error);
                next = NextTurn::At(now.after(PATIENCE));
            }
            Err(error) => {
                self.note_broken(&error);
                if !self.source.goes_on() {
                    return self.begin_to_drain(now);
                }
            }
        }
        if let Some(error) = self.lanes.take_failure() {
            self.give_up(&error);
            return self.begin_to_drain(now);
        }
        next
    }

    /// Time to receive again: at once, unless nothing came and that was not waited for.
    fn after(&self, received: &Result<Received, SourceError>, now: Now, patience: Duration) -> NextTurn {
        let has_come = matches!(received, Ok(Received::Packets(packets)) if *packets > 0);
        NextTurn::At(if self.may_wait || has_come { now.monotonic_ns } else { now.after(patience) })
    }

    /// Does the due work, and takes packets from the source if there is room for them.
    fn receive(&mut self, now: Now, patience: Duration) -> Result<Received, SourceError> {
        self.lanes.step(now);
        self.report(now, false);
        let patience = if self.may_wait { patience } else { Duration::ZERO };
        if !self.lanes.is_ready() {
            self.lanes.wait(patience);
            return Ok(Received::Packets(0));
        }
        self.taken_at = Some(now.wall);
        let lanes = &mut self.lanes;
        if self.source.is_live() {
            return self.source.receive(patience, &mut |packet| lanes.accept(&packet));
        }
        let bounds = &mut self.bounds;
        self.source.receive(patience, &mut |packet| {
            let at = packet.header.timestamp();
            let (first, last) = bounds.unwrap_or((at, at));
            *bounds = Some((first.min(at), last.max(at)));
            lanes.accept(&packet);
        })
    }

    /// Reports that nothing can be recorded from this source.
    fn give_up(&mut self, error: &RecorderError) {
        self.shared.notice(format!("{} is not recorded: {error}", self.source.name()));
    }

    /// Logs an event of the source, if it has lanes.
    fn log_event(&self, event: impl FnOnce(u16) -> Event) {
        if let Some(lane) = self.lanes.number() {
            let _ = self.events.send(event(lane));
        }
    }

    fn note_changes(&mut self) {
        for ReportedDrops { interface, dropped, from, to } in self.source.take_reported_drops() {
            let file = self.source.name().to_owned();
            let interface = interface.unwrap_or_else(|| file.clone());
            let dropped = Drops { kernel: dropped, disk: 0 };
            let _ = self.events.send(Event::CaptureDrops { file, interface, dropped, from, to });
        }
        for text in self.source.take_notices() {
            self.log_event(|lane| Event::Note { lane, text: text.clone() });
            self.shared.notice(text);
        }
        for change in self.source.take_changes() {
            // A peer has come: from now on the source is one that is recorded.
            if let Err(error) = self.lanes.begin() {
                self.give_up(&error);
            }
            if let PeerChange::Disconnected { turned_away: Some(words), .. } = &change {
                self.shared.notice(words.clone());
            }
            self.log_event(|lane| match change {
                PeerChange::Connected { peer } => Event::Connected { lane, peer },
                PeerChange::Disconnected { peer, records, reason, .. } => {
                    Event::Disconnected { lane, peer, records, reason }
                }
            });
        }
    }

    fn note_down(&mut self, error: &SourceError) {
        let reason = error.to_string();
        if self.down.is_none() {
            let worked_until = self.well;
            self.log_event(|lane| Event::Down { lane, reason: reason.clone(), worked_until });
        }
        self.down = Some(reason);
    }

    /// Notes that a source that does not come back has ended early, or one of its files has.
    fn note_broken(&mut self, error: &SourceError) {
        self.note_down(error);
        self.shared.notice(error.to_string());
        self.lanes.note_broken();
        if let Some((first, last)) = self.bounds.take() {
            let (file, reason) = (self.source.name().to_owned(), error.to_string());
            let _ = self.events.send(Event::CaptureDamage { file, reason, first, last });
        }
    }

    fn note_up(&mut self) {
        if self.down.take().is_some() {
            self.log_event(|lane| Event::Up { lane });
        }
    }

    fn begin_to_drain(&mut self, now: Now) -> NextTurn {
        if let Err(error) = self.source.stop() {
            self.note_down(&error);
        }
        self.phase = LanePhase::Draining { since_ns: now.monotonic_ns };
        NextTurn::At(now.monotonic_ns)
    }

    /// Takes packets that arrived before the end, until none are left.
    fn drain(&mut self, now: Now, since_ns: u64) -> NextTurn {
        let is_over = self.source.can_wait() && now.monotonic_ns.saturating_sub(since_ns) > STREAM_END_NS;
        let received = if is_over { Ok(Received::End) } else { self.receive(now, PATIENCE_AT_THE_END) };
        let next = self.after(&received, now, PATIENCE_WHILE_WRITING);
        if !matches!(received, Ok(Received::Packets(_))) {
            self.note_changes();
            let left_out = self.source.left_out();
            if !left_out.is_nothing() {
                self.shared.notice(format!("{}: not kept: {left_out}", self.source.name()));
            }
            self.lanes.finish(now);
            self.phase = LanePhase::Finishing { failing_since_ns: None };
        }
        next
    }

    fn finish(&mut self, now: Now, failing_since_ns: Option<u64>) -> NextTurn {
        self.taken_at = Some(now.wall);
        self.lanes.step(now);
        if self.lanes.is_idle() {
            self.report(now, true);
            for (lane, account) in self.lanes.accounts(&self.counters) {
                let _ = self.events.send(Event::Stop { lane, account });
            }
            return NextTurn::Never;
        }
        self.report(now, false);
        let failing_since_ns =
            self.lanes.is_disk_failing().then(|| failing_since_ns.unwrap_or(now.monotonic_ns));
        let has_failed_long = |since_ns: u64| now.monotonic_ns.saturating_sub(since_ns) > END_PATIENCE_NS;
        if failing_since_ns.is_some_and(has_failed_long) {
            self.lanes.give_up();
        }
        self.phase = LanePhase::Finishing { failing_since_ns };
        if self.may_wait {
            self.lanes.wait(PATIENCE_WHILE_WRITING);
            return NextTurn::At(now.monotonic_ns);
        }
        NextTurn::At(now.after(PATIENCE_WHILE_WRITING))
    }

    /// Sends events to the watch thread, and updates the status.
    fn report(&mut self, now: Now, is_end: bool) {
        for event in self.lanes.take_events() {
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
        self.lanes.take_notices().into_iter().for_each(|notice| self.shared.notice(notice));
        let told_at = self.taken_at.unwrap_or(now.wall);
        self.lanes.report(&self.counters, self.source.take_ring(), self.down.as_ref(), told_at, is_end);
    }
}
