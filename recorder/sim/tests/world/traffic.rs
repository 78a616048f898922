//! Interfaces whose packets arrive by the world's clock, and the list of everything that arrived.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_recorder::source::{Packet, Received, Source, SourceCounters, SourceError};
use netrewind_store::clock::{Clock, ManualClock};
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, RecordHeader, Timestamp};

use crate::chance::Chance;
use crate::plan::TrafficPlan;

/// Ethernet, IPv4 and UDP headers, and the packet's number.
const LENGTH_MIN: usize = 14 + 20 + 8 + 8;
/// Place of the packet's number.
const NUMBER_AT: usize = LENGTH_MIN - 8;
/// Packets that one call gives at most.
const BURST_MAX: u64 = 64;
/// Distance of a wrong time.
const YEARS_NS: u64 = 7 * 365 * 24 * 3600 * SECOND_NS;

/// A packet that was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WirePacket {
    pub number: u64,
    /// Its timestamp.
    pub at: Timestamp,
    /// The wall clock when it arrived.
    pub arrived: Timestamp,
    pub length: usize,
    /// False if the ring was full.
    pub was_taken: bool,
}

impl WirePacket {
    /// True if its timestamp is that of its arrival. Where one with another time is lost, nobody can know which time lacks it.
    pub fn has_right_time(&self) -> bool {
        self.at == self.arrived
    }
}

/// Everything that was on the wire.
pub type Wire = Arc<Mutex<Vec<WirePacket>>>;

/// An interface.
pub struct Interface {
    name: String,
    plan: TrafficPlan,
    chance: Chance,
    clock: Arc<ManualClock>,
    wire: Wire,
    /// Packets that wait in the ring.
    ring: Vec<WirePacket>,
    next_ns: u64,
    counters: SourceCounters,
    is_stopped: bool,
}

impl Interface {
    pub fn new(
        number: usize,
        plan: &TrafficPlan,
        chance: Chance,
        clock: &Arc<ManualClock>,
        wire: &Wire,
    ) -> Self {
        Self {
            name: format!("eth{number}"),
            plan: plan.clone(),
            chance,
            clock: clock.clone(),
            wire: wire.clone(),
            ring: Vec::new(),
            next_ns: clock.now().monotonic_ns,
            counters: SourceCounters::default(),
            is_stopped: false,
        }
    }

    /// Takes what has arrived by now into the ring.
    fn arrive(&mut self) {
        let now = self.clock.now();
        while !self.is_stopped && self.next_ns <= now.monotonic_ns {
            let late_ns = now.monotonic_ns - self.next_ns;
            let arrived = Timestamp(now.wall.ns().saturating_sub(late_ns));
            self.one_arrives(arrived);
            let interval_ns = SECOND_NS / self.plan.packets_per_second;
            self.next_ns += self.chance.within(interval_ns / 2..interval_ns * 3 / 2);
            let (quiet, per_second) = (self.plan.quiet_once_in, self.plan.packets_per_second);
            if quiet > 0 && self.chance.once_in(quiet * per_second) {
                self.next_ns += self.chance.below(5 * SECOND_NS);
            }
        }
    }

    fn one_arrives(&mut self, arrived: Timestamp) {
        let is_wrong = self.plan.wrong_time_once_in > 0 && self.chance.once_in(self.plan.wrong_time_once_in);
        let at = match (is_wrong, self.chance.once_in(2)) {
            (false, _) => arrived,
            (true, true) => arrived.plus_ns(YEARS_NS),
            (true, false) => Timestamp(arrived.ns() - YEARS_NS),
        };
        let mut wire = self.wire.lock().unwrap();
        let was_taken = (self.ring.len() as u64) < self.plan.ring_packets;
        let length =
            self.chance.within(LENGTH_MIN as u64..self.plan.length_max.max(LENGTH_MIN as u64 + 1)) as usize;
        let packet = WirePacket { number: wire.len() as u64, at, arrived, length, was_taken };
        wire.push(packet);
        self.counters.received += 1;
        if was_taken {
            self.ring.push(packet);
        } else {
            self.counters.dropped += 1;
        }
    }
}

/// The packet's bytes: one of some conversations, with its number inside.
pub fn bytes_of(packet: &WirePacket) -> Vec<u8> {
    // A sector of zeros within a packet looks like one that a power cut has lost.
    let filling = if packet.number.is_multiple_of(3) { 0 } else { packet.number as u8 };
    let mut bytes = vec![filling; packet.length];
    let ip_length = (packet.length - 14) as u16;
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes[16..18].copy_from_slice(&ip_length.to_be_bytes());
    bytes[29] = (packet.number % 5) as u8;
    let ports = [packet.number as u16 % 7 + 1000, 53];
    bytes[34..36].copy_from_slice(&ports[0].to_be_bytes());
    bytes[36..38].copy_from_slice(&ports[1].to_be_bytes());
    bytes[38..40].copy_from_slice(&(ip_length - 20).to_be_bytes());
    bytes[40..42].copy_from_slice(&[0, 0]);
    bytes[NUMBER_AT..LENGTH_MIN].copy_from_slice(&packet.number.to_be_bytes());
    bytes
}

/// The number inside a packet.
pub fn number_in(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(NUMBER_AT..LENGTH_MIN)?.try_into().ok()?))
}

impl Source for Interface {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, _: Duration, take: &mut dyn FnMut(Packet<'_>)) -> Result<Received, SourceError> {
        self.arrive();
        let count = self.ring.len().min(BURST_MAX as usize);
        for packet in self.ring.drain(..count) {
            let bytes = bytes_of(&packet);
            let header = RecordHeader {
                seconds: u32::try_from(packet.at.ns() / SECOND_NS).unwrap(),
                nanoseconds: (packet.at.ns() % SECOND_NS) as u32,
                caplen: bytes.len() as u32,
                len: bytes.len() as u32,
            };
            let link_type = LinkType::ETHERNET;
            take(Packet { header, link_type, head: &bytes, tag: None, tail: &[], interface: None });
        }
        Ok(if count > 0 { Received::Packets(count as u64) } else { Received::Quiet })
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Result<(), SourceError> {
        self.arrive();
        self.is_stopped = true;
        Ok(())
    }

    fn counters(&mut self) -> Result<SourceCounters, SourceError> {
        Ok(self.counters)
    }
}
