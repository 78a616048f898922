//! Lists of packets over HTTP: page by page what tcpdump and tshark read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;
use serde_json::Value;

use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::service::{Response, Service};
use crate::support::{captures, done, import, is_left_to_chance, seed, tcpdump};

const LIST: &str = "/api/v1/packets/list";
/// Captures that are compared, and the packets of one of them.
const CAPTURES: usize = 12;
const PACKETS_MAX: usize = 4000;
const CAPTURE_BYTES_MAX: u64 = 2 << 20;
const FILTERS: [&str; 5] = ["", "tcp", "udp or icmp", "greater 200", "not port 53"];

/// All pages of a list.
fn list(service: &Service, query: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("{LIST}?limit={limit}&{query}{cursor}"));
        assert_eq!(page.status, 200, "{query}: {}", String::from_utf8_lossy(&page.body));
        let page = page.json();
        let packets = page["packets"].as_array().expect("packets");
        assert!(packets.len() <= limit);
        rows.extend(packets.iter().cloned());
        let Some(next) = page["next"].as_str() else { return rows };
        assert_eq!(packets.len(), limit, "only the last page is short");
        cursor = format!("&cursor={next}");
    }
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// Nanoseconds of a time such as `2026-11-22T09:31:01.628448290Z`.
fn ns(time: &str) -> u64 {
    let stamp: jiff::Timestamp = time.parse().expect("a time");
    u64::try_from(stamp.as_nanosecond()).expect("not before 1970")
}

fn encoded(filter: &str) -> String {
    filter.replace(' ', "+")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    bytes.iter().for_each(|byte| write!(text, "{byte:02x}").expect("written"));
    text
}

#[test]
fn pages_are_what_tcpdump_reads_packet_by_packet() {
    let mut rng = Rng::with_seed(seed());
    let Some(all) = captures() else { return };
    let (mut compared, mut rows) = (0, 0);
    for _ in 0..CAPTURES * 20 {
        let file = &all[rng.usize(..all.len())];
        let is_small = std::fs::metadata(file).is_ok_and(|file| file.len() <= CAPTURE_BYTES_MAX);
        let Ok(Ok(truth)) = std::panic::catch_unwind(|| tcpdump(file, "")) else { continue };
        if compared == CAPTURES || !is_small || !(1..PACKETS_MAX).contains(&truth.len()) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let whole = folder.path().join("truth.pcap");
        let output = Command::new("tcpdump").args(["--nano", "-w"]).arg(&whole).arg("-r").arg(file).output();
        let said = String::from_utf8_lossy(&output.expect("tcpdump runs").stderr).into_owned();
        if said.contains("different from the type of the first") {
            continue;
        }
        import(&store, &[&whole]);
        let service = Service::of(&store.display().to_string());
        for filter in FILTERS {
            let Ok(mut expected) = tcpdump(&whole, filter) else { continue };
            if is_left_to_chance(&whole, filter) || expected.iter().any(|packet| packet.seconds == u32::MAX) {
                continue;
            }
            expected.sort_by_key(Packet::at_ns);
            let limit = rng.usize(1..400).max(expected.len() / 40);
            let found = list(&service, &format!("view=outer&filter={}", encoded(filter)), limit.min(1000));
            compare(&service, &found, &expected, &format!("{} {filter:?}", file.display()), &mut rng);
            rows += found.len();
        }
        compared += 1;
    }
    eprintln!("{rows} rows of {compared} captures are what tcpdump reads");
    assert!(rows > 0);
}

fn compare(service: &Service, found: &[Value], expected: &[Packet], what: &str, rng: &mut Rng) {
    let told: Vec<_> = found.iter().map(|row| (ns(text(row, "at")), row["length"].as_u64())).collect();
    let wanted: Vec<_> = expected.iter().map(|one| (one.at_ns(), Some(u64::from(one.len)))).collect();
    assert!(told == wanted, "{what}: {} rows, not {}", told.len(), wanted.len());
    for (number, row) in (1..).zip(found) {
        assert_eq!(row["number"].as_u64(), Some(number), "{what}");
        assert!(!text(row, "summary").chars().any(char::is_control), "{what}: {row}");
    }
    for _ in 0..found.len().min(3) {
        let at = rng.usize(..found.len());
        let cursor = text(&found[at], "cursor");
        let page =
            service.get(&format!("{LIST}?view=outer&limit=1&bytes=true&cursor={cursor}{}", filter_of(what)));
        let page = page.json();
        assert_eq!(page["packets"][0]["number"], found[at]["number"], "{what}");
        assert_eq!(text(&page["packets"][0], "bytes"), hexadecimal(&expected[at].bytes), "{what}");
    }
}

