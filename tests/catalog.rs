//! The catalog answers for flows whose packets are gone what the indexes answered while they were there.

use std::cell::Cell;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use netrewind_catalog_tantivy::TantivyCatalog;
use netrewind_extractor::flows::{FlowQuery, SummaryQuery};
use netrewind_extractor::{Control, Extractor, NoControl, Options, Query};
use netrewind_store::Store;
use serde_json::Value;

use crate::support::packets::{Packet, assert_same as assert_same_packets, read_pcap, write_pcap};
use crate::support::service::Service;
use crate::support::{captures, done, import, netrewind, run, seed};

/// The first packet: at the full hour.
const START: u32 = 1_795_338_000;
const HOUR_SECONDS: u32 = 3600;
const SEGMENT_SECONDS: u32 = 600;
const ETHERNET: u32 = 1;

/// Questions about flows, all with one answer from indexes and from the catalog.
const QUESTIONS: [&[&str]; 22] = [
    &[],
    &["--limit", "25"],
    &["--sort", "packets", "--limit", "1000"],
    &["--sort", "duration", "--limit", "40"],
    &["--top", "hosts", "--limit", "9"],
    &["--top", "ports", "--limit", "1000"],
    &["--top", "apps", "--limit", "20"],
    &["--sort", "start", "--limit", "7"],
    &["--sort", "packets", "--limit", "100000"],
    &["--filter", "tcp"],
    &["--filter", "udp port 53 or icmp"],
    &["--filter", "src net 10.0.0.0/9"],
    &["--filter", "not host 10.0.0.3 and portrange 1000-30000"],
    &["--query", "dns:example.com"],
    &["--query", "host:\"10.0.0.0/30\" AND NOT protocol:udp"],
    &["--query", "bytes:>400 AND (port:53 OR state:finished)"],
    &["--query", "NOT app:dns AND packets:[2 TO 9]"],
    &["--query", "dns:com AND server_port:53", "--filter", "udp"],
    &["--query", "duration:>30s OR retransmissions:>0"],
    &["--top", "hosts"],
    &["--top", "ports", "--filter", "tcp"],
    &["--top", "apps"],
];

fn frame(ends: [(u8, u16); 2], tcp_flags: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let header = if tcp_flags.is_some() { 20 } else { 8 };
    let total = u16::try_from(20 + header + payload.len()).expect("a short packet");
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, if tcp_flags.is_some() { 6 } else { 17 }, 0, 0]);
    ends.iter().for_each(|(host, _)| frame.extend([10, 0, 0, *host]));
    ends.iter().for_each(|(_, port)| frame.extend(port.to_be_bytes()));
    match tcp_flags {
        Some(flags) => frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0]),
        None => frame.extend([&(total - 20).to_be_bytes()[..], &[0, 0]].concat()),
    }
    frame.extend(payload);
    frame
}

/// A question for the address of a name (RFC 1035).
fn dns_question(name: &str) -> Vec<u8> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

/// Conversations over some hours: short ones and long ones, some of which end and begin anew with the same ports, some of
/// which pause.
pub fn packets(rng: &mut Rng, hours: u32) -> Vec<Packet> {
    packets_between(rng, hours, 200 * hours, 14, [1..12, 100..200], 1024..1060)
}

