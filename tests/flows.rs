//! Flow records are held against tshark's packets, added up by their ends, and against the counts of extraction.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use serde_json::Value;

use crate::support::packets::{Packet, write_pcap};
use crate::support::{captures, done, import, seed, tcpdump};

/// Captures of one run, and of those that are compared with tshark.
const CAPTURES: usize = 10;
const PACKETS_MAX: u64 = 20_000;
const START: u32 = 1_700_000_000;

fn flows(store: &Path, more: &[&str]) -> Vec<Value> {
    let store = store.display().to_string();
    let fixed = ["flows", "--store", &store, "--limit", "100000", "--format", "json", "--quiet"];
    let lines = String::from_utf8(done(fixed.iter().chain(more))).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(flow: &Value, field: &str) -> u64 {
    flow[field].as_u64().unwrap_or_else(|| panic!("{field} of {flow}"))
}

/// Packets and bytes of all.
fn totals(flows: &[Value]) -> (u64, u64) {
    let sum = |fields: [&str; 2]| flows.iter().flat_map(|flow| fields.map(|field| number(flow, field))).sum();
    (sum(["client_packets", "server_packets"]), sum(["client_bytes", "server_bytes"]))
}

/// Packets and bytes that extraction counts.
fn extracted(store: &Path, more: &[&str]) -> (u64, u64) {
    let store = store.display().to_string();
    let fixed = ["extract", "--store", &store, "--count", "--json"];
    let answer: Value = serde_json::from_slice(&done(fixed.iter().chain(more))).expect("JSON");
    (number(&answer, "packets"), number(&answer, "bytes"))
}

/// Some captures of the corpus, small enough, each in a store of its own.
fn stores(rng: &mut Rng) -> Vec<(tempfile::TempDir, PathBuf, PathBuf)> {
    let Some(captures) = captures() else { return Vec::new() };
    let mut stores = Vec::new();
    for _ in 0..CAPTURES * 20 {
        let file = captures[rng.usize(..captures.len())].clone();
        if stores.len() == CAPTURES || std::fs::metadata(&file).is_ok_and(|file| file.len() > 4 << 20) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        import(&store, &[&file]);
        let store_text = store.display().to_string();
        let status = Command::new(env!("CARGO_BIN_EXE_netrewind"))
            .args(["extract", "--store", &store_text, "--count", "--quiet"])
            .output()
            .expect("netrewind runs");
        let count: u64 = String::from_utf8_lossy(&status.stdout).trim().parse().unwrap_or(0);
        if status.status.success() && (1..PACKETS_MAX).contains(&count) {
            stores.push((folder, store, file));
        }
    }
    stores
}

#[test]
fn records_add_up_to_the_packets_with_and_without_an_index() {
    let mut rng = Rng::with_seed(seed());
    for (_folder, store, file) in stores(&mut rng) {
        let all = flows(&store, &[]);
        assert_eq!(totals(&all), extracted(&store, &[]), "{}", file.display());
        let middle = all[rng.usize(..all.len())]["first"].as_str().expect("a time").to_owned();
        let later = all[rng.usize(..all.len())]["last"].as_str().expect("a time").to_owned();
        // Behind the last packet, where both are of one.
        let (middle, later) = match middle.cmp(&later) {
            Ordering::Less => (middle, later),
            Ordering::Equal => (middle, "2106-01-01".to_owned()),
            Ordering::Greater => (later, middle),
        };
        for filter in ["tcp", "udp or icmp", "greater 200", "not port 53", "tcp[tcpflags] & tcp-syn != 0"] {
            for range in [&[][..], &["--from", &middle], &["--from", &middle, "--to", &later]] {
                let asked: Vec<&str> = ["--filter", filter].iter().chain(range).copied().collect();
                let found = flows(&store, &asked);
                let what = format!("{} {asked:?}", file.display());
                let wanted =
                    if middle > later && range.len() > 2 { (0, 0) } else { extracted(&store, &asked) };
                assert_eq!(totals(&found), wanted, "{what}");
                let scanned: Vec<&str> = asked.iter().chain(&["--no-index"]).copied().collect();
                assert_eq!(found, flows(&store, &scanned), "{what}: with the index and without");
            }
        }
    }
}

/// TCP and UDP conversations as tshark counts them, by their two ends.
type Conversations = BTreeMap<[String; 2], (u64, u64)>;

fn ends(one: String, other: String) -> [String; 2] {
    let mut ends = [one, other];
    ends.sort();
    ends
}

/// `tshark -q -z conv,tcp` numbers streams; here they are added up by their ends, as packets' fields have them.
fn by_tshark(file: &Path, protocol: &str) -> Option<Conversations> {
    let port = |side: &str| format!("{protocol}.{side}port");
    let output = Command::new("tshark")
        .args([
            "-r",
            &file.display().to_string(),
            "-n",
            "-T",
            "fields",
            "-E",
            "occurrence=a",
            "-E",
            "separator=;",
        ])
        .args(["-Y", protocol, "-e", "ip.src", "-e", "ip.dst", "-e", "ipv6.src", "-e", "ipv6.dst"])
        .args(["-e", &port("src"), "-e", &port("dst"), "-e", "frame.len"])
        .output()
        .expect("tshark runs: scripts/install test");
    let mut found = Conversations::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split(';').collect();
        let [v4_source, v4_destination, v6_source, v6_destination, source, destination, len] = fields[..]
        else {
            return None;
        };
        // Several headers of a kind: tunnels, and errors that quote a packet. Those have tests of their own.
        if line.contains(',') || (v4_source.is_empty() == v6_source.is_empty()) {
            return None;
        }
        let end = |v4: &str, v6: &str, port: &str| format!("{v4}{v6} {port}");
        let ends = ends(end(v4_source, v6_source, source), end(v4_destination, v6_destination, destination));
        let count = found.entry(ends).or_default();
        count.0 += 1;
        count.1 += len.parse::<u64>().ok()?;
    }
    Some(found)
}

