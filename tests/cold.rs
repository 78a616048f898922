//! Cold segments: every answer is what it was, before, while and after they are compressed, and through kills.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::hours::{Scene, answers, assert_unchanged};
use crate::roundtrip::segments;
use crate::support::link::Link;
use crate::support::numbered::{self, number_of};
use crate::support::packets::read_pcap;
use crate::support::{captures, done, files_below, import, may_make_namespaces, netrewind, run, seed};

/// Kills of a process that compresses.
const KILLS: usize = 24;

fn of_extension(store: &Path, extension: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.display().to_string().ends_with(extension);
    files_below(&store.join("segments")).into_iter().filter(named).collect()
}

fn cold_files(store: &Path) -> Vec<PathBuf> {
    of_extension(store, ".pcap.zst")
}

fn compress(store: &str) -> String {
    let output = run(["compress", "--store", store]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn every_answer_stays_what_it_was() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let before = answers(&store, &scene.filters);
    let plain: Vec<Vec<u8>> = scene.segments().iter().map(|it| fs::read(it).expect("a segment")).collect();
    let said = compress(&store);
    let cold = cold_files(&path);
    assert!(cold.len() >= 4, "{said}");
    assert_unchanged("cold", &before, &answers(&store, &scene.filters));
    done(["verify", "--store", &store]);
    let aside = |index: &Path| index.with_extension("idx.aside");
    let indexes = of_extension(&path, ".idx");
    indexes.iter().for_each(|it| fs::rename(it, aside(it)).expect("renamed"));
    for filter in &scene.filters {
        let extracted = run(["extract", "--store", &store, "-o", "-", "--filter", filter]);
        indexes.iter().for_each(|it| fs::rename(aside(it), it).expect("renamed"));
        let with_index = run(["extract", "--store", &store, "-o", "-", "--filter", filter]);
        indexes.iter().for_each(|it| fs::rename(it, aside(it)).expect("renamed"));
        assert!(extracted.stdout == with_index.stdout, "without an index: {filter}");
    }
    indexes.iter().for_each(|it| fs::rename(aside(it), it).expect("renamed"));
    // Any program that knows Zstandard gives the segments back.
    for file in &cold {
        let again = Command::new("zstd").args(["-dcq"]).arg(file).output().expect("zstd");
        assert!(again.status.success() && plain.contains(&again.stdout), "{}", file.display());
    }
    // Indexes that are built from cold segments are those that were built from plain ones.
    let indexes = |path: &Path| -> Vec<Vec<u8>> {
        of_extension(path, ".idx").iter().map(|it| fs::read(it).expect("an index")).collect()
    };
    let built = indexes(&path);
    done(["index", "--store", &store, "--rebuild"]);
    assert_eq!(indexes(&path).len(), built.len());
    assert_unchanged("cold, indexed again", &before, &answers(&store, &scene.filters));
    // Once more: there is nothing left to do.
    assert!(compress(&store).contains("0 of"), "compressed twice");
}

#[test]
fn captures_come_back_from_cold_segments() {
    let Some(captures) = captures() else { return };
    let mut chance = Rng::with_seed(seed());
    let (mut compared, mut compressed) = (0, 0);
    for file in captures.iter().filter(|_| chance.u8(..8) == 0) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let text = store.display().to_string();
        import(&store, &[file]);
        let everything = |arguments: &[&str]| {
            let output = run(["extract", "--store", &text, "-o", "-"].iter().chain(arguments));
            (output.status.code(), output.stdout)
        };
        let questions: [&[&str]; 4] =
            [&[], &["--filter", "tcp"], &["--no-index", "--filter", "udp"], &["--filter", "ip[8] > 60"]];
        let before = questions.map(everything);
        compress(&text);
        compressed += cold_files(&store).len();
        for (question, before) in questions.iter().zip(before) {
            assert!(everything(question) == before, "{}: {question:?}", file.display());
        }
        compared += 1;
    }
    eprintln!("{compared} captures, {compressed} cold segments");
    assert!(compressed > 0);
}