/// Likewise so many conversations of less than so many packets, of these clients and servers, and ports of clients.
pub fn packets_between(
    rng: &mut Rng,
    hours: u32,
    conversations: u32,
    packets_end: u32,
    [clients, servers]: [Range<u8>; 2],
    ports: Range<u16>,
) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut push = |at_ms: u64, bytes: Vec<u8>, rng: &mut Rng| {
        if at_ms < u64::from(hours * HOUR_SECONDS) * 1000 {
            let (seconds, nanoseconds) =
                ((at_ms / 1000) as u32, (at_ms % 1000) as u32 * 1_000_000 + rng.u32(..1_000_000));
            packets.push(Packet { seconds: START + seconds, nanoseconds, len: bytes.len() as u32, bytes });
        }
    };
    for _ in 0..conversations {
        let client = (rng.u8(clients.clone()), rng.u16(ports.clone()));
        let server = (rng.u8(servers.clone()), [443, 22, 8080][rng.usize(..3)]);
        let mut at = u64::from(rng.u32(..hours * HOUR_SECONDS)) * 1000;
        if rng.bool() {
            let name = ["example.com", "www.example.com", "example.org", "a.b.c.net"][rng.usize(..4)];
            push(at, frame([client, (server.0, 53)], None, &dns_question(name)), rng);
            push(at + 20, frame([(server.0, 53), client], None, &[0; 60]), rng);
            continue;
        }
        let count = rng.u32(1..packets_end);
        for number in 0..count {
            let flags = match (number, count - number) {
                (0, _) if rng.u32(..10) > 0 => 0x02,
                (1, _) => 0x12,
                (_, 2 | 1) if rng.u32(..4) > 0 => 0x11,
                _ => 0x10,
            };
            let ends = if number % 2 == 0 { [client, server] } else { [server, client] };
            push(at, frame(ends, Some(flags), &[0; 100][..rng.usize(..100)]), rng);
            at += [20, 1000, 30_000, 100_000, 250_000, 400_000][rng.usize(..6)];
        }
    }
    packets.sort_by_key(|packet| (packet.seconds, packet.nanoseconds));
    packets
}

/// A store whose segments were opened when their packets came.
pub fn recorded(folder: &Path, packets: &[Packet]) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    let store = folder.join("store");
    let file = folder.join("capture.pcap");
    for part in
        packets.chunk_by(|one, other| one.seconds / SEGMENT_SECONDS == other.seconds / SEGMENT_SECONDS)
    {
        std::fs::write(&file, write_pcap(ETHERNET, part)).expect("a capture");
        import(&store, &[&file]);
        let Packet { seconds, nanoseconds, .. } = part[0];
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        rename_newest(&store, &format!("{hour:02}{minute:02}{second:02}.{nanoseconds:09}Z-0"));
    }
    // It knows the segments by their old names.
    std::fs::remove_dir_all(store.join("logbook")).expect("removed");
    std::fs::create_dir(store.join("logbook")).expect("a folder");
    let note = r#"{"event":"note","lane":0,"text":"","at":"2026-11-22T00:00:00.000000000Z"}"#;
    std::fs::write(store.join("logbook/2026-11-22.jsonl"), format!("{note}\n")).expect("written");
    store
}

/// Gives the segment that was imported last another name, on the day of the first packet.
fn rename_newest(store: &Path, stem: &str) {
    let day = store.join("segments").join("2026-11-22");
    std::fs::create_dir_all(&day).expect("a folder");
    let newest = segments(store)
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).and_then(|file| file.modified()).expect("a time"));
    let newest = newest.expect("a segment");
    for extension in ["idx", "pcap"] {
        std::fs::rename(newest.with_extension(extension), day.join(format!("{stem}.{extension}")))
            .expect("renamed");
    }
}

/// The segments of a store, the oldest first.
fn segments(store: &Path) -> Vec<PathBuf> {
    let mut found = crate::support::files_below(&store.join("segments"));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    found.sort_unstable();
    found
}

fn expire(store: &Path, count: usize) {
    for segment in segments(store).into_iter().take(count) {
        std::fs::remove_file(segment.with_extension("idx")).expect("an index");
        std::fs::remove_file(segment).expect("a segment");
    }
}

pub fn catalogue(store: &Path) {
    let store = store.display().to_string();
    done(["index", "--store", &store, "--catalog", "--current-hour"]);
}

/// What is listed, and what is said of it.
fn flows(store: &Path, question: &[&str]) -> (String, String) {
    let store = store.display().to_string();
    let mut arguments = vec!["flows", "--store", &store, "--format", "json"];
    if !question.contains(&"--limit") {
        arguments.extend(["--limit", "5000"]);
    }
    arguments.extend(question);
    let output = run(&arguments);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (listed, said) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{question:?}: {said}");
    (listed, said)
}

fn answers(store: &Path) -> Vec<String> {
    QUESTIONS.iter().map(|question| flows(store, question).0).collect()
}

