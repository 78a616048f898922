//! Files that are shortened, or whose disk fails, while a service has them mapped: it lives, gives the rest, and says what it
//! could not read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::disk::Disk;
use crate::support::packets::{Packet, assert_same, read_pcap, write_pcap};
use crate::support::served::{PACKETS, packet};
use crate::support::service::{Response, Service};
use crate::support::{done, files_below};

const PAYLOAD_BYTES: usize = 900;
const RECORD_BYTES: u64 = 16 + 42 + PAYLOAD_BYTES as u64;
const FILE_HEADER_BYTES: u64 = 24;
/// Packets of each of two segments.
const HALF: usize = 2000;

/// A store of two segments, and what it holds.
fn two_segments(folder: &Path) -> (String, Vec<Packet>) {
    let packets: Vec<Packet> = (0..2 * HALF).map(|number| packet(number, PAYLOAD_BYTES)).collect();
    let store = folder.join("store").display().to_string();
    for (name, packets) in ["first.pcap", "second.pcap"].iter().zip(packets.chunks(HALF)) {
        let file = folder.join(name);
        fs::write(&file, write_pcap(1, packets)).expect("written");
        done(["import", "--store", &store, &file.display().to_string()]);
    }
    (store, packets)
}

fn files(store: &str, end: &str) -> Vec<PathBuf> {
    let all = files_below(&Path::new(store).join("segments"));
    all.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == end)).collect()
}

fn shorten(file: &Path, bytes: u64) {
    File::options().write(true).open(file).and_then(|file| file.set_len(bytes)).expect("shortened");
}

/// The packets of an answer that says that something of it cannot be read, and what it says.
fn lacking(answer: &Response) -> (Vec<Packet>, String) {
    assert_eq!((answer.status, answer.is_whole), (200, true));
    let told = answer
        .header("netrewind-answer")
        .or(answer.trailer("netrewind-answer"))
        .expect("an account")
        .to_owned();
    assert!(told.contains("\"complete\":false"), "{told}");
    (read_pcap(&answer.body), told)
}

#[test]
fn of_a_shortened_segment_the_front_is_given_and_the_service_lives() {
    for cut in [5000, FILE_HEADER_BYTES + RECORD_BYTES * HALF as u64 - 100, 4096 * 30, FILE_HEADER_BYTES] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, packets) = two_segments(folder.path());
        let service = Service::of(&store);
        assert_same(&read_pcap(&service.get(PACKETS).body), &packets, "whole");
        shorten(&files(&store, "pcap")[0], cut);
        let whole = ((cut - FILE_HEADER_BYTES) / RECORD_BYTES) as usize;
        let wanted: Vec<Packet> = packets[..whole].iter().chain(&packets[HALF..]).cloned().collect();
        for target in [PACKETS.to_owned(), format!("{PACKETS}?filter=udp%20port%2053")] {
            let (found, told) = lacking(&service.get(&target));
            assert!(told.contains("unreadable"), "{told}");
            assert_same(&found, &wanted, &format!("cut at {cut}: {told}"));
        }
        for target in ["packets/count?filter=udp[20]%20!=%200", "flows?limit=5", "summary?filter=udp"] {
            let answer = service.get(&format!("/api/v1/{target}"));
            assert_eq!(answer.status, 200, "{target}");
        }
        assert_eq!(service.get("/healthz").status, 200);
    }
}

#[test]
fn of_a_shortened_index_nothing_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, packets) = two_segments(folder.path());
    let service = Service::of(&store);
    assert_eq!(service.get("/api/v1/packets/count?filter=host%2010.0.1.7").json()["packets"], 1);
    for index in files(&store, "idx") {
        shorten(&index, 4096);
    }
    for (filter, matches) in [
        ("host%2010.0.3.9", 1),
        ("udp%20port%201033", packets.len() / 100),
        ("net%2010.0.0.0/22", 1024),
        ("not%20port%2053", 0),
    ] {
        let answer = service.get(&format!("/api/v1/packets/count?filter={filter}"));
        assert_eq!(answer.json()["packets"], matches, "{filter}: {}", answer.json());
        let found = read_pcap(&service.get(&format!("{PACKETS}?filter={filter}")).body);
        assert_eq!(found.len(), matches, "{filter}");
    }
    let flows = service.get("/api/v1/summary").json();
    assert_eq!(flows["totals"]["packets"], packets.len(), "{flows}");
}

#[test]
fn what_a_failing_disk_does_not_give_is_named() {
    // btrfs has a checksum of each block, and says EIO where it does not fit.
    let Some(disk) = Disk::in_file("btrfs", 256) else { return };
    let (store, packets) = two_segments(disk.path());
    const BROKEN: usize = 777;
    disk.mounted_again(|image| {
        let sought = &packets[BROKEN].bytes[..];
        let bytes = fs::read(image).expect("an image");
        let file = File::options().write(true).open(image).expect("an image");
        let places = bytes.windows(sought.len()).enumerate().filter(|(_, bytes)| bytes == &sought);
        for at in places.map(|(at, _)| at) {
            file.write_at(&[bytes[at + 500] ^ 1], at as u64 + 500).expect("written");
        }
    });
    let service = Service::of(&store);
    let (found, told) = lacking(&service.get(PACKETS));
    assert!(told.contains("unreadable"), "{told}");
    let missing = packets.len() - found.len();
    assert!((1..=HALF).contains(&missing), "{missing} are missing: {told}");
    assert!(found.iter().all(|packet| packet.bytes != packets[BROKEN].bytes));
    let known: std::collections::HashSet<_> =
        packets.iter().map(|packet| (packet.at_ns(), &packet.bytes)).collect();
    assert!(
        found.iter().all(|packet| known.contains(&(packet.at_ns(), &packet.bytes))),
        "nothing is made up"
    );
    // One packet behind the broken block is found by the index, and is whole.
    let last = service.get(&format!("{PACKETS}?filter=host%2010.0.7.207"));
    assert_same(&read_pcap(&last.body), &packets[HALF - 1..HALF], "behind the broken block");
    assert_eq!(service.get("/healthz").status, 200);
}
