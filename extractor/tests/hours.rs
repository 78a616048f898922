//! With the index of an hour, a query opens only the segments that can have its packets; their answers are those without.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use netrewind_extractor::{Extractor, Options, Query, ViewMode};
use netrewind_store::Store;
use netrewind_store::files::{FileStatus, FileSystemSpace, Files, OpenMode, StoreFile, SystemFiles};
use support::{Stored, TestStore, extract, name, packet};

const SEGMENTS: u32 = 40;
const PACKETS: u32 = 30;

/// The system's files, and the paths that were opened.
#[derive(Clone, Debug, Default)]
struct WatchedFiles(Arc<Mutex<Vec<PathBuf>>>);

impl WatchedFiles {
    /// Segments that were opened, each once.
    fn segments(&self) -> usize {
        let mut opened = std::mem::take(&mut *self.0.lock().unwrap());
        opened.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
        opened.sort();
        opened.dedup();
        opened.len()
    }
}

impl Files for WatchedFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>> {
        self.0.lock().unwrap().push(path.to_owned());
        SystemFiles.open(path, mode)
    }
    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        SystemFiles.create_direct(path)
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        SystemFiles.status(path)
    }
    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        SystemFiles.link_status(path)
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        SystemFiles.names(folder)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        SystemFiles.create_folder(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove_file(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove_folder(path)
    }
    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove_tree(path)
    }
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        SystemFiles.canonical(path)
    }
    fn set_group(&self, path: &Path, group: u32) -> io::Result<()> {
        SystemFiles.set_group(path, group)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        SystemFiles.set_mode(path, mode)
    }
    fn space(&self, path: &Path) -> Option<FileSystemSpace> {
        SystemFiles.space(path)
    }
    fn frees_when_synced(&self, path: &Path) -> bool {
        SystemFiles.frees_when_synced(path)
    }
    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        SystemFiles.sync_file_system(path)
    }
}

/// An address in 10.0.0.0/8 in place of that of a packet's source.
fn from(mut packet: Stored, address: [u8; 3]) -> Stored {
    packet.bytes[27..30].copy_from_slice(&address);
    packet
}

/// Segments of one hour: each has an address of its own, and all have one in common.
fn store() -> TestStore {
    let mut store = TestStore::default();
    for number in 0..SEGMENTS {
        let own = |n| from(packet(number * PACKETS + n, 7, 60), [9, 0, number as u8]);
        let mut packets: Vec<Stored> = (0..PACKETS).map(own).collect();
        packets[3] = from(packets[3].clone(), [8, 8, 8]);
        store.seal_indexed(name(number, 0), packets);
    }
    store
}

fn source(packet: &Stored) -> String {
    packet.bytes[26..30].iter().map(u8::to_string).collect::<Vec<_>>().join(".")
}

#[test]
fn segments_that_cannot_match_are_not_opened() {
    let test = store();
    test.write_hours();
    let (_, packets) = &test.segments[5];
    assert!(source(&packets[0]).ends_with(".9.0.5"), "{}", source(&packets[0]));
    let (own, common) = (source(&packets[0]), source(&packets[3]));
    for view in [ViewMode::Outer, ViewMode::Inner, ViewMode::Any] {
        for (filter, opened) in [
            (format!("host {own}"), 1),
            (format!("host {common}"), SEGMENTS as usize),
            ("host 203.0.113.7".to_owned(), 0),
            // Both are there, though never in one packet.
            (format!("host {own} and host {common}"), 1),
            ("net 10.9.0.4/31".to_owned(), 2),
            ("ip6".to_owned(), 0),
            ("arp or vlan 7".to_owned(), 0),
            (format!("host {own} or ip6"), 1),
            (format!("not host {common}"), SEGMENTS as usize),
        ] {
            let files = WatchedFiles::default();
            let store = Store::open_in(Arc::new(files.clone()), test.folder.path()).unwrap();
            let extractor = Extractor::new(store, Options::default());
            let query = Query { view, ..Query::of(&filter) };
            let (with, _) = extract(&extractor, &query).unwrap();
            assert_eq!(files.segments(), opened, "{filter}");
            let (without, _) = extract(&extractor, &Query { use_index: false, ..query.clone() }).unwrap();
            assert_eq!(with, without, "{filter}");
            files.segments();
            extractor.hint(&query, &|| false);
            assert_eq!(files.segments(), 0, "nothing looks different here: {filter}");
        }
    }
}

#[test]
fn a_segment_that_is_not_as_its_hour_says_is_opened() {
    let test = store();
    test.write_hours();
    let files = WatchedFiles::default();
    let store = Store::open_in(Arc::new(files.clone()), test.folder.path()).unwrap();
    let query = Query::of("host 203.0.113.7");
    let changed = [test.segments[3].0, test.segments[8].0];
    std::thread::sleep(std::time::Duration::from_millis(20));
    for path in [test.store.sealed_path(&changed[0]), test.store.index_path(&changed[1])] {
        std::fs::write(&path, std::fs::read(&path).unwrap()).unwrap();
    }
    extract(&Extractor::new(store, Options::default()), &query).unwrap();
    assert_eq!(files.segments(), 2);
}