fn assert_same(found: &[String], wanted: &[String], what: &str) {
    for ((question, found), wanted) in QUESTIONS.iter().zip(found).zip(wanted) {
        assert_same_lines(found, wanted, &format!("{what}: {question:?}"));
    }
}

fn assert_same_lines(found: &str, wanted: &str, what: &str) {
    let difference = || {
        let lacking: Vec<_> = wanted.lines().filter(|line| !found.contains(line)).take(2).collect();
        let odd: Vec<_> = found.lines().filter(|line| !wanted.contains(line)).take(2).collect();
        let (has, of) = (found.lines().count(), wanted.lines().count());
        format!("has {has} of {of} lines, lacks {lacking:#?}\nhas instead {odd:#?}")
    };
    assert!(found == wanted, "{what} {}", difference());
}

#[test]
fn what_has_expired_is_answered_as_before() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 3));
    let before = answers(&store);
    for (question, answer) in QUESTIONS.iter().zip(&before) {
        assert!(answer.lines().count() > 1, "{question:?} finds nothing");
    }
    catalogue(&store);
    assert_same(&answers(&store), &before, "with a catalog beside all packets");
    let said = flows(&store, &[]).1;
    assert!(!said.contains("catalog"), "{said}");
    // The first hour whole, the second in part, everything.
    for count in [6, 3, segments(&store).len()] {
        expire(&store, count);
        assert_same(&answers(&store), &before, "from the catalog");
        let said = flows(&store, &[]).1;
        assert!(said.lines().any(|line| line.starts_with("complete: ")), "{said}");
        assert!(said.contains("come from the catalog"), "{said}");
    }
    let listed = flows(&store, &["--limit", "1"]).0;
    let id = serde_json::from_str::<Value>(&listed).expect("JSON")["id"].as_str().expect("an id").to_owned();
    let service = Service::of(&store.display().to_string());
    let found = service.get(&format!("/api/v1/flows/{id}"));
    assert_eq!((found.status, found.json()["id"].as_str()), (200, Some(id.as_str())), "{:?}", found.json());
}

/// Where some of a conversation's packets have expired, by its id and by a search those are handed over that are kept: also of
/// segments that the catalog's hour stands for.
#[test]
fn of_a_conversation_what_is_kept_is_handed_over() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    // Most go on for hours, and begin anew between the same ends.
    let sent = packets_between(&mut rng, 3, 60, 120, [1..4, 100..103], 1024..1030);
    let store = recorded(folder.path(), &sent);
    let packets_of = |how: &[&str]| {
        let store = store.display().to_string();
        let output = run([&["extract", "--store", &store, "-q", "-o", "-"][..], how].concat());
        assert!(matches!(output.status.code(), Some(0 | 1)), "{how:?}: {output:?}");
        read_pcap(&output.stdout)
    };
    let ids: Vec<String> = flows(&store, &["--sort", "duration", "--limit", "150"])
        .0
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let searches = ["packets:>20", "host:10.0.0.2 AND packets:>3"];
    let before: Vec<_> = ids.iter().map(|id| packets_of(&["--flow", id])).collect();
    let found: Vec<_> = searches.iter().map(|search| packets_of(&["--query", search])).collect();
    assert!(
        before.iter().all(|packets| !packets.is_empty()) && found.iter().any(|packets| !packets.is_empty())
    );
    catalogue(&store);
    // The first hour whole, the second in part.
    expire(&store, 9);
    // A stretch without packets has no segment.
    let mut kept_segments =
        sent.chunk_by(|one, other| one.seconds / SEGMENT_SECONDS == other.seconds / SEGMENT_SECONDS).skip(9);
    let kept_from = kept_segments.next().expect("a segment")[0].seconds;
    let kept = |packets: &[Packet]| -> Vec<Packet> {
        packets.iter().filter(|packet| packet.seconds >= kept_from).cloned().collect()
    };
    let mut divided = 0;
    for (id, packets) in ids.iter().zip(&before) {
        let wanted = kept(packets);
        divided += usize::from(!wanted.is_empty() && wanted.len() < packets.len());
        assert_same_packets(&packets_of(&["--flow", id]), &wanted, id);
        let output = run(["extract", "--store", &store.display().to_string(), "--flow", id, "--count"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_whole = wanted.len() == packets.len();
        assert_eq!(output.status.code(), Some(i32::from(!is_whole)), "{id}: {said}");
        assert_eq!(said.contains("no longer kept: "), !is_whole, "{id}: {said}");
    }
    assert!(divided > 0, "some conversations have packets before and behind");
    for (search, packets) in searches.iter().zip(&found) {
        let wanted = kept(packets);
        assert_same_packets(&packets_of(&["--query", search]), &wanted, search);
        let count = run(["extract", "--store", &store.display().to_string(), "--query", search, "--count"]);
        assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), wanted.len().to_string(), "{search}");
    }
}

