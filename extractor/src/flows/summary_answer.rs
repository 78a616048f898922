//! Summaries: totals of the conversations of a range.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use netrewind_catalog::rollup::aggregate::{Aggregate, TOP_KEPT};
use netrewind_catalog::rollup::top::top_of;
use netrewind_flows::conversation::{Conversation, RangeEnd, ip_protocol_name, protocol_name};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;
use netrewind_flows::series::{Point, SeriesBuilder};
use netrewind_flows::services;
use netrewind_flows::tally::{HostTally, SummaryTally};
use netrewind_flows::totals::Totals;
use netrewind_store::Timestamp;

use super::joining::GatherOutcome;
use crate::memory::MemoryAccount;
use crate::{Completeness, Gap, RejectedIndex, Work};

/// The most entries of each top list.
pub const TOP_MAX: usize = 10_000;
/// Default size of a list.
const TOP_DEFAULT: usize = 10;
/// Buckets of the series when nothing else is said.
const BUCKETS_DEFAULT: usize = 200;
/// Size of a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryQuery {
    /// Approximate number of buckets of the series; at most [`super::BUCKETS_MAX`].
    pub buckets: usize,
    /// Entries of each top list; at most [`TOP_MAX`].
    pub top: usize,
    /// Number of pairs of hosts; at most [`TOP_MAX`]. `None`: as many as in each top list.
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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowSummary {
    /// Start of the range; an open start stands for the oldest packet kept. Absent if nothing is kept.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub from: Option<Timestamp>,
    /// End of the range; an open end stands for the newest packet.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub to: Option<Timestamp>,
    /// Width of the series' buckets.
    pub bucket_seconds: u64,
    /// Over time, without gaps between buckets. The first and the last may reach beyond the range.
    pub series: Vec<Point>,
    /// True if each packet is in the bucket of its time, which is so without a filter. With one, flows that need not be read are
    /// spread evenly from their first packet in a segment to their last.
    pub series_exact: bool,
    /// Totals of the whole range.
    pub totals: Totals,
    /// Top lists, by bytes.
    pub top: Top,
    /// Pairs of hosts with the most bytes.
    pub edges: Vec<Edge>,
    /// Times of the range in which nothing was recorded.
    pub gaps: Vec<Gap>,
    /// True if top lists may be too low, or conversations were split, because there were more hosts, pairs or open conversations
    /// than fit in memory. Totals and series are exact.
    pub approximate: bool,
    /// Completeness of the answer for the range.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// Work done for it.
    pub work: Work,
}

/// The top lists: the most bytes first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostCount {
    /// Its address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    /// Packets from it and to it.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Bytes of those from it.
    pub sent_bytes: u64,
    /// Bytes of those to it.
    pub received_bytes: u64,
    /// Conversations in which it is an end.
    pub conversations: u64,
}

/// Traffic to and from a server port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ApplicationCount {
    /// Name of the service, or of the protocol if no service is known.
    pub name: String,
    /// True if only the server's port identifies it, not the packets.
    pub guessed: bool,
    /// Totals of this application.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Traffic between two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Edge {
    /// The lesser address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub a: IpAddr,
    /// The greater.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub b: IpAddr,
    /// Packets both ways.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// Summary that is being made.
pub(super) struct SummaryBuilder<'q> {
    /// Entries of each top list.
    top: usize,
    /// Pairs of hosts.
    pairs: usize,
    tally: SummaryTally<'q>,
    encapsulations: &'q Encapsulations,
    /// Records that are added up: hosts and pairs of hosts are looked up in them at the end.
    added: Vec<Aggregate>,
}

impl<'q> SummaryBuilder<'q> {
    /// Summary of this size, on an account of the memory that answers share.
    pub(super) fn new(
        query: &SummaryQuery,
        encapsulations: &'q Encapsulations,
        account: &MemoryAccount,
    ) -> Self {
        let top = query.top.min(TOP_MAX);
        Self {
            top,
            pairs: query.edges.map_or(top, |pairs| pairs.min(TOP_MAX)),
            tally: SummaryTally::new(top, encapsulations).within(&|| Box::new(account.holding())),
            encapsulations,
            added: Vec::new(),
        }
    }

    /// Counts a conversation.
    pub(super) fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.tally.take(key, body);
    }

    /// Takes records that are added up.
    pub(super) fn take_added(&mut self, added: &Aggregate) {
        let Some(counted) = added.sums().and_then(|sums| sums.small()) else { return };
        added.add_to(&mut self.tally.flows, self.encapsulations);
        self.tally.add_counts(&counted);
        self.added.push(added.clone());
    }

    /// The summary of everything taken.
    pub(super) fn finish(
        self,
        series: SeriesBuilder,
        ending: RangeEnd,
        outcome: GatherOutcome,
    ) -> FlowSummary {
        let Self { top, pairs, tally, added, .. } = self;
        let SummaryTally { hosts, edges, ports, unlabelled, labelled, portless, flows } = tally;
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
        let GatherOutcome { work, rejected, completeness, approximate, .. } = outcome;
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
            approximate: approximate || is_approximate.contains(&true),
            completeness,
            rejected_indexes: rejected,
            work,
        }
    }
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
