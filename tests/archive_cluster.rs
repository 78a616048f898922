//! Archives on three nodes: a recorder uploads behind itself while nodes are killed, and while it is killed itself.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::link::{Link, Recording, logbook, wait_until};
use crate::support::object_cluster::ObjectCluster;
use crate::support::packets::read_pcap;
use crate::support::{done, may_make_namespaces, numbered, run, seed};

const URL: &str = "s3://packets/three";
/// Segments that reach the archive between two losses.
const SEGMENTS: usize = 6;
/// Time in which a cluster has chosen another leader, and a circuit has closed again.
const PATIENCE: Duration = Duration::from_secs(240);
/// Kills, unless `NETREWIND_KILLS` says otherwise.
const KILLS: usize = 4;
/// Questions that have packets of every segment in their answers, of few, and none.
const FILTERS: [&str; 6] = [
    "",
    "host 10.0.3.7",
    "udp src port 1042",
    "net 10.0.8.0/24",
    "greater 1000 and not host 10.0.1.1",
    "tcp",
];

struct Scene<'link> {
    cluster: ObjectCluster<'link>,
    folder: tempfile::TempDir,
}

impl<'link> Scene<'link> {
    fn new(link: &'link Link) -> Option<Self> {
        let cluster = ObjectCluster::inside(link)?;
        cluster.make_bucket("packets");
        Some(Self { cluster, folder: tempfile::tempdir().expect("a folder") })
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Starts a recorder that uploads.
    fn record(&self) -> Recording {
        let starts = || logbook(&self.store()).iter().filter(|line| line.contains("\"start\"")).count();
        let before = starts();
        let mut command = self.cluster.netrewind(0);
        command.args([
            "record",
            "--json",
            "--interface",
            Link::RECORDED,
            "--segment-bytes",
            "1MiB",
            "--store",
        ]);
        command.arg(self.store()).args(["--archive", URL]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("netrewind runs");
        let recording = Recording::of(child);
        wait_until("the recorder has started", || starts() > before);
        recording
    }

    fn committed(&self) -> usize {
        // While no master leads, lists fail.
        self.cluster.count("packets", "three/", ".idx").unwrap_or(0)
    }

    fn wait_for_segments(&self, more: usize, what: &str) {
        let (before, begun) = (self.committed(), Instant::now());
        while self.committed() < before + more {
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", logbook(&self.store()).join("\n"));
            std::thread::sleep(Duration::from_millis(500));
        }
        eprintln!("{what}: {more} more segments within {:.1} s", begun.elapsed().as_secs_f64());
    }

    /// Uploads what is left.
    fn upload(&self) {
        let begun = Instant::now();
        loop {
            let mut command = self.cluster.netrewind(1);
            command.args(["archive", "--now", "--archive", URL, "--store"]).arg(self.store());
            let output = command.output().expect("netrewind runs");
            if output.status.success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Asks the archive alone, through the other gateway.
    fn ask(&self, cache: &Path, question: &[&str]) -> Output {
        let mut command = self.cluster.netrewind(1);
        command.args(question).args(["--archive", URL, "--archive-cache"]).arg(cache);
        command.output().expect("netrewind runs")
    }

    /// Asserts that the archive answers as the store does.
    fn assert_same(&self, what: &str) {
        let cache = tempfile::tempdir().expect("a cache");
        let store = self.store().display().to_string();
        for filter in FILTERS {
            for question in [
                &["extract", "-o", "-", "--filter", filter][..],
                &["flows", "--format", "json", "--filter", filter],
            ] {
                let local = run(question.iter().copied().chain(["--store", &store]));
                let output = self.ask(cache.path(), question);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), local.status.code(), "{what}: {question:?}: {said}");
                assert!(output.stdout == local.stdout, "{what}: {question:?}: {said}");
            }
        }
    }
}

#[test]
fn nodes_that_are_lost_cost_neither_packets_nor_answers() {
    if !may_make_namespaces() {
        return;
    }
    let link = Link::new();
    let Some(mut scene) = Scene::new(&link) else { return };
    let capture = numbered::capture(scene.folder.path());
    let recording = scene.record();
    let mut sender = link.send_forever(&capture, &["--mbps=20"]);
    scene.wait_for_segments(SEGMENTS, "with all nodes");
    scene.cluster.kill_volume_server(0);
    scene.wait_for_segments(SEGMENTS, "without a volume server");
    let leader = scene.cluster.kill_leading_master();
    scene.wait_for_segments(SEGMENTS, "without the leading master");
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    let account = recording.stop();
    let dropped: u64 =
        account["dropped"].as_object().expect("reasons").values().filter_map(|n| n.as_u64()).sum();
    assert_eq!(dropped, 0, "{account}");
    scene.upload();
    eprintln!("master {leader} led; {} segments are in the archive", scene.committed());
    scene.assert_same("two nodes lost");
    // With a second volume server some objects have no copy left: each answer has its part, and says so.
    let whole = read_pcap(&scene.ask(scene.folder.path(), &["extract", "-o", "-"]).stdout);
    scene.cluster.kill_volume_server(1);
    let cache = tempfile::tempdir().expect("a cache");
    let output = scene.ask(cache.path(), &["extract", "-o", "-"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = read_pcap(&output.stdout);
    let mut rest = whole.iter();
    assert!(found.iter().all(|packet| rest.any(|other| other == packet)), "packets that were never recorded");
    assert_eq!(output.status.code() == Some(0), found.len() == whole.len(), "{said}");
    if found.len() < whole.len() {
        assert!(said.contains("incomplete") || output.status.code() == Some(3), "{said}");
    }
    eprintln!("with two of three volume servers lost: {} of {} packets; {said}", found.len(), whole.len());
}

#[test]
fn a_recorder_that_is_killed_while_it_uploads_leaves_an_archive_that_is_right() {
    if !may_make_namespaces() {
        return;
    }
    let link = Link::new();
    let Some(scene) = Scene::new(&link) else { return };
    let capture = numbered::capture(scene.folder.path());
    let mut sender = link.send_forever(&capture, &["--mbps=60"]);
    let mut chance = Rng::with_seed(seed());
    let kills = std::env::var("NETREWIND_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let mut left = Vec::new();
    for _ in 0..kills {
        let recording = scene.record();
        std::thread::sleep(Duration::from_millis(chance.u64(500..6000)));
        recording.kill();
        left.push(scene.committed());
    }
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    // What was left open is sealed by the next recorder.
    scene.record().stop();
    let store = scene.store().display().to_string();
    done(["index", "--store", &store]);
    scene.upload();
    scene.assert_same("killed");
    let verified = scene.ask(scene.folder.path(), &["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    eprintln!("{kills} kills left {left:?} segments committed, {} at the end", scene.committed());
}