/// The filter between the quotes at the end of a description.
fn filter_of(what: &str) -> String {
    let filter = what.rsplit('"').nth(1).unwrap_or_default();
    if filter.is_empty() { String::new() } else { format!("&filter={}", encoded(filter)) }
}

/// Fields of TCP by tshark, by time: ports, numbers, window.
fn by_tshark(file: &Path) -> BTreeMap<u64, Vec<String>> {
    let names =
        ["frame.time_epoch", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.window_size_value", "tcp.len"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", "tcp && !icmp && !icmpv6", "-T", "fields"]);
    names.iter().for_each(|name| _ = command.args(["-e", name]));
    let output = command.output().expect("tshark runs: scripts/install test");
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let (seconds, fraction) = fields[0].split_once('.').unwrap_or((&fields[0], "0"));
        let digits = format!("{fraction:0<9}");
        let at = seconds.parse::<u64>().expect("seconds") * 1_000_000_000
            + digits[..9].parse::<u64>().expect("a fraction");
        found.insert(at, fields);
    }
    found
}

#[test]
fn summaries_of_tcp_say_what_tshark_says() {
    let mut rng = Rng::with_seed(seed());
    let Some(all) = captures() else { return };
    let mut agreed = 0;
    for _ in 0..200 {
        let file = &all[rng.usize(..all.len())];
        if agreed > 2000 || std::fs::metadata(file).is_ok_and(|file| file.len() > 1 << 20) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        import(&store, &[file]);
        let told = by_tshark(file);
        if told.is_empty() {
            continue;
        }
        let service = Service::of(&store.display().to_string());
        let rows = list(&service, "filter=tcp", 1000);
        for row in rows.iter().filter(|row| row["tunnels"].is_null() && row["captured"] == row["length"]) {
            let Some(fields) = told.get(&ns(text(row, "at"))) else { continue };
            // Several headers of a kind, or packets of the same time, are others' matter.
            let is_plain = fields.iter().all(|field| !field.is_empty() && !field.contains(','));
            let ports = [row["source_port"].to_string(), row["destination_port"].to_string()];
            let summary = text(row, "summary");
            if !is_plain || ports != [fields[1].clone(), fields[2].clone()] || !summary.contains(" seq ") {
                continue;
            }
            let says = |words: String| summary.contains(&words);
            let is_said = says(format!(" seq {} ", fields[3])) && says(format!(" win {} ", fields[4]));
            let length = format!(" len {}", fields[5]);
            let is_long = summary.ends_with(&length) || says(format!("{length} "));
            let twins = rows.iter().filter(|other| other["at"] == row["at"]).count();
            assert!((is_said && is_long) || twins > 1, "{}: {fields:?}: {summary}", file.display());
            agreed += 1;
        }
    }
    eprintln!("{agreed} summaries of TCP say what tshark says");
    assert!(agreed > 0);
}

/// Packets of which most are of one instant.
fn crowded(folder: &Path) -> (String, Vec<Packet>) {
    let packet = |number: usize| {
        let client = ([10, 0, 0, 1 + (number % 3) as u8], 4000 + number as u16);
        let at = (1_700_000_000 + if (20..180).contains(&number) { 20 } else { number as u32 }, 7);
        tcp(at, [client, ([10, 0, 9, 9], 80)], (number as u32, 0), 0x02, b"")
    };
    let packets: Vec<Packet> = (0..200).map(packet).collect();
    let capture = folder.join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.join("store").display().to_string();
    done(["import", "--store", &store, &capture.display().to_string()]);
    (store, packets)
}