/// What ranges add up to, and their first flows by each order: all, hours, what begins and ends within hours, and what lies at
/// their edges.
fn sums(store: &Path) -> Vec<Value> {
    let service = Service::of(&store.display().to_string());
    let ranges = [(0, 0), (0, 3600), (3600, 7200), (3599, 7201), (1800, 9000), (0, 10_800), (7000, 18_000)];
    let range_of = |(from, to): (u32, u32)| match to {
        0 => String::new(),
        to => format!("&from={}&to={}", START + from, START + to),
    };
    let ask = |question: String| {
        let found = service.get(&format!("/api/v1/{question}"));
        assert_eq!(found.status, 200, "{:?}", found.json());
        let mut found = found.json();
        // How it was found out, and from when on packets are kept.
        for member in ["work", "completeness"] {
            found.as_object_mut().expect("an object").remove(member);
        }
        found
    };
    let of_range = |range| {
        let summary = format!("summary?buckets=100&top=30{range}");
        let lists = ["bytes", "packets", "start", "duration"];
        let lists = lists.map(|sort| format!("flows?sort={sort}&limit=40{range}"));
        [summary].into_iter().chain(lists)
    };
    ranges.into_iter().map(range_of).flat_map(of_range).map(ask).collect()
}

/// The files of the catalog with this name, by their hours.
fn of_catalog(store: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = crate::support::files_below(&store.join("catalog"));
    found.retain(|path| path.file_name().is_some_and(|found| found == name));
    found.sort_unstable();
    found
}

fn assert_same_sums(store: &Path, wanted: &[Value], what: &str) {
    for (number, (found, wanted)) in sums(store).iter().zip(wanted).enumerate() {
        assert_eq!(found, wanted, "{what}: answer {number}");
    }
}

fn damage(path: &Path, rng: &mut Rng) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = rng.usize(..bytes.len());
    bytes[at] ^= 1 << rng.u8(..8);
    // Maps of the file stay as they are: another takes its place.
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, &bytes).expect("written");
}

