//! Parts: the share of a conversation in one segment.

use std::sync::Arc;

use netrewind_index::Flow;
use netrewind_store::SegmentName;

use crate::encapsulation::Encapsulations;
use crate::key::{FlowKey, Role};
use crate::label_texts::LabelTexts;
use crate::template_facts::TemplateTraits;

/// TCP flags (RFC 9293).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection, or answers one that opens it.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// Letters of the flags, from the lowest bit on.
    pub const LETTERS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];
}

/// Flag of an ICMP side: it sent requests.
pub const REQUESTS: u8 = 1;
/// Flag of an ICMP side: it sent replies.
pub const REPLIES: u8 = 2;

/// Packets sent by one end. Times are in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionCounters {
    /// Packets sent.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// The earliest of them; the latest instant where there are none.
    pub first: u64,
    /// The latest of them; zero where there are none.
    pub last: u64,
    /// The tunnels of its first packets, see [`Encapsulations::tunnels`].
    pub stack: u32,
    /// TCP flags that some packet has; of ICMP [`REQUESTS`] and [`REPLIES`].
    pub flags_any: u8,
    /// TCP flags that all packets have.
    pub flags_all: u8,
    /// Segments that it has sent again.
    pub retransmissions: u64,
    /// Segments of it that came out of order.
    pub out_of_order: u64,
}

impl DirectionCounters {
    /// No packets.
    pub const NOTHING: Self = Self {
        packets: 0,
        bytes: 0,
        first: u64::MAX,
        last: 0,
        stack: 0,
        flags_any: 0,
        flags_all: 0xff,
        retransmissions: 0,
        out_of_order: 0,
    };

    fn add(&mut self, other: &Self) {
        if other.first < self.first {
            self.first = other.first;
            self.stack = other.stack;
        }
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.last = self.last.max(other.last);
        self.flags_any |= other.flags_any;
        self.flags_all &= other.flags_all;
        self.retransmissions = self.retransmissions.saturating_add(other.retransmissions);
        self.out_of_order = self.out_of_order.saturating_add(other.out_of_order);
    }

    /// It has sent a SYN without ACK, as far as the combined flags of its packets show.
    pub fn opens_tcp(&self) -> bool {
        self.flags_any & tcp::SYN != 0 && self.flags_all & tcp::ACK == 0
    }

    /// It has sent a SYN, always with ACK.
    pub fn answers_tcp(&self) -> bool {
        self.flags_any & tcp::SYN != 0 && self.flags_all & tcp::ACK != 0
    }
}

/// Totals and properties of a conversation, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCounters {
    /// Sides of the lesser and the greater end of the key.
    pub sides: [DirectionCounters; 2],
    /// See [`Encapsulations::vlans`].
    pub vlans: u32,
    /// Segments that hold packets of it.
    pub segments: u32,
    /// True if some packet is a fragment.
    pub has_fragments: bool,
    /// Round trip time of its first handshake, in nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// Labels of its first part that has any.
    pub labels: Option<Arc<LabelTexts>>,
    /// True if it may belong to an earlier conversation that is not known: see [`crate::join::Joiner::of_hour`].
    pub is_loose: bool,
    /// The segments that hold its packets, if they were asked for.
    pub places: Option<Box<SegmentNames>>,
}

/// Segments, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentNames(pub Vec<SegmentName>);

impl FlowCounters {
    /// Body of one flow.
    fn of(flow: &Flow, facts: &TemplateTraits, side: usize, role: Role) -> Self {
        let (flags_any, flags_all) = match (role, flow.tcp_flags) {
            (Role::Request, _) => (REQUESTS, 0xff),
            (Role::Reply, _) => (REPLIES, 0xff),
            (Role::None, Some(flags)) => (flags.any, flags.all),
            (Role::None, None) => (0, 0xff),
        };
        let mut sides = [DirectionCounters::NOTHING; 2];
        sides[side & 1] = DirectionCounters {
            packets: flow.packets,
            bytes: flow.bytes,
            first: flow.first.ns(),
            last: flow.last.ns(),
            stack: facts.stack,
            flags_any,
            flags_all,
            ..DirectionCounters::NOTHING
        };
        Self {
            sides,
            vlans: facts.vlans,
            segments: 1,
            has_fragments: flow.has_fragments,
            round_trip_ns: None,
            labels: None,
            is_loose: false,
            places: None,
        }
    }

    /// Adds another part. The order matters only to the round trip and the labels.
    pub fn add(&mut self, other: &Self, encapsulations: &Encapsulations) {
        self.sides.iter_mut().zip(&other.sides).for_each(|(side, other)| side.add(other));
        self.vlans = encapsulations.union(self.vlans, other.vlans);
        self.has_fragments |= other.has_fragments;
        self.round_trip_ns = self.round_trip_ns.or(other.round_trip_ns);
        if self.labels.is_none() {
            self.labels.clone_from(&other.labels);
        }
        if let Some(places) = &other.places {
            self.places.get_or_insert_default().0.extend(&places.0);
        }
    }

    /// Memory in bytes that it takes beside itself, about.
    pub fn bytes_beside(&self) -> u64 {
        let labels = self.labels.as_ref().map_or(0, |labels| labels.bytes());
        let places = self
            .places
            .as_ref()
            .map_or(0, |places| size_of::<SegmentNames>() + places.0.len() * size_of::<SegmentName>());
        (labels + places) as u64
    }

