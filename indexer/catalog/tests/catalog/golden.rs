//! Files of each version of the formats are kept: they must be read, and made again to the same bytes.
//!
//! To add a new version, run with `NETREWIND_WRITE_GOLDEN=1`, which writes its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use netrewind_catalog::boundary::HourBoundary;
use netrewind_catalog::document::{DocumentReader, DocumentWriter};
use netrewind_catalog::record;
use netrewind_catalog::rollup::Rollup;
use netrewind_catalog::sums_file::SumsFile;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_store::catalog::Manifest;

use crate::made::{Made, made};

const CONVERSATIONS: u64 = 300;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn manifest(name: &str) -> Manifest {
    serde_json::from_slice(&std::fs::read(path(name)).expect(name)).expect("a manifest")
}

fn sums(name: &str, manifest: &Manifest) -> Arc<SumsFile> {
    Arc::new(SumsFile::held(std::fs::read(path(name)).expect(name), manifest.hour))
}

/// Documents, each behind its length.
fn joined(documents: &[Vec<u8>]) -> Vec<u8> {
    let mut to = DocumentWriter::default();
    documents.iter().for_each(|document| to.bytes(document));
    to.0
}

#[test]
fn the_same_conversations_make_the_same_bytes() {
    let Made { hours: [before, after], boundary } = made(CONVERSATIONS);
    let json = |manifest: &Manifest| serde_json::to_vec_pretty(manifest).expect("a manifest");
    let files = [
        ("hour-3-before.json", json(&before.manifest)),
        ("hour-3-after.json", json(&after.manifest)),
        ("records-2.bin", joined(&before.documents)),
        ("shorts-3.bin", joined(&before.shorts)),
        ("rollup-4.bin", before.rollup),
        ("boundary-2.bin", boundary),
    ];
    for (name, bytes) in files {
        if std::env::var_os("NETREWIND_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(path("")).expect("a folder");
            std::fs::write(path(name), &bytes).expect(name);
        }
        assert!(std::fs::read(path(name)).expect(name) == bytes, "{name} is made otherwise");
    }
}

#[test]
fn records_of_version_2_are_read() {
    let base = manifest("hour-2-before.json").hour.start().ns();
    let bytes = std::fs::read(path("records-2.bin")).expect("records");
    let (mut from, mut count, encapsulations) = (DocumentReader(&bytes), 0, Encapsulations::default());
    while !from.0.is_empty() {
        let document = from.part().expect("a document");
        let (part, standing) = record::read(document, &encapsulations, base).expect("a record");
        let again = record::write(&part.key, &part.body, standing.is_open, &encapsulations, base);
        assert!(again == document, "{part:?}");
        count += 1;
    }
    assert_eq!(count, manifest("hour-2-before.json").records);
}

/// A rollup of an hour, whose manifest is `hour`.
fn rollup_is_read(name: &str, hour: &str) {
    let manifest = manifest(hour);
    assert!(Rollup::is_whole(&std::fs::read(path(name)).expect("a rollup")));
    let rollup = Rollup::of(sums(name, &manifest), &manifest).expect("a rollup of this hour");
    assert!(rollup.adds_up(&manifest));
    let other = Manifest { records: manifest.records + 1, ..manifest.clone() };
    assert!(Rollup::of(sums(name, &manifest), &other).is_none(), "of another manifest");
}

#[test]
fn rollups_of_versions_2_and_4_are_read() {
    rollup_is_read("rollup-2.bin", "hour-2-before.json");
    rollup_is_read("rollup-4.bin", "hour-3-before.json");
}

/// A boundary between two hours of these manifests.
fn boundary_is_read(name: &str, [before, after]: [&str; 2]) {
    let (before, after) = (manifest(before), manifest(after));
    assert!(HourBoundary::is_whole(&std::fs::read(path(name)).expect("a boundary")));
    let boundary = HourBoundary::of(sums(name, &after), &before, &after).expect("a boundary");
    let settled = boundary.settled.sums().expect("sums").totals;
    assert!(settled.conversations > 10, "{settled:?}");
    let encapsulations = Encapsulations::default();
    let mut unsettled = Vec::new();
    boundary.before(&encapsulations, &mut unsettled).expect("records");
    boundary.after(&encapsulations, &mut unsettled).expect("records");
    let mut open = settled;
    unsettled.iter().for_each(|part| open.add(&part.body));
    assert!(boundary.adds_up((open.packets, open.bytes)));
    assert!(HourBoundary::of(sums(name, &after), &after, &before).is_none(), "of other hours");
}

#[test]
fn boundaries_of_versions_1_and_2_are_read() {
    boundary_is_read("boundary-1.bin", ["hour-2-before.json", "hour-2-after.json"]);
    boundary_is_read("boundary-2.bin", ["hour-3-before.json", "hour-3-after.json"]);
}