/// What is verified to be wrong.
fn verified(store: &Path) -> (Option<i32>, String) {
    let output = run(["verify", "--store", &store.display().to_string()]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn what_hours_add_up_to_is_what_their_packets_do() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    // Of the second kind many begin anew between the same ends; of the third most go on for hours.
    let few = || [1..4, 100..103];
    let kinds = [
        packets(&mut rng, 5),
        packets_between(&mut rng, 5, 1000, 14, few(), 1024..1032),
        packets_between(&mut rng, 5, 200, 120, few(), 1024..1040),
    ];
    for (number, packets) in kinds.iter().enumerate() {
        let store = recorded(&folder.path().join(number.to_string()), packets);
        let before = sums(&store);
        assert!(before[0]["totals"]["packets"].as_u64().expect("a number") > 1000, "{}", before[0]["totals"]);
        catalogue(&store);
        let (rollups, seams) = (of_catalog(&store, "rollup"), of_catalog(&store, "seam"));
        assert_eq!((rollups.len(), seams.len()), (5, 4));
        assert_same_sums(&store, &before, "with rollups");
        assert_eq!(verified(&store).0, Some(0));
        // What is missing or damaged is none.
        std::fs::remove_file(&seams[1]).expect("a seam");
        damage(&seams[3], &mut rng);
        assert_same_sums(&store, &before, "without some seams");
        let (status, said) = verified(&store);
        assert_eq!((status, said.matches("its boundary with").count()), (Some(1), 2), "{said}");
        catalogue(&store);
        assert!(seams[1].exists(), "what is missing is made again");
        damage(&rollups[1], &mut rng);
        let bytes = std::fs::read(&rollups[2]).expect("a rollup");
        std::fs::remove_file(&rollups[2]).expect("removed");
        std::fs::write(&rollups[2], &bytes[..rng.usize(..bytes.len())]).expect("written");
        assert_same_sums(&store, &before, "with damaged rollups");
        let (status, said) = verified(&store);
        assert_eq!((status, said.matches("/rollup: ").count()), (Some(1), 2), "{said}");
        done(["index", "--store", &store.display().to_string(), "--catalog", "--current-hour", "--rebuild"]);
        assert_eq!(verified(&store).0, Some(0));
        // The first hours whole, one in part, and all of them.
        for count in [13, 6, segments(&store).len() - 19] {
            expire(&store, count);
            // Records count whole where they reach beyond a range: this is of all packets.
            for (found, wanted) in sums(&store).iter().zip(&before).take(5) {
                assert_eq!(found, wanted, "of what has expired");
            }
        }
    }
}

/// Shortens a file when it is asked for the `at`th time whether to give up.
struct Shortens<'f> {
    file: &'f Path,
    at: u32,
    asked: Cell<u32>,
}

impl Control for Shortens<'_> {
    fn cancelled(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() == self.at {
            let file = std::fs::OpenOptions::new().write(true).open(self.file).expect("a file");
            file.set_len(100).expect("shortened");
        }
        false
    }
}

/// A summary and a list of everything, but for how they were found out; and whether they say that sums could not be read.
fn summary_and_list(extractor: &Extractor, query: &Query, control: &mut dyn Control) -> (Value, bool) {
    let summary = extractor.summary(query, &SummaryQuery::default(), control).expect("a summary");
    let list = extractor.flows(query, &FlowQuery::default(), control).expect("a list");
    let damaged = summary.completeness.damaged.iter().chain(&list.completeness.damaged);
    let is_told = damaged.filter(|damage| damage.is_needed).count() > 0;
    let mut answers =
        [serde_json::to_value(summary), serde_json::to_value(list)].map(|json| json.expect("JSON"));
    for answer in &mut answers {
        for member in ["work", "completeness"] {
            answer.as_object_mut().expect("an object").remove(member);
        }
    }
    (Value::from(answers.to_vec()), is_told)
}

/// Whenever sums are cut short: before they are opened, records are read instead; afterwards, the answer says so.
#[test]
fn sums_that_are_shortened_while_they_are_read_are_told_of() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let path = recorded(folder.path(), &packets(&mut rng, 3));
    catalogue(&path);
    let store = Store::open_to_read(&path).expect("a store");
    let options = Options { catalog: Some(Arc::new(TantivyCatalog)), ..Options::default() };
    let extractor = Extractor::new(store, options);
    let (wanted, is_told) = summary_and_list(&extractor, &Query::default(), &mut NoControl);
    assert!(!is_told);
    for file in [of_catalog(&path, "rollup").remove(1), of_catalog(&path, "seam").remove(0)] {
        let bytes = std::fs::read(&file).expect("sums");
        let mut told = 0;
        for at in 1.. {
            let mut control = Shortens { file: &file, at, asked: Cell::new(0) };
            let (found, is_told) = summary_and_list(&extractor, &Query::default(), &mut control);
            assert!(is_told || found == wanted, "{} shortened at {at}: {found}", file.display());
            told += u32::from(is_told);
            // Maps of the file stay as they are: another takes its place.
            std::fs::remove_file(&file).expect("removed");
            std::fs::write(&file, &bytes).expect("written");
            if control.asked.get() < at {
                break;
            }
        }
        assert!(told > 0, "{} was never shortened while it was read", file.display());
    }
}

