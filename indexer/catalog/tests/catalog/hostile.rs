//! Damage: every byte changed, every end cut off. Files refuse it by their checksum; under a right checksum, whatever is claimed,
//! reading ends with an error or an answer, in little memory.

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
use netrewind_store::time::Span;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::made::{Made, made};

const CONVERSATIONS: u64 = 40;
/// Memory that a test may map, its own code and threads included.
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Changes of a byte: all bits, the lowest, the one that says that a number goes on.
const CHANGES: [u8; 3] = [0xff, 1, 0x80];
/// Bytes of the heads of a rollup and of a boundary, behind which content stands.
const ROLLUP_HEAD_BYTES: usize = 24;

fn limit_memory() {
    let hard = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: hard }).expect("a limit");
}

/// Everything with one byte changed, and every beginning.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..whole.len()).flat_map(move |at| {
        CHANGES.map(|change| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= change;
            bytes
        })
    });
    changed.chain((0..whole.len()).map(|end| whole[..end].to_vec()))
}

/// Reads sums as lists and summaries do.
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

#[test]
fn a_damaged_record_is_none_or_another() {
    limit_memory();
    let Made { hours: [hour, _], .. } = made(CONVERSATIONS);
    let base = hour.manifest.hour.start().ns();
    for document in &hour.documents {
        for bytes in damaged(document) {
            let encapsulations = Encapsulations::default();
            let is_cut = bytes.len() < document.len();
            let found = record::read(&bytes, &encapsulations, base);
            assert!(!is_cut || found.is_none(), "the front of a record is none");
            if let Some((part, _)) = found {
                let _ = describe(&part.key, &part.body, &encapsulations, RangeEnd::NEVER);
            }
        }
    }
}

#[test]
fn a_damaged_rollup_is_refused_and_one_that_claims_anything_does_no_harm() {
    limit_memory();
    let Made { hours: [hour, _], .. } = made(CONVERSATIONS);
    assert!(Rollup::is_whole(&hour.rollup));
    assert!(damaged(&hour.rollup).all(|bytes| !Rollup::is_whole(&bytes)));
    let manifest = &hour.manifest;
    let (from, last) = manifest.bounds().expect("segments");
    let buckets = Buckets::of(Some(Span { from, to: last }), 60);
    let read = |content: &[u8]| {
        let bytes = rollup::seal(manifest, content).expect("a manifest");
        assert!(Rollup::is_whole(&bytes));
        let rollup = Rollup::of(Arc::new(SumsFile::held(bytes, manifest.hour)), manifest)?;
        rollup.add_to(&mut buckets.series());
        [&rollup.whole, &rollup.early_alone, &rollup.late_alone].into_iter().for_each(read_sums);
        Some(rollup.adds_up(manifest))
    };
    let content = &hour.rollup[ROLLUP_HEAD_BYTES..];
    assert_eq!(read(content), Some(true), "undamaged");
    for bytes in damaged(content) {
        let found = read(&bytes);
        assert!(bytes.len() == content.len() || found.is_none(), "the front of a rollup is none");
    }
}

#[test]
fn a_damaged_boundary_is_refused_and_one_that_claims_anything_does_no_harm() {
    limit_memory();
    let Made { hours: [before, after], boundary: whole } = made(CONVERSATIONS);
    assert!(HourBoundary::is_whole(&whole));
    assert!(damaged(&whole).all(|bytes| !HourBoundary::is_whole(&bytes)));
    let (before, after) = (&before.manifest, &after.manifest);
    let read = |content: &[u8]| {
        let bytes = boundary::seal(before, after, content);
        let boundary = HourBoundary::of(Arc::new(SumsFile::held(bytes, after.hour)), before, after)?;
        read_sums(&boundary.settled);
        Some(boundary.adds_up((1, 60)))
    };
    let content = &whole[boundary::HEAD_BYTES..];
    assert_eq!(read(content), Some(false), "read, and of other packets");
    for bytes in damaged(content) {
        let found = read(&bytes);
        assert!(bytes.len() == content.len() || found.is_none(), "the front of a boundary is none");
    }
}
