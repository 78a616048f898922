//! Making of the catalog's hours.

use std::fmt;
use std::ops::ControlFlow;

use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::{Joiner, last_moment};
use netrewind_flows::key::{FlowKey, TCP_IDLE_NS};
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::series::Buckets;
use netrewind_store::catalog::{
    CATALOG_VERSION, CatalogRecord, CataloguedSegment, Condition, Hour, Manifest,
};
use netrewind_store::time::{SECOND_NS, Span};
use netrewind_store::{SegmentName, SegmentState, Store, Timestamp};

use super::gather::Gathered;
use super::kept;
use super::pipeline::{self, FlowSource, Gathering};
use super::rollup::Making;
use super::search_condition::words_of;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::query::Query;
use crate::store::snapshot::Snapshot;

/// Longest overlap of the packets of two hours' segments: lanes that write at the same time overlap by the age of a segment.
/// Hours that overlap by more have all their records joined again.
pub(super) const OVERLAP_NS: u64 = 90 * SECOND_NS;
/// Conversations of an hour that are open at once while it is written, some 150 bytes each; beyond, the longest idle ones are
/// split, and joined again by answers.
const OPEN_MAX: usize = 1 << 20;
/// Seconds of the series of an hour, 24 bytes each: those of two days, as files imported within an hour may hold.
const SECONDS_MAX: usize = 172_800;

/// Reads hours of the catalog.
pub trait Catalog: fmt::Debug + Send + Sync {
    /// Passes the records of an hour that fulfil the condition to `take`, in the order in which they were written, until it
    /// refuses one: those with an instant from `from` to `last`, and those that are open.
    fn visit(
        &self,
        store: &Store,
        manifest: &Manifest,
        condition: &Condition,
        from: Timestamp,
        last: Timestamp,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String>;
}

/// Manifest of an hour that was written, and its rollup.
#[derive(Debug)]
pub struct Catalogued {
    /// Manifest of the hour.
    pub manifest: Manifest,
    /// The bytes of its rollup; `None` if there is too much to add up.
    pub rollup: Option<Vec<u8>>,
}

/// Gives the records of the sealed segments that were opened in an hour to `take`, until it refuses one, and returns their
/// manifest and rollup. The hour should be over.
pub(crate) fn catalogue(
    engine: &Engine,
    hour: Hour,
    control: &mut dyn Control,
    take: &mut dyn FnMut(&CatalogRecord) -> bool,
) -> Result<Catalogued, ExtractError> {
    let query = Query::default();
    let is_wanted = |name: &SegmentName, state: SegmentState| {
        state == SegmentState::Sealed && Hour::of(name.opened) == hour
    };
    let Engine { segment_cache, scans, workers, .. } = engine;
    let mut snapshot = Snapshot::take_those(segment_cache, &query, scans, *workers, control, &is_wanted)?;
    let mut made = WrittenHour::new(hour, &mut snapshot);
    let filters = engine.compile(&query, &snapshot.link_types(), control)?;
    let encapsulations = Encapsulations::default();
    let edges = Edges::of(&made.manifest);
    let unknown_until = edges.begins.saturating_add(TCP_IDLE_NS);
    let mut joiner = Joiner::of_hour(&encapsulations, unknown_until).with_open_max(OPEN_MAX);
    let buckets = Buckets::seconds(made.span(), SECONDS_MAX);
    let gathering = Gathering { buckets: Some(buckets), ..Gathering::of(&encapsulations, Wanted::All) };
    let mut making = Making::new(buckets, edges, &encapsulations);
    let source = FlowSource::new(engine, query.use_index, query.range(), &filters);
    let mut goes = ControlFlow::Continue(());
    pipeline::run(source, gathering, snapshot.into_segments(), control, &mut |gathered, horizon| {
        made.note(&gathered);
        making.see(&gathered.series);
        let mut close = |key: &FlowKey, body: &FlowCounters| {
            let flow = flow_of(key, body, &encapsulations, edges);
            made.count(&flow);
            making.take(key, body);
            if goes.is_continue() && !take(&flow) {
                goes = ControlFlow::Break(());
            }
        };
        joiner.begin(horizon);
        gathered.parts.iter().for_each(|part| joiner.add(&part.key, &part.body, &mut close));
        match horizon {
            Some(_) => joiner.expire(&mut close),
            None => joiner.finish(&mut close),
        }
        goes
    })?;
    made.manifest.is_divided = joiner.is_approximate();
    if goes.is_break() {
        return Err(ExtractError::Cancelled);
    }
    let rollup = making.finish(&made.manifest);
    Ok(Catalogued { manifest: made.manifest, rollup })
}

/// Start and end of an hour, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    pub(super) base: u64,
    /// Instant up to which there may be packets of the hour before.
    pub(super) begins: u64,
    /// Instant from which on there may be packets of the hour after.
    pub(super) ends: u64,
}

impl Edges {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let (first, last) = manifest.bounds().unwrap_or_default();
        Self {
            base: manifest.hour.start().ns(),
            begins: first.ns().saturating_add(OVERLAP_NS),
            ends: last.ns().saturating_sub(OVERLAP_NS),
        }
    }

    /// Two flags: the conversation may have begun before the hour, and may continue after it. A loose piece belongs to one that
    /// may have begun before.
    pub(super) fn sides(self, key: &FlowKey, body: &FlowCounters, is_loose: bool) -> (bool, bool) {
        let may_have_begun = body.first() <= self.begins.saturating_add(key.idle_ns(false));
        (may_have_begun || is_loose, last_moment(key, body) >= self.ends)
    }
}

struct WrittenHour {
    manifest: Manifest,
}

impl WrittenHour {
    fn new(hour: Hour, snapshot: &mut Snapshot) -> Self {
        let of_segment = |segment: &crate::store::segment::Segment| {
            let (first, last) = segment.bounds?;
            Some(CataloguedSegment { name: segment.name, first, last })
        };
        let unreadable = std::mem::take(&mut snapshot.unreadable);
        let is_empty = |name: &SegmentName| snapshot.segments.iter().all(|segment| segment.name != *name);
        let manifest = Manifest {
            without_packets: snapshot.names.iter().copied().filter(is_empty).collect(),
            version: CATALOG_VERSION,
            hour,
            records: 0,
            packets: 0,
            bytes: 0,
            segments: snapshot.segments.iter().filter_map(of_segment).collect(),
            link_types: snapshot.link_types().iter().map(|link_type| link_type.0).collect(),
            lacks: unreadable.iter().map(|at| format!("segment {}: {}", at.segment, at.reason)).collect(),
            is_divided: false,
        };
        Self { manifest }
    }

    fn span(&self) -> Option<Span> {
        self.manifest.bounds().map(|(from, last)| Span { from, to: last.plus_ns(1) })
    }

    fn note(&mut self, gathered: &Gathered) {
        let lacks = &mut self.manifest.lacks;
        lacks.extend(gathered.unreadable.iter().map(|at| format!("segment {}: {}", at.segment, at.reason)));
        lacks.extend(gathered.gone.map(|span: Span| format!("a segment of {span} has expired")));
    }

    fn count(&mut self, flow: &CatalogRecord) {
        self.manifest.records += 1;
        self.manifest.packets += flow.packets;
        self.manifest.bytes += flow.bytes;
    }
}

pub(super) fn flow_of(
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
        document: kept::write(key, body, is_open, encapsulations, edges.base),
    }
}
