//! Traffic over time, split by application or host.

use std::collections::HashMap;
use std::net::IpAddr;

use netrewind_flows::conversation::{client_of, protocol_name};
use netrewind_flows::key::FlowKey;
use netrewind_flows::labels::application_of;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;
use netrewind_flows::series::{Buckets, SeriesBuilder};
use netrewind_flows::services;
use netrewind_store::Timestamp;
use serde::Serialize;

use super::attempt::retry_with_exact_membership;
use super::joining::GatherOutcome;
use super::summarize::summarize;
use super::summary_answer::SummaryQuery;
use super::visit::{FlowVisitor, Visit};
use crate::answer::completeness::Completeness;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::query::Query;

/// The most parts that traffic is split into, beside the rest.
pub const SPLIT_PARTS_MAX: usize = 20;
/// Default number of parts.
const SPLIT_PARTS_DEFAULT: usize = 8;
/// Buckets when nothing else is said.
const SPLIT_BUCKETS_DEFAULT: usize = 200;

/// Property that traffic is split by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// Application, or protocol if none is known.
    #[default]
    Application,
    /// Host: traffic between two of them is in both parts.
    Host,
}

/// Series that are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitQuery {
    /// Property that traffic is split by.
    pub by: SplitBy,
    /// Parts, those with the most bytes; at most [`SPLIT_PARTS_MAX`]. All others are one more.
    pub parts: usize,
    /// Approximate number of buckets; at most [`super::BUCKETS_MAX`].
    pub buckets: usize,
    /// Only conversations that it finds.
    pub search: Option<Search>,
}

impl Default for SplitQuery {
    fn default() -> Self {
        let by = SplitBy::default();
        Self { by, parts: SPLIT_PARTS_DEFAULT, buckets: SPLIT_BUCKETS_DEFAULT, search: None }
    }
}

/// Traffic over time, in parts. A conversation's packets and retransmissions are spread evenly from its first packet to its last.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SplitSeries {
    /// Property that traffic is split by.
    pub by: SplitBy,
    /// Starts of the buckets; each ends where the next one begins.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub at: Vec<Timestamp>,
    /// Width of the buckets.
    pub bucket_seconds: u64,
    /// Parts with the most bytes first.
    pub parts: Vec<SeriesPart>,
    /// Traffic of no part.
    pub others: SeriesPart,
    /// Completeness of the answer for the range.
    pub completeness: Completeness,
}

/// Traffic of a part over time: a number for each bucket.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SeriesPart {
    /// Application, or address of the host; empty for the traffic of no part.
    pub name: String,
    /// Packets.
    pub packets: Vec<u64>,
    /// Their bytes on the wire.
    pub bytes: Vec<u64>,
    /// TCP segments that were sent again.
    pub retransmissions: Vec<u64>,
}

/// Series of a part that are being filled.
struct PartBuilder {
    traffic: SeriesBuilder,
    retransmissions: SeriesBuilder,
}

impl PartBuilder {
    fn new(buckets: Buckets) -> Self {
        Self { traffic: buckets.series(), retransmissions: buckets.series() }
    }

    fn add(&mut self, body: &FlowCounters) {
        let (first, last) = (body.first(), body.last());
        self.traffic.spread(first, last, body.packets(), body.bytes());
        let sent_again: u64 = body.sides.iter().map(|side| side.retransmissions).sum();
        if sent_again > 0 {
            self.retransmissions.spread(first, last, sent_again, 0);
        }
    }

    fn finish(self, name: String) -> SeriesPart {
        let (traffic, again) = (self.traffic.points(), self.retransmissions.points());
        SeriesPart {
            name,
            packets: traffic.iter().map(|point| point.packets).collect(),
            bytes: traffic.iter().map(|point| point.bytes).collect(),
            retransmissions: again.iter().map(|point| point.packets).collect(),
        }
    }
}

/// Divides conversations among parts.
struct Divider {
    wanted_buckets: usize,
    names: Vec<String>,
    applications: HashMap<String, usize>,
    hosts: HashMap<IpAddr, usize>,
    buckets: Buckets,
    parts: Vec<PartBuilder>,
    others: PartBuilder,
}

impl Divider {
    fn new(names: Vec<String>, split: &SplitQuery) -> Self {
        let buckets = Buckets::of(None, 1);
        let numbered = || names.iter().cloned().zip(0..);
        let (mut applications, mut hosts) = (HashMap::new(), HashMap::new());
        match split.by {
            SplitBy::Application => applications.extend(numbered()),
            SplitBy::Host => {
                hosts.extend(numbered().filter_map(|(name, number)| Some((name.parse().ok()?, number))))
            }
        }
        let (parts, others) = (Vec::new(), PartBuilder::new(buckets));
        Self { wanted_buckets: split.buckets, names, applications, hosts, buckets, parts, others }
    }

    fn number_of(&self, key: &FlowKey, body: &FlowCounters) -> Option<usize> {
        if let Some(name) = application_of(body) {
            return self.applications.get(name).copied();
        }
        let port = key.port(1 - client_of(key, body));
        match port.and_then(|port| services::name_of(key.protocol, port)) {
            Some(name) => self.applications.get(name).copied(),
            None => self.applications.get(&protocol_name(key)).copied(),
        }
    }
}

impl FlowVisitor for Divider {
    fn begin(&mut self, completeness: &Completeness) {
        self.buckets = Buckets::of(completeness.covered, self.wanted_buckets);
        self.parts = self.names.iter().map(|_| PartBuilder::new(self.buckets)).collect();
        self.others = PartBuilder::new(self.buckets);
    }

    fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        let numbers = match self.hosts.is_empty() {
            true => [self.number_of(key, body), None],
            false => {
                let [one, other] = [0, 1].map(|end| key.address(end));
                let number = |address: Option<IpAddr>| self.hosts.get(&address?).copied();
                [number(one), number(other).filter(|_| one != other)]
            }
        };
        for number in numbers.into_iter().flatten() {
            self.parts.get_mut(number).into_iter().for_each(|part| part.add(body));
        }
        if numbers == [None, None] {
            self.others.add(body);
        }
    }
}

/// Traffic of a query's packets over time, split.
pub(crate) fn split_series(
    engine: &Engine,
    query: &Query,
    split: &SplitQuery,
    control: &mut dyn Control,
) -> Result<SplitSeries, ExtractError> {
    let parts = split.parts.clamp(1, SPLIT_PARTS_MAX);
    // Names of applications may be guessed or not: a part has both.
    let largest = SummaryQuery { buckets: 1, top: 2 * parts, edges: Some(0), search: split.search.clone() };
    let top = summarize(engine, query, &largest, control)?.top;
    let mut names: Vec<String> = match split.by {
        SplitBy::Application => top.applications.into_iter().map(|one| one.name).collect(),
        SplitBy::Host => top.hosts.into_iter().map(|one| one.address.to_string()).collect(),
    };
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names.truncate(parts);
    retry_with_exact_membership(engine, query, control, |by, account, control| {
        let mut divider = Divider::new(names.clone(), split);
        let visit = Visit { engine, query, search: split.search.as_ref(), by, account };
        let GatherOutcome { completeness, is_unsure, .. } = visit.run(&mut divider, control)?;
        let Divider { buckets, parts, others, .. } = divider;
        let answer = SplitSeries {
            by: split.by,
            at: buckets.series().points().iter().map(|point| point.at).collect(),
            bucket_seconds: buckets.width_seconds(),
            parts: names.iter().zip(parts).map(|(name, part)| part.finish(name.clone())).collect(),
            others: others.finish(String::new()),
            completeness,
        };
        Ok((answer, is_unsure))
    })
}
