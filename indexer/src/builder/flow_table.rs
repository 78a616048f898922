//! The flows of a segment under construction, numbered as they appear.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use netrewind_segment::{RecordHeader, Timestamp};

use super::template_table::TemplateTable;
use crate::packet::Dissection;
use crate::template::Shape;

/// Memory for so many flows is kept from one segment to the next.
const FLOWS_KEPT: usize = 1 << 20;

/// What is known of a flow so far. One cache line: a packet costs one miss.
#[derive(Clone, Debug)]
#[repr(align(64))]
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
}

const _: () = assert!(size_of::<FlowState>() == 64);

/// What distinguishes flows. For IPv6 `source` is the number of the pair of addresses and `destination` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) template: u16,
}

impl FlowState {
    fn new(key: FlowKey) -> Self {
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
        }
    }

    #[inline]
    pub(super) fn key(&self) -> FlowKey {
        FlowKey {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            template: self.template,
        }
    }
}

impl FlowKey {
    #[inline]
    fn hash(&self, hasher: &FixedState) -> u64 {
        let addresses = u64::from(self.source) << 32 | u64::from(self.destination);
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        hasher.hash_one((addresses, ports << 16 | u64::from(self.template)))
    }
}

#[derive(Debug)]
pub(super) struct FlowTable {
    flows_max: usize,
    hasher: FixedState,
    table: HashTable<u32>,
    pub(super) states: Vec<FlowState>,
    pair_table: HashTable<u32>,
    /// Source and destination of each pair of IPv6 addresses.
    pub(super) pairs: Vec<[u128; 2]>,
    /// For each flow up to the last that has one, whether it has fragments.
    pub(super) has_fragments: Vec<bool>,
}

impl FlowTable {
    pub(super) fn new(seed: u64, flows_max: u32) -> Self {
        Self {
            flows_max: flows_max as usize,
            hasher: FixedState::with_seed(seed),
            table: HashTable::new(),
            states: Vec::new(),
            pair_table: HashTable::new(),
            pairs: Vec::new(),
            has_fragments: Vec::new(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.table.clear();
        self.states.clear();
        self.pair_table.clear();
        self.pairs.clear();
        self.has_fragments.clear();
        if self.states.capacity() > FLOWS_KEPT {
            self.table = HashTable::new();
            self.states = Vec::new();
            self.pair_table = HashTable::new();
            self.pairs = Vec::new();
            self.has_fragments = Vec::new();
        }
    }

    /// The number of the packet's flow, which may be new.
    #[inline]
    pub(super) fn find(&mut self, template: u32, packet: &Dissection, templates: &mut TemplateTable) -> u32 {
        let key = &packet.key;
        let (source, destination) = match templates.shape(template) {
            Shape::None => return self.find_without_key(template),
            Shape::Ipv4 { .. } => (key.source as u32, key.destination as u32),
            Shape::Ipv6 { .. } => match self.pair([key.source, key.destination]) {
                Some(pair) => (pair, 0),
                None => return self.find_without_key(templates.without_key(template)),
            },
        };
        let key = FlowKey {
            source,
            destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            template: template as u16,
        };
        match self.find_or_add(key, self.flows_max) {
            Some(flow) => flow,
            None => self.find_without_key(templates.without_key(template)),
        }
    }

    /// The one flow of a template that has no key.
    #[inline(never)]
    fn find_without_key(&mut self, template: u32) -> u32 {
        let key = FlowKey {
            source: 0,
            destination: 0,
            source_port: 0,
            destination_port: 0,
            template: template as u16,
        };
        self.find_or_add(key, usize::MAX).unwrap_or(0)
    }

    #[inline]
    fn find_or_add(&mut self, key: FlowKey, flows_max: usize) -> Option<u32> {
        let hash = key.hash(&self.hasher);
        let states = &self.states;
        match self.table.find(hash, |&flow| states[flow as usize].key() == key) {
            Some(&flow) => Some(flow),
            None => self.add(key, hash, flows_max),
        }
    }

    #[inline(never)]
    fn add(&mut self, key: FlowKey, hash: u64, flows_max: usize) -> Option<u32> {
        let flow = self.states.len();
        if flow >= flows_max {
            return None;
        }
        self.states.push(FlowState::new(key));
        let (states, hasher) = (&self.states, &self.hasher);
        self.table.insert_unique(hash, flow as u32, |&flow| states[flow as usize].key().hash(hasher));
        Some(flow as u32)
    }

    /// The number of a pair of IPv6 addresses; `None` where there are as many as flows.
    #[inline]
    fn pair(&mut self, pair: [u128; 2]) -> Option<u32> {
        let hash = self.hasher.hash_one(pair);
        let pairs = &self.pairs;
        if let Some(&number) = self.pair_table.find(hash, |&number| pairs[number as usize] == pair) {
            return Some(number);
        }
        if self.pairs.len() >= self.flows_max {
            return None;
        }
        let number = self.pairs.len() as u32;
        self.pairs.push(pair);
        let (pairs, hasher) = (&self.pairs, &self.hasher);
        self.pair_table.insert_unique(hash, number, |&number| hasher.hash_one(pairs[number as usize]));
        Some(number)
    }

    /// Counts a packet into its flow. True where it is the flow's first in this granule.
    #[inline]
    pub(super) fn update(
        &mut self,
        flow: u32,
        granule: u32,
        header: &RecordHeader,
        timestamp: Timestamp,
        packet: &Dissection,
    ) -> bool {
        let state = &mut self.states[flow as usize];
        state.first = state.first.min(timestamp.ns());
        state.last = state.last.max(timestamp.ns());
        state.bytes += u64::from(header.len);
        state.packets += 1;
        state.len_min = state.len_min.min(header.len);
        state.len_max = state.len_max.max(header.len);
        state.caplen_min = state.caplen_min.min(header.caplen);
        state.caplen_max = state.caplen_max.max(header.caplen);
        if let Some(flags) = packet.tcp_flags {
            state.flags_all &= flags;
            state.flags_any |= flags;
        }
        let is_first = std::mem::replace(&mut state.last_granule, granule) != granule;
        if packet.fragment {
            self.mark_fragments(flow);
        }
        is_first
    }

    #[cold]
    fn mark_fragments(&mut self, flow: u32) {
        if self.has_fragments.len() <= flow as usize {
            self.has_fragments.resize(flow as usize + 1, false);
        }
        self.has_fragments[flow as usize] = true;
    }
}
