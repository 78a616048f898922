//! Counts of conversations by host, port, application and pair of hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::conversation::client_of;
use crate::encapsulation::Encapsulations;
use crate::heavy_hitters::{CountKey, HeavyHitters, Weight};
use crate::key::FlowKey;
use crate::labels::application_of;
use crate::memory::TableMemory;
use crate::part::FlowCounters;
use crate::template_facts::FlowKeyKind;
use crate::top_flows::TopFlows;
use crate::totals::Totals;

/// Hosts, and pairs of hosts, that are counted exactly, some 40 bytes each (of IPv6 some 80); twice as many are held.
const HELD_MAX: usize = 1 << 20;

/// Maximum number of distinct application names: labels have a dozen.
const APPLICATIONS_MAX: usize = 1024;

/// Counts of a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostTally {
    /// Totals of its conversations.
    pub totals: Totals,
    /// Bytes of the packets from it.
    pub sent_bytes: u64,
}

impl Weight for HostTally {
    fn weight(&self) -> u64 {
        self.totals.bytes
    }
}

/// Counts conversations.
pub struct SummaryTally<'q> {
    /// Counts by host.
    pub hosts: HeavyHitters<IpAddr, HostTally>,
    /// Totals by pair of hosts, the lesser address first.
    pub edges: HeavyHitters<(IpAddr, IpAddr), Totals>,
    /// Totals by protocol and server port.
    pub ports: HeavyHitters<(u8, u16), Totals>,
    /// Likewise, of conversations whose application only the port tells.
    pub unlabelled: HeavyHitters<(u8, u16), Totals>,
    /// Totals by the application that the first bytes show.
    pub labelled: BTreeMap<String, Totals>,
    /// Conversations without ports, by their protocol.
    pub portless: BTreeMap<(bool, u8, u16), (FlowKey, Totals)>,
    /// Conversations with the most bytes, and the totals of all.
    pub flows: TopFlows<'q>,
}

/// Counts of records, by key and in the order of keys.
#[derive(Debug)]
pub struct SummaryCounts {
    /// Totals of all conversations.
    pub totals: Totals,
    /// Counts by host.
    pub hosts: Vec<(IpAddr, HostTally)>,
    /// Totals by pair of hosts, the lesser address first.
    pub edges: Vec<((IpAddr, IpAddr), Totals)>,
    /// Totals by protocol and server port.
    pub ports: Vec<((u8, u16), Totals)>,
    /// Likewise, of conversations whose application only the port tells.
    pub unlabelled: Vec<((u8, u16), Totals)>,
    /// Totals by application.
    pub labelled: Vec<(String, Totals)>,
    /// Totals of conversations without ports: a flag for those without IP, the protocol, the EtherType.
    pub portless: Vec<((bool, u8, u16), Totals)>,
}

impl<'q> SummaryTally<'q> {
    /// Tally with a list of this many conversations, those with the most bytes.
    pub fn new(conversations: usize, encapsulations: &'q Encapsulations) -> Self {
        Self {
            hosts: HeavyHitters::new(HELD_MAX),
            edges: HeavyHitters::new(HELD_MAX),
            ports: HeavyHitters::new(HELD_MAX),
            unlabelled: HeavyHitters::new(HELD_MAX),
            labelled: BTreeMap::new(),
            portless: BTreeMap::new(),
            flows: TopFlows::by_bytes(conversations, encapsulations),
        }
    }

    /// Limits its memory; `memory` gives that of a table.
    pub fn within(self, memory: &dyn Fn() -> Box<dyn TableMemory>) -> Self {
        let (hosts, edges) = (self.hosts.within(memory), self.edges.within(memory));
        let (ports, unlabelled) = (self.ports.within(memory), self.unlabelled.within(memory));
        Self { hosts, edges, ports, unlabelled, ..self }
    }

    /// Counts a conversation.
    pub fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.flows.take(key, body);
        match key.port(1 - client_of(key, body)) {
            Some(port) => {
                self.ports.of((key.protocol, port)).add(body);
                self.take_application(key, body, port);
            }
            None => {
                let is_other = key.kind == FlowKeyKind::Other;
                let place = (is_other, key.protocol, if is_other { key.detail } else { 0 });
                self.portless.entry(place).or_insert_with(|| (*key, Totals::default())).1.add(body);
            }
        }
        let (Some(one), Some(other)) = (key.address(0), key.address(1)) else { return };
        self.edges.of((one, other)).add(body);
        self.take_host(one, body, 0);
        if one == other {
            self.hosts.of(one).sent_bytes += body.sides[1].bytes;
        } else {
            self.take_host(other, body, 1);
        }
    }

    /// Adds counts of conversations that are not added one by one, except for hosts and pairs of hosts.
    pub fn add_counts(&mut self, counted: &SummaryCounts) {
        counted.ports.iter().for_each(|(port, totals)| self.ports.of(*port).add_all(totals));
        counted.unlabelled.iter().for_each(|(port, totals)| self.unlabelled.of(*port).add_all(totals));
        for (place, totals) in &counted.portless {
            let key = || (portless_key(*place), Totals::default());
            self.portless.entry(*place).or_insert_with(key).1.add_all(totals);
        }
        for (name, totals) in &counted.labelled {
            if self.labelled.len() < APPLICATIONS_MAX || self.labelled.contains_key(name) {
                self.labelled.entry(name.clone()).or_default().add_all(totals);
            }
        }
    }

    /// All counts; `None` if something was forgotten.
    pub fn into_counted(self) -> Option<SummaryCounts> {
        let is_approximate = self.hosts.are_approximate()
            || self.edges.are_approximate()
            || self.ports.are_approximate()
            || self.unlabelled.are_approximate()
            || self.labelled.len() >= APPLICATIONS_MAX;
        (!is_approximate).then(|| SummaryCounts {
            totals: self.flows.totals(),
            hosts: sorted(&self.hosts),
            edges: sorted(&self.edges),
            ports: sorted(&self.ports),
            unlabelled: sorted(&self.unlabelled),
            labelled: self.labelled.into_iter().collect(),
            portless: self.portless.into_iter().map(|(place, (_, totals))| (place, totals)).collect(),
        })
    }

    fn take_application(&mut self, key: &FlowKey, body: &FlowCounters, port: u16) {
        let Some(application) = application_of(body) else {
            return self.unlabelled.of((key.protocol, port)).add(body);
        };
        if let Some(totals) = self.labelled.get_mut(application) {
            totals.add(body);
        } else if self.labelled.len() < APPLICATIONS_MAX {
            self.labelled.entry(application.to_owned()).or_default().add(body);
        }
    }

    fn take_host(&mut self, address: IpAddr, body: &FlowCounters, side: usize) {
        let host = self.hosts.of(address);
        host.totals.add(body);
        host.sent_bytes += body.sides[side].bytes;
    }
}

/// Counts, sorted by key.
fn sorted<K: CountKey, V: Weight + Copy>(heavy_hitters: &HeavyHitters<K, V>) -> Vec<(K, V)> {
    let mut all: Vec<(K, V)> = heavy_hitters.iter().map(|(key, value)| (key, *value)).collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

/// Key that stands for conversations without ports.
fn portless_key((is_other, protocol, detail): (bool, u8, u16)) -> FlowKey {
    let kind = if is_other { FlowKeyKind::Other } else { FlowKeyKind::Ip };
    FlowKey { addresses: [0; 2], ports: [0; 2], detail, protocol, kind, is_ipv6: false, carrier: 0 }
}
