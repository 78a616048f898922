//! Stores that are served: packets of known numbers, ten milliseconds apart.

use std::path::Path;
use std::time::{Duration, Instant};

use super::done;
use super::packets::{Packet, write_pcap};
use super::service::Service;

/// Where packets are asked for.
pub const PACKETS: &str = "/api/v1/packets";
const START: u32 = 1_700_000_000;

/// A store with so many UDP packets of these sizes, ten milliseconds apart.
pub fn store(folder: &Path, count: usize, payload_bytes: usize) -> String {
    let packets: Vec<_> = (0..count).map(|number| packet(number, payload_bytes)).collect();
    let capture = folder.join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.join("store").display().to_string();
    done(["import", "--store", &store, &capture.display().to_string()]);
    store
}

/// Ethernet, IPv4, UDP from 10.0.x.y, port 1000 + its number modulo 100, to port 53.
pub fn packet(number: usize, payload_bytes: usize) -> Packet {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
    bytes.extend([0x45, 0]);
    bytes.extend(length(28 + payload_bytes));
    bytes.extend([
        0,
        0,
        0,
        0,
        64,
        17,
        0,
        0,
        10,
        0,
        (number >> 8 & 255) as u8,
        (number & 255) as u8,
        10,
        9,
        9,
        9,
    ]);
    bytes.extend(length(1000 + number % 100));
    bytes.extend(length(53));
    bytes.extend(length(8 + payload_bytes));
    bytes.extend([0, 0]);
    bytes.resize(bytes.len() + payload_bytes, number as u8);
    let at = number as u64 * 10_000_000;
    Packet {
        seconds: START + (at / 1_000_000_000) as u32,
        nanoseconds: (at % 1_000_000_000) as u32,
        len: bytes.len() as u32,
        bytes,
    }
}

pub fn served(count: usize, payload_bytes: usize) -> (tempfile::TempDir, String, Service) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), count, payload_bytes);
    let service = Service::of(&store);
    (folder, store, service)
}

/// Waits until the service has said so many lines with these words.
pub fn wait_for_lines(service: &Service, words: &str, count: usize, patience: Duration) {
    let begun = Instant::now();
    loop {
        let found = service.said().iter().filter(|line| line.contains(words)).count();
        if found >= count {
            return;
        }
        assert!(begun.elapsed() < patience, "{words:?}: {found} of {count}: {:?}", service.said());
        std::thread::sleep(Duration::from_millis(10));
    }
}
