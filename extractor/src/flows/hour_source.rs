//! Source of the catalog's hours: the parts of sealed segments, as flows are gathered for answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use netrewind_catalog::build::{Catalogued, HourBuilder};
use netrewind_catalog::condition::CatalogRecord;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::label_lookup::Wanted;
use netrewind_store::catalog::{CATALOG_VERSION, CataloguedSegment, Hour, Manifest};
use netrewind_store::time::Span;
use netrewind_store::{SegmentName, SegmentState};

use super::gathered::Gathered;
use super::pipeline;
use super::request::Gathering;
use super::source::FlowSource;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::query::Query;
use crate::store::segment::Segment;
use crate::store::snapshot::Snapshot;

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
    let encapsulations = Encapsulations::default();
    let mut made = HourBuilder::new(manifest_of(hour, &mut snapshot), &encapsulations);
    let filters = engine.compile(&query, &snapshot.link_types(), control)?;
    let gathering =
        Gathering { buckets: Some(made.buckets()), ..Gathering::of(&encapsulations, Wanted::All) };
    let source = FlowSource::new(engine, query.use_index, query.range(), &filters);
    let mut goes = ControlFlow::Continue(());
    pipeline::run(source, gathering, snapshot.into_segments(), control, &mut |gathered, horizon| {
        made.lacks(faults_of(&gathered));
        made.add_segment(&gathered.parts, &gathered.series, horizon, !gathered.has_more, &mut |record| {
            if goes.is_continue() && !take(record) {
                goes = ControlFlow::Break(());
            }
        });
        goes
    })?;
    if goes.is_break() {
        return Err(ExtractError::Cancelled);
    }
    Ok(made.finish())
}

/// Manifest of an hour of these segments, whose records are not counted yet.
fn manifest_of(hour: Hour, snapshot: &mut Snapshot) -> Manifest {
    let of_segment = |segment: &Segment| {
        let (first, last) = segment.bounds?;
        Some(CataloguedSegment { name: segment.name, first, last })
    };
    let unreadable = std::mem::take(&mut snapshot.unreadable);
    let is_empty = |name: &SegmentName| snapshot.segments.iter().all(|segment| segment.name != *name);
    Manifest {
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
        files: BTreeMap::new(),
    }
}

/// Parts of a segment that could not be read, for a person.
fn faults_of(gathered: &Gathered) -> impl Iterator<Item = String> {
    let unreadable = gathered.unreadable.iter();
    let unreadable = unreadable.map(|at| format!("segment {}: {}", at.segment, at.reason));
    unreadable.chain(gathered.gone.map(|span: Span| format!("a segment of {span} has expired")))
}
