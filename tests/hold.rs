//! Holds: what is held outlives the budget, what is not does not, and damage to a hold frees nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::roundtrip::segments;
use crate::support::link::Link;
use crate::support::packets::{Packet, write_pcap};
use crate::support::{done, files_below, logbook_days, may_make_namespaces, run};

const MIB: u64 = 1 << 20;
/// The second of the first imported packets, and the seconds from one import to the next.
const START: u32 = 1_795_000_000;
const STEP: u32 = 1000;
/// Packets of each import.
const PACKETS: u64 = 10_000;

/// Room of every store here, for two imports and some more.
const BUDGET: [&str; 4] = ["--segment-bytes", "4MiB", "--budget", "24MiB"];

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

/// A store that captures of some 7 MB are imported into.
struct Held {
    folder: tempfile::TempDir,
    store: String,
}

impl Held {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store").display().to_string();
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.store).join(name)
    }

    fn import(&self, number: u32) {
        self.import_with(number, &BUDGET);
    }

    fn import_with(&self, number: u32, options: &[&str]) {
        let seconds = START + STEP * number;
        let mut frames =
            netrewind_workloads::Workload::named("imix").expect("a workload").frames(u64::from(number));
        let packet = |i| {
            let bytes = frames.next_frame().to_vec();
            Packet { seconds, nanoseconds: i, len: bytes.len() as u32, bytes }
        };
        let packets: Vec<Packet> = (0..PACKETS as u32).map(packet).collect();
        let capture = self.folder.path().join(format!("{number}.pcap"));
        std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
        let capture = capture.display().to_string();
        // It ends with 1 where some of its own packets have expired already.
        let imported = run(["import", "--store", &self.store].iter().chain(options).chain(&[&capture[..]]));
        assert!(matches!(imported.status.code(), Some(0 | 1)), "{}", said(&imported));
        assert!(disk_bytes(Path::new(&self.store)) <= 24 * MIB + 64 * 1024);
    }

    fn hold(&self, arguments: &[&str]) -> Output {
        let (verb, rest) = arguments.split_first().expect("a verb");
        run(["hold", verb].iter().chain(rest).chain(&["--store", &self.store]))
    }

    /// Holds what was imported with this number.
    fn add(&self, case: &str, number: u32, options: &[&str]) -> Output {
        let (from, to) = range(number);
        self.hold(&[&["add", case, "--from", &from, "--to", &to], options].concat())
    }

    fn list(&self) -> (Option<i32>, Value) {
        let output = self.hold(&["list", "--json"]);
        let code = output.status.code();
        (
            code,
            serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", said(&output))),
        )
    }

    /// How many packets of an import are kept, and what is said of completeness.
    fn count(&self, number: u32) -> (u64, String) {
        let (from, to) = range(number);
        let output = run(["extract", "--store", &self.store, "--count", "--from", &from, "--to", &to]);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (text.parse().expect("a number"), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn segments(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a segment"));
        segments(Path::new(&self.store)).into_iter().map(read).collect()
    }
}

fn range(number: u32) -> (String, String) {
    let from = START + STEP * number;
    (from.to_string(), (from + STEP / 2).to_string())
}

/// What a folder takes on the disk, as du(1) says.
fn disk_bytes(folder: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(folder).output().expect("du runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn what_is_held_outlives_the_budget_until_it_is_released() {
    let held = Held::new();
    held.import(0);
    let before = held.segments();
    let added = held.add("INC-1", 0, &["--note", "a leak", "--by", "ann"]);
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));
    assert!(said(&added).contains(&format!("{} segments are held", before.len())), "{}", said(&added));
    (1..5).for_each(|number| held.import(number));
    let now = held.segments();
    for (path, bytes) in &before {
        assert_eq!(now.get(path), Some(bytes), "{}", path.display());
        assert!(path.with_extension("idx").exists());
    }
    assert_eq!(held.count(0).0, PACKETS);
    assert!(
        held.count(0).1.contains("complete:") && !held.count(0).1.contains("incomplete"),
        "{}",
        held.count(0).1
    );
    let (gone, lines) = held.count(1);
    assert!(
        gone == 0 && lines.contains("no longer kept") && lines.contains("while older segments were held"),
        "{lines}"
    );
    assert_eq!(held.count(4).0, PACKETS, "the youngest is kept as well");

    let (code, list) = held.list();
    let hold = &list["holds"][0];
    assert_eq!((code, hold["case"].as_str(), hold["by"].as_str()), (Some(0), Some("INC-1"), Some("ann")));
    assert_eq!(
        (hold["note"].as_str(), hold["segments"].as_u64()),
        (Some("a leak"), Some(before.len() as u64))
    );
    assert!(hold["gone"].as_array().is_some_and(Vec::is_empty));
    let held_bytes = list["bytes"].as_u64().expect("a number");
    assert!(held_bytes > before.values().map(|bytes| bytes.len() as u64).sum() && held_bytes < 12 * MIB);
    assert_eq!(list["bytes_max"].as_u64(), Some(12 * MIB), "half of the budget");
    let text = said(&held.hold(&["list"]));
    assert!(text.contains("INC-1: 2026-") && text.contains("by ann: a leak"), "{text}");
    let status = run(["status", "--store", &held.store]);
    assert!(said(&status).contains("1 cases"), "{}", said(&status));
    let told = logbook_days(Path::new(&held.store)).iter().any(|day| {
        let text = std::fs::read_to_string(day).expect("lines");
        text.lines().any(|line| line.contains("\"event\":\"expire\"") && line.contains("\"held_bytes\":"))
    });
    assert!(told, "the logbook tells what holds took");
    done(["verify", "--store", &held.store]);

    let released = held.hold(&["release", "INC-1"]);
    assert_eq!(released.status.code(), Some(0), "{}", said(&released));
    assert_eq!(held.count(0).0, PACKETS, "nothing is removed by it");
    (5..8).for_each(|number| held.import(number));
    assert_eq!(held.count(0).0, 0);
    done(["verify", "--store", &held.store]);
}

