//! Selection of conversations' packets, by the segments that hold parts of them, and their keys.
//!
//! No filter can express a conversation: not ports behind IPv6 extension headers, not one network identifier among several with
//! the same addresses, not the messages of one echo, not later fragments. So a packet is taken apart as the indexer does it, and
//! has the key of the flow that an index counts it in.
//!
//! **Invariant:** what a conversation's record counts of kept segments is what is chosen, packet by packet.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::Keys;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::template_facts::TemplateFacts;
use netrewind_index::{Index, IndexError, Template};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_packet::{Dissection, PacketKey, dissect_into};
use netrewind_store::{LinkType, Map, SegmentName};

use crate::memory::{Holding, MemoryAccount};
use crate::plan::flow_judge::PlanError;
use crate::sink::AnswerPacket;

/// Maximum number of selected parts, some 100 bytes each: a conversation in one segment is a part.
pub const PARTS_CHOSEN_MAX: usize = 1 << 20;
/// Memory in bytes of a selected part, and the number of them for which it is taken at a time.
const PART_BYTES: u64 = 128;
const PARTS_STEP: usize = 1024;
/// Cost of looking up the flows between two addresses, in flows that could be examined instead.
const LOOKUP_COSTS_FLOWS: usize = 1024;
/// Number of flows between two checks for cancellation.
const FLOWS_BETWEEN_QUESTIONS: u32 = 1024;

/// First and last instant in nanoseconds, both included.
type Instants = (u64, u64);

/// Purpose for which conversations are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Their packets.
    Packets,
    /// Their number only: if all are kept, records give it.
    Count,
}

/// Choice of packets by conversation.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(super) encapsulations: Encapsulations,
    pub(super) parts: ChosenParts,
}

/// Parts of conversations.
#[derive(Debug, Default)]
pub(super) struct ChosenParts {
    /// The keys of those of a segment.
    by_segment: HashMap<SegmentName, Keys>,
    /// Segments that are kept although an hour of the catalog stands in for them: it is unknown which of them hold a conversation.
    in_hours: HashSet<SegmentName>,
    /// Times of the conversations that these can hold.
    by_time: HashMap<FlowKey, Vec<Instants>, RandomState>,
    /// Both addresses of all keys, the lesser first: they alone exclude most packets.
    addresses: HashSet<[u128; 2], RandomState>,
    count: usize,
    /// Only the segments are noted.
    are_counted: bool,
    /// Their share of the memory of all answers.
    holding: Option<Holding>,
}

impl ChosenParts {
    /// Empty selection; the catalog replaces these segments.
    pub(super) fn new(aim: Aim, in_hours: HashSet<SegmentName>, account: &MemoryAccount) -> Self {
        let holding = Some(account.holding());
        Self { in_hours, are_counted: aim == Aim::Count, holding, ..Self::default() }
    }

    /// The same selection for reading: while it is read, others have their turns.
    pub(super) fn without_turn(self) -> Self {
        Self { holding: self.holding.map(Holding::without_turn), ..self }
    }

    /// Selects a conversation with known places; false if that makes too many.
    pub(super) fn add(&mut self, key: &FlowKey, body: &FlowCounters) -> bool {
        for segment in body.places.iter().flat_map(|places| &places.0) {
            let keys = self.by_segment.entry(*segment).or_default();
            self.count += usize::from(!self.are_counted && keys.add_one(key));
        }
        if self.are_counted {
            return true;
        }
        self.addresses.insert(in_order(key.addresses));
        if !self.in_hours.is_empty() {
            self.by_time.entry(*key).or_default().push((body.first(), body.last()));
            self.count += 1;
        }
        // Without room the answer is short, or has its turn and goes on.
        let bytes = self.count.next_multiple_of(PARTS_STEP) as u64 * PART_BYTES;
        self.holding.iter_mut().for_each(|holding| _ = holding.hold(bytes));
        self.count <= PARTS_CHOSEN_MAX
    }

    /// Segments that certainly hold a part.
    pub(super) fn segments(&self) -> usize {
        self.by_segment.len()
    }
}

impl Chosen {
    /// True if a segment can hold any of the packets.
    pub(crate) fn may_be_in(&self, segment: &SegmentName) -> bool {
        let ChosenParts { by_segment, in_hours, by_time, .. } = &self.parts;
        by_segment.contains_key(segment) || (!by_time.is_empty() && in_hours.contains(segment))
    }

