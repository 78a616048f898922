//! Summaries: totals of the conversations of a range.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::GatherOutcome;
use super::carrier::Encapsulations;
use super::key::{FlowKey, FlowKeyKind};
use super::labels::application_of;
use super::leaders::{HeavyHitters, Weight};
use super::list::TopFlows;
use super::part::FlowCounters;
use super::record::{Conversation, RangeEnd, client_of, ip_protocol_name, protocol_name};
use super::rollup::{Aggregate, TOP_KEPT, Table, TableKey, TableValue, heaviest};
use super::search::Search;
use super::series::{Point, SeriesBuilder};
use super::services;
use crate::memory::MemoryAccount;
use crate::{Completeness, Gap, RejectedIndex, Work};
use netrewind_store::Timestamp;

/// The most entries of each top list.
pub const TOP_MAX: usize = 10_000;
/// Default size of a list.
const TOP_DEFAULT: usize = 10;
/// Buckets of the series when nothing else is said.
const BUCKETS_DEFAULT: usize = 200;
/// Hosts, and pairs of hosts, that are counted exactly, some 80 bytes each; twice as many are held.
const HELD_MAX: usize = 1 << 20;

/// Maximum number of distinct application names: labels have a dozen.
const APPLICATIONS_MAX: usize = 1024;

/// Size of a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryQuery {
    /// Buckets of the series, about; at most [`super::BUCKETS_MAX`].
    pub buckets: usize,
    /// Entries of each top list; at most [`TOP_MAX`].
    pub top: usize,
    /// Pairs of hosts; at most [`TOP_MAX`]. None: as many as of each top list.
    pub edges: Option<usize>,
    /// Only conversations that it finds.
    #[serde(skip)]
    pub search: Option<Search>,
}

impl SummaryQuery {
    /// True if rollups of hours hold everything that is needed of them.
    pub(super) fn takes_rollups(&self) -> bool {
        self.top <= TOP_KEPT && self.search.is_none()
    }
}

impl Default for SummaryQuery {
    fn default() -> Self {
        Self { buckets: BUCKETS_DEFAULT, top: TOP_DEFAULT, edges: None, search: None }
    }
}

/// Summary of a range of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FlowSummary {
    /// Start of the range; an open start stands for the oldest packet kept. Absent if nothing is kept.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub from: Option<Timestamp>,
    /// End of the range; an open end stands for the newest packet.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub to: Option<Timestamp>,
    /// Width of the series' buckets.
    pub bucket_seconds: u64,
    /// Over time, without gaps between buckets. The first and the last may reach beyond the range.
    pub series: Vec<Point>,
    /// True if each packet is in the bucket of its time. Without a filter it is; with one, flows that need not be read are
    /// spread evenly from their first packet of a segment to their last.
    pub series_exact: bool,
    /// Totals of the whole range.
    pub totals: Totals,
    /// Top lists, by bytes.
    pub top: Top,
    /// Pairs of hosts with the most bytes.
    pub edges: Vec<Edge>,
    /// Times of the range in which nothing was recorded.
    pub gaps: Vec<Gap>,
    /// True if top lists may lack some of their counts, or conversations were divided, because there were more hosts, pairs or
    /// open conversations than are held. Totals and series are as they are.
    pub approximate: bool,
    /// Completeness of the answer for the range.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// Work done for it.
    pub work: Work,
}

/// Totals of conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    /// Packets of the answer.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Conversations that they are of.
    pub conversations: u64,
}

impl Totals {
    pub(super) fn add_all(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.conversations += other.conversations;
    }

    pub(super) fn add(&mut self, body: &FlowCounters) {
        self.packets += body.packets();
        self.bytes += body.bytes();
        self.conversations += 1;
    }
}

impl Weight for Totals {
    fn weight(&self) -> u64 {
        self.bytes
    }
}

/// The top lists: the most bytes first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Top {
    /// Addresses.
    pub hosts: Vec<HostCount>,
    /// Ports of servers.
    pub ports: Vec<PortCount>,
    /// Applications.
    pub applications: Vec<ApplicationCount>,
    /// Conversations.
    pub conversations: Vec<Conversation>,
}

/// Traffic of a host, sent and received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HostCount {
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Packets from it and to it.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Bytes of those from it.
    pub sent_bytes: u64,
    /// Bytes of those to it.
    pub received_bytes: u64,
    /// Conversations that it is an end of.
    pub conversations: u64,
}

