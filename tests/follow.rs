//! The live tail: what is followed is what a later extraction gives, through rotations, restarts and crashes.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::link::{Link, count_in_logbook, wait_until};
use crate::support::packets::{Packet, assert_same, read_pcap, read_pcapng, write_pcap};
use crate::support::{may_make_namespaces, netrewind, run};

/// How long a packet may be on its way in a test: the promise is a second, and the machine may be busy.
const DELAY_MAX: Duration = Duration::from_secs(5);

struct Scene {
    folder: tempfile::TempDir,
    link: Link,
}

impl Scene {
    fn new() -> Option<Self> {
        may_make_namespaces()
            .then(|| Self { folder: tempfile::tempdir().expect("a folder"), link: Link::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A capture of packets that are all different.
    fn capture(&self, name: &str, seed: u64, count: usize) -> PathBuf {
        let workload = netrewind_workloads::Workload::named("imix").expect("a workload");
        let mut frames = workload.with_alive(200).frames(seed);
        let packets: Vec<_> = (0..count)
            .map(|_| {
                let bytes = frames.next_frame().to_vec();
                Packet { seconds: 1_700_000_000, nanoseconds: 0, len: bytes.len() as u32, bytes }
            })
            .collect();
        let path = self.path(name);
        std::fs::write(&path, write_pcap(1, &packets)).expect("written");
        path
    }

    fn follow(&self, output: &str, options: &[&str]) -> Follower {
        Follower::start(&self.store(), &self.path(output), options)
    }

    /// What is in the store now, as a file.
    fn extract(&self, options: &[&str]) -> Vec<u8> {
        let store = self.store().display().to_string();
        let output = run(["extract", "--store", &store, "-o", "-"].iter().chain(options));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

/// `netrewind extract --follow`, writing to a file; killed when dropped.
struct Follower {
    child: Child,
    output: PathBuf,
}

impl Follower {
    fn start(store: &Path, output: &Path, options: &[&str]) -> Self {
        let child = netrewind()
            .args(["extract", "--follow", "--store"])
            .arg(store)
            .arg("-o")
            .arg(output)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .expect("netrewind runs");
        Self { child, output: output.to_owned() }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.output).unwrap_or_default()
    }

    /// The packets that are in the file: all but its last one are whole.
    fn packets(&self) -> usize {
        let bytes = self.bytes();
        let (mut at, mut count) = (24, 0);
        while let Some(caplen) = bytes.get(at + 8..at + 12) {
            at += 16 + u32::from_le_bytes(caplen.try_into().expect("four bytes")) as usize;
            count += usize::from(at <= bytes.len());
        }
        count
    }

    /// Ends it as a person would; gives its status and what it said.
    fn stop(mut self) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
        self.end()
    }

    /// Waits until it ends by itself.
    fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        let mut error = self.child.stderr.take().expect("piped");
        std::io::Read::read_to_string(&mut error, &mut said).expect("text");
        (self.child.wait().expect("a child"), said)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_equal_files(followed: &[u8], later: &[u8]) {
    assert_same(&read_pcap(followed), &read_pcap(later), "what was followed and what is extracted later");
    assert!(followed == later, "the files differ");
}

#[test]
fn what_is_followed_across_rotations_equals_a_later_extraction() {
    let Some(scene) = Scene::new() else { return };
    let (past, live) = (scene.capture("past.pcap", 1, 4_000), scene.capture("live.pcap", 2, 12_000));
    let recording = scene.link.record(&scene.store(), &["--segment-age", "1s"]);
    scene.link.send(&past, &["--pps=8000"]);
    std::thread::sleep(Duration::from_millis(1500));
    let everything = scene.follow("followed.pcap", &[]);
    let some = scene.follow("some.pcap", &["--filter", "udp", "--from", "now", "--no-index"]);
    let decapsulated = scene.follow("all.pcapng", &["--view", "any", "--decapsulate"]);
    std::thread::sleep(Duration::from_millis(300));
    scene.link.send(&live, &["--pps=3000"]);
    wait_until("all is followed", || everything.packets() >= 16_000);
    let account = recording.stop();
    assert_eq!(account["written"].as_u64(), Some(16_000), "{account}");
    assert!(account["segments"].as_u64() >= Some(4), "{account}");

    let file = everything.bytes();
    let (status, said) = everything.stop();
    assert_equal_files(&file, &scene.extract(&[]));
    assert!(status.success() && said.contains("16000 packets") && said.contains("complete: "), "{said}");
    let udp = some.bytes();
    some.stop();
    let (from, wanted) = (read_pcap(&udp)[0].at_ns(), read_pcap(&scene.extract(&["--filter", "udp"])));
    let wanted: Vec<_> = wanted.into_iter().filter(|packet| packet.at_ns() >= from).collect();
    assert_same(&read_pcap(&udp), &wanted, "udp from its start on");
    assert!(!wanted.is_empty() && wanted.len() < 12_000);

    let inner = decapsulated.output.clone();
    let (status, said) = decapsulated.stop();
    assert!(status.success(), "{said}");
    let later = scene.extract(&["--view", "any", "--decapsulate", "--format", "pcapng"]);
    assert_eq!(read_pcapng(&std::fs::read(inner).expect("a file")), read_pcapng(&later));
}

#[test]
fn lanes_are_merged_in_order_and_pcapng_names_their_interfaces() {
    let Some(scene) = Scene::new() else { return };
    scene.link.add_second_pair();
    let capture = scene.capture("sent.pcap", 3, 5_000);
    let recording = scene.link.record(&scene.store(), &["--interface", "rx1", "--segment-age", "1s"]);
    wait_until("both lanes have started", || count_in_logbook(&scene.store(), "\"event\":\"start\"") >= 2);
    let follower = scene.follow("followed.pcap", &["--to", "1h ago"]);
    drop(follower);
    let follower = scene.follow("followed.pcap", &[]);
    let with_names = scene.follow("followed.pcapng", &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.link.send(&capture, &["--pps=2000"]));
        scope.spawn(|| scene.link.send_from("tx1", &capture, &["--pps=2000"]));
    });
    wait_until("all is followed", || follower.packets() >= 10_000);
    recording.stop();
    let file = follower.bytes();
    let (_, said) = follower.stop();
    // A disk that is slow for a moment lets a lane commit late: then it is said.
    if said.contains("out of order") {
        let sorted = |file: &[u8]| {
            let mut packets = read_pcap(file);
            packets.sort_by_key(|packet| (packet.at_ns(), packet.bytes.clone()));
            packets
        };
        assert_same(&sorted(&file), &sorted(&scene.extract(&[])), "every packet once");
    } else {
        assert_equal_files(&file, &scene.extract(&[]));
    }
    let path = with_names.output.clone();
    with_names.stop();
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-r"];
    let tshark = Command::new("tshark").args(fields).arg(&path).output().expect("tshark runs");
    let names = String::from_utf8_lossy(&tshark.stdout).into_owned();
    for interface in ["rx0", "rx1"] {
        assert_eq!(names.lines().filter(|line| *line == interface).count(), 5_000, "{interface}");
    }
}

#[test]
fn a_recorder_that_stops_crashes_and_starts_again_is_waited_for() {
    let Some(scene) = Scene::new() else { return };
    let captures = [11, 12, 13].map(|seed| scene.capture(&format!("{seed}.pcap"), seed, 1_000));
    let recording = scene.link.record(&scene.store(), &[]);
    let follower = scene.follow("followed.pcap", &[]);
    scene.link.send(&captures[0], &["--pps=4000"]);
    wait_until("the first are followed", || follower.packets() >= 1_000);
    recording.stop();
    let recording = scene.link.record(&scene.store(), &[]);
    scene.link.send(&captures[1], &["--pps=4000"]);
    wait_until("the second are followed", || follower.packets() >= 2_000);
    recording.kill();
    let recording = scene.link.record(&scene.store(), &[]);
    scene.link.send(&captures[2], &["--pps=4000"]);
    wait_until("the third are followed", || follower.packets() >= 3_000);
    recording.stop();
    let file = follower.bytes();
    let (status, said) = follower.stop();
    assert_equal_files(&file, &scene.extract(&[]));
    assert_eq!(status.code(), Some(1), "nothing was recorded in between: {said}");
    assert!(said.contains("not recorded: ") && said.contains("recording stopped at"), "{said}");
}

#[test]
fn a_packet_is_followed_within_a_second_and_the_end_of_the_range_ends_it() {
    let Some(scene) = Scene::new() else { return };
    let recording = scene.link.record(&scene.store(), &[]);
    let mut follower = scene.follow("followed.pcap", &["--max-packets", "4"]);
    for n in 1..=4 {
        let capture = scene.capture("one.pcap", 20 + n as u64, 1);
        std::thread::sleep(Duration::from_millis(300));
        let sent = Instant::now();
        scene.link.send(&capture, &[]);
        wait_until("it is followed", || follower.packets() >= n);
        assert!(sent.elapsed() < DELAY_MAX, "{:?}", sent.elapsed());
        eprintln!("followed after {:?}", sent.elapsed());
    }
    let (status, said) = follower.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("stopped at the limit of packets"), "{said}");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let to = format!("{}", now.as_secs() + 2);
    let begun = Instant::now();
    let mut follower = scene.follow("until.pcap", &["--to", &to]);
    let (status, said) = follower.end();
    // An idle recorder tells of itself every ten seconds: that is waited for.
    assert_eq!(status.code(), Some(0), "{said}");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(16), "{took:?}");
    assert_eq!(follower.packets(), 4);
    recording.stop();
}

