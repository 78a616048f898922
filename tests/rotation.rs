//! The budget is a hard ceiling, and what goes is the oldest.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::roundtrip::segments;
use crate::support::link::{Link, count_in_logbook};
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::{done, may_make_namespaces, run};

const MIB: u64 = 1 << 20;

/// What a folder takes on the disk, as du(1) says.
fn disk_bytes(folder: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(folder).output().expect("du runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

fn packets(count: u32, seconds: u32) -> Vec<Packet> {
    let mut frames =
        netrewind_workloads::Workload::named("imix").expect("a workload").frames(u64::from(seconds));
    (0..count)
        .map(|i| {
            let bytes = frames.next_frame().to_vec();
            Packet { seconds, nanoseconds: i, len: bytes.len() as u32, bytes }
        })
        .collect()
}

#[test]
fn a_recorder_keeps_to_its_budget_all_the_time() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (folder.path().join("store"), folder.path().join("load.pcap"));
    std::fs::write(&capture, write_pcap(1, &packets(20_000, 1))).expect("written");
    let link = Link::new();
    let budget = 40 * MIB;
    let recording = link.record(&store, &["--segment-bytes", "4MiB", "--budget", "40MiB"]);
    let mut sender = link.send_forever(&capture, &["--mbps=500"]);
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        most = most.max(disk_bytes(&store));
        std::thread::sleep(Duration::from_millis(20));
    }
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    let account = recording.stop();
    most = most.max(disk_bytes(&store));
    // Directories count in du, and hold no packets: one block each.
    assert!(most <= budget + 64 * 1024, "{most} bytes of {budget}");
    assert!(most > budget / 2, "the budget is used: {most} bytes of {budget}");
    let expired = count_in_logbook(&store, "\"event\":\"expire\"");
    assert!(expired > 5, "{expired} expired");
    let written = account["written"].as_u64().expect("a number");
    let kept: usize =
        segments(&store).iter().map(|s| read_pcap(&std::fs::read(s).expect("a segment")).len()).sum();
    assert!((kept as u64) < written);
    // What is kept is the end of the recording, without a hole.
    let first_kept = read_pcap(&std::fs::read(&segments(&store)[0]).expect("a segment"))[0].at_ns();
    let output = run(["extract", "--store", &store.display().to_string(), "--from", "1h ago", "--count"]);
    assert_eq!(output.status.code(), Some(1), "what is no longer kept is told");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no longer kept"));
    assert!(first_kept > 0);
    done(["verify", "--store", &store.display().to_string()]);
}

#[test]
fn wrong_clocks_in_packets_do_not_decide_what_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let store_text = store.display().to_string();
    // The first file is of the year 2099, the last one of 1970.
    for (name, seconds) in [("future", 4_070_908_800), ("now", 1_795_000_000), ("past", 5)] {
        let capture = folder.path().join(name);
        std::fs::write(&capture, write_pcap(1, &packets(20_000, seconds))).expect("written");
        let options = ["--segment-bytes", "4MiB", "--budget", "20MiB"];
        let capture = capture.display().to_string();
        done(["import", "--store", &store_text].into_iter().chain(options).chain([capture.as_str()]));
    }
    assert!(disk_bytes(&store) <= 20 * MIB + 64 * 1024);
    let kept: Vec<u32> = segments(&store)
        .iter()
        .map(|segment| read_pcap(&std::fs::read(segment).expect("a segment"))[0].seconds)
        .collect();
    assert_eq!(kept.last(), Some(&5));
    assert!(!kept.contains(&4_070_908_800), "the oldest went, whatever its packets say: {kept:?}");
}
