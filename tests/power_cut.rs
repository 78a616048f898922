//! Power cuts of a disk under a recorder: what was promised before is there after, and what is lost is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;

use crate::crash::{Remains, name_of, segment_files};
use crate::support::link::Link;
use crate::support::numbered::{self, number_of};
use crate::support::packets::read_pcap;
use crate::support::power_disk::PowerDisk;
use crate::support::{may_make_namespaces, netrewind, run, seed};

/// Says how many times each file system is cut; without it none is.
const CUTS: &str = "NETREWIND_POWER_CUTS";
/// Lines of the logbook that a cut may damage: the last one.
const CUT_LINES_MAX: usize = 1;
/// Words about a segment that had expired, where the cut took the line that tells of it.
const EXPIRED: &str = "and not that it expired";

#[test]
fn ext4_keeps_what_was_promised() {
    cuts("ext4", 96, &[]);
}

#[test]
fn xfs_keeps_what_was_promised() {
    cuts("xfs", 320, &[]);
}

#[test]
fn btrfs_keeps_what_was_promised() {
    cuts("btrfs", 160, &[]);
}

/// A cold segment takes the place of a plain one, which is removed: whenever the power is cut, one of them is whole.
#[test]
fn ext4_keeps_segments_that_become_cold() {
    cuts("ext4", 96, &["--compress-after", "0s"]);
}

#[test]
fn btrfs_keeps_segments_that_become_cold() {
    cuts("btrfs", 160, &["--compress-after", "0s"]);
}

fn cuts(kind: &'static str, mib: usize, more: &[&str]) {
    if !may_make_namespaces() {
        return;
    }
    let Some(count) = std::env::var(CUTS).ok().map(|text| text.parse::<usize>().expect("a number")) else {
        eprintln!("skipped: {CUTS}=8 cuts the power of each file system eight times");
        return;
    };
    let Some(disk) = PowerDisk::new(kind, mib) else { return };
    let mut chance = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let capture = numbered::capture(folder.path());
    let link = Link::new();
    let store = disk.path().join("store");
    let options = ["--segment-bytes", "4MiB", "--budget", "32MiB"];
    let recording = link.record(&store, &[&options[..], more].concat());
    let mut sender = link.send_forever(&capture, &["--mbps=40"]);
    let (mut promised_bytes, mut lost_packets, mut cold_segments) = (0, 0, 0);
    for number in 0..count {
        std::thread::sleep(Duration::from_millis(chance.u64(50..500)));
        let before = Remains::of_live(&store);
        let after = disk.cut(&mut chance);
        let what = format!("{kind}, cut {number}");
        promised_bytes += before.promised_bytes();
        let after = after.path().join("store");
        let is_cold = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "zst");
        cold_segments += segment_files(&after).iter().filter(is_cold).count();
        lost_packets += check(&after, &before, &what);
    }
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    recording.stop();
    assert!(promised_bytes > 0 && (cold_segments > 0) != more.is_empty(), "{cold_segments} cold");
    eprintln!(
        "{kind}: {count} power cuts, {promised_bytes} bytes had been promised, {lost_packets} packets were on their way"
    );
}

/// Opens what a cut left, and compares it with what had been promised; returns the packets between two cycles that are lost.
fn check(store: &Path, before: &Remains, what: &str) -> u64 {
    let text = store.display().to_string();
    let opened = run(["index", "--store", &text]);
    let said = String::from_utf8_lossy(&opened.stderr).into_owned();
    assert!(opened.status.success(), "{what}: it opens by itself: {said}");
    let oldest = segment_files(store).iter().map(|path| name_of(path)).min().unwrap_or_default();
    before.assert_kept_since(&oldest, store, what);
    let verified = run(["verify", "--store", &text]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    // The last two lines say what is good, and how much is not.
    let faults = said.lines().rev().skip(2).filter(|line| !is_expiry(line, &oldest));
    let (of_logbook, others): (Vec<&str>, Vec<&str>) = faults.partition(|line| line.starts_with("logbook/"));
    assert!(of_logbook.len() <= CUT_LINES_MAX && others.is_empty(), "{what}: {said}");
    // No packet is missing in the middle, and none is there that was not sent.
    let extracted =
        netrewind().args(["extract", "--store", &text, "-o", "-"]).output().expect("netrewind runs");
    let said = String::from_utf8_lossy(&extracted.stderr).into_owned();
    assert_eq!(
        extracted.status.code(),
        Some(1),
        "{what}: the end of a recording is missing, and is told: {said}"
    );
    let numbers: Vec<u32> = read_pcap(&extracted.stdout).iter().map(number_of).collect();
    if let Some(at) = numbered::first_gap(&numbers) {
        panic!("{what}: packets are missing after {at} of {}: {said}", numbers.len());
    }
    let promised = before.last_promised().map(|packet| number_of(&packet));
    match (promised, numbers.last()) {
        (Some(promised), Some(last)) => u64::from(numbered::distance(promised, *last)),
        (None, _) => 0,
        (Some(_), None) => panic!("{what}: nothing is left of what was promised: {said}"),
    }
}

/// True for a segment that is missing and older than all others.
fn is_expiry(line: &str, oldest: &str) -> bool {
    let name = line.strip_prefix("segment ").and_then(|line| line.split(": ").next()).unwrap_or_default();
    line.contains(EXPIRED) && name < oldest
}