#[test]
fn tcpdump_reads_along_and_its_end_ends_it_quietly() {
    let Some(scene) = Scene::new() else { return };
    let recording = scene.link.record(&scene.store(), &[]);
    let capture = scene.capture("sent.pcap", 30, 5);
    scene.link.send(&capture, &[]);
    let mut follower = netrewind()
        .args(["extract", "--follow", "-o", "-", "--store"])
        .arg(scene.store())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    let output: ChildStdout = follower.stdout.take().expect("piped");
    let said_by_tcpdump = scene.path("tcpdump.txt");
    let mut tcpdump = Command::new("tcpdump")
        .args(["-l", "-n", "-e", "-r", "-"])
        .stdin(output)
        .stdout(std::fs::File::create(&said_by_tcpdump).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("tcpdump runs");
    let lines = || std::fs::read_to_string(&said_by_tcpdump).unwrap_or_default().lines().count();
    wait_until("tcpdump shows the past", || lines() >= 5);
    scene.link.send(&capture, &[]);
    wait_until("tcpdump shows what is new", || lines() >= 10);
    tcpdump.kill().expect("killed");
    tcpdump.wait().expect("a child");
    let begun = Instant::now();
    let output = follower.wait_with_output().expect("a child");
    assert!(begun.elapsed() < DELAY_MAX, "no packet had to arrive for it to notice");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    recording.stop();
}

#[test]
fn what_expires_before_a_slow_reader_takes_it_is_told() {
    let Some(scene) = Scene::new() else { return };
    let capture = scene.capture("sent.pcap", 40, 20_000);
    let options = ["--segment-bytes", "1MiB", "--budget", "24MiB"];
    let recording = scene.link.record(&scene.store(), &options);
    let mut follower = netrewind()
        .args(["extract", "--follow", "--max-packets", "70000", "-o", "-", "--store"])
        .arg(scene.store())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    // Nobody reads: the pipe fills, and the store goes on.
    for _ in 0..4 {
        scene.link.send(&capture, &["--mbps=200"]);
    }
    wait_until("segments expire", || count_in_logbook(&scene.store(), "\"event\":\"expire\"") > 8);
    let mut output = follower.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut bytes).map(|_| bytes)
    });
    std::thread::sleep(Duration::from_secs(2));
    recording.stop();
    let id = follower.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    let bytes = reader.join().expect("read").expect("read");
    let output = follower.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no longer kept: "), "{said}");
    let packets = read_pcap(&bytes);
    assert!(packets.len() < 70_000 && packets.is_sorted_by_key(Packet::at_ns));
    let mut seen: Vec<_> = packets.iter().map(|packet| (packet.at_ns(), &packet.bytes)).collect();
    seen.sort();
    let count = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), count, "none comes twice");
}
