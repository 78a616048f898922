//! A recorder that runs for long, with everything going on at once: nothing is lost, and it does not grow.
//!
//! A few seconds by default. `NETREWIND_SOAK_SECONDS=3600 NETREWIND_SOAK_RATE=200000` is an hour at 200,000 packets a second;
//! `NETREWIND_SOAK_CSV=FILE` keeps the samples.

use std::fmt::Write;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::link::{Link, Recording, count_in_logbook, wait_until};
use crate::support::numbered::{self, distance, number_in, number_of};
use crate::support::packets::read_pcap;
use crate::support::{done, may_make_namespaces, netrewind, run};

const SECONDS: u64 = 12;
/// Packets a second.
const RATE: u64 = 10_000;
/// Descriptors and memory by which the recorder may grow from the second quarter to the last.
const GROWN_DESCRIPTORS_MAX: u64 = 16;
const GROWN_KIB_MAX: u64 = 64 << 10;
/// Interval between samples, extractions and requests.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time before now that is extracted.
const NEWEST: Duration = Duration::from_secs(3);

/// What the recorder's process holds at one moment.
#[derive(Clone, Copy)]
struct Sample {
    seconds: u64,
    anonymous_kib: u64,
    descriptors: u64,
}

impl Sample {
    fn of(process: u32, seconds: u64) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("a process").count();
        Self {
            seconds,
            anonymous_kib: anonymous.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: descriptors as u64,
        }
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn a_recorder_neither_loses_nor_grows() {
    if !may_make_namespaces() {
        return;
    }
    let (seconds, rate) = (setting("NETREWIND_SOAK_SECONDS", SECONDS), setting("NETREWIND_SOAK_RATE", RATE));
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let link = Link::new();
    link.ip(&["link", "set", "lo", "up"]);
    let recording = start(&link, &store);
    let follower = Follower::start(&store);
    let sending = [format!("--pps={rate}"), format!("--duration={seconds}")];
    let sending: Vec<&str> = sending.iter().map(String::as_str).collect();
    let capture = numbered::capture(folder.path());
    let mut sending = link.sending(&capture, &sending);
    let sender = sending.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("tcpreplay runs");
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(INTERVAL);
        samples.push(Sample::of(recording.id(), begun.elapsed().as_secs()));
        if begun.elapsed() > NEWEST + INTERVAL {
            extract_newest(&store);
        }
        ask(&link, "summary?from=-10s");
        ask(&link, "flows?from=-10s&limit=20");
    }
    let sent = sent(sender);
    wait_until("the follower has everything", || follower.given() >= sent);
    let account = recording.stop();
    let written = account["written"].as_u64().expect("a count");
    assert_eq!((account["received"].as_u64(), written), (Some(sent), sent), "{account}");
    assert_eq!(follower.end(), sent, "each packet is given once");
    done(["verify", "--store", &store.display().to_string()]);
    keep(&samples);
    assert_flat(&samples);
    eprintln!(
        "{sent} packets in {seconds} s: all recorded and followed, {} segments expired",
        count_in_logbook(&store, "\"event\":\"expire\"")
    );
}

fn start(link: &Link, store: &Path) -> Recording {
    let mut command = link.inside(env!("CARGO_BIN_EXE_netrewind"));
    command.args(["run", "--json", "--interface", Link::RECORDED, "--listen", "127.0.0.1:8640"]);
    command.args(["--segment-bytes", "4MiB", "--segment-age", "2s", "--budget", "128MiB", "--store"]);
    let child = command.arg(store).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let recording = Recording::of(child.expect("netrewind runs"));
    wait_until("the recorder has started", || count_in_logbook(store, "\"event\":\"start\"") > 0);
    recording
}

/// Packets that tcpreplay says it sent.
fn sent(sender: Child) -> u64 {
    let output = sender.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.trim().strip_prefix("Actual: ")).unwrap_or_default();
    line.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("tcpreplay: {said}"))
}

/// The packets of the last seconds: none is missing between them.
fn extract_newest(store: &Path) {
    let text = store.display().to_string();
    let output = run(["extract", "--store", &text, "--from", &format!("-{}s", NEWEST.as_secs()), "-o", "-"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let numbers: Vec<u32> = read_pcap(&output.stdout).iter().map(number_of).collect();
    assert_eq!(numbered::first_gap(&numbers), None, "{said}");
}

fn ask(link: &Link, question: &str) {
    let asked = format!("http://127.0.0.1:8640/api/v1/{question}");
    let output = link.inside("curl").args(["-sf", &asked]).output().expect("curl runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success() && answer.is_object(), "{question}: {answer}");
}

/// A command that follows the recording; what it gives is looked at as it comes.
struct Follower {
    child: Child,
    given: Arc<AtomicU64>,
    reader: JoinHandle<()>,
}

impl Follower {
    fn start(store: &Path) -> Self {
        let mut child = netrewind()
            .args(["extract", "--from", "now", "--follow", "-q", "-o", "-", "--store"])
            .arg(store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("netrewind runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let given = Arc::default();
        let counted = Arc::clone(&given);
        Self { child, given, reader: std::thread::spawn(move || read_numbers(output, &counted)) }
    }

    fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Ends it; every packet that it gave was the next one.
    fn end(mut self) -> u64 {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::INT).expect("it runs");
        self.child.wait().expect("a child");
        self.reader.join().expect("no packet is missing");
        self.given.load(Ordering::Relaxed)
    }
}

fn read_numbers(mut capture: impl Read, counted: &AtomicU64) {
    let mut header = [0; 24];
    if capture.read_exact(&mut header).is_err() {
        return;
    }
    let (mut record, mut bytes, mut before) = ([0; 16], Vec::new(), None);
    while capture.read_exact(&mut record).is_ok() {
        let caplen = u32::from_le_bytes(record[8..12].try_into().expect("four bytes"));
        bytes.resize(caplen as usize, 0);
        capture.read_exact(&mut bytes).expect("a whole packet");
        let number = number_in(&bytes);
        assert!(
            before.is_none_or(|before| distance(before, number) == 1),
            "{before:?} is followed by {number}"
        );
        before = Some(number);
        counted.fetch_add(1, Ordering::Relaxed);
    }
}

fn keep(samples: &[Sample]) {
    let Ok(path) = std::env::var("NETREWIND_SOAK_CSV") else { return };
    let mut text = "seconds,anonymous_kib,descriptors\n".to_owned();
    for Sample { seconds, anonymous_kib, descriptors } in samples {
        writeln!(text, "{seconds},{anonymous_kib},{descriptors}").expect("a string");
    }
    std::fs::write(path, text).expect("written");
}

/// What it holds in the last quarter of the time is what it held in the second.
fn assert_flat(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let most = |of: &dyn Fn(&Sample) -> u64, samples: &[Sample]| samples.iter().map(of).max().unwrap_or(0);
    let (second, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let (before, after) =
        (most(&|sample| sample.descriptors, second), most(&|sample| sample.descriptors, last));
    assert!(after <= before + GROWN_DESCRIPTORS_MAX, "{before} descriptors, later {after}");
    let (before, after) =
        (most(&|sample| sample.anonymous_kib, second), most(&|sample| sample.anonymous_kib, last));
    assert!(after <= before + GROWN_KIB_MAX, "{before} KiB, later {after}");
}
