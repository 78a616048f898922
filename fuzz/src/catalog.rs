//! Records, rollups and boundaries of the catalog whose bytes claim anything: reading ends with an error or an answer.
//!
//! Checksums and identities are right, because a hash cannot be guessed, and what stands behind is to be reached.

use std::sync::Arc;

use netrewind_catalog::boundary::{self, HourBoundary};
use netrewind_catalog::record;
use netrewind_catalog::rollup::aggregate::Aggregate;
use netrewind_catalog::rollup::top::top_of;
use netrewind_catalog::rollup::{self, Rollup};
use netrewind_catalog::sums_file::SumsFile;
use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::heavy_hitters::HeavyHitters;
use netrewind_flows::series::Buckets;
use netrewind_flows::top_flows::{FlowSort, TopFlows};
use netrewind_store::Timestamp;
use netrewind_store::catalog::{CATALOG_VERSION, Hour, Manifest};
use netrewind_store::time::{HOUR_NS, Span};

const START: Timestamp = Timestamp(498_705 * HOUR_NS);

fn manifest() -> Manifest {
    Manifest {
        version: CATALOG_VERSION,
        hour: Hour::of(START),
        records: 9,
        packets: 9,
        bytes: 900,
        segments: Vec::new(),
        without_packets: Vec::new(),
        link_types: vec![1],
        lacks: Vec::new(),
        is_divided: false,
        files: std::collections::BTreeMap::new(),
    }
}

fn read_record(bytes: &[u8]) {
    let encapsulations = Encapsulations::default();
    if let Some((part, standing)) = record::read(bytes, &encapsulations, START.ns()) {
        let _ = describe(&part.key, &part.body, &encapsulations, RangeEnd::NEVER);
        let again = record::write(&part.key, &part.body, standing.is_open, &encapsulations, START.ns());
        assert!(record::read(&again, &encapsulations, START.ns()).is_some());
    }
}

fn read_sums(sums: &Aggregate) {
    let encapsulations = Encapsulations::default();
    for (sort, _) in FlowSort::ALL {
        let mut top = TopFlows::new(sort, 10, None, &encapsulations);
        sums.add_to(&mut top, &encapsulations);
        let _ = top.describe(RangeEnd::NEVER);
    }
    if let Some(sums) = sums.sums() {
        let _ = (sums.small(), top_of(HeavyHitters::new(64), &[sums.hosts], 5));
        let _ = top_of(HeavyHitters::new(64), &[sums.edges], 5);
    }
}

fn read_rollup(content: &[u8]) {
    let manifest = manifest();
    let bytes = rollup::seal(&manifest, content).expect("a manifest");
    let Some(rollup) = Rollup::of(Arc::new(SumsFile::held(bytes, manifest.hour)), &manifest) else { return };
    let hour = Span { from: START, to: START.plus_ns(HOUR_NS) };
    rollup.add_to(&mut Buckets::of(Some(hour), 60).series());
    [&rollup.whole, &rollup.early_alone, &rollup.late_alone].into_iter().for_each(read_sums);
    let _ = rollup.adds_up(&manifest);
}

fn read_boundary(content: &[u8]) {
    let manifest = manifest();
    let bytes = boundary::seal(&manifest, &manifest, content);
    let file = Arc::new(SumsFile::held(bytes, manifest.hour));
    if let Some(boundary) = HourBoundary::of(file, &manifest, &manifest) {
        read_sums(&boundary.settled);
        let _ = boundary.adds_up((9, 900));
    }
}

/// Reads any bytes.
pub fn read(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => read_record(rest),
        Some((1, rest)) => read_rollup(rest),
        Some((_, rest)) => read_boundary(rest),
        None => {}
    }
}
