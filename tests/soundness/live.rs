//! `verify` while a recorder writes to the store, and after it was killed.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::every_kind::said;
use crate::support::link::count_in_logbook;
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::{files_below, netrewind};

const PACKETS: usize = 30_000;

fn has_sealed(store: &Path) -> bool {
    files_below(store).iter().any(|path| path.extension().is_some_and(|extension| extension == "pcap"))
}

#[test]
fn a_store_that_is_being_written_is_sound_and_so_is_one_whose_recorder_was_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut recorder = netrewind()
        .args(["record", "--stdin", "--segment-bytes", "1MiB", "--store"])
        .arg(&store)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("netrewind runs");
    let packets: Vec<_> = (0..PACKETS).map(|number| packet(number, 200)).collect();
    let capture = write_pcap(1, &packets);
    let mut stdin = recorder.stdin.take().expect("a pipe");
    let begun = Instant::now();
    for part in capture.chunks(capture.len() / 4) {
        stdin.write_all(part).expect("written");
        while count_in_logbook(&store, "\"event\":\"start\"") == 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it has not started");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (status, told) = said("verify", &store, &[]);
        assert_eq!(status, Some(0), "while it is recorded: {told}");
    }
    while !has_sealed(&store) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is sealed");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (status, told) = said("verify", &store, &["--repair"]);
    assert!(status == Some(3) && told.contains("another netrewind"), "there is one writer: {told}");
    recorder.kill().expect("killed");
    recorder.wait().expect("it has ended");
    // What it had no time to index is a lack; every other byte is as it was.
    let (_, told) = said("verify", &store, &[]);
    let faults = told.lines().filter(|line| !line.ends_with("no fault") && !line.starts_with("sound: "));
    let others: Vec<_> =
        faults.filter(|line| !line.contains("has no index") && !line.contains(" packets, ")).collect();
    assert!(others.is_empty(), "{others:?}: {told}");
    said("index", &store, &[]);
    let (status, told) = said("verify", &store, &[]);
    assert_eq!(status, Some(0), "{told}");
}
