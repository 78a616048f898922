//! Making of an hour: the parts of its segments become records, and these a rollup.

use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::Joiner;
use netrewind_flows::key::{FlowKey, TCP_IDLE_NS};
use netrewind_flows::part::{FlowCounters, FlowPart};
use netrewind_flows::series::{Buckets, SeriesBuilder};
use netrewind_store::catalog::Manifest;
use netrewind_store::time::Span;

use crate::condition::CatalogRecord;
use crate::edges::Edges;
use crate::record;
use crate::rollup::RollupBuilder;
use crate::search_condition::words_of;

/// Conversations of an hour that are open at once while it is written, some 150 bytes each; beyond, the longest idle ones are
/// split, and joined again by answers.
const OPEN_MAX: usize = 1 << 20;
/// Seconds of the series of an hour, 24 bytes each: those of two days, as files imported within an hour may hold.
const SECONDS_MAX: usize = 172_800;

/// Manifest of an hour that was written, and its rollup.
#[derive(Debug)]
pub struct Catalogued {
    /// Manifest of the hour.
    pub manifest: Manifest,
    /// The bytes of its rollup; `None` if there is too much to add up.
    pub rollup: Option<Vec<u8>>,
}

/// Takes a record of an hour.
pub type TakeRecord<'t> = dyn FnMut(&CatalogRecord) + 't;

/// Hour that is being made, segment by segment in the order of their earliest packets.
pub struct HourBuilder<'q> {
    manifest: Manifest,
    edges: Edges,
    buckets: Buckets,
    joiner: Joiner<'q>,
    rollup: RollupBuilder<'q>,
    encapsulations: &'q Encapsulations,
}

impl<'q> HourBuilder<'q> {
    /// Hour of the segments that the manifest names; it counts no records yet.
    pub fn new(manifest: Manifest, encapsulations: &'q Encapsulations) -> Self {
        let edges = Edges::of(&manifest);
        let unknown_until = edges.begins.saturating_add(TCP_IDLE_NS);
        let span = manifest.bounds().map(|(from, last)| Span { from, to: last.plus_ns(1) });
        let buckets = Buckets::seconds(span, SECONDS_MAX);
        Self {
            manifest,
            edges,
            buckets,
            joiner: Joiner::of_hour(encapsulations, unknown_until).with_open_max(OPEN_MAX),
            rollup: RollupBuilder::new(buckets, edges, encapsulations),
            encapsulations,
        }
    }

    /// Buckets of the series that each segment is to have.
    pub fn buckets(&self) -> Buckets {
        self.buckets
    }

    /// Notes what could not be read, for a person.
    pub fn lacks(&mut self, what: impl IntoIterator<Item = String>) {
        self.manifest.lacks.extend(what);
    }

    /// Adds parts of a segment and a series; if they are its last, gives the records that are over to `take`. Nothing of later
    /// segments begins before `horizon`; `None` if there are none.
    pub fn add_segment(
        &mut self,
        parts: &[FlowPart],
        series: &SeriesBuilder,
        horizon: Option<u64>,
        are_last: bool,
        take: &mut TakeRecord<'_>,
    ) {
        let Self { manifest, edges, joiner, rollup, encapsulations, .. } = self;
        rollup.see(series);
        let mut close = |key: &FlowKey, body: &FlowCounters| {
            let record = record_of(key, body, encapsulations, *edges);
            manifest.records += 1;
            manifest.packets += record.packets;
            manifest.bytes += record.bytes;
            rollup.take(key, body);
            take(&record);
        };
        joiner.begin(horizon);
        parts.iter().for_each(|part| joiner.add(&part.key, &part.body, &mut close));
        match horizon {
            _ if !are_last => {}
            Some(_) => joiner.expire(&mut close),
            None => joiner.finish(&mut close),
        }
    }

    /// The manifest of all records, and their rollup.
    pub fn finish(self) -> Catalogued {
        let Self { mut manifest, joiner, rollup, .. } = self;
        manifest.is_divided = joiner.is_approximate();
        let rollup = rollup.finish(&manifest);
        Catalogued { manifest, rollup }
    }
}

/// Record of a conversation, as the catalog finds it.
pub(crate) fn record_of(
    key: &FlowKey,
    body: &FlowCounters,
    encapsulations: &Encapsulations,
    edges: Edges,
) -> CatalogRecord {
    let (may_have_begun, may_go_on) = edges.sides(key, body, body.is_loose);
    let is_open = may_have_begun || may_go_on;
    // Words do not depend on how the connection stands at the end.
    let told = describe(key, body, encapsulations, RangeEnd::NEVER);
    let tunnels = told.tunnels.iter().chain(&told.server_tunnels);
    CatalogRecord {
        first_ns: body.first(),
        last_ns: body.last(),
        is_open,
        addresses: [told.client.address, told.server.address],
        ports: [told.client.port, told.server.port],
        packets: told.packets(),
        bytes: told.bytes(),
        vlans: told.vlans.clone(),
        tunnel_ids: tunnels.filter_map(|tunnel| tunnel.id).collect(),
        words: words_of(&told),
        document: record::write(key, body, is_open, encapsulations, edges.base),
    }
}
