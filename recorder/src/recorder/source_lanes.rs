//! The lanes of one source: one for each interface and link type of its packets, while the recorder has lanes to spare. A segment
//! has one of each, and a stream may mix them: in a single lane, each change would end a segment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::sink::BlockSink;
use netrewind_store::turns::{QueueSender, RunningWorker};
use netrewind_store::{Account, Event, LaneLoad, LinkType, RingFill, Store, Timestamp, locked};

use super::error::RecorderError;
use super::lane_setup::{RecordingDescription, open_lane, start_event, start_sink};
use super::status::{LaneStatus, RecorderState};
use crate::account;
use crate::config::Config;
use crate::disk::LaneDisk;
use crate::lane::{Lane, SegmentOrigin};
use crate::platform::Platform;
use crate::retention::Keeper;
use crate::source::{Packet, SourceCounters, SourceInterface};

/// Lanes that all sources together may open for further link types.
pub const FURTHER_LANES_MAX: usize = 8;
/// Buffers of a lane whose source can wait.
const BUFFERS_OF_PATIENT: u16 = 12;

/// A lane that is not open yet.
pub(super) struct LaneSlot {
    pub number: u16,
    pub sink: Option<Box<dyn BlockSink>>,
}

/// Opens lanes.
pub(super) struct LaneFactory {
    pub config: Config,
    pub description: RecordingDescription,
    pub store: Store,
    pub keeper: Arc<Keeper>,
    pub shared: Arc<RecorderState>,
    pub platform: Platform,
    pub events: QueueSender<Event>,
    /// Lanes for link types beyond the first of each source.
    pub further: Mutex<VecDeque<LaneSlot>>,
    pub sink_threads: Mutex<Vec<Box<dyn RunningWorker>>>,
}

impl LaneFactory {
    /// Number of lanes for further link types that fit beside `lanes` without making segments smaller.
    pub fn further_lanes(config: &Config, lanes: usize) -> usize {
        let fits = |further: &usize| config.fitted(lanes + further).as_ref() == Ok(config);
        (1..=FURTHER_LANES_MAX).rev().find(fits).unwrap_or(0)
    }

    fn open(&self, slot: LaneSlot, interface: &str, can_wait: bool) -> Result<Lane<LaneDisk>, RecorderError> {
        let feed = match slot.sink {
            Some(sink) => {
                let (feed, thread) = start_sink(slot.number, sink, &self.platform)?;
                locked(&self.sink_threads).push(thread);
                Some(feed)
            }
            None => None,
        };
        let buffers =
            if can_wait { BUFFERS_OF_PATIENT.min(self.config.buffers) } else { self.config.buffers };
        let config = Config { buffers, ..self.config };
        open_lane(slot.number, interface, config, &self.store, &self.keeper, feed, &self.platform)
    }

    fn announce(&self, number: u16, source: usize, interface: &str) {
        let _ = self.events.send(start_event(number, interface, &self.config, &self.description));
        let interface = interface.to_owned();
        let began = self.platform.clock.now().wall;
        let status =
            LaneStatus { lane: number, source_number: source, interface, began, ..LaneStatus::default() };
        self.shared.status().lanes.push(status);
    }
}

/// A lane and what it takes.
struct OpenLane {
    number: u16,
    /// `None` until the first packet.
    link_type: Option<LinkType>,
    /// One of the source's interfaces; `None` for the lane of all interfaces without their own.
    interface: Option<SourceInterface>,
    lane: Lane<LaneDisk>,
}

impl OpenLane {
    #[inline]
    fn takes(&self, packet: &Packet<'_>) -> bool {
        self.link_type == Some(packet.link_type) && self.interface.as_ref() == packet.interface
    }
}

/// The lanes of one source.
pub(super) struct Lanes {
    factory: Arc<LaneFactory>,
    source: usize,
    interface: String,
    can_wait: bool,
    first: Option<LaneSlot>,
    open: Vec<OpenLane>,
    /// The one that took the last packet.
    current: usize,
    failure: Option<RecorderError>,
    /// Packets for which no lane could be opened.
    lost: u64,
    /// True if the source, or a part of it, has ended early.
    is_broken: bool,
}

impl Lanes {
    /// No lane yet: `first` is for the first link type.
    pub fn new(
        factory: Arc<LaneFactory>,
        source: usize,
        interface: String,
        can_wait: bool,
        first: LaneSlot,
    ) -> Self {
        let (first, open) = (Some(first), Vec::new());
        Self {
            factory,
            source,
            interface,
            can_wait,
            first,
            open,
            current: 0,
            failure: None,
            lost: 0,
            is_broken: false,
        }
    }

    /// Opens the first lane, unless it is open, and says in the logbook that the source is recorded.
    pub fn begin(&mut self) -> Result<(), RecorderError> {
        let Some(slot) = self.first.take() else { return Ok(()) };
        self.grow(slot)
    }

    fn grow(&mut self, slot: LaneSlot) -> Result<(), RecorderError> {
        let number = slot.number;
        let lane = self.factory.open(slot, &self.interface, self.can_wait)?;
        self.factory.announce(number, self.source, &self.interface);
        self.open.push(OpenLane { number, link_type: None, interface: None, lane });
        Ok(())
    }

    /// Number of the first lane, which speaks for the source; `None` before it is open.
    pub fn number(&self) -> Option<u16> {
        self.open.first().map(|open| open.number)
    }

    /// Takes a packet.
    #[inline]
    pub fn accept(&mut self, packet: &Packet<'_>) {
        match self.open.get_mut(self.current) {
            Some(open) if open.takes(packet) => open.lane.accept(packet),
            _ => self.accept_elsewhere(packet),
        }
    }

