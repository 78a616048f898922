//! What goes in comes out: every capture that there is, through a store and back.

use std::path::Path;
use std::process::Command;

use crate::support::packets::{Packet, assert_same, link_type, read_pcap, read_pcapng};
use crate::support::{captures, done, files_below, import, run, tcpdump};

/// The sealed segments of a store, in order of age.
pub fn segments(store: &Path) -> Vec<std::path::PathBuf> {
    let is_segment =
        |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "pcap");
    files_below(&store.join("segments")).into_iter().filter(is_segment).collect()
}

/// Packets in a file as capinfos counts them; `None` where it does not know the link type.
fn capinfos_count(file: &Path) -> Option<usize> {
    let output =
        Command::new("capinfos").args(["-M", "-c", "-T", "-r"]).arg(file).output().expect("installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unknown or unsupported") {
        return None;
    }
    assert!(output.status.success(), "capinfos {}: {said}", file.display());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.split_whitespace().last().and_then(|count| count.parse().ok()).expect("a count"))
}

/// What 32 bits of seconds cannot hold wraps in tcpdump, and goes to their end with us.
fn with_ends_of_time(original: &[Packet], stored: &[Packet]) -> Vec<Packet> {
    let is_end =
        |packet: &Packet| matches!((packet.seconds, packet.nanoseconds), (0, 0) | (u32::MAX, 999_999_999));
    let moved = |(original, stored): (&Packet, &Packet)| match is_end(stored) {
        true => Packet { seconds: stored.seconds, nanoseconds: stored.nanoseconds, ..original.clone() },
        false => original.clone(),
    };
    original.iter().zip(stored).map(moved).collect()
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
        assert!(capinfos_count(segment).is_none_or(|count| count == packets.len()), "{}", segment.display());
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
            let original = with_ends_of_time(&original, &packets);
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
    done([Path::new("verify"), Path::new("--store"), &store]);
    let mut stored: Vec<(u32, Packet)> = Vec::new();
    for segment in segments(&store) {
        let bytes = std::fs::read(segment).expect("a segment");
        let link_type = link_type(&bytes);
        stored.extend(read_pcap(&bytes).into_iter().map(|packet| (link_type, packet)));
    }

    let store = store.display().to_string();
    // One of the captures tells of packets that were dropped while it was made.
    let lossy = |arguments: &[&str]| {
        let output = run([&["extract", "--store", &store], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("dropped while recording"), "{said}");
        output.stdout
    };
    let count = lossy(&["--count"]);
    assert_eq!(String::from_utf8_lossy(&count).trim(), stored.len().to_string());
    let mut found = read_pcapng(&lossy(&["--format", "pcapng", "-o", "-"]));
    assert!(found.is_sorted_by_key(|(_, packet)| packet.at_ns()));
    let order =
        |(link_type, packet): &(u32, Packet)| (*link_type, packet.at_ns(), packet.len, packet.bytes.clone());
    found.sort_by_key(order);
    stored.sort_by_key(order);
    let split = |all: Vec<(u32, Packet)>| all.into_iter().unzip::<u32, Packet, Vec<_>, Vec<_>>();
    let ((found_types, found), (stored_types, stored)) = (split(found), split(stored));
    assert_eq!(found_types, stored_types);
    assert_same(&found, &stored, "the corpus whole");
}
