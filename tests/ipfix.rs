//! Flow records to a collector: one that reads them by their templates alone, and nfdump.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use netrewind_ipfix::elements::{FIELDS, REVERSE_ENTERPRISE, VARIABLE_LENGTH};
use netrewind_ipfix::message::MESSAGE_BYTES_MAX;
use serde_json::Value;

use crate::catalog::{catalogue, packets, recorded};
use crate::support::packets::{Packet, write_pcap};
use crate::support::{done, logbook_days, netrewind, run, seed};
use crate::tidy::root;

const ETHERNET: u32 = 1;
/// An information element: its number, and the enterprise that it is of.
type ElementId = (u16, Option<u32>);
type DataRecord = BTreeMap<ElementId, Vec<u8>>;

/// A collector that knows what RFC 7011 says, and nothing of netrewind.
#[derive(Default)]
struct Collector {
    templates: BTreeMap<u16, Vec<(ElementId, u16)>>,
    records: Vec<DataRecord>,
    messages: usize,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Collector {
    fn take(&mut self, message: &[u8]) {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        assert_eq!((number(&message[..2]), number(&message[2..4])), (10, message.len() as u64));
        assert_eq!(number(&message[8..12]), self.records.len() as u64, "the sequence number");
        assert_eq!(number(&message[12..16]), 7, "the observation domain");
        self.messages += 1;
        let mut rest = &message[16..];
        while !rest.is_empty() {
            let (id, length) = (number(&rest[..2]) as u16, number(&rest[2..4]) as usize);
            let set = &rest[4..length];
            match id {
                2 => self.take_templates(set),
                id => self.take_records(id, set),
            }
            rest = &rest[length..];
        }
    }

    fn take_templates(&mut self, mut set: &[u8]) {
        while !set.is_empty() {
            let (id, count) = (number(&set[..2]) as u16, number(&set[2..4]));
            set = &set[4..];
            let mut fields = Vec::new();
            for _ in 0..count {
                let (element, length) = (number(&set[..2]) as u16, number(&set[2..4]) as u16);
                set = &set[4..];
                let enterprise = (element & 0x8000 != 0).then(|| number(&set[..4]) as u32);
                set = &set[if enterprise.is_some() { 4 } else { 0 }..];
                fields.push(((element & 0x7fff, enterprise), length));
            }
            self.templates.insert(id, fields);
        }
    }

    fn take_records(&mut self, id: u16, mut set: &[u8]) {
        let fields = self.templates.get(&id).expect("its template came before");
        while !set.is_empty() {
            let mut record = DataRecord::new();
            for &(element, length) in fields {
                let length = match length {
                    VARIABLE_LENGTH => {
                        let length = usize::from(set[0]);
                        set = &set[1..];
                        length
                    }
                    length => usize::from(length),
                };
                record.insert(element, set[..length].to_vec());
                set = &set[length..];
            }
            self.records.push(record);
        }
    }

    fn sum(&self, element: ElementId) -> u64 {
        self.records.iter().map(|record| number(&record[&element])).sum()
    }
}

const OCTETS: ElementId = (1, None);
const PACKETS: ElementId = (2, None);
const REVERSE_OCTETS: ElementId = (1, Some(REVERSE_ENTERPRISE));
const REVERSE_PACKETS: ElementId = (2, Some(REVERSE_ENTERPRISE));

fn flows(store: &Path) -> Vec<Value> {
    let listed = run([
        "flows",
        "--quiet",
        "--format",
        "json",
        "--limit",
        "100000",
        "--store",
        &store.display().to_string(),
    ]);
    let text = String::from_utf8(listed.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Counts both ways, the client's first: packets, bytes.
fn counts(flows: &[Value]) -> [u64; 4] {
    let sum = |name: &str| flows.iter().map(|flow| flow[name].as_u64().expect("a number")).sum();
    ["client_packets", "server_packets", "client_bytes", "server_bytes"].map(sum)
}

fn logbook(store: &Path) -> String {
    logbook_days(store).iter().map(|file| std::fs::read_to_string(file).expect("text")).collect()
}

/// Starts a recording of standard input that sends flows.
fn record(store: &Path, collector: &str, more: &[&str]) -> Child {
    netrewind()
        .args(["record", "--stdin", "--ipfix", collector, "--ipfix-domain", "7", "--store"])
        .arg(store)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs")
}

fn datagrams() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let address = socket.local_addr().expect("an address").to_string();
    (socket, address)
}

/// Takes datagrams until none comes for a while.
fn collect(socket: &UdpSocket) -> Collector {
    let (mut collector, mut buffer) = (Collector::default(), [0; 65_536]);
    while let Ok(length) = socket.recv(&mut buffer) {
        collector.take(&buffer[..length]);
    }
    collector
}

fn small_capture() -> Vec<Packet> {
    packets(&mut Rng::with_seed(seed()), 1)
}

#[test]
fn a_collector_that_knows_only_the_standard_gets_every_conversation_of_a_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let (socket, address) = datagrams();
    let mut recorder = record(&store, &address, &[]);
    let mut stdin = recorder.stdin.take().expect("a pipe");
    stdin.write_all(&write_pcap(ETHERNET, &small_capture())).expect("written");
    drop(stdin);
    let output = recorder.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let collector = collect(&socket);
    // All packets are in one segment, so its conversations are those that are listed.
    let listed = flows(&store);
    assert_eq!(collector.records.len(), listed.len());
    let sums = [PACKETS, REVERSE_PACKETS, OCTETS, REVERSE_OCTETS].map(|element| collector.sum(element));
    assert_eq!(sums, counts(&listed));
    for flow in &listed {
        let ends = [8, 12].map(|id| (id, None));
        let is_it = |record: &&DataRecord| {
            let address = |end: usize| Ipv4Addr::from(number(&record[&ends[end]]) as u32).to_string();
            let text = |name: &str| flow[name]["address"].as_str().expect("an address").to_owned();
            let nanoseconds = number(&record[&(156, None)]);
            let seconds = (nanoseconds >> 32) - 2_208_988_800;
            let fraction = ((nanoseconds & 0xffff_ffff) * 1_000_000_000).div_ceil(1 << 32);
            let first = u64::from_str_radix(&flow["id"].as_str().expect("an id")[..16], 16).expect("an id");
            first == seconds * 1_000_000_000 + fraction
                && (address(0), address(1)) == (text("client"), text("server"))
                && number(&record[&(7, None)]) == flow["client"]["port"].as_u64().unwrap_or(0)
                && number(&record[&(11, None)]) == flow["server"]["port"].as_u64().unwrap_or(0)
        };
        let record = collector.records.iter().find(is_it).unwrap_or_else(|| panic!("{flow}"));
        let protocol = if flow["protocol"] == "tcp" { 6 } else { 17 };
        assert_eq!(number(&record[&(4, None)]), protocol);
        let bits = |end: &str| {
            let letters = flow["tcp"][end].as_str().unwrap_or_default();
            letters.chars().map(|letter| 1 << "FSRPAUEC".find(letter).expect("a flag")).sum::<u64>()
        };
        assert_eq!(number(&record[&(6, None)]), bits("client_flags"));
        assert_eq!(number(&record[&(6, Some(REVERSE_ENTERPRISE))]), bits("server_flags"));
        let application = flow["labels"]["application"].as_str().unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&record[&(96, None)]), application);
    }
    let line = logbook(&store).lines().rfind(|line| line.contains("\"ipfix\"")).expect("a line").to_owned();
    let line: Value = serde_json::from_str(
        line.split(",\"line\":").next().map(|text| format!("{text}}}")).as_deref().expect("a line"),
    )
    .expect("JSON");
    assert_eq!((&line["waiting_segments"], &line["dropped_segments"]), (&0.into(), &0.into()));
}

