//! Whole stores that earlier versions wrote are opened, answered from and gone on with, as they were.
//!
//! `tests/golden/store-N` is a store as the version wrote that had the number N in `store.toml`, with an index, the index of an hour,
//! and an hour of the catalog: one of each format at the time. A version that changes a format adds a store, and keeps those before.

use std::path::{Path, PathBuf};

use crate::support::{done, files_below, import};
use crate::tidy::root;

/// Number of packets in each of them.
const PACKETS: &str = "18";

/// The stores, each with its conversations as they were listed.
fn stores() -> Vec<(PathBuf, String)> {
    let folder = root().join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path());
    let listed = |path: PathBuf| {
        let flows = std::fs::read_to_string(path.with_extension("flows.json")).expect("conversations");
        (path, flows)
    };
    entries.filter(|path| path.is_dir()).map(listed).collect()
}

/// A copy that may be written.
fn copy(store: &Path, to: &Path) {
    for file in files_below(store) {
        let copy = to.join(file.strip_prefix(store).expect("in the store"));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        std::fs::copy(&file, &copy).expect("copied");
    }
}

fn flows(store: &str, more: &[&str]) -> String {
    let words = ["flows", "--store", store, "--format", "json", "--quiet", "--sort", "start"];
    String::from_utf8(done(words.iter().chain(more))).expect("text")
}

#[test]
fn a_store_of_an_earlier_version_answers_as_it_did_and_is_gone_on_with() {
    let all = stores();
    assert!(!all.is_empty());
    for (golden, listed) in all {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("store");
        copy(&golden, &at);
        let store = at.to_str().expect("UTF-8");
        let segments = files_below(&at.join("segments"));
        let is_segment = |path: &&PathBuf| path.extension().is_some_and(|end| end == "pcap");
        let segment = segments.iter().find(is_segment).expect("a segment");
        let verified = String::from_utf8(done(["verify", "--store", store])).expect("text");
        assert!(verified.contains(" 0 faults"), "{verified}");
        let all = done(["extract", "--store", store, "--quiet", "--format", "pcap", "--output", "-"]);
        assert_eq!(all, std::fs::read(segment).expect("a file"), "a segment is an ordinary capture");
        for (filter, packets) in [("", PACKETS), ("host 10.0.0.1", "11"), ("udp port 5678", "3")] {
            let counted = done(["extract", "--store", store, "--quiet", "--count", "--filter", filter]);
            assert_eq!(String::from_utf8_lossy(&counted).trim(), packets, "{filter}");
        }
        assert_eq!(flows(store, &[]), listed);

        // It is gone on with.
        let again = folder.path().join("again.pcap");
        std::fs::copy(segment, &again).expect("copied");
        import(&at, &[&again]);
        let counted = done(["extract", "--store", store, "--quiet", "--count"]);
        assert_eq!(String::from_utf8_lossy(&counted).trim(), "36");
        done(["verify", "--store", store]);

        // What the catalog has outlives the packets.
        let kept = folder.path().join("kept");
        copy(&golden, &kept);
        std::fs::remove_dir_all(kept.join("segments")).expect("removed");
        std::fs::create_dir(kept.join("segments")).expect("a folder");
        let kept = kept.to_str().expect("UTF-8");
        assert_eq!(flows(kept, &[]), listed);
        assert_eq!(flows(kept, &["--query", "host:10.0.0.1"]).lines().count(), 4);
    }
}