/// Hours that are added up between segments that come in pieces, or whose packets are counted by shares, are what segments say.
#[test]
fn ranges_that_begin_and_end_within_hours_are_what_their_packets_are() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let path = recorded(folder.path(), &packets(&mut rng, 4));
    catalogue(&path);
    let extractor = |options| Extractor::new(Store::open_to_read(&path).expect("a store"), options);
    let catalog = Some(Arc::new(TantivyCatalog) as Arc<dyn netrewind_catalog::Catalog>);
    let by_pieces = extractor(Options { catalog, piece_parts: 3, counted_flows: 7, ..Options::default() });
    let plain = extractor(Options::default());
    for _ in 0..12 {
        let ends = [rng.u32(..HOUR_SECONDS), 4 * HOUR_SECONDS - rng.u32(..HOUR_SECONDS)];
        let [from, to] = ends
            .map(|seconds| Some(netrewind_store::Timestamp::new(START + seconds, rng.u32(..1_000_000_000))));
        let query = Query { from, to, ..Query::default() };
        let [(found, _), (wanted, _)] =
            [&by_pieces, &plain].map(|extractor| summary_and_list(extractor, &query, &mut NoControl));
        assert!(found == wanted, "{query:?}: {found}\nnot {wanted}");
    }
}

#[test]
fn an_hour_to_which_something_was_added_stands_for_nothing() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 3));
    catalogue(&store);
    let newest = segments(&store).pop().expect("a segment");
    let old = newest.with_file_name("093456.000000000Z-0.pcap");
    std::fs::copy(&newest, &old).expect("copied");
    catalogue_is_moved_away(&store, sums, "with a stale hour");
}

/// The hour and the conversations listed from it were written by the last program that wrote this version.
#[test]
fn an_hour_of_version_2_is_read_as_it_is() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("indexer/catalog/tantivy/tests/golden");
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut Rng::with_seed(1), 1)[..1]);
    expire(&store, 1);
    let hour = store.join("catalog/2023-11-14T22");
    std::fs::create_dir_all(&hour).expect("a folder");
    for file in crate::support::files_below(&golden.join("hour-2")) {
        std::fs::copy(&file, hour.join(file.file_name().expect("a name"))).expect("copied");
    }
    let wanted = std::fs::read_to_string(golden.join("hour-2-flows.jsonl")).expect("a list");
    let (listed, said) = flows(&store, &["--limit", "20"]);
    assert!(said.contains("20 of 143 conversations"), "{said}");
    assert_same_lines(&listed, &wanted, "an hour of version 2");
}

fn first_lines(text: &str, count: usize) -> String {
    text.split_inclusive('\n').take(count).collect()
}

/// Asks with the catalog and without it, and finds the same.
fn catalogue_is_moved_away(store: &Path, ask: impl Fn(&Path) -> Vec<Value>, what: &str) {
    let with = ask(store);
    std::fs::rename(store.join("catalog"), store.join("moved")).expect("renamed");
    let without = ask(store);
    std::fs::rename(store.join("moved"), store.join("catalog")).expect("renamed");
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without, "{what}");
    }
}

