//! The flows of a segment under construction, numbered as they appear.
//!
//! Looking a flow up is two waits for memory: for its slot and for its state. Packets are therefore taken in batches, and
//! each step is made for all of a batch before the next, so that the waits overlap.

use super::keyed_hash::KeyedHash;
use super::message::Message;
use super::slots::Slots;
use super::stream::FlowStream;
use super::template_table::TemplateTable;
use netrewind_packet::Shape;

/// Packets of a batch.
pub(super) const BATCH_PACKETS: usize = 32;
/// Address space is taken for this many flows at once, so that they need not be moved as they become more. Memory is taken as it is
/// written to.
const FLOWS_EXPECTED: usize = 1 << 17;
/// Memory for this many flows is kept from one segment to the next.
const FLOWS_KEPT: usize = 1 << 20;

/// State of a flow: two cache lines, fetched as one, so that a packet waits for memory once. The second line holds the
/// observations.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
pub(super) struct FlowState {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
    template: u16,
    pub(super) flags_all: u8,
    pub(super) flags_any: u8,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) packets: u32,
    pub(super) last_granule: u32,
    pub(super) len_min: u32,
    pub(super) len_max: u32,
    pub(super) caplen_min: u32,
    pub(super) caplen_max: u32,
    pub(super) stream: FlowStream,
}

const _: () = assert!(std::mem::offset_of!(FlowState, stream) == 64);
const _: () = assert!(size_of::<FlowState>() == 128);

/// Key that tells flows apart. For IPv6, `source` is the number of the pair of addresses and `destination` is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FlowTableKey {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) template: u16,
}

/// A packet whose flow is yet to be found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    pub(super) key: FlowTableKey,
    pub(super) hash: u32,
    /// The flow's number, once it is found.
    pub(super) flow: u32,
    pub(super) granule: u32,
    pub(super) len: u32,
    pub(super) caplen: u32,
    pub(super) timestamp: u64,
    /// AND and OR of its TCP flags: those of no packet where it has none.
    pub(super) flags_all: u8,
    pub(super) flags_any: u8,
    pub(super) fragment: bool,
    /// Its contribution to its conversation.
    pub(super) message: Message,
    /// It belongs to the flow of its template that has no key.
    pub(super) without_key: bool,
}

impl FlowState {
    fn new(key: FlowTableKey) -> Self {
        Self {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            template: key.template,
            flags_all: 0xff,
            flags_any: 0,
            first: u64::MAX,
            last: 0,
            bytes: 0,
            packets: 0,
            last_granule: u32::MAX,
            len_min: u32::MAX,
            len_max: 0,
            caplen_min: u32::MAX,
            caplen_max: 0,
            stream: FlowStream::default(),
        }
    }

    #[inline]
    pub(super) fn key(&self) -> FlowTableKey {
        FlowTableKey {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            template: self.template,
        }
    }

    /// Counts a packet. True where it is the flow's first in its granule.
    #[inline]
    fn count(&mut self, packet: &Pending) -> bool {
        self.first = self.first.min(packet.timestamp);
        self.last = self.last.max(packet.timestamp);
        self.bytes += u64::from(packet.len);
        self.packets += 1;
        self.len_min = self.len_min.min(packet.len);
        self.len_max = self.len_max.max(packet.len);
        self.caplen_min = self.caplen_min.min(packet.caplen);
        self.caplen_max = self.caplen_max.max(packet.caplen);
        self.flags_all &= packet.flags_all;
        self.flags_any |= packet.flags_any;
        std::mem::replace(&mut self.last_granule, packet.granule) != packet.granule
    }
}

#[derive(Clone, Debug)]
pub(super) struct FlowTable {
    flows_max: usize,
    hasher: KeyedHash,
    slots: Slots,
    pub(super) states: Vec<FlowState>,
    pair_slots: Slots,
    /// Source and destination of each pair of IPv6 addresses.
    pub(super) pairs: Vec<[u128; 2]>,
    /// True for flows with fragments; ends with the last such flow.
    pub(super) has_fragments: Vec<bool>,
}

