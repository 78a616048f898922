//! `verify --repair` builds what is derived, never touches evidence, and makes no damage look sound.

use std::path::Path;

use super::every_kind::{EveryKind, said};
use crate::support::{files_below, logbook_days, seed};

/// Evidence: what is never written.
fn evidence(store: &Path) -> Vec<(String, Vec<u8>)> {
    let is_evidence = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.ends_with(".pcap") || name == "store.toml" || name.starts_with("audit")
    };
    let files = files_below(store).into_iter().filter(|path| is_evidence(path));
    let mut found: Vec<_> =
        files.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file"))).collect();
    found.sort_unstable();
    found
}

fn logbook(store: &Path) -> String {
    let files = logbook_days(store);
    files.iter().map(|file| std::fs::read_to_string(file).expect("lines")).collect()
}

/// A store whose open segment has been sealed and indexed by the next writer.
fn recovered() -> EveryKind {
    let every = EveryKind::new();
    every.said("index", &["--catalog"]);
    let (status, said) = every.verified();
    assert_eq!(status, Some(0), "{said}");
    every
}

#[test]
fn what_is_derived_is_built_again_and_what_is_evidence_is_not_touched() {
    let every = recovered();
    let mut chance = fastrand::Rng::with_seed(seed());
    let is_derived = |file: &str| {
        (file.starts_with("catalog") || file.ends_with(".hour"))
            || (file.starts_with("segments") && file.ends_with(".idx"))
    };
    for file in every.files_with(is_derived) {
        for is_removed in [true, false] {
            let copy = every.copy();
            let path = copy.join(&file);
            match is_removed {
                true => std::fs::remove_file(&path).expect("removed"),
                false => {
                    let mut bytes = std::fs::read(&path).expect("a file");
                    let at = chance.usize(..bytes.len());
                    bytes[at] ^= 1 << chance.u8(..8);
                    std::fs::write(&path, bytes).expect("written");
                }
            }
            let (kept, lines) = (evidence(&copy), logbook(&copy));
            let (status, repaired) = said("verify", &copy, &["--repair"]);
            assert!(evidence(&copy) == kept, "{file}: {repaired}");
            assert!(
                logbook(&copy).starts_with(&lines) || logbook(&copy).contains(&lines),
                "{file}: lines stay"
            );
            let is_index = file.ends_with(".idx") && file.starts_with("segments");
            let is_vouched_for = !repaired.contains("cannot be vouched for");
            assert!(is_index || is_vouched_for, "{file}: {repaired}");
            assert_eq!(status, Some(if is_vouched_for { 0 } else { 1 }), "{file} {is_removed}: {repaired}");
            // What was said once is said again.
            let (again, verified) = said("verify", &copy, &[]);
            assert_eq!(again, status, "{file}: {verified}");
            assert_eq!(verified.contains("cannot be vouched for"), !is_vouched_for, "{verified}");
            assert!(
                !is_removed || !is_index || !is_vouched_for,
                "{file}: nothing vouches for it: {repaired}"
            );
        }
    }
}

#[test]
fn damage_of_a_segment_never_looks_sound() {
    let every = recovered();
    let mut chance = fastrand::Rng::with_seed(seed());
    for segment in every.files_with(|file| file.ends_with(".pcap")) {
        let index = segment.replace(".pcap", ".idx");
        for is_index_lost in [false, true] {
            let copy = every.copy();
            let mut bytes = every.read(&segment);
            // In a packet: it can be walked all the same.
            let at = 24 + 16 + 54 + chance.usize(..100);
            bytes[at] ^= 1 << chance.u8(..8);
            std::fs::write(copy.join(&segment), &bytes).expect("written");
            if is_index_lost {
                std::fs::remove_file(copy.join(&index)).expect("removed");
            }
            let kept = evidence(&copy);
            for options in [&["--repair"][..], &["--repair"], &[]] {
                let (status, told) = said("verify", &copy, options);
                assert_eq!(status, Some(1), "{told}");
                let words =
                    if is_index_lost { "cannot be vouched for" } else { "differ from those recorded" };
                assert!(told.contains(words), "{told}");
                assert!(evidence(&copy) == kept, "{told}");
            }
            let is_kept = std::fs::read(copy.join(&index)).expect("an index") == every.read(&index);
            assert_eq!(is_kept, !is_index_lost, "an index that proves the damage stays");
        }
    }
}

#[test]
fn a_store_whose_identity_is_damaged_is_not_repaired() {
    let every = recovered();
    let mut text = every.read("store.toml");
    let at = text.len() / 2;
    text[at] ^= 1;
    let (status, said) = every.with_changed("store.toml", &text, |every| every.said("verify", &["--repair"]));
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("store.toml") && said.contains("restore"), "{said}");
}

#[test]
fn the_last_lines_say_what_is_good() {
    let every = recovered();
    let (_, said) = every.verified();
    let expected = "segments with 1600 packets, 3 of 3";
    assert!(said.contains("sound: ") && !said.contains(expected), "{said}");
    for words in
        ["4 segments with 1600 packets", "lines of the logbook", "hours of the catalog", "lines of the audit"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    netrewind_store::Store::open_or_create(&empty, netrewind_store::Timestamp(1), 7).expect("a store");
    let (status, said) = super::every_kind::said("verify", &empty, &[]);
    assert!(status == Some(0) && said.contains("0 segments, 0 packets, 0 faults"), "{said}");
}