#[test]
fn captures_are_answered_as_before() {
    let mut rng = Rng::with_seed(seed());
    let Some(captures) = captures() else { return };
    let mut compared = 0;
    for _ in 0..40 {
        let file = &captures[rng.usize(..captures.len())];
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        if compared == 8 || std::fs::metadata(file).is_ok_and(|file| file.len() > 4 << 20) {
            continue;
        }
        import(&store, &[file]);
        if segments(&store).is_empty() {
            continue;
        }
        let told = |question: &[&str]| {
            let store = store.display().to_string();
            let fixed = ["flows", "--store", &store, "--format", "json", "--limit", "5000"];
            let output = run(fixed.iter().chain(question));
            let is_approximate = String::from_utf8_lossy(&output.stderr).contains("may include packets");
            (output.stdout, output.status.code(), is_approximate)
        };
        let questions: [&[&str]; 5] = [
            &[],
            &["--filter", "tcp or udp or arp", "--ignore-vlan"],
            &["--query", "bytes:>200"],
            &["--top", "hosts"],
            &["--query", "NOT sni:com"],
        ];
        let before = questions.map(told);
        catalogue(&store);
        expire(&store, usize::MAX);
        for (question, before) in questions.iter().zip(&before) {
            let (found, status, is_approximate) = told(question);
            if is_approximate && question.contains(&"--filter") {
                continue;
            }
            let wanted = String::from_utf8_lossy(&before.0);
            assert_same_lines(
                &String::from_utf8_lossy(&found),
                &wanted,
                &format!("{} {question:?}", file.display()),
            );
            assert_eq!(status, before.1, "{} {question:?}", file.display());
        }
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn a_filter_that_records_cannot_answer_is_approximate_and_never_opens_a_token() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 1));
    let store_text = store.display().to_string();
    let tokens = folder.path().join("tokens.toml").display().to_string();
    let token = |name: &str, filter: &str| {
        let output =
            done(["token", "add", name, "--tokens", &tokens, "--scope", "flows", "--filter", filter]);
        format!("Bearer {}", String::from_utf8(output).expect("text").trim())
    };
    let (udp, long) = (token("udp", "udp"), token("long", "greater 120"));
    let client = token("client", "src net 10.0.0.0/27");
    let service = Service::start(&["serve", "--store", &store_text, "--tokens", &tokens]);
    let ask = |token: &str, target: &str| {
        let stream = service.send("GET", target, &[("Authorization", token)], "");
        let response = crate::support::service::Response::read(stream, false);
        assert_eq!(response.status, 200, "{target}");
        response.json()
    };
    let all = "/api/v1/flows?limit=5000";
    let before = [&udp, &client].map(|token| ask(token, all));
    assert!(before.iter().all(|answer| answer["flows"].as_array().is_some_and(|flows| flows.len() > 5)));
    assert!(ask(&long, all)["totals"]["packets"].as_u64() > Some(0));
    catalogue(&store);
    expire(&store, usize::MAX);
    let lines = |flows: &Value| -> String {
        flows.as_array().expect("a list").iter().map(|flow| format!("{flow}\n")).collect()
    };
    assert_same_lines(&lines(&ask(&udp, all)["flows"]), &lines(&before[0]["flows"]), "a token");
    // Records were joined by the packets of both sides: what is left of one side may make fewer of them.
    let after = ask(&client, all);
    for what in ["packets", "bytes"] {
        assert_eq!(after["totals"][what], before[1]["totals"][what]);
    }
    assert_eq!(after["approximate"], false);
    assert!(
        after["flows"]
            .as_array()
            .is_some_and(|flows| flows.iter().all(|flow| flow["tcp"]["rtt_ns"].is_null()))
    );
    for target in [all.to_owned(), format!("{all}&filter=udp"), format!("{all}&query=bytes:>1")] {
        let told = ask(&long, &target.replace('>', "%3E"));
        for flow in told["flows"].as_array().expect("a list") {
            // Of single packets a record knows the length, and of no others.
            for side in ["client", "server"] {
                let number = |what: &str| flow[format!("{side}_{what}")].as_u64().expect("a number");
                let is_known = number("bytes") >= 120 * number("packets");
                assert!(is_known, "what may not be the token's is told: {flow}");
            }
        }
    }
    let both = ask(&client, &format!("{all}&filter=greater+100"));
    assert_eq!(both["approximate"], true);
    let allowed = lines(&after["flows"]);
    assert!(lines(&both["flows"]).lines().all(|flow| allowed.contains(flow)), "beside a token's filter");
    assert!(both["completeness"]["notes"].to_string().contains("may include packets"), "{both}");
}

