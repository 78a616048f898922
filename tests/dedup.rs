//! A conversation mirrored at both of its ends is answered once, where that is asked for.

use std::path::Path;

use serde_json::Value;

use crate::support::packets::{Packet, assert_same, read_pcap, write_pcap};
use crate::support::wrapping::{a_hop_further, in_vxlan};
use crate::support::{done, import, run, tcpdump};

const PACKETS: usize = 400;
const START: u32 = 1_700_000_000;
/// Each packet passes the second mirror so much later.
const LATER_NS: u64 = 300_000;
/// The first of these carries what the first mirror saw.
const VNIS: [u32; 2] = [10, 20];

fn at(ns: u64, bytes: Vec<u8>) -> Packet {
    Packet {
        seconds: START + (ns / 1_000_000_000) as u32,
        nanoseconds: (ns % 1_000_000_000) as u32,
        len: bytes.len() as u32,
        bytes,
    }
}

/// What was sent, each packet once, a millisecond apart; every tenth is sent again at once: the same but for its
/// identification, which IPv6 has not.
fn sent() -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(50).frames(3);
    let mut sent: Vec<Packet> = Vec::new();
    for i in 0..PACKETS as u64 {
        let mut frame = match sent.last() {
            Some(before) if i % 10 == 0 && before.bytes[12..14] == [8, 0] => before.bytes.clone(),
            _ => frames.next_frame().to_vec(),
        };
        if frame[12..14] == [8, 0] {
            frame[18..20].copy_from_slice(&(i as u16).to_be_bytes());
            frame[22] = 64;
        }
        sent.push(at(i * 1_000_000, frame));
    }
    sent
}

/// What a recorder sees of it at two mirrors.
fn mirrored(sent: &[Packet]) -> Vec<Packet> {
    let mut seen = Vec::new();
    for packet in sent {
        let ns = packet.at_ns() - u64::from(START) * 1_000_000_000;
        seen.push(at(ns, in_vxlan(VNIS[0], &packet.bytes)));
        seen.push(at(ns + LATER_NS, in_vxlan(VNIS[1], &a_hop_further(&packet.bytes))));
    }
    seen
}

fn account(store: &str, more: &[&str]) -> (Value, i32) {
    let output = run(["extract", "--store", store, "--count", "--json"].iter().chain(more));
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code().expect("a status"))
}

#[test]
fn a_conversation_mirrored_at_both_ends_is_answered_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (store, plain, capture, out) =
        (path("store").display().to_string(), path("plain.pcap"), path("capture.pcap"), path("out.pcap"));
    let sent = sent();
    std::fs::write(&plain, write_pcap(1, &sent)).expect("written");
    std::fs::write(&capture, write_pcap(1, &mirrored(&sent))).expect("written");
    import(Path::new(&store), &[&capture]);

    for filter in ["", "tcp", "udp and greater 100", "not port 443"] {
        let truth = tcpdump(&plain, filter).expect("an expression");
        let file = out.display().to_string();
        let arguments = ["extract", "--store", &store, "--filter", filter, "--decapsulate"];
        let output = run(arguments.iter().copied().chain(["--dedup", "5ms", "-o", &file]));
        assert_eq!(output.status.code(), Some(0));
        assert_same(&read_pcap(&std::fs::read(&out).expect("an answer")), &truth, filter);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let wanted = format!("{} duplicates within 5ms left out; they are still in the store", truth.len());
        assert!(said.contains(&wanted), "{said}");

        let wanted = truth.len() as u64;
        for more in [&[][..], &["--no-index"]] {
            let (both, _) = account(&store, &[&["--filter", filter], more].concat());
            let (once, status) = account(&store, &[&["--filter", filter, "--dedup", "5ms"], more].concat());
            assert_eq!((&both["packets"], &both["duplicates_dropped"]), (&(2 * wanted).into(), &0.into()));
            assert_eq!((&once["packets"], &once["duplicates_dropped"]), (&wanted.into(), &wanted.into()));
            assert_eq!(status, 0, "an answer without duplicates is complete");
        }
        // A window too short for the way, and one mirror alone.
        assert_eq!(account(&store, &["--filter", filter, "--dedup", "100us"]).0["packets"], 2 * wanted);
        let (one, _) = account(&store, &["--filter", filter, "--dedup", "5ms", "--vni", "20"]);
        assert_eq!((&one["packets"], &one["duplicates_dropped"]), (&wanted.into(), &0.into()));
    }
}

#[test]
fn the_window_has_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("capture.pcap"));
    std::fs::write(&capture, write_pcap(1, &sent()[..3])).expect("written");
    import(&store, &[&capture]);
    let store = store.display().to_string();
    for window in ["0s", "11s", "-5ms", "5", "soon"] {
        let output = run(["extract", "--store", &store, "--count", "--dedup", window]);
        assert_eq!(output.status.code(), Some(2), "{window}");
    }
    assert_eq!(done(["extract", "--store", &store, "--count", "--dedup", "10s"]), b"3\n");
    let file = folder.path().join("out.pcapng").display().to_string();
    done(["extract", "--store", &store, "--dedup", "1ns", "-o", &file]);
    let written = String::from_utf8_lossy(&std::fs::read(&file).expect("an answer")).into_owned();
    assert!(written.contains("0 duplicates within 1ns left out"), "the comment at the end");
}