impl FlowTable {
    pub(super) fn new(seed: u64, flows_max: u32) -> Self {
        Self {
            flows_max: flows_max as usize,
            hasher: KeyedHash::new(seed),
            slots: Slots::new(),
            states: Vec::new(),
            pair_slots: Slots::new(),
            pairs: Vec::new(),
            has_fragments: Vec::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.slots.clear(FLOWS_KEPT);
        self.pair_slots.clear(FLOWS_KEPT);
        self.states.clear();
        self.pairs.clear();
        self.has_fragments.clear();
        self.states.shrink_to(FLOWS_KEPT);
        self.pairs.shrink_to(FLOWS_KEPT);
    }

    /// Finds or adds the flows of a batch and counts its packets. `enter` learns of each packet that is the first of its
    /// flow in its granule, and of the granule.
    #[inline]
    pub(super) fn count(
        &mut self,
        batch: &mut [Pending],
        templates: &mut TemplateTable,
        mut enter: impl FnMut(u32, u32),
    ) {
        for packet in batch.iter_mut() {
            packet.flow = self.slots.touch(packet.hash);
        }
        let mut touched = 0;
        for state in batch.iter().filter_map(|packet| self.states.get(packet.flow as usize)) {
            touched |= state.packets ^ state.stream.next;
        }
        // The loads must happen; their values are used below.
        std::hint::black_box(touched);
        for packet in batch {
            let flow = match self.states.get(packet.flow as usize) {
                Some(state) if state.key() == packet.key => packet.flow,
                _ => self.find(packet, templates),
            };
            packet.flow = flow;
            if packet.fragment {
                self.mark_fragments(flow);
            }
            if self.states[flow as usize].count(packet) {
                enter(flow, packet.granule);
            }
        }
    }

    /// The stream that a packet of a batch that was counted belongs to.
    #[inline]
    pub(super) fn stream(&mut self, packet: &Pending) -> &mut FlowStream {
        &mut self.states[packet.flow as usize].stream
    }

    /// True once further flows get no key: packets may have been counted in another flow than that of their key.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.states.len() >= self.flows_max
    }

    /// Hash of a flow's key, under which the table is searched.
    #[inline]
    pub(super) fn hash(&self, key: &FlowTableKey) -> u32 {
        let addresses = u64::from(key.source) << 32 | u64::from(key.destination);
        let ports = u64::from(key.source_port) << 16 | u64::from(key.destination_port);
        self.hasher.of_words(addresses, ports << 16 | u64::from(key.template)) as u32
    }

    #[inline]
    fn find(&mut self, packet: &Pending, templates: &mut TemplateTable) -> u32 {
        let states = &self.states;
        match self.slots.find(packet.hash, |flow| states[flow as usize].key() == packet.key) {
            Some(flow) => flow,
            None => self.add(packet, templates),
        }
    }

    #[cold]
    #[inline(never)]
    fn add(&mut self, packet: &Pending, templates: &mut TemplateTable) -> u32 {
        if packet.without_key || !self.is_full() {
            let flow = self.states.len() as u32;
            if self.states.capacity() == 0 {
                self.states.reserve_exact(FLOWS_EXPECTED.min(self.flows_max));
            }
            self.states.push(FlowState::new(packet.key));
            self.slots.insert(packet.hash, flow);
            return flow;
        }
        // Too many flows: the packet goes to the one flow that its template has without a key.
        let template = templates.without_key(u32::from(packet.key.template));
        let key = without_ends(template);
        let packet = Pending { key, hash: self.hash(&key), without_key: true, ..*packet };
        self.find(&packet, templates)
    }

    /// The key of a packet's flow, by its template's shape; `None` where it has none, or there are too many pairs of addresses.
    #[inline]
    pub(super) fn key_of(
        &mut self,
        template: u32,
        shape: Shape,
        key: &netrewind_packet::PacketKey,
    ) -> Option<FlowTableKey> {
        let (source, destination) = match shape {
            Shape::None => return None,
            Shape::Ipv4 { .. } => (key.source as u32, key.destination as u32),
            Shape::Ipv6 { .. } => (self.pair([key.source, key.destination])?, 0),
        };
        Some(FlowTableKey {
            source,
            destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            template: template as u16,
        })
    }

    /// The number of a pair of IPv6 addresses; `None` where there are as many as flows.
    #[inline]
    pub(super) fn pair(&mut self, pair: [u128; 2]) -> Option<u32> {
        let hash = self.hasher.of_addresses(pair) as u32;
        let pairs = &self.pairs;
        if let Some(number) = self.pair_slots.find(hash, |number| pairs[number as usize] == pair) {
            return Some(number);
        }
        if self.pairs.len() >= self.flows_max {
            return None;
        }
        let number = self.pairs.len() as u32;
        self.pairs.push(pair);
        self.pair_slots.insert(hash, number);
        Some(number)
    }

    #[cold]
    fn mark_fragments(&mut self, flow: u32) {
        if self.has_fragments.len() <= flow as usize {
            self.has_fragments.resize(flow as usize + 1, false);
        }
        self.has_fragments[flow as usize] = true;
    }
}

/// The key of the flow of all packets of a template whose keys are not known.
pub(super) fn without_ends(template: u32) -> FlowTableKey {
    FlowTableKey { template: template as u16, ..FlowTableKey::default() }
}