#[test]
fn a_recording_writes_the_hours_that_are_over_and_removes_the_oldest() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 2));
    let store_text = store.display().to_string();
    let mut recorder = netrewind()
        .args(["record", "--store", &store_text, "--stdin", "--catalog-max-age", "1s"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("netrewind runs");
    let mut stdin = recorder.stdin.take().expect("a pipe");
    stdin.write_all(&write_pcap(ETHERNET, &packets(&mut rng, 1)[..1])).expect("written");
    let logbook = || {
        let files = crate::support::logbook_days(&store);
        files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect::<String>()
    };
    let begun = Instant::now();
    while !logbook().contains("expire_hour") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", logbook());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stdin);
    assert!(recorder.wait().expect("it ends").success());
    assert_eq!(logbook().matches("\"catalogued\"").count(), 2, "{}", logbook());
    assert!(!store.join("catalog").join("2026-11-22T09").exists());
    assert!(store.join("catalog").join("2026-11-22T10").join("manifest.json").exists());
    let status: Value =
        serde_json::from_slice(&done(["status", "--store", &store_text, "--json"])).expect("JSON");
    assert_eq!((&status["catalog"]["hours"], &status["catalog"]["damaged"]), (&1.into(), &0.into()));
    assert!(status["catalog"]["records"].as_u64() > Some(100), "{status}");
    done(["verify", "--store", &store_text]);
}

#[test]
fn hours_that_are_stale_or_damaged_are_written_again() {
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = recorded(folder.path(), &packets(&mut rng, 1));
    let store_text = store.display().to_string();
    let catalog = store.join("catalog").join("2026-11-22T09");
    let said = |arguments: &[&str]| {
        let output =
            run(["index", "--store", &store_text, "--catalog", "--current-hour"].iter().chain(arguments));
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).expect("text")
    };
    let later = segments(&store).pop().expect("a segment");
    let aside = folder.path().join("aside.pcap");
    std::fs::rename(&later, &aside).expect("moved");
    assert!(said(&[]).contains("1 of 1 hours"), "missing");
    assert!(said(&[]).contains("0 of 1 hours"), "there");
    assert!(said(&["--rebuild"]).contains("1 of 1 hours"), "again");
    std::fs::rename(&aside, &later).expect("moved back");
    assert!(said(&[]).contains("1 of 1 hours"), "stale");
    let whole = flows(&store, &[]).0;
    // What a process that was killed left behind goes.
    let left = store.join("catalog").join(".2026-11-22T10.new");
    std::fs::create_dir(&left).expect("a folder");
    let damage = |extension: &str, change: fn(&mut Vec<u8>)| {
        let file =
            std::fs::read_dir(&catalog).expect("a folder").map(|entry| entry.expect("an entry").path());
        let file = file.into_iter().find(|path| path.to_string_lossy().ends_with(extension)).expect("a file");
        let mut bytes = std::fs::read(&file).expect("bytes");
        change(&mut bytes);
        std::fs::write(&file, bytes).expect("written");
    };
    for (extension, change) in [
        ("manifest.json", (|bytes| bytes.truncate(9)) as fn(&mut Vec<u8>)),
        (".store", |bytes| bytes.truncate(5)),
    ] {
        damage(extension, change);
        assert!(said(&[]).contains("1 of 1 hours"), "{extension}");
        assert!(!left.exists());
    }
    done(["verify", "--store", &store_text]);
    damage(".fast", |bytes| bytes[9] ^= 4);
    let verified = run(["verify", "--store", &store_text]);
    let told = String::from_utf8(verified.stdout).expect("text");
    assert!(verified.status.code() == Some(1) && told.contains("hour 2026-11-22T09"), "{told}");
    assert!(said(&["--rebuild"]).contains("1 of 1 hours"));
    expire(&store, usize::MAX);
    assert_same_lines(&flows(&store, &[]).0, &whole, "from the catalog");
    // Nothing can bring it back: the answer says what is missing.
    damage(".store", |bytes| bytes.truncate(5));
    assert_same_lines(
        &flows(&store, &["--limit", "50"]).0,
        &first_lines(&whole, 50),
        "from what it adds up to",
    );
    let answer = run(["flows", "--store", &store_text, "--from", "2026-11-22T09:00:00Z", "--filter", "tcp"]);
    let told = String::from_utf8(answer.stderr).expect("text");
    assert!(answer.status.code() == Some(1) && told.contains("hour 2026-11-22T09 of the catalog"), "{told}");
}
