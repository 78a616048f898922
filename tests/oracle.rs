//! The oracle: what the index gives = what a scan gives = what tcpdump gives, packet by packet.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::support::expressions::About;
use crate::support::packets::{Packet, assert_same, link_type, read_pcap, write_pcap};
use crate::support::{captures, corpus, import, is_left_to_chance, run, seed, tcpdump};

/// Comparisons of one test; eight tests over captures and two over synthetic traffic make more than 2,000.
const COMPARISONS: usize = 220;
const COMPARISONS_PER_STORE: usize = 11;

/// A store, and what it was made of.
struct Subject {
    _folder: tempfile::TempDir,
    store: PathBuf,
    /// A pcap file of one link type with the packets as they were imported.
    truth: PathBuf,
    packets: Vec<Packet>,
    link_type: u32,
    filters: Vec<String>,
}

/// Half-open, as a query has it.
struct Range {
    from: Option<u64>,
    to: Option<u64>,
}

impl Range {
    fn holds(&self, packet: &Packet) -> bool {
        self.from.is_none_or(|from| packet.at_ns() >= from) && self.to.is_none_or(|to| packet.at_ns() < to)
    }
}

impl Subject {
    /// `None` where tcpdump reads nothing of the file, or nothing of a link type that is wanted.
    fn of_capture(file: &Path, is_wanted: impl FnOnce(u32) -> bool) -> Option<Self> {
        let truth = std::process::Command::new("tcpdump")
            .args(["--nano", "-w", "-", "-r"])
            .arg(file)
            .output()
            .ok()?;
        let several_link_types =
            String::from_utf8_lossy(&truth.stderr).contains("different from the type of the first");
        if truth.stdout.len() <= 24 || several_link_types || !is_wanted(link_type(&truth.stdout)) {
            return None;
        }
        let subject = Self::of_bytes(&truth.stdout, file);
        (!subject.has_moved_times()).then_some(subject)
    }

    /// True if packets are of times that 32 bits of seconds cannot hold: tcpdump wraps them, the import takes the nearest.
    fn has_moved_times(&self) -> bool {
        let stored = self.extract("", &Range { from: None, to: None }, true);
        let is_end = |packet: &Packet| (packet.seconds, packet.nanoseconds) == (u32::MAX, 999_999_999);
        read_pcap(&stored.stdout).iter().any(is_end)
    }

    fn of_packets(link_type: u32, packets: &[Packet]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("synthetic.pcap");
        let bytes = write_pcap(link_type, packets);
        std::fs::write(&file, &bytes).expect("written");
        Self::of_bytes(&bytes, &file)
    }

    fn of_bytes(truth: &[u8], imported: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        import(&store, &[imported]);
        let truth_file = folder.path().join("truth.pcap");
        std::fs::write(&truth_file, truth).expect("written");
        let filters = corpus()
            .and_then(|folder| std::fs::read_to_string(folder.join("filters.txt")).ok())
            .unwrap_or_default();
        Self {
            _folder: folder,
            store,
            truth: truth_file,
            packets: read_pcap(truth),
            link_type: link_type(truth),
            filters: filters.lines().map(str::to_owned).collect(),
        }
    }