    /// Earliest instant.
    pub fn first(&self) -> u64 {
        self.sides[0].first.min(self.sides[1].first)
    }

    /// Latest instant.
    pub fn last(&self) -> u64 {
        self.sides[0].last.max(self.sides[1].last)
    }

    /// Packets both ways.
    pub fn packets(&self) -> u64 {
        self.sides[0].packets.saturating_add(self.sides[1].packets)
    }

    /// Bytes both ways.
    pub fn bytes(&self) -> u64 {
        self.sides[0].bytes.saturating_add(self.sides[1].bytes)
    }

    /// True if one end has reset the connection.
    pub fn is_reset(&self) -> bool {
        (self.sides[0].flags_any | self.sides[1].flags_any) & tcp::RST != 0
    }

    /// Number of ends that have sent a FIN.
    pub fn finished_ends(&self) -> usize {
        self.sides.iter().filter(|side| side.flags_any & tcp::FIN != 0).count()
    }

    /// True if it is over, for a TCP connection.
    pub fn has_ended(&self) -> bool {
        self.is_reset() || self.finished_ends() == 2
    }

    /// True if any end has sent a FIN or RST.
    pub fn has_fin_or_reset(&self) -> bool {
        self.sides.iter().any(|side| side.flags_any & (tcp::FIN | tcp::RST) != 0)
    }

    /// True if one end opens a TCP connection in it.
    pub fn opens_tcp(&self) -> bool {
        self.sides.iter().any(DirectionCounters::opens_tcp)
    }
}

/// A conversation's packets in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPart {
    /// Key of the conversation.
    pub key: FlowKey,
    /// Counters of its packets.
    pub body: FlowCounters,
}

/// The parts of one segment, each with all of its flows.
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<FlowPart>,
    /// Start of the last flow's group.
    group: usize,
    /// Flows that were added in order, and how many of them came before the group.
    flows: usize,
    flows_before_group: usize,
    /// Parts whose flows can stand anywhere in the segment.
    scattered: Vec<FlowPart>,
    ends: Option<(u128, u128)>,
}

impl Parts {
    /// Adds a flow, in any order.
    pub fn add(&mut self, flow: &Flow, facts: &TemplateTraits) {
        self.scattered.push(part_of(flow, facts).0);
    }

    /// Adds a flow in the order of an index, in which those between the same ports of the same addresses follow each other.
    /// Returns the place of its part, and which of the two ends has sent it; `None` if the place is not final yet.
    pub fn add_in_order(
        &mut self,
        flow: &Flow,
        facts: &TemplateTraits,
        encapsulations: &Encapsulations,
    ) -> Option<(usize, usize)> {
        let (part, side, is_adjacent) = part_of(flow, facts);
        self.flows += 1;
        if !is_adjacent {
            self.scattered.push(part);
            return None;
        }
        let ends = part.key.ends();
        if self.ends != Some(ends) {
            self.ends = Some(ends);
            self.group = self.parts.len();
            self.flows_before_group = self.flows - 1;
        }
        let group = &mut self.parts[self.group..];
        let place = match group.iter_mut().position(|known| known.key == part.key) {
            Some(number) => {
                group[number].body.add(&part.body, encapsulations);
                self.group + number
            }
            None => {
                self.parts.push(part);
                self.parts.len() - 1
            }
        };
        Some((place, side))
    }

    /// Takes out the parts that no further flow can belong to, if there are at least `count` of them, and how many of the flows
    /// that were added in order came before those of the parts that stay.
    pub fn take_settled(&mut self, count: usize) -> Option<(Vec<FlowPart>, usize)> {
        if self.group < count.max(1) {
            return None;
        }
        let staying = self.parts.split_off(self.group);
        let settled = std::mem::replace(&mut self.parts, staying);
        self.parts.reserve_exact(settled.len() + settled.len() / 4);
        let flows = self.flows_before_group;
        (self.group, self.flows, self.flows_before_group) = (0, self.flows - flows, 0);
        Some((settled, flows))
    }

    /// Takes out all parts that were added in order.
    pub fn take_in_order(&mut self) -> Vec<FlowPart> {
        (self.group, self.flows, self.flows_before_group, self.ends) = (0, 0, 0, None);
        std::mem::take(&mut self.parts)
    }

    /// Bytes that they take in an answer's memory for a while.
    pub fn bytes(&self) -> u64 {
        let count = self.parts.len() + self.scattered.len();
        // As they grow there is an old and a new place for them.
        count as u64 * 2 * size_of::<FlowPart>() as u64
    }

    /// Each key once.
    pub fn finish(self, encapsulations: &Encapsulations) -> Vec<FlowPart> {
        let Self { mut parts, mut scattered, .. } = self;
        scattered.sort_unstable_by_key(|part| part.key);
        let from = parts.len();
        for part in scattered {
            match parts.get_mut(from..).and_then(<[FlowPart]>::last_mut).filter(|last| last.key == part.key) {
                Some(last) => last.body.add(&part.body, encapsulations),
                None => parts.push(part),
            }
        }
        parts
    }
}

/// The part that a flow makes, which end has sent it, and whether all flows of its key stand side by side in an index.
fn part_of(flow: &Flow, facts: &TemplateTraits) -> (FlowPart, usize, bool) {
    let (key, side, role) = FlowKey::of(flow, facts);
    let body = FlowCounters::of(flow, facts, side, role);
    (FlowPart { key, body }, side, key.is_adjacent())
}