#[test]
fn conversations_are_those_of_tshark() {
    let mut rng = Rng::with_seed(seed());
    let mut compared = 0;
    for (_folder, store, file) in stores(&mut rng) {
        let all = flows(&store, &[]);
        // Tshark puts fragments together, and looks into what we leave closed.
        if all.iter().any(|flow| flow["fragments"] == true || flow["tunnels"] != Value::Array(Vec::new())) {
            continue;
        }
        for protocol in ["tcp", "udp"] {
            let Some(wanted) = by_tshark(&file, protocol) else { continue };
            // Tshark finds addresses where no filter can look for them, as behind long headers of IEEE 802.11.
            let packets = tcpdump(&file, protocol).map_or(0, |found| found.len() as u64);
            if packets != wanted.values().map(|(packets, _)| packets).sum::<u64>() {
                continue;
            }
            let mut found = Conversations::new();
            for flow in
                all.iter().filter(|flow| flow["protocol"] == protocol && !flow["client"]["port"].is_null())
            {
                let end = |side: &str| {
                    let address = flow[side]["address"].as_str().expect("an address");
                    format!("{address} {}", flow[side]["port"])
                };
                let count = found.entry(ends(end("client"), end("server"))).or_default();
                let (packets, bytes) = totals(std::slice::from_ref(flow));
                *count = (count.0 + packets, count.1 + bytes);
            }
            for (ends, count) in &wanted {
                assert_eq!(found.get(ends), Some(count), "{} {protocol} {ends:?}", file.display());
            }
            compared += wanted.len();
        }
    }
    assert!(compared > 0 || captures().is_none(), "nothing was compared");
}