/// Traffic to and from a server port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PortCount {
    /// `tcp`, `udp`...
    pub protocol: String,
    /// The server's port.
    pub port: u16,
    /// Totals of this port.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Traffic of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApplicationCount {
    /// Name of the service, or of the protocol if no service is known.
    pub name: String,
    /// True if only the server's port tells, not the packets.
    pub guessed: bool,
    /// Totals of this application.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Traffic between two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Edge {
    /// The lesser address.
    #[schema(value_type = String)]
    pub a: IpAddr,
    /// The greater.
    #[schema(value_type = String)]
    pub b: IpAddr,
    /// Packets both ways.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostTally {
    pub(super) totals: Totals,
    pub(super) sent_bytes: u64,
}

impl Weight for HostTally {
    fn weight(&self) -> u64 {
        self.totals.bytes
    }
}

/// Counts conversations.
pub(super) struct SummaryTally<'q> {
    top: usize,
    pairs: usize,
    hosts: HeavyHitters<IpAddr, HostTally>,
    edges: HeavyHitters<(IpAddr, IpAddr), Totals>,
    /// Totals by protocol and server port.
    ports: HeavyHitters<(u8, u16), Totals>,
    /// Likewise, of conversations whose application only the port tells.
    unlabelled: HeavyHitters<(u8, u16), Totals>,
    /// Totals by the application that the first bytes show.
    labelled: BTreeMap<String, Totals>,
    /// Conversations without ports, by their protocol.
    portless: BTreeMap<(bool, u8, u16), (FlowKey, Totals)>,
    flows: TopFlows<'q>,
    /// Records that are added up: hosts and pairs of hosts are looked for in there at the end.
    added: Vec<Aggregate>,
}

/// Counts of records, by key and in the order of keys.
#[derive(Debug)]
pub(super) struct SummaryCounts {
    pub(super) totals: Totals,
    pub(super) hosts: Vec<(IpAddr, HostTally)>,
    pub(super) edges: Vec<((IpAddr, IpAddr), Totals)>,
    pub(super) ports: Vec<((u8, u16), Totals)>,
    pub(super) unlabelled: Vec<((u8, u16), Totals)>,
    pub(super) labelled: Vec<(String, Totals)>,
    pub(super) portless: Vec<((bool, u8, u16), Totals)>,
}

impl<'q> SummaryTally<'q> {
    /// On an account of the memory that answers share.
    pub(super) fn held_by(self, account: &MemoryAccount) -> Self {
        let (hosts, edges) = (self.hosts.held_by(account), self.edges.held_by(account));
        let (ports, unlabelled) = (self.ports.held_by(account), self.unlabelled.held_by(account));
        Self { hosts, edges, ports, unlabelled, ..self }
    }