    /// The numbers of the flows of a segment's index that have the packets.
    pub(crate) fn flows_in(
        &self,
        segment: &SegmentName,
        index: &Index<Map>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<u32>, PlanError> {
        let mut found = Vec::new();
        if !self.may_be_in(segment) {
            return Ok(found);
        }
        let mut facts = TemplateFacts::new(&self.encapsulations);
        let facts = facts.of(index.templates()?);
        let has = |flow: &netrewind_index::Flow| {
            let key = facts.get(flow.template as usize).map(|facts| FlowKey::of(flow, facts).0);
            key.is_some_and(|key| self.has_key(segment, &key))
        };
        let flows = index.flow_count() as usize;
        let is_worth_it = |keys: &Keys| keys.count().saturating_mul(LOOKUP_COSTS_FLOWS) <= flows;
        let looked_up: Result<Option<Vec<u32>>, IndexError> = match self.parts.by_segment.get(segment) {
            Some(keys) if !self.parts.in_hours.contains(segment) && is_worth_it(keys) => keys.flows_in(index),
            _ => Ok(None),
        };
        if let Some(numbers) = looked_up? {
            let mut cursor = index.cursor();
            for number in numbers {
                if has(&cursor.flow(number)?) {
                    found.push(number);
                }
            }
            return Ok(found);
        }
        for (seen, item) in (1u32..).zip(index.flows()) {
            if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && stop() {
                return Err(PlanError::Cancelled);
            }
            let (number, flow) = item?;
            if has(&flow) {
                found.push(number);
            }
        }
        Ok(found)
    }

    /// True if some packets of a segment with this key are chosen.
    fn has_key(&self, segment: &SegmentName, key: &FlowKey) -> bool {
        let ChosenParts { by_segment, in_hours, by_time, .. } = &self.parts;
        by_segment.get(segment).is_some_and(|keys| keys.has(key))
            || (in_hours.contains(segment) && by_time.contains_key(key))
    }

    fn has(&self, segment: &SegmentName, key: &FlowKey, at: u64) -> bool {
        let ChosenParts { by_segment, in_hours, by_time, .. } = &self.parts;
        let was_then =
            |spans: &Vec<Instants>| spans.iter().any(|&(first, last)| (first..=last).contains(&at));
        by_segment.get(segment).is_some_and(|keys| keys.has(key))
            || (in_hours.contains(segment) && by_time.get(key).is_some_and(was_then))
    }
}

/// The lesser first.
fn in_order([one, other]: [u128; 2]) -> [u128; 2] {
    [one.min(other), one.max(other)]
}

/// Tells of packets whether they are chosen.
pub(crate) struct ChosenPackets<'c> {
    chosen: &'c Chosen,
    facts: TemplateFacts<'c>,
    ports: TunnelPorts,
    dissection: Dissection,
    /// Packets that are not.
    pub(crate) passed_over: u64,
}

impl<'c> ChosenPackets<'c> {
    /// Chosen packets of a store with these tunnel ports.
    pub(crate) fn new(chosen: &'c Chosen, ports: &TunnelPorts) -> Self {
        Self {
            chosen,
            facts: TemplateFacts::new(&chosen.encapsulations),
            ports: ports.clone(),
            dissection: Dissection::new(LinkType::ETHERNET),
            passed_over: 0,
        }
    }

    /// True if a packet, as stored, is chosen.
    pub(crate) fn has(&mut self, packet: &AnswerPacket<'_>) -> bool {
        let is_chosen = self.chosen.may_be_in(&packet.segment) && self.has_key(packet);
        self.passed_over += u64::from(!is_chosen);
        is_chosen
    }

    fn has_key(&mut self, packet: &AnswerPacket<'_>) -> bool {
        dissect_into(&mut self.dissection, &self.ports, packet.link_type, packet.bytes, packet.header.len);
        let PacketKey { source, destination, .. } = self.dissection.key;
        if !self.chosen.parts.addresses.contains(&in_order([source, destination])) {
            return false;
        }
        let facts = self.facts.of_one(&Template::of(&self.dissection, packet.bytes));
        let (key, ..) = FlowKey::of_packet(&self.dissection.key, &facts);
        self.chosen.has(&packet.segment, &key, packet.header.timestamp().ns())
    }
}
