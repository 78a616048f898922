//! Real interfaces: what is sent is recorded, counted, and at hand while recording goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::link::{Link, count_in_logbook, wait_until};
use crate::support::packets::{Packet, assert_same, read_pcap, write_pcap};
use crate::support::{done, may_make_namespaces, run};

struct Scene {
    folder: tempfile::TempDir,
    link: Link,
}

impl Scene {
    fn new() -> Option<Self> {
        may_make_namespaces()
            .then(|| Self { folder: tempfile::tempdir().expect("a folder"), link: Link::new() })
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn capture(&self, name: &str, packets: &[Packet]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, write_pcap(1, packets)).expect("written");
        path
    }

    fn extract(&self, filter: &str) -> Vec<Packet> {
        extract(&self.store(), filter)
    }
}

fn extract(store: &Path, filter: &str) -> Vec<Packet> {
    let store = store.display().to_string();
    let output = run(["extract", "--store", &store, "--view", "outer", "--filter", filter, "-o", "-"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    read_pcap(&output.stdout)
}

fn workload(name: &str, count: usize) -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named(name).expect("a workload").with_alive(200).frames(3);
    (0..count)
        .map(|i| {
            let bytes = frames.next_frame().to_vec();
            let len = bytes.len() as u32;
            Packet { seconds: 1_700_000_000, nanoseconds: i as u32 * 1000, len, bytes }
        })
        .collect()
}

/// A UDP packet whose payload is this text.
fn datagram(text: &str) -> Packet {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let length = 28 + text.len() as u16;
    bytes.extend_from_slice(&[
        0x45,
        0,
        (length >> 8) as u8,
        length as u8,
        0,
        1,
        0,
        0,
        64,
        17,
        0,
        0,
        192,
        0,
        2,
        1,
        192,
        0,
        2,
        2,
    ]);
    bytes.extend_from_slice(&[0x13, 0x88, 0x13, 0x89, 0, 8 + text.len() as u8, 0, 0]);
    bytes.extend_from_slice(text.as_bytes());
    Packet { seconds: 0, nanoseconds: 0, len: bytes.len() as u32, bytes }
}

fn bytes_of(packets: &[Packet]) -> Vec<&[u8]> {
    packets.iter().map(|packet| packet.bytes.as_slice()).collect()
}

#[test]
fn what_is_sent_is_recorded_and_the_account_adds_up() {
    let Some(scene) = Scene::new() else { return };
    let sent = workload("imix", 30_000);
    let capture = scene.capture("sent.pcap", &sent);
    let recording = scene.link.record(&scene.store(), &[]);
    scene.link.send(&capture, &["--mbps=400"]);
    wait_until("all has been written", || extract(&scene.store(), "").len() >= sent.len());
    let account = recording.stop();
    let number = |name: &str| account[name].as_u64().expect("a number");
    let dropped: u64 =
        account["dropped"].as_object().expect("reasons").values().filter_map(|n| n.as_u64()).sum();
    assert_eq!(number("received"), sent.len() as u64, "{account}");
    assert_eq!(number("received"), number("written") + dropped, "{account}");
    assert_eq!(dropped, 0, "{account}");
    assert_eq!(number("bytes"), sent.iter().map(|packet| packet.bytes.len() as u64).sum::<u64>());

    let recorded = scene.extract("");
    assert_eq!(bytes_of(&recorded), bytes_of(&sent), "every packet, whole, tags included, in order");
    assert!(recorded.is_sorted_by_key(Packet::at_ns));
    assert!(recorded.iter().any(|packet| packet.nanoseconds % 1000 != 0), "nanoseconds");
    let host = "host 10.0.0.1 or portrange 400-500";
    let found = scene.extract(host);
    assert!(!found.is_empty() && found.len() < recorded.len());
    done(["verify", "--store", &scene.store().display().to_string()]);
}

#[test]
fn a_packet_is_at_hand_within_a_second_while_recording_goes_on() {
    let Some(scene) = Scene::new() else { return };
    let load = scene.capture("load.pcap", &workload("campus", 5_000));
    let recording = scene.link.record(&scene.store(), &[]);
    let mut sender = scene.link.send_forever(&load, &["--mbps=100"]);
    let mut waits = Vec::new();
    for i in 0..5 {
        let packet = datagram(&format!("the needle {i}"));
        let capture = scene.capture("needle.pcap", std::slice::from_ref(&packet));
        scene.link.send(&capture, &[]);
        let sent = Instant::now();
        let needles = || scene.extract("udp and src port 5000 and dst port 5001");
        wait_until("the packet is in the answer", || needles().len() == i + 1);
        waits.push(sent.elapsed());
        assert_eq!(needles()[i].bytes, packet.bytes);
    }
    // A disk that others keep busy may need longer once.
    waits.sort_unstable();
    assert!(waits[2] <= Duration::from_secs(1), "{waits:?}");
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    assert_eq!(recording.stop()["dropped"]["kernel"].as_u64().unwrap_or(0), 0);
}

#[test]
fn several_interfaces_are_recorded_and_merged_in_order() {
    let Some(scene) = Scene::new() else { return };
    scene.link.add_second_pair();
    let sent = workload("small", 2_000);
    let capture = scene.capture("sent.pcap", &sent);
    let recording = scene.link.record(&scene.store(), &["--interface", "rx1"]);
    wait_until("both lanes have started", || count_in_logbook(&scene.store(), "\"event\":\"start\"") >= 2);
    scene.link.send(&capture, &["--mbps=20"]);
    scene.link.send_from("tx1", &capture, &["--mbps=20"]);
    wait_until("all has been written", || scene.extract("").len() >= 2 * sent.len());
    let account = recording.stop();
    assert_eq!(account["received"].as_u64(), Some(2 * sent.len() as u64), "{account}");
    let recorded = scene.extract("");
    assert!(recorded.is_sorted_by_key(Packet::at_ns));
    assert_eq!(recorded.len(), 2 * sent.len());

    let file = scene.folder.path().join("both.pcapng");
    let store = scene.store().display().to_string();
    let output = run(["extract", "--store", &store, "--format", "pcapng", "-o", &file.display().to_string()]);
    assert!(matches!(output.status.code(), Some(0 | 1)));
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-r"];
    let tshark = std::process::Command::new("tshark").args(fields).arg(&file).output().expect("tshark runs");
    let names = String::from_utf8_lossy(&tshark.stdout).into_owned();
    for interface in ["rx0", "rx1"] {
        assert_eq!(names.lines().filter(|line| *line == interface).count(), sent.len(), "{interface}");
    }
}

#[test]
fn snaplen_and_capture_filter_are_kept_to() {
    let Some(scene) = Scene::new() else { return };
    let sent = workload("imix", 3_000);
    let capture = scene.capture("sent.pcap", &sent);
    let options = ["--snaplen", "100", "--capture-filter", "udp"];
    let recording = scene.link.record(&scene.store(), &options);
    scene.link.send(&capture, &["--mbps=100"]);
    std::thread::sleep(Duration::from_secs(1));
    recording.stop();
    // On a live interface a filter sees tagged frames without their tags, as with tcpdump.
    let udp = crate::support::tcpdump(&capture, "udp or (vlan and udp)").expect("tcpdump");
    let recorded = scene.extract("");
    assert_eq!(recorded.len(), udp.len());
    for (found, sent) in recorded.iter().zip(&udp) {
        assert_eq!(found.len, sent.len);
        assert_eq!(found.bytes, sent.bytes[..sent.bytes.len().min(100)]);
    }
    // The filter sees the wire's length, not the captured one, as tcpdump does.
    let segment = crate::roundtrip::segments(&scene.store()).remove(0);
    let wanted = crate::support::tcpdump(&segment, "greater 500").expect("tcpdump");
    assert!(!wanted.is_empty());
    assert_same(&scene.extract("greater 500"), &wanted, "greater 500");
}

#[test]
fn without_the_privilege_the_remedy_is_named() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store").display().to_string();
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", env!("CARGO_BIN_EXE_netrewind"), "record"])
        .args(["--store", &store, "--interface", "lo"])
        .output()
        .expect("setpriv runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("sudo") && said.contains("setcap cap_net_raw"), "{said}");
}

#[test]
fn an_interface_that_goes_away_and_comes_back_is_recorded_again() {
    let Some(scene) = Scene::new() else { return };
    let first = scene.capture("first.pcap", &[datagram("before")]);
    let second = scene.capture("second.pcap", &[datagram("after")]);
    let recording = scene.link.record(&scene.store(), &[]);
    scene.link.send(&first, &[]);
    wait_until("the first is there", || scene.extract("udp").len() == 1);
    scene.link.ip(&["link", "set", Link::RECORDED, "down"]);
    wait_until("it is down", || count_in_logbook(&scene.store(), "\"event\":\"down\"") == 1);
    scene.link.ip(&["link", "set", Link::RECORDED, "up"]);
    wait_until("it is up", || count_in_logbook(&scene.store(), "\"event\":\"up\"") == 1);
    // The carrier of a veth pair takes a moment.
    wait_until("the second is there", || {
        scene.link.send(&second, &[]);
        std::thread::sleep(Duration::from_millis(700));
        scene.extract("udp").len() > 1
    });
    recording.stop();
    let store = scene.store().display().to_string();
    let output = run(["extract", "--store", &store, "--count"]);
    assert_eq!(output.status.code(), Some(1), "the answer says that a part was not recorded");
}