#[test]
fn a_collector_that_is_away_is_waited_for_and_recording_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    // A port that nobody listens on for now.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut recorder = record(&store, &format!("tcp:{port}"), &["--segment-age", "1s", "--json"]);
    let mut stdin = recorder.stdin.take().expect("a pipe");
    let capture = small_capture();
    let bytes = write_pcap(ETHERNET, &capture);
    let half = bytes.len() / 2;
    stdin.write_all(&bytes[..half]).expect("written");
    let begun = Instant::now();
    while !logbook(&store).contains("refused") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", logbook(&store));
        std::thread::sleep(Duration::from_millis(50));
    }
    let listener = TcpListener::bind(port).expect("the port");
    let collecting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut collector = Collector::default();
        let mut head = [0; 4];
        while stream.read_exact(&mut head).is_ok() {
            let mut message = vec![0; number(&head[2..]) as usize];
            message[..4].copy_from_slice(&head);
            stream.read_exact(&mut message[4..]).expect("a message");
            collector.take(&message);
        }
        collector
    });
    stdin.write_all(&bytes[half..]).expect("written");
    // The wait for a collector is at most some seconds by now.
    let begun = Instant::now();
    while !logbook(&store).lines().any(|line| line.contains("\"ipfix\"") && !line.contains("\"records\":0,"))
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", logbook(&store));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stdin);
    let output = recorder.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let account: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(account["written"], capture.len());
    let collector = collecting.join().expect("a collector");
    let sums = [PACKETS, REVERSE_PACKETS].map(|element| collector.sum(element));
    assert_eq!(sums.iter().sum::<u64>(), capture.len() as u64, "each packet is in a record");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Flows cannot be sent: tcp:127.0.0.1"), "{said}");
}