#[test]
fn a_kill_while_compressing_costs_nothing() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    let filters: Vec<String> = scene.filters.iter().take(3).cloned().collect();
    let before = answers(&store, &filters);
    let plain: Vec<_> = segments(&path).iter().map(|it| (it.clone(), fs::read(it).expect("read"))).collect();
    let mut chance = Rng::with_seed(seed());
    let mut states = Vec::new();
    for number in 0..KILLS {
        // Segments of before, every other time, so that there is always something to do.
        if number % 2 == 0 {
            for (segment, bytes) in &plain {
                let cold = segment.with_extension("pcap.zst");
                if !segment.exists() {
                    fs::write(segment, bytes).expect("written");
                    if chance.bool() {
                        let _ = fs::remove_file(&cold);
                    }
                }
            }
        }
        let mut child =
            netrewind().args(["compress", "--store", &store]).stderr(Stdio::null()).spawn().expect("started");
        std::thread::sleep(Duration::from_micros(chance.u64(..60_000)));
        child.kill().expect("killed");
        child.wait().expect("a child");
        assert_unchanged(&format!("kill {number}"), &before, &answers(&store, &filters));
        states.push((segments(&path).len(), cold_files(&path).len()));
    }
    compress(&store);
    assert_eq!((of_extension(&path, ".new").len(), segments(&path).len()), (0, 0), "nothing is left behind");
    assert_unchanged("at the end", &before, &answers(&store, &filters));
    done(["verify", "--store", &store]);
    states.sort_unstable();
    states.dedup();
    eprintln!("{KILLS} kills left (plain, cold) segments as {states:?}");
}

/// Completeness of an answer, and its packets.
fn answer(store: &str, arguments: &[&str]) -> (Option<i32>, usize, Value) {
    let output = run(["extract", "--store", store, "-o", "-", "--json"].iter().chain(arguments));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    (output.status.code(), read_pcap(&output.stdout).len(), json)
}

#[test]
fn damage_to_a_cold_segment_is_named_and_the_rest_is_answered() {
    let scene = Scene::new();
    let (store, path) = (scene.store(), PathBuf::from(scene.store()));
    compress(&store);
    let (status, whole, _) = answer(&store, &[]);
    assert_eq!(status, Some(0));
    let file = cold_files(&path).into_iter().max_by_key(|it| fs::metadata(it).expect("a file").len());
    let file = file.expect("a cold segment");
    let bytes = fs::read(&file).expect("read");
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let faults: [(&str, Vec<u8>); 4] = [
        ("a flipped bit", flipped),
        ("cut in the middle", bytes[..middle].to_vec()),
        ("zeros", vec![0; bytes.len()]),
        ("empty", Vec::new()),
    ];
    for (what, damaged) in faults {
        fs::write(&file, damaged).expect("written");
        for arguments in [&[][..], &["--no-index"], &["--filter", "ip"], &["--filter", "ip", "--no-index"]] {
            let (status, packets, json) = answer(&store, arguments);
            let text = json.to_string();
            assert_eq!(status, Some(1), "{what}, {arguments:?}: {text}");
            assert!(packets < whole && (packets > 0), "{what}, {arguments:?}: {packets} of {whole}");
            assert!(text.contains("unreadable"), "{what}, {arguments:?}: {text}");
        }
        let verified = run(["verify", "--store", &store]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        let stem =
            file.file_name().and_then(|name| name.to_str()).and_then(|name| name.split(".pcap").next());
        assert_eq!(verified.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(stem.expect("a name")), "{what}: {said}");
    }
    // The table alone: everything is there, and verify says so.
    let mut table = bytes.clone();
    table[41] ^= 1;
    fs::write(&file, table).expect("written");
    assert_eq!(answer(&store, &[]).1, whole);
    let verified = run(["verify", "--store", &store]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.code() == Some(1) && said.contains("table of frames"), "{said}");
    fs::write(&file, bytes).expect("written");
    done(["verify", "--store", &store]);
}

#[test]
fn a_recorder_compresses_behind_itself() {
    if !may_make_namespaces() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let text = store.display().to_string();
    let capture = numbered::capture(folder.path());
    let link = Link::new();
    let options = ["--segment-bytes", "1MiB", "--budget", "256MiB", "--compress-after", "0s"];
    let recording = link.record(&store, &options);
    let mut sender = link.send_forever(&capture, &["--mbps=30"]);
    let begun = std::time::Instant::now();
    while cold_files(&store).len() < 12 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(200));
        let output = run(["extract", "--store", &text, "-o", "-"]);
        let numbers: Vec<u32> = read_pcap(&output.stdout).iter().map(number_of).collect();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(numbered::first_gap(&numbers), None, "of {}: {said}", numbers.len());
    }
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    recording.stop();
    assert!(cold_files(&store).len() >= 12, "{} are cold", cold_files(&store).len());
    let (status, packets, json) = answer(&text, &[]);
    assert!(status == Some(0) && packets > 10_000, "{packets}: {json}");
    done(["verify", "--store", &text]);
}