    fn extract(&self, expression: &str, range: &Range, index: bool) -> std::process::Output {
        let mut arguments = vec!["extract".into(), "--store".into(), self.store.display().to_string()];
        arguments.extend([
            "--view".into(),
            "outer".into(),
            "--filter".into(),
            expression.into(),
            "-o".into(),
            "-".into(),
        ]);
        for (name, bound) in [("--from", range.from), ("--to", range.to)] {
            if let Some(ns) = bound {
                arguments.extend([name.into(), format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)]);
            }
        }
        if !index {
            arguments.push("--no-index".into());
        }
        run(arguments)
    }

    fn random_range(&self, rng: &mut Rng) -> Range {
        let mut bound = || {
            let at = self.packets[rng.usize(..self.packets.len())].at_ns();
            (rng.u32(..3) > 0).then(|| at.saturating_add(rng.u64(..3)).saturating_sub(1))
        };
        // A range that ends before it has begun, or when times begin, is refused.
        let (from, to) = match (bound(), bound()) {
            (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b).max(a.min(b) + 1))),
            ends => ends,
        };
        Range { from, to: to.map(|to| to.max(1)) }
    }

    fn is_of_its_time(&self, range: &Range) -> bool {
        let times = || self.packets.iter().map(Packet::at_ns);
        times().min().is_none_or(|first| range.to.is_none_or(|to| to > first))
            && times().max().is_none_or(|last| range.from.is_none_or(|from| from <= last))
    }

    fn compare(&self, rng: &mut Rng) {
        let about = About::new(&self.packets, self.link_type);
        let expression = if !self.filters.is_empty() && rng.u32(..5) == 0 {
            self.filters[rng.usize(..self.filters.len())].clone()
        } else {
            about.expression(rng)
        };
        let range = self.random_range(rng);
        let what = format!("{} {expression:?} from {:?} to {:?}", self.truth.display(), range.from, range.to);
        let answers = [self.extract(&expression, &range, true), self.extract(&expression, &range, false)];
        match tcpdump(&self.truth, &expression) {
            Ok(_) if is_left_to_chance(&self.truth, &expression) => {
                assert_eq!(answers[0].stdout, answers[1].stdout, "{what}: with the index and without");
            }
            Ok(accepted) => {
                let mut wanted: Vec<_> = accepted.into_iter().filter(|packet| range.holds(packet)).collect();
                wanted.sort_by_key(Packet::at_ns);
                for (answer, with) in answers.iter().zip(["with the index", "without"]) {
                    let said = String::from_utf8_lossy(&answer.stderr);
                    // Of other times than the capture's nobody knows what was on the wire.
                    let status = i32::from(!self.is_of_its_time(&range));
                    assert_eq!(answer.status.code(), Some(status), "{what} {with}: {said}");
                    assert_same(&read_pcap(&answer.stdout), &wanted, &format!("{what} {with}"));
                }
            }
            Err(said) => {
                for answer in &answers {
                    assert_eq!(answer.status.code(), Some(2), "{what}: tcpdump refuses it: {said}");
                }
            }
        }
    }
}

fn over_captures(shard: u64) {
    let Some(captures) = captures() else { return };
    let mut rng = Rng::with_seed(seed() ^ shard);
    let mut comparisons = 0;
    while comparisons < COMPARISONS {
        let file = &captures[rng.usize(..captures.len())];
        let Some(subject) = Subject::of_capture(file, |_| true) else { continue };
        for _ in 0..COMPARISONS_PER_STORE {
            subject.compare(&mut rng);
        }
        comparisons += COMPARISONS_PER_STORE;
    }
    eprintln!("{comparisons} comparisons");
}

macro_rules! shards {
    ($($name:ident = $shard:literal),*) => { $(#[test] fn $name() { over_captures($shard) })* };
}
shards!(
    captures_0 = 0,
    captures_1 = 1,
    captures_2 = 2,
    captures_3 = 3,
    captures_4 = 4,
    captures_5 = 5,
    captures_6 = 6,
    captures_7 = 7
);

/// Captures whose first link type is not Ethernet, each at least once.
#[test]
fn every_other_link_type() {
    let Some(captures) = captures() else { return };
    let mut rng = Rng::with_seed(seed());
    let mut seen = std::collections::BTreeSet::new();
    for file in captures {
        let is_new = |link_type| link_type != 1 && seen.insert(link_type);
        let Some(subject) = Subject::of_capture(&file, is_new) else { continue };
        for _ in 0..COMPARISONS_PER_STORE {
            subject.compare(&mut rng);
        }
    }
    eprintln!("link types {seen:?}");
}

/// Synthetic traffic with time stamps that step back now and then.
fn synthetic(workload: &str, alive: usize, seed: u64) -> Vec<Packet> {
    let mut rng = Rng::with_seed(seed);
    let workload = netrewind_workloads::Workload::named(workload).expect("a workload");
    let mut frames = workload.with_alive(alive).frames(seed);
    let mut at = 1_700_000_000_000_000_000;
    (0..20_000)
        .map(|_| {
            at += rng.u64(..100_000);
            let disordered = if rng.u32(..50) == 0 { at - rng.u64(..5_000_000) } else { at };
            let bytes = frames.next_frame().to_vec();
            let len = bytes.len() as u32;
            Packet {
                seconds: (disordered / 1_000_000_000) as u32,
                nanoseconds: (disordered % 1_000_000_000) as u32,
                len,
                bytes,
            }
        })
        .collect()
}

#[test]
fn synthetic_traffic_out_of_order() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for (workload, alive) in [("campus", 300), ("imix", 1000), ("synflood", 1), ("small", 40)] {
        let subject = Subject::of_packets(1, &synthetic(workload, alive, seed));
        for _ in 0..COMPARISONS / 4 {
            subject.compare(&mut rng);
        }
    }
}
