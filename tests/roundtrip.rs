//! What goes in comes out: every capture that there is, through a store and back.

use std::path::Path;
use std::process::Command;

use crate::support::packets::{Packet, assert_same, link_type, read_pcap};
use crate::support::{captures, done, files_below, import, tcpdump};

/// The sealed segments of a store, in order of age.
pub fn segments(store: &Path) -> Vec<std::path::PathBuf> {
    let is_segment =
        |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "pcap");
    files_below(&store.join("segments")).into_iter().filter(is_segment).collect()
}

fn succeeds(command: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(command).args(arguments).arg(file).output().expect("installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {}: {said}", file.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn comes_back(file: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    import(&store, &[file]);
    let segments = segments(&store);
    let mut stored = Vec::new();
    for segment in &segments {
        let bytes = std::fs::read(segment).expect("a segment");
        let packets = read_pcap(&bytes);
        let counted = succeeds("capinfos", &["-M", "-c", "-T", "-r"], segment);
        assert!(counted.trim().ends_with(&packets.len().to_string()), "capinfos counts {counted}");
        assert_same(
            &tcpdump(segment, "").expect("tcpdump reads a segment"),
            &packets,
            "tcpdump of a segment",
        );
        stored.push((link_type(&bytes), packets));
    }
    // tcpdump reads only captures of one link type; those hold what it says, in its order.
    let one_link_type = stored.iter().all(|(link_type, _)| *link_type == stored[0].0);
    if let (Ok(original), true) = (tcpdump(file, ""), one_link_type) {
        let packets: Vec<Packet> = stored.iter().flat_map(|(_, packets)| packets.clone()).collect();
        if packets.len() >= original.len() {
            assert_same(&packets[..original.len()], &original, &format!("{} in the store", file.display()));
        } else {
            panic!("{}: {} packets of {} were imported", file.display(), packets.len(), original.len());
        }
    }
    done([Path::new("verify"), Path::new("--store"), &store]);
}

fn shard(shard: usize) {
    let Some(captures) = captures() else { return };
    let mine: Vec<_> = captures.iter().skip(shard).step_by(4).collect();
    for file in &mine {
        comes_back(file);
    }
    eprintln!("{} captures came back", mine.len());
}

#[test]
fn every_capture_0() {
    shard(0);
}

#[test]
fn every_capture_1() {
    shard(1);
}

#[test]
fn every_capture_2() {
    shard(2);
}

#[test]
fn every_capture_3() {
    shard(3);
}

/// All captures in one store: several link types, times from decades, all disorder.
#[test]
fn the_corpus_whole() {
    let Some(captures) = captures() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    import(&store, &captures.iter().map(std::path::PathBuf::as_path).collect::<Vec<_>>());
    let mut stored: Vec<_> = segments(&store)
        .iter()
        .flat_map(|segment| read_pcap(&std::fs::read(segment).expect("a segment")))
        .collect();
    done([Path::new("verify"), Path::new("--store"), &store]);

    let output = folder.path().join("all.pcapng");
    let store_text = store.display().to_string();
    let count = done(["extract", "--store", &store_text, "--count"]);
    assert_eq!(
        String::from_utf8_lossy(&count).split_whitespace().next(),
        Some(stored.len().to_string().as_str())
    );
    done(["extract", "--store", &store_text, "--format", "pcapng", "-o", &output.display().to_string()]);
    let counted = succeeds("capinfos", &["-M", "-c", "-T", "-r"], &output);
    assert!(counted.trim().ends_with(&stored.len().to_string()), "{counted}");

    // Of one link type, in order of time; what has the same time stands in the order of the segments.
    stored.clear();
    for segment in segments(&store) {
        let bytes = std::fs::read(segment).expect("a segment");
        if link_type(&bytes) == 1 {
            stored.extend(read_pcap(&bytes));
        }
    }
    stored.sort_by_key(Packet::at_ns);
    let found =
        done(["extract", "--store", &store_text, "--view", "outer", "--filter", "ether[0] >= 0", "-o", "-"]);
    let wanted: Vec<_> = stored.into_iter().filter(|packet| !packet.bytes.is_empty()).collect();
    let mut found = read_pcap(&found);
    assert_eq!(found.len(), wanted.len());
    assert!(found.is_sorted_by_key(Packet::at_ns));
    let order = |packet: &Packet| (packet.at_ns(), packet.len, packet.bytes.clone());
    let mut wanted = wanted;
    found.sort_by_key(order);
    wanted.sort_by_key(order);
    assert_same(&found, &wanted, "the corpus whole");
}