    pub(super) fn new(query: &SummaryQuery, encapsulations: &'q Encapsulations) -> Self {
        let top = query.top.min(TOP_MAX);
        Self {
            top,
            pairs: query.edges.map_or(top, |pairs| pairs.min(TOP_MAX)),
            hosts: HeavyHitters::new(HELD_MAX),
            edges: HeavyHitters::new(HELD_MAX),
            ports: HeavyHitters::new(HELD_MAX),
            unlabelled: HeavyHitters::new(HELD_MAX),
            labelled: BTreeMap::new(),
            portless: BTreeMap::new(),
            flows: TopFlows::by_bytes(top, encapsulations),
            added: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
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

    /// Takes records that are added up.
    pub(super) fn take_added(&mut self, added: &Aggregate) {
        let Some(counted) = added.sums().and_then(|sums| sums.small()) else { return };
        self.flows.take_added(added);
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
        self.added.push(added.clone());
    }

    /// All counts; `None` if something was forgotten.
    pub(super) fn into_counted(self) -> Option<SummaryCounts> {
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

    pub(super) fn summary(
        self,
        series: SeriesBuilder,
        ending: RangeEnd,
        completeness: Completeness,
        outcome: GatherOutcome,
    ) -> FlowSummary {
        let Self { top, pairs, hosts, edges, ports, unlabelled, labelled, portless, flows, added } = self;
        let sums: Vec<_> = added.iter().filter_map(Aggregate::sums).collect();
        let (host_tables, edge_tables): (Vec<_>, Vec<_>) =
            sums.into_iter().map(|sums| (sums.hosts, sums.edges)).unzip();
        let (hosts, forgot_hosts) = top_of(hosts, &host_tables, top);
        let (edges, forgot_edges) = top_of(edges, &edge_tables, pairs);
        let is_approximate =
            [forgot_hosts, forgot_edges, ports.are_approximate(), unlabelled.are_approximate()];
        let totals = flows.totals();
        let ports = ports.top(usize::MAX);
        let top = Top {
            hosts: hosts.into_iter().map(host_count).collect(),
            applications: applications(&unlabelled.top(usize::MAX), portless, labelled, top),
            ports: ports.into_iter().take(top).map(port_count).collect(),
            conversations: flows.describe(ending).0,
        };
        FlowSummary {
            from: completeness.covered.map(|span| span.from),
            to: completeness.covered.map(|span| span.to),
            bucket_seconds: series.buckets().width_seconds(),
            series: series.points(),
            series_exact: series.is_exact(),
            totals,
            top,
            edges: edges
                .into_iter()
                .map(|((a, b), Totals { packets, bytes, .. })| Edge { a, b, packets, bytes })
                .collect(),
            gaps: completeness.gaps.clone(),
            approximate: outcome.approximate || is_approximate.contains(&true),
            completeness,
            rejected_indexes: outcome.rejected,
            work: outcome.work,
        }
    }
}

/// Heaviest entries of the counts here and in tables, and a flag: something was forgotten.
fn top_of<K: TableKey, V: TableValue>(
    mut heavy_hitters: HeavyHitters<K, V>,
    tables: &[Table<'_, K, V>],
    count: usize,
) -> (Vec<(K, V)>, bool) {
    if let Some(found) = heaviest(tables, heavy_hitters.held(), count).filter(|_| !tables.is_empty()) {
        return (found, heavy_hitters.are_approximate());
    }
    for table in tables {
        // One that cannot be read has been ruled out by its checksum.
        let _ = table.for_each(|key, value| heavy_hitters.of(key).add_all(&value));
    }
    let is_approximate = heavy_hitters.are_approximate();
    (heavy_hitters.top(count), is_approximate)
}

/// Counts, sorted by key.
fn sorted<K: Eq + std::hash::Hash + Ord + Copy, V: Weight + Copy>(
    heavy_hitters: &HeavyHitters<K, V>,
) -> Vec<(K, V)> {
    let mut all: Vec<(K, V)> = heavy_hitters.iter().map(|(key, value)| (*key, *value)).collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    all
}

/// Key that stands for conversations without ports.
fn portless_key((is_other, protocol, detail): (bool, u8, u16)) -> FlowKey {
    let kind = if is_other { FlowKeyKind::Other } else { FlowKeyKind::Ip };
    FlowKey { addresses: [0; 2], ports: [0; 2], detail, protocol, kind, is_ipv6: false, carrier: 0 }
}

fn host_count((address, host): (IpAddr, HostTally)) -> HostCount {
    let HostTally { totals: Totals { packets, bytes, conversations }, sent_bytes } = host;
    // A host that talks to itself has received all that it sent.
    let received_bytes = bytes - sent_bytes;
    HostCount { address, packets, bytes, sent_bytes, received_bytes, conversations }
}

fn port_count(((protocol, port), totals): ((u8, u16), Totals)) -> PortCount {
    PortCount { protocol: protocol_text(protocol), port, totals }
}

fn protocol_text(number: u8) -> String {
    ip_protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

fn applications(
    ports: &[((u8, u16), Totals)],
    portless: BTreeMap<(bool, u8, u16), (FlowKey, Totals)>,
    labelled: BTreeMap<String, Totals>,
    top: usize,
) -> Vec<ApplicationCount> {
    let of_port = |&((protocol, port), totals): &((u8, u16), Totals)| {
        (services::name_of(protocol, port).map_or_else(|| protocol_text(protocol), str::to_owned), totals)
    };
    let of_other = |(key, totals): (FlowKey, Totals)| (protocol_name(&key), totals);
    let mut by_name: BTreeMap<String, Totals> = BTreeMap::new();
    for (name, totals) in ports.iter().map(of_port).chain(portless.into_values().map(of_other)) {
        let sum = by_name.entry(name).or_default();
        sum.add_all(&totals);
    }
    let counts = |guessed| move |(name, totals)| ApplicationCount { name, guessed, totals };
    let mut all: Vec<ApplicationCount> =
        labelled.into_iter().map(counts(false)).chain(by_name.into_iter().map(counts(true))).collect();
    all.sort_by_key(|application| std::cmp::Reverse(application.totals.bytes)); // stable: names decide
    all.truncate(top);
    all
}