#[test]
fn what_cannot_be_held_is_refused_with_its_reason() {
    let held = Held::new();
    held.import_with(0, &[&BUDGET[..], &["--hold-budget", "10MiB"]].concat());
    held.import_with(1, &[&BUDGET[..], &["--hold-budget", "10MiB"]].concat());
    assert_eq!(held.add("one", 0, &[]).status.code(), Some(0));
    let long = "x".repeat(65);
    for (output, words) in [
        (held.add("one", 0, &[]), "case one has a hold already"),
        (held.add("two", 1, &[]), "holds take"),
        (held.add("two", 7, &[]), "there is nothing to hold: no packets are kept of 2026-"),
        (
            held.add("two", 0, &["--filter", "port 9 and port 10"]),
            "there is nothing to hold: the filter accepts no packet",
        ),
        (held.add("../two", 0, &[]), "is not the name of a case"),
        (held.add(".two", 0, &[]), "is not the name of a case"),
        (held.add(&long, 0, &[]), "is not the name of a case"),
        (held.add("two", 0, &["--note", &"x".repeat(1001)]), "longer than 1000 characters"),
        (held.add("two", 0, &["--sign", "key.pem"]), "--sign signs the manifest"),
        (held.add("two", 0, &["--filter", "nonsense("]), "nonsense("),
        (held.hold(&["release", "two"]), "there is no hold for a case two; there are one"),
    ] {
        assert_eq!(output.status.code(), Some(2), "{words}: {}", said(&output));
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
    let over = said(&held.add("two", 1, &[]));
    assert!(over.contains(&format!("may take {}", 10 * MIB)) && over.contains("--hold-budget"), "{over}");
    // The same segments again take nothing more.
    assert_eq!(held.add("again", 0, &[]).status.code(), Some(0));
    assert_eq!(held.list().1["holds"].as_array().map(Vec::len), Some(2));
    let cases = held.path("cases");
    let left: Vec<_> =
        std::fs::read_dir(&cases).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("two")), "{left:?}");
    let too_much = [
        "import",
        "--store",
        &held.store,
        "--segment-bytes",
        "4MiB",
        "--budget",
        "24MiB",
        "--hold-budget",
        "23MiB",
    ];
    let refused = run(too_much.iter().chain(&[&held.folder.path().join("0.pcap").display().to_string()[..]]));
    assert!(
        refused.status.code() != Some(0) && said(&refused).contains("let holds take less"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_damaged_hold_frees_nothing_and_says_so() {
    for damage in ["a line", "the head", "the end", "unreadable"] {
        let held = Held::new();
        held.import(0);
        let before = held.segments();
        assert_eq!(held.add("INC-1", 0, &[]).status.code(), Some(0));
        held.import(1);
        let file = held.path("cases").join("INC-1.hold");
        let text = std::fs::read_to_string(&file).expect("a hold");
        let lines: Vec<&str> = text.lines().collect();
        match damage {
            "a line" => std::fs::write(&file, text.replacen("\"segment\":\"2", "\"segment\":\"3", 1))
                .expect("written"),
            "the head" => std::fs::write(&file, text.replacen("INC-1", "INC-2", 1)).expect("written"),
            "the end" => std::fs::write(&file, lines[0]).expect("written"),
            _ => {
                std::fs::remove_file(&file).expect("removed");
                std::fs::create_dir(&file).expect("a folder in its place");
            }
        }
        let found = run(["verify", "--store", &held.store]);
        assert_eq!(found.status.code(), Some(1), "{damage}: {}", said(&found));
        assert!(said(&found).contains("case INC-1: "), "{damage}: {}", said(&found));
        let (code, list) = held.list();
        assert_eq!(
            (code, list["holds"][0]["unreadable"].as_array().map(|list| list.is_empty())),
            (Some(1), Some(false))
        );
        let status = run(["status", "--store", &held.store]);
        assert!(
            said(&status).contains("every segment that it may name is kept"),
            "{damage}: {}",
            said(&status)
        );
        // What was held is kept; the rest of the budget is used on.
        (2..6).for_each(|number| held.import(number));
        let now = held.segments();
        for (path, bytes) in &before {
            assert_eq!(now.get(path), Some(bytes), "{damage}: {}", path.display());
        }
        assert!(held.count(5).0 > PACKETS / 4, "{damage}");
        if damage == "unreadable" {
            std::fs::remove_dir(&file).expect("removed");
        } else {
            assert_eq!(held.hold(&["release", "INC-1"]).status.code(), Some(0), "{damage}");
        }
        (6..9).for_each(|number| held.import(number));
        assert_eq!(held.count(0).0, 0, "{damage}: released");
    }
}

#[test]
fn a_case_of_its_own_packets_equals_the_extraction_and_holds_no_segment() {
    let held = Held::new();
    held.import(0);
    let (from, to) = range(0);
    let key = held.folder.path().join("key.pem").display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out", &key])
        .status();
    assert!(made.expect("openssl runs").success());
    for (case, options) in [
        ("tcp", &["--filter", "tcp", "--note", "why"][..]),
        ("ng", &["--filter", "udp", "--format", "pcapng", "--sign", &key]),
    ] {
        let added = held.add(case, 0, options);
        assert_eq!(added.status.code(), Some(0), "{}", said(&added));
        let format = if case == "ng" { "pcapng" } else { "pcap" };
        let (file, other) = (
            held.path("cases").join(format!("{case}.{format}")),
            held.folder.path().join(format!("x.{format}")),
        );
        done([
            "extract",
            "--store",
            &held.store,
            "--from",
            &from,
            "--to",
            &to,
            "--filter",
            options[1],
            "-o",
            &other.display().to_string(),
        ]);
        assert!(std::fs::read(&file).expect("a file") == std::fs::read(&other).expect("a file"), "{case}");
        let verified = run(["verify", &file.display().to_string()]);
        assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
        let manifest =
            std::fs::read(file.with_extension(format!("{format}.manifest.json"))).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["case"]["name"], case);
    }
    let (code, list) = held.list();
    assert_eq!((code, list["holds"][1]["kind"].as_str()), (Some(0), Some("packets")), "{list}");
    assert!(list["bytes"].as_u64().is_some_and(|bytes| bytes > 3 * MIB), "{list}");
    done(["verify", "--store", &held.store]);
    (1..5).for_each(|number| held.import(number));
    assert_eq!(held.count(0).0, 0, "its segments were not held");
    assert!(held.path("cases/tcp.pcap").exists());
    done(["verify", "--store", &held.store]);
    let bytes = std::fs::read(held.path("cases/tcp.pcap")).expect("a file");
    std::fs::write(held.path("cases/tcp.pcap"), &bytes[1..]).expect("written");
    let found = run(["verify", "--store", &held.store]);
    assert!(
        found.status.code() == Some(1) && said(&found).contains("cases/tcp.pcap: it has changed"),
        "{}",
        said(&found)
    );
    assert_eq!(held.hold(&["release", "tcp"]).status.code(), Some(0));
    assert_eq!(held.hold(&["release", "ng"]).status.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(held.path("cases"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn what_events_touch_becomes_a_case() {
    let held = Held::new();
    held.import(0);
    let log = held.folder.path().join("eve.json");
    let events = done(["flows", "--store", &held.store, "--format", "eve", "--limit", "20"]);
    std::fs::write(&log, &events).expect("written");
    let log = log.display().to_string();
    let hold = ["add", "alerts", "--eve", &log, "--window", "2s"];
    let added = held.hold(&hold);
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));
    let other = held.folder.path().join("x.pcap").display().to_string();
    done(["extract", "--store", &held.store, "--eve", &log, "--window", "2s", "-o", &other]);
    let case = std::fs::read(held.path("cases/alerts.pcap")).expect("a file");
    assert!(case.len() > 5000 && case == std::fs::read(&other).expect("a file"));
    let twice = held.hold(&["add", "both", "--eve", &log, "--from", "1h ago"]);
    assert_eq!(twice.status.code(), Some(2), "{}", said(&twice));
}

#[test]
fn packets_that_have_no_room_are_refused_and_leave_nothing() {
    let held = Held::new();
    (0..3).for_each(|number| held.import_with(number, &[&BUDGET[..], &["--hold-budget", "1MiB"]].concat()));
    let refused = held.add("tcp", 2, &["--filter", "tcp or udp"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("may take 1048576"), "{}", said(&refused));
    held.import_with(3, &[&BUDGET[..], &["--hold-budget", "20MiB"]].concat());
    // Once the store is full, nobody is at work who could make room.
    let mut held_files =
        (0..4).map(|number| held.add(&format!("tcp-{number}"), 3, &["--filter", "tcp or udp"]));
    let refused = held_files.find(|output| output.status.code() != Some(0)).expect("a refusal");
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("no recorder is at work"), "{}", said(&refused));
    assert!(disk_bytes(Path::new(&held.store)) <= 24 * MIB + 64 * 1024);
    assert_eq!(held.list().0, Some(0), "nothing is left unfinished");
    done(["verify", "--store", &held.store]);
}

/// Two lanes record more than the budget has, and are killed and begun again; a hold of what was being written stays.
#[test]
fn a_hold_made_while_recording_survives_rotation_and_kill() {
    if !may_make_namespaces() {
        return;
    }
    let held = Held::new();
    let store = PathBuf::from(&held.store);
    let capture = held.folder.path().join("load.pcap");
    let mut frames = netrewind_workloads::Workload::named("imix").expect("a workload").frames(5);
    let packet = |i| {
        let bytes = frames.next_frame().to_vec();
        Packet { seconds: START, nanoseconds: i, len: bytes.len() as u32, bytes }
    };
    std::fs::write(&capture, write_pcap(1, &(0..20_000).map(packet).collect::<Vec<_>>())).expect("written");
    let link = Link::new();
    let options = ["--segment-bytes", "4MiB", "--budget", "64MiB", "--hold-budget", "32MiB", "--lanes", "2"];
    let recording = link.record(&store, &options);
    let mut sender = link.send_forever(&capture, &["--mbps=200"]);
    std::thread::sleep(Duration::from_millis(700));
    let added = held.hold(&["add", "live", "--from", "200ms ago", "--json"]);
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));
    let hold = std::fs::read_to_string(held.path("cases/live.hold")).expect("a hold");
    let names: Vec<String> = hold
        .lines()
        .skip(1)
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["segment"].as_str().expect("a name").to_owned()
        })
        .collect();
    let lanes: std::collections::BTreeSet<_> =
        names.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(lanes.len(), 2, "of both lanes: {names:?}");
    let count = |what: &str| crate::support::link::count_in_logbook(&store, what);
    let runs_on = |seconds| {
        let (begun, mut most) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(seconds) {
            // What comes and goes while it is counted would be counted twice.
            let (before, bytes) = (files_below(&store), disk_bytes(&store));
            if before == files_below(&store) {
                most = most.max(bytes);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(most > 40 * MIB && most <= 64 * MIB + 128 * 1024, "{most} bytes");
    };
    runs_on(5);
    assert!(count("\"event\":\"expire\"") > 5);
    recording.kill();
    let recording = link.record(&store, &options);
    runs_on(4);
    // While it records, packets can be had out of it, and room is made for them.
    let added = held.hold(&["add", "some", "--from", "500ms ago", "--filter", "tcp"]);
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));
    runs_on(2);
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    recording.stop();
    let path = |name: &String| store.join("segments").join(format!("{name}.pcap"));
    for name in &names {
        assert!(path(name).exists(), "{name} is held");
    }
    let (code, list) = held.list();
    assert_eq!(code, Some(0), "{list}");
    done(["verify", "--store", &held.store]);
    assert_eq!(held.hold(&["release", "live"]).status.code(), Some(0));
    let recording = link.record(&store, &options);
    let mut sender = link.send_forever(&capture, &["--mbps=200"]);
    std::thread::sleep(Duration::from_secs(4));
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    recording.stop();
    assert!(!names.iter().any(|name| path(name).exists()), "released");
}

#[test]
fn a_case_whose_packets_are_gone_is_told_and_can_be_released() {
    let held = Held::new();
    held.import(0);
    assert_eq!(held.add("tcp", 0, &["--filter", "tcp"]).status.code(), Some(0));
    let cases = held.path("cases");
    std::fs::rename(cases.join("tcp.pcap"), cases.join(".tcp.pcap.new")).expect("renamed");
    std::fs::remove_file(cases.join("tcp.pcap.manifest.json")).expect("removed");
    let (code, list) = held.list();
    assert_eq!(code, Some(1), "{list}");
    let unreadable = list["holds"][0]["unreadable"].to_string();
    assert!(
        unreadable.contains("cases/tcp.pcap: it is missing") && unreadable.contains("manifest.json"),
        "{unreadable}"
    );
    let found = run(["verify", "--store", &held.store]);
    assert!(
        found.status.code() == Some(1) && said(&found).contains("cases/tcp.pcap: it is missing"),
        "{}",
        said(&found)
    );
    assert_eq!(held.hold(&["release", "tcp"]).status.code(), Some(0));
    assert!(!cases.join(".tcp.pcap.new").exists(), "the unfinished file goes as well");
    done(["verify", "--store", &held.store]);
}