    #[cold]
    fn accept_elsewhere(&mut self, packet: &Packet<'_>) {
        self.current = self.lane_for(packet);
        match self.open.get_mut(self.current) {
            Some(open) => open.lane.accept(packet),
            None => self.lost += 1,
        }
    }

    /// The lane of an interface and link type: opened while one is free, otherwise one that is shared, under the source's name,
    /// and in short segments if link types alternate.
    fn lane_for(&mut self, packet: &Packet<'_>) -> usize {
        if let Some(at) = self.open.iter().position(|open| open.takes(packet)) {
            return at;
        }
        if self.open.iter().all(|open| open.link_type.is_some()) {
            let slot = self.first.take().or_else(|| self.factory.further());
            if let Some(Err(error)) = slot.map(|slot| self.grow(slot)) {
                self.failure.get_or_insert(error);
            }
        }
        let at = self.open.len().saturating_sub(1);
        let Some(open) = self.open.get_mut(at) else { return at };
        if open.link_type.is_none() {
            open.link_type = Some(packet.link_type);
            open.interface = packet.interface.cloned();
        } else if open.interface.is_some() {
            open.interface = None; // from here on it is shared
        } else {
            return at;
        }
        let interface = match &open.interface {
            Some(SourceInterface { name, .. }) => format!("{}/{name}", self.interface),
            None => self.interface.clone(),
        };
        let description = open.interface.as_ref().and_then(|interface| interface.description.clone());
        open.lane.take_from(SegmentOrigin { interface, description, file: None });
        at
    }

    /// Notes that the source, or a part of it, has ended early.
    pub fn note_broken(&mut self) {
        self.is_broken = true;
    }

    /// Reason that a lane could not be opened, returned once.
    pub fn take_failure(&mut self) -> Option<RecorderError> {
        self.failure.take()
    }

    /// Does the due work of every lane.
    pub fn step(&mut self, now: Now) {
        self.open.iter_mut().for_each(|open| open.lane.step(now));
    }

    /// True if the next packets can be taken without waiting.
    pub fn is_ready(&self) -> bool {
        self.open.iter().all(|open| open.lane.is_ready())
    }

    /// Waits for the disk while a lane is not ready, or not idle at the end.
    pub fn wait(&mut self, patience: Duration) {
        let at = self.open.iter().position(|open| !open.lane.is_ready());
        let at = at.or_else(|| self.open.iter().position(|open| !open.lane.is_idle()));
        if let Some(open) = at.and_then(|at| self.open.get_mut(at)) {
            open.lane.wait(patience);
        }
    }

    /// True if the disk is at work.
    pub fn is_disk_busy(&self) -> bool {
        self.open.iter().any(|open| open.lane.is_disk_busy())
    }

    /// True if the disk fails.
    pub fn is_disk_failing(&self) -> bool {
        self.open.iter().any(|open| open.lane.is_disk_failing())
    }

    /// Ends every segment.
    pub fn finish(&mut self, now: Now) {
        self.open.iter_mut().for_each(|open| open.lane.finish(now));
    }

    /// True if every segment is sealed.
    pub fn is_idle(&self) -> bool {
        self.open.iter().all(|open| open.lane.is_idle())
    }

    /// Gives up segments that are not sealed.
    pub fn give_up(&mut self) {
        self.open.iter_mut().for_each(|open| open.lane.give_up());
    }

    /// Events of the lanes since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.open.iter_mut().flat_map(|open| open.lane.take_events()).collect()
    }

    /// Notices for the user.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.open.iter_mut().flat_map(|open| open.lane.take_notices()).collect()
    }

    /// Each lane's number and account. Packets dropped by the source, and those without a lane, count in the first.
    pub fn accounts(&self, counters: &SourceCounters) -> Vec<(u16, Account)> {
        let mut accounts: Vec<_> = self.open.iter().map(|open| (open.number, open.lane.account())).collect();
        if let Some((_, first)) = accounts.first_mut() {
            *first = account::with_source(first, counters);
            first.received += self.lost;
            first.dropped.disk += self.lost;
        }
        accounts
    }

    /// Updates the status of every lane. The ring's fill is reported with the first lane.
    pub fn report(
        &mut self,
        counters: &SourceCounters,
        ring: Option<RingFill>,
        down: Option<&String>,
        told_at: Timestamp,
        has_ended: bool,
    ) {
        let accounts = self.accounts(counters);
        let mut status = self.factory.shared.status();
        for (i, (open, (number, account))) in self.open.iter_mut().zip(accounts).enumerate() {
            let Some(lane) = status.lanes.iter_mut().find(|lane| lane.lane == number) else { continue };
            lane.account = account;
            lane.source = if i == 0 { *counters } else { SourceCounters::default() };
            lane.cut_packets = open.lane.cut_packets();
            lane.down = down.filter(|_| i == 0).cloned();
            lane.is_disk_failing = open.lane.is_disk_failing();
            lane.disk_trouble = open.lane.disk_trouble().map(str::to_owned);
            lane.pace_now.add(&LaneLoad {
                ring: ring.filter(|_| i == 0),
                writes: open.lane.take_writes(),
                ..LaneLoad::default()
            });
            lane.unwritten_since = open.lane.unwritten_since();
            lane.is_broken = self.is_broken;
            lane.turns += 1;
            lane.told_at = told_at;
            lane.lost_since = lane.lost_since.into_iter().chain(open.lane.take_lost_since()).min();
            lane.has_ended = has_ended;
        }
    }
}

impl LaneFactory {
    fn further(&self) -> Option<LaneSlot> {
        locked(&self.further).pop_front()
    }
}