/// A TCP packet of a conversation between 10.0.0.1 and 10.0.0.2:443.
fn tcp(at_ms: u64, port: u16, forward: bool, flags: u8) -> Packet {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let (hosts, ports) = if forward { ([1, 2], [port, 443]) } else { ([2, 1], [443, port]) };
    bytes.extend_from_slice(&[
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, hosts[0], 10, 0, 0, hosts[1],
    ]);
    ports.iter().for_each(|port| bytes.extend_from_slice(&port.to_be_bytes()));
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    Packet {
        seconds: START + (at_ms / 1000) as u32,
        nanoseconds: (at_ms % 1000) as u32 * 1_000_000,
        len: bytes.len() as u32,
        bytes,
    }
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 4;

/// Imports each list of packets as a segment of its own.
fn store_of(segments: &[Vec<Packet>]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    for (number, packets) in segments.iter().enumerate() {
        let file = folder.path().join(format!("{number}.pcap"));
        std::fs::write(&file, write_pcap(1, packets)).expect("written");
        import(&store, &[&file]);
    }
    (folder, store)
}

#[test]
fn a_conversation_goes_on_in_the_next_segment_until_it_ends_or_falls_silent() {
    let (_folder, store) = store_of(&[
        vec![
            tcp(0, 5000, true, SYN),
            tcp(1, 6000, true, SYN),
            tcp(2, 7000, true, SYN),
            tcp(3, 7000, false, RST),
        ],
        vec![tcp(60_000, 5000, false, SYN_ACK), tcp(60_001, 5000, true, ACK), tcp(61_000, 7000, true, SYN)],
        vec![
            tcp(120_000, 5000, true, FIN_ACK),
            tcp(120_001, 5000, false, FIN_ACK),
            tcp(400_000, 6000, false, ACK),
        ],
    ]);
    let found = flows(&store, &["--sort", "start"]);
    let told: Vec<(u64, u64, u64, &str)> = found
        .iter()
        .map(|flow| {
            let port = flow["client"]["port"].as_u64().expect("a port");
            let (out, back) = (number(flow, "client_packets"), number(flow, "server_packets"));
            (port, out, back, flow["tcp"]["state"].as_str().expect("a state"))
        })
        .collect();
    assert_eq!(
        told,
        [
            (5000, 3, 2, "finished"),
            (6000, 1, 0, "timed_out"),
            (7000, 1, 1, "reset"),
            (7000, 1, 0, "timed_out"),
            (6000, 0, 1, "open"),
        ]
    );
    assert_eq!(found[0]["tcp"]["client_flags"], "FSA");
    assert_eq!(number(&found[0], "segments"), 3);
}

#[test]
fn pages_fit_together_and_lists_add_up() {
    let mut frames =
        netrewind_workloads::Workload::named("imix").expect("a workload").with_alive(200).frames(3);
    let packets: Vec<Packet> = (0..6000u64)
        .map(|n| {
            let bytes = frames.next_frame().to_vec();
            let (seconds, nanoseconds) = (START + (n / 20) as u32, (n % 20) as u32 * 1_000_000);
            Packet { seconds, nanoseconds, len: bytes.len() as u32, bytes }
        })
        .collect();
    let segments: Vec<Vec<Packet>> = packets.chunks(700).map(<[Packet]>::to_vec).collect();
    let (_folder, store) = store_of(&segments);
    let text = store.display().to_string();
    for sort in ["bytes", "packets", "start", "duration"] {
        let whole = flows(&store, &["--sort", sort]);
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let mut arguments =
                vec!["flows", "--store", &text, "--format", "json", "--limit", "97", "--sort", sort];
            let cursor: String;
            if let Some(next) = after {
                cursor = next;
                arguments.extend(["--after", &cursor]);
            }
            let page = crate::support::run(&arguments);
            let lines = String::from_utf8(page.stdout).expect("text");
            paged.extend(lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
            let said = String::from_utf8(page.stderr).expect("text");
            after = said
                .lines()
                .find_map(|line| line.strip_prefix("there are more: continue with --after "))
                .map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, whole, "by {sort}");
    }
    let bytes: u64 = packets.iter().map(|packet| u64::from(packet.len)).sum();
    assert_eq!(totals(&flows(&store, &[])), (6000, bytes));
    for (top, times) in [("hosts", 2), ("ports", 1), ("apps", 1)] {
        let lines =
            done(["flows", "--store", &text, "--top", top, "--limit", "10000", "--format", "json", "-q"]);
        let lines = String::from_utf8(lines).expect("text");
        let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(rows.iter().map(|row| number(row, "bytes")).sum::<u64>(), bytes * times, "{top}");
    }
}