#[test]
fn pages_part_packets_of_one_instant_and_keep_their_range() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, packets) = crowded(folder.path());
    let service = Service::of(&store);
    let ports = |rows: &[Value]| rows.iter().map(|row| row["source_port"].as_u64()).collect::<Vec<_>>();
    let whole = ports(&list(&service, "", 1000));
    assert_eq!(whole, (0..packets.len()).map(|number| Some(4000 + number as u64)).collect::<Vec<_>>());
    for (query, limit) in
        [("", 1), ("", 7), ("dedup=5ms", 7), ("query=packets:%3E0", 33), ("no_index=true", 50)]
    {
        assert_eq!(ports(&list(&service, query, limit)), whole, "{query}");
    }
    let first = service.get(&format!("{LIST}?limit=30&from=1700000010")).json();
    let next = text(&first, "next").to_owned();
    // The page that follows is of the range that the first one had, and tells what that lacks.
    let second = service.get(&format!("{LIST}?limit=30&from=1700000190&cursor={next}")).json();
    assert_eq!(
        (&second["packets"][0]["number"], &second["packets"][0]["source_port"]),
        (&31.into(), &4040.into())
    );
    assert_eq!(second["completeness"]["covered"], first["completeness"]["covered"]);
    assert_eq!(second["completeness"]["limit_reached"], Value::Null);
    assert!(second["packets"][0]["bytes"].is_null());
    let row = &second["packets"][0];
    assert!(text(row, "summary").starts_with("4040 → 80 [SYN] seq 40 win 65535 len 0"), "{row}");
    for wrong in ["cursor=x", "limit=0", "limit=1001", "bytes=1", "max_packets=1"] {
        assert_eq!(service.get(&format!("{LIST}?{wrong}")).status, 400, "{wrong}");
    }
    let empty = service.get(&format!("{LIST}?filter=udp")).json();
    assert_eq!((&empty["packets"], &empty["next"]), (&Value::Array(Vec::new()), &Value::Null));
}

#[test]
fn the_command_line_writes_the_same_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = crowded(folder.path());
    let filter = ["--filter", "port 4021 or port 4030"];
    let extract = |more: &[&str]| {
        let words = ["extract", "--store", &store, "--quiet"];
        String::from_utf8(done(words.iter().chain(&filter).chain(more))).expect("text")
    };
    let printed = extract(&["--format", "text", "-o", "-"]);
    let service = Service::of(&store);
    let line = |row: &Value| {
        let [at, source, destination] = ["at", "source", "destination"].map(|name| text(row, name));
        let [protocol, summary] = ["protocol", "summary"].map(|name| text(row, name));
        format!("{at}\t{source}\t{destination}\t{protocol}\t{}\t{summary}\n", row["length"])
    };
    let listed: String = list(&service, "filter=port+4021+or+port+4030", 100).iter().map(line).collect();
    assert_eq!(printed, listed);
    assert_eq!(printed.lines().count(), 2);
    let file = folder.path().join("lines.txt").display().to_string();
    extract(&["-o", &file]);
    assert_eq!(std::fs::read_to_string(&file).expect("written"), printed, "by the file's name");
}

#[test]
fn text_is_compressed_for_those_who_accept_it_and_packets_never_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = crowded(folder.path());
    let service = Service::of(&store);
    let get = |target: &str, accepted: &str| {
        Response::read(service.send("GET", target, &[("Accept-Encoding", accepted)], ""), false)
    };
    let plain = service.get(LIST);
    assert_eq!(plain.header("content-encoding"), None);
    for (accepted, encoding) in [("gzip", "gzip"), ("gzip, deflate, br", "br"), ("br;q=0, gzip", "gzip")] {
        let answer = get(LIST, accepted);
        assert_eq!(answer.header("content-encoding"), Some(encoding), "{accepted}");
        assert!(answer.body.len() * 4 < plain.body.len(), "{} of {}", answer.body.len(), plain.body.len());
        assert!(answer.header("vary").is_some_and(|names| names.contains("accept-encoding")));
    }
    let mut text = String::new();
    let zipped = get(LIST, "gzip").body;
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut text).expect("gzip");
    let unzipped: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(unzipped["packets"], plain.json()["packets"]);
    assert_eq!(get("/healthz", "gzip").header("content-encoding"), None, "too short to matter");
    let packets = get("/api/v1/packets", "gzip, br");
    assert_eq!(
        (packets.header("content-encoding"), &packets.body[..4]),
        (None, &[0x4d, 0x3c, 0xb2, 0xa1][..])
    );
}