#[test]
fn flows_that_nobody_takes_are_counted_and_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut recorder = record(&store, &format!("tcp:{port}"), &[]);
    let mut stdin = recorder.stdin.take().expect("a pipe");
    stdin.write_all(&write_pcap(ETHERNET, &small_capture())).expect("written");
    drop(stdin);
    let output = recorder.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the flows of 1 segments were not sent"), "{said}");
    assert!(logbook(&store).contains("\"dropped_segments\":1"), "{}", logbook(&store));
    for wrong in ["nothing", "tcp:host", "host:0"] {
        let output = run(["record", "--stdin", "--store", "x", "--ipfix", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("tcp:HOST:PORT"), "{output:?}");
    }
}

#[test]
fn nfdump_reads_hours_of_the_catalog() {
    if Command::new("nfcapd").arg("-V").output().is_err() {
        eprintln!("skipped: nfdump is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut Rng::with_seed(seed()), 2));
    catalogue(&store);
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let kept = folder.path().join("nfdump");
    std::fs::create_dir(&kept).expect("a folder");
    let mut nfcapd = Command::new("nfcapd")
        .args(["-b", "127.0.0.1", "-t", "60", "-p", &port.to_string(), "-w"])
        .arg(&kept)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nfcapd runs");
    // It says nothing of when it listens; as long as it does not, a datagram is refused.
    let begun = Instant::now();
    let probe = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    probe.connect(("127.0.0.1", port)).expect("connected");
    while probe.send(&[0]).is_err() || {
        std::thread::sleep(Duration::from_millis(100));
        probe.send(&[0]).is_err()
    } {
        assert!(begun.elapsed() < Duration::from_secs(20), "nfcapd does not listen");
    }
    let collector = format!("127.0.0.1:{port}");
    done(["export", "ipfix", "--store", &store.display().to_string(), "--collector", &collector]);
    std::thread::sleep(Duration::from_secs(1));
    assert!(Command::new("kill").arg(nfcapd.id().to_string()).status().expect("kill runs").success());
    nfcapd.wait().expect("it ends");
    let listed = Command::new("nfdump").args(["-o", "json", "-R"]).arg(&kept).output().expect("nfdump runs");
    let found: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let sum = |name: &str| found.iter().map(|flow| flow[name].as_u64().unwrap_or(0)).sum::<u64>();
    let sums = ["in_packets", "out_packets", "in_bytes", "out_bytes"].map(sum);
    let wanted = counts(&flows(&store));
    // Which end is the client may be unknown of a part, so only both ways together are the same.
    assert_eq!(sums[0] + sums[1], wanted[0] + wanted[1]);
    assert_eq!(sums[2] + sums[3], wanted[2] + wanted[3]);
    assert!(found.iter().any(|flow| flow["tcp_flags"] == "...AP.S." || flow["tcp_flags"] == "...A..S."));
}

#[test]
fn the_documentation_has_the_elements_in_their_order() {
    let text = std::fs::read_to_string(root().join("docs/ipfix.md")).expect("a document");
    let table = text.split("| element | number | bytes | |\n").nth(1).expect("a table").lines().skip(1);
    let rows = table.take_while(|line| line.starts_with("| `"));
    let documented: Vec<Vec<String>> = rows
        .map(|line| {
            line.split('|').skip(1).take(3).map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect();
    let fields = FIELDS.iter().map(|field| {
        let number = if field.is_reverse {
            format!("{REVERSE_ENTERPRISE}/{}", field.id)
        } else {
            field.id.to_string()
        };
        let length =
            if field.length == VARIABLE_LENGTH { "variable".to_owned() } else { field.length.to_string() };
        vec![field.name.to_owned(), number, length]
    });
    assert_eq!(documented, fields.collect::<Vec<_>>());
}
