//! A store whose folders are renamed and removed while it is recorded into: noticed, told, mended where that can be, and else
//! the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::link::{Link, Recording, logbook, wait_until};
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::{done, files_below, may_make_namespaces, run};

const PACKETS: usize = 100;

struct Rig {
    folder: tempfile::TempDir,
    link: Link,
    load: PathBuf,
    recording: Recording,
}

impl Rig {
    /// A recorder with a segment open.
    fn new() -> Option<Self> {
        if !may_make_namespaces() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let load = folder.path().join("load.pcap");
        let packets: Vec<_> = (0..PACKETS).map(|number| packet(number, 100)).collect();
        std::fs::write(&load, write_pcap(1, &packets)).expect("written");
        let link = Link::new();
        let recording = link.record(&folder.path().join("store"), &[]);
        let rig = Self { folder, link, load, recording };
        rig.send();
        wait_until("a segment is promised", || files_below(&rig.store()).iter().any(|path| has_mark(path)));
        Some(rig)
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn send(&self) {
        self.link.send(&self.load, &["--pps=1000"]);
        std::thread::sleep(Duration::from_millis(900));
    }

    fn day(&self) -> PathBuf {
        let mut days = std::fs::read_dir(self.store().join("segments")).expect("a folder");
        days.next().expect("a day").expect("a day").path()
    }

    fn told(&self, words: &str) -> bool {
        logbook(&self.store()).iter().any(|line| line.contains(words))
    }
}

fn has_mark(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "mark")
        && std::fs::read(path).is_ok_and(|bytes| bytes.get(16..24).is_some_and(|records| records != [0; 8]))
}

/// Packets that can be extracted, and whether that is said to be all.
fn answer(store: &Path) -> (usize, bool, String) {
    let output = run(["extract", "--store", &store.display().to_string(), "--from", "10m ago", "--count"]);
    let count = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    (count, output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_renamed_day_costs_nothing() {
    let Some(rig) = Rig::new() else { return };
    let day = rig.day();
    std::fs::rename(&day, day.with_extension("old")).expect("renamed");
    wait_until("it is noticed", || rig.told("\"event\":\"mended\""));
    rig.send();
    let store = rig.store();
    let (status, account, said) = rig.recording.end();
    assert_eq!((status, account["written"].as_u64()), (Some(0), Some(2 * PACKETS as u64)), "{said}");
    assert!(said.contains("was moved away"), "{said}");
    assert_eq!(answer(&store).0, 2 * PACKETS);
    assert!(!answer(&store).2.contains("lost"), "{}", answer(&store).2);
    done(["verify", "--store", &store.display().to_string()]);
}

#[test]
fn a_removed_day_loses_its_segment_once_and_says_which_packets() {
    let Some(rig) = Rig::new() else { return };
    std::fs::remove_dir_all(rig.day()).expect("removed");
    wait_until("it is noticed", || rig.told("\"event\":\"disk_error\""));
    rig.send();
    let store = rig.store();
    let (status, account, said) = rig.recording.end();
    let (written, disk) = (account["written"].as_u64(), account["dropped"]["disk"].as_u64());
    assert_eq!((status, written, disk), (Some(1), Some(PACKETS as u64), Some(PACKETS as u64)), "{said}");
    assert!(
        said.contains("was removed while it was being written: the 100 packets in it are lost"),
        "{said}"
    );
    let errors = logbook(&store).iter().filter(|line| line.contains("disk_error")).count();
    assert_eq!(errors, 1);
    let (count, is_complete, said) = answer(&store);
    assert_eq!((count, is_complete), (PACKETS, false), "{said}");
    assert!(said.contains("not recorded") && said.contains("the 100 packets in it are lost"), "{said}");
}

#[test]
fn an_emptied_store_is_made_again() {
    let Some(rig) = Rig::new() else { return };
    for entry in std::fs::read_dir(rig.store()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("removed")
        } else {
            std::fs::remove_file(path).expect("removed")
        }
    }
    wait_until("it is made again", || rig.told("\"event\":\"mended\"") && rig.store().join("lock").exists());
    wait_until("its segment is given up", || rig.told("\"event\":\"disk_error\""));
    rig.send();
    let store = rig.store();
    let second = run(["import", "--store", &store.display().to_string(), &rig.load.display().to_string()]);
    assert_eq!(second.status.code(), Some(3), "it is locked");
    let (status, account, said) = rig.recording.end();
    assert_eq!((status, account["written"].as_u64()), (Some(1), Some(PACKETS as u64)), "{said}");
    assert!(said.contains("it was made again"), "{said}");
    assert_eq!(answer(&store).0, PACKETS);
}

#[test]
fn a_rotated_logbook_is_begun_anew() {
    let Some(rig) = Rig::new() else { return };
    for file in files_below(&rig.store().join("logbook")) {
        std::fs::rename(&file, file.with_extension("rotated")).expect("renamed");
    }
    rig.send();
    let is_begun = || {
        files_below(&rig.store().join("logbook"))
            .iter()
            .any(|file| file.extension().is_some_and(|e| e == "jsonl"))
    };
    wait_until("there is one again", is_begun);
    std::fs::remove_dir_all(rig.store().join("logbook")).expect("removed");
    rig.send();
    wait_until("and again", is_begun);
    let store = rig.store();
    let (status, _, said) = rig.recording.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(logbook(&store).iter().any(|line| line.contains("\"event\":\"stop\"")));
    assert_eq!(answer(&store).0, 3 * PACKETS);
}

#[test]
fn a_renamed_store_ends_the_recording_and_keeps_what_it_has() {
    let Some(mut rig) = Rig::new() else { return };
    let (store, moved) = (rig.store(), rig.folder.path().join("moved"));
    std::fs::rename(&store, &moved).expect("renamed");
    let (status, account, said) = rig.recording.wait_for_end();
    assert_eq!((status, account["written"].as_u64()), (Some(1), Some(PACKETS as u64)), "{said}");
    assert!(said.contains("recording stopped") && said.contains("removed or renamed"), "{said}");
    assert!(!store.exists(), "nothing is made where the store was");
    let sealed = files_below(&moved)
        .into_iter()
        .any(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    assert!(sealed, "what was open is sealed where it is now");
    assert_eq!(answer(&moved).0, PACKETS, "{}", answer(&moved).2);
}

#[test]
fn a_removed_or_replaced_store_ends_the_recording() {
    for is_replaced in [false, true] {
        let Some(mut rig) = Rig::new() else { return };
        let store = rig.store();
        // The recorder may make a file meanwhile.
        while std::fs::remove_dir_all(&store).is_err() && store.exists() {}
        if is_replaced {
            std::fs::create_dir(&store).expect("made");
        }
        let (status, account, said) = rig.recording.wait_for_end();
        assert_eq!((status, account["written"].as_u64()), (Some(1), Some(0)), "{said}");
        assert_eq!(account["dropped"]["disk"].as_u64(), Some(PACKETS as u64), "{account}");
        assert!(said.contains("recording stopped"), "{said}");
        assert!(files_below(&store).is_empty(), "what is not ours is left alone");
    }
}
