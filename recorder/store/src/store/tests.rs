//! The store in a real folder.

use std::fs;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        Store::open_or_create(&folder.path().join("store"), Timestamp::new(1_795_339_861, 0), 7).unwrap();
    (folder, store)
}

fn name(second: u32, lane: u16) -> SegmentName {
    SegmentName { opened: Timestamp::new(1_795_339_861 + second, 5), lane }
}

#[test]
fn a_store_is_created_once_and_found_again() {
    let (_folder, store) = store();
    let again = Store::open_or_create(store.root(), Timestamp::new(1, 1), 8).unwrap();
    assert_eq!(again.identity(), store.identity());
    let other = store.root().join("elsewhere");
    assert!(matches!(Store::open(&other), Err(StoreError::Missing(path)) if path == other));
    fs::write(
        store.root().join(identity::IDENTITY),
        "format_version = 9\nid = 'x'\ncreated = '2026-11-22T00:00:00Z'",
    )
    .unwrap();
    assert!(matches!(Store::open(store.root()), Err(StoreError::Version { found: 9, .. })));
}

#[test]
fn segments_go_from_open_to_sealed_to_gone() {
    let (_folder, store) = store();
    for segment in [name(2, 0), name(1, 1), name(1, 0)] {
        store.prepare_folder(&segment).unwrap();
        fs::write(store.open_path(&segment), [7; 100]).unwrap();
    }
    fs::write(store.root().join(SEGMENTS).join("notes.txt"), "left alone").unwrap();
    let listed: Vec<_> =
        ListedSegment::all(&store).unwrap().iter().map(|s| (s.name, s.state, s.file_bytes)).collect();
    let open = |segment| (segment, SegmentState::Open, 100);
    assert_eq!(listed, [open(name(1, 0)), open(name(1, 1)), open(name(2, 0))]);

    let first = name(1, 0);
    assert_eq!(store.open_segment(&first).unwrap().unwrap().readable_bytes, 0, "nothing is promised");
    let mark = Mark { committed_bytes: 60, records: 1, ..Mark::default() };
    fs::write(store.mark_path(&first), mark.to_bytes()).unwrap();
    assert_eq!(store.mark(&first).unwrap(), Some(mark));
    assert_eq!(store.open_segment(&first).unwrap().unwrap().readable_bytes, 60);

    store.seal(&first).unwrap();
    store.write_index(&first, b"index").unwrap();
    let sealed = store.open_segment(&first).unwrap().unwrap();
    assert_eq!((sealed.state, sealed.readable_bytes), (SegmentState::Sealed, 100));
    assert_eq!(store.mark(&first).unwrap(), None);
    assert!(ListedSegment::all(&store).unwrap()[0].has_index);
    assert!(store.disk_bytes().unwrap() >= 300);

    store.remove(&first).unwrap();
    assert!(store.open_segment(&first).unwrap().is_none());
    assert!(store.open_index(&first).unwrap().is_none());
    store.remove(&name(1, 1)).unwrap();
    store.remove(&name(2, 0)).unwrap();
    assert!(!store.day_folder(&first).exists());
}
