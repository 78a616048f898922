//! Disks that are small, full, limited or slow to give room back: what can be recorded is, what is there stays unless its going
//! helps, and what cannot be written is told.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::disk::Disk;
use crate::support::link::{Link, logbook, wait_until};
use crate::support::packets::write_pcap;
use crate::support::served::packet;
use crate::support::service::Service;
use crate::support::{done, files_below, may_make_namespaces, run};

/// A capture of so many packets.
fn capture(folder: &Path, count: usize, payload_bytes: usize) -> String {
    let path = folder.join(format!("{count}-{payload_bytes}.pcap"));
    let packets: Vec<_> = (0..count).map(|number| packet(number, payload_bytes)).collect();
    std::fs::write(&path, write_pcap(1, &packets)).expect("written");
    path.display().to_string()
}

fn store_on(disk: &Disk) -> String {
    disk.path().join("store").display().to_string()
}

fn count(store: &str) -> (u64, Option<i32>, String) {
    let output = run(["extract", "--store", store, "--count"]);
    let text = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    (text, output.status.code(), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn segments(store: &str) -> Vec<PathBuf> {
    let all = files_below(&Path::new(store).join("segments"));
    all.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "pcap")).collect()
}

#[test]
fn the_usual_segments_are_fitted_to_a_small_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = capture(folder.path(), 2000, 900);
    for mib in [300, 96, 8] {
        let Some(disk) = Disk::in_memory(mib) else { return };
        let store = store_on(&disk);
        done(["import", "--store", &store, &capture]);
        let replayed = ["record", "--store", &store, "--replay", &capture, "--replay-speed", "max", "--json"];
        let account: serde_json::Value = serde_json::from_slice(&done(replayed)).expect("an account");
        assert_eq!((account["written"].as_u64(), account["dropped"]["disk"].as_u64()), (Some(2000), Some(0)));
        let (found, status, said) = count(&store);
        assert_eq!((found, status), (4000, Some(0)), "{mib} MiB: {said}");
    }
}

#[test]
fn history_stays_where_others_have_filled_the_disk() {
    let Some(disk) = Disk::in_memory(64) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (store, large, small) =
        (store_on(&disk), capture(folder.path(), 20_000, 1000), capture(folder.path(), 10, 10));
    done(["import", "--store", &store, "--segment-bytes", "4MiB", &large]);
    let before = segments(&store);
    assert!(before.len() > 4);
    // Five mebibytes are enough for a few packets, although a segment could be larger.
    disk.fill_but(5 << 20);
    done(["import", "--store", &store, &small]);
    assert!(before.iter().all(|segment| segment.exists()), "nothing had to go for ten packets");
    // With nothing free, as much goes as is needed, and no more.
    std::fs::remove_file(disk.path().join("other")).expect("removed");
    disk.fill_but(0);
    done(["import", "--store", &store, &small]);
    let left = before.iter().filter(|segment| segment.exists()).count();
    assert_eq!(left, before.len() - 1, "one segment makes the room");
}

#[test]
fn a_disk_without_any_room_is_told_of_at_once_and_everywhere() {
    let Some(disk) = Disk::in_memory(4) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (store, capture) = (store_on(&disk), capture(folder.path(), 50, 100));
    done(["import", "--store", &store, &capture]);
    disk.fill_but(200 << 10);
    let began = Instant::now();
    let refused = run(["import", "--store", &store, &capture]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("no room: ") && said(&refused).contains("make room there"),
        "{}",
        said(&refused)
    );
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(count(&store).0, 50, "what was there is still there");

    let mut service = Service::start(&[
        "run",
        "--store",
        &store,
        "--listen",
        "127.0.0.1:0",
        "--no-audit",
        "--pcap-over-ip",
        "listen:127.0.0.1:0",
    ]);
    let told = service.wait_for_line("Packets cannot be written: no room", Duration::from_secs(3));
    assert!(told.is_some(), "before any packet has come: {:?}", service.said());
    let health = || service.get("/healthz?recording=required");
    wait_until("the service tells of it", || health().status == 503);
    assert_eq!(health().json()["recording"], "failing");
    let figures = String::from_utf8(service.get("/metrics").body).expect("text");
    assert!(figures.contains("netrewind_recorder_disk_failing 1"), "{figures}");
    assert!(service.get("/api/v1/status").json()["trouble"].to_string().contains("no room"));
    let status = String::from_utf8(done(["status", "--store", &store])).expect("text");
    assert!(status.contains("nothing is being written: no room"), "{status}");
    // Room appears.
    disk.remount("size=100m");
    assert!(service.wait_for_line("written again", Duration::from_secs(8)).is_some(), "{:?}", service.said());
    wait_until("the service tells of that", || health().status == 200);
    assert_eq!(service.terminate(), Some(0));

    disk.remount("size=4m");
    let capture = self::capture(folder.path(), 2000, 900);
    let replayed =
        run(["record", "--store", &store, "--replay", &capture, "--replay-speed", "max", "--json"]);
    assert_eq!(replayed.status.code(), Some(1), "{}", said(&replayed));
    assert!(said(&replayed).contains("2000 packets were dropped by the disk: "), "{}", said(&replayed));
}

#[test]
fn an_import_into_less_than_it_has_is_refused_or_says_what_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = capture(folder.path(), 20_000, 900);
    let store = folder.path().join("store").display().to_string();
    let refused = run(["import", "--store", &store, "--budget", "5MiB", &capture]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("raise --budget") && !Path::new(&store).exists(), "{}", said(&refused));
    let lossy = run(["import", "--store", &store, "--budget", "12MiB", "--segment-bytes", "1MiB", &capture]);
    assert_eq!(lossy.status.code(), Some(1), "{}", said(&lossy));
    let text = said(&lossy);
    let line = text.lines().find(|line| line.contains("have already expired")).expect("a word");
    let gone: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    assert_eq!(gone + count(&store).0, 20_000, "{line}");
    let Some(disk) = Disk::in_memory(8) else { return };
    let lossy = run(["import", "--store", &store_on(&disk), &capture]);
    assert_eq!(lossy.status.code(), Some(1), "{}", said(&lossy));
    assert!(said(&lossy).contains("have already expired: the disk"), "{}", said(&lossy));
}

#[test]
fn imports_keep_to_the_greatest_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (capture(folder.path(), 10, 10), capture(folder.path(), 20, 10));
    let store = folder.path().join("store").display().to_string();
    done(["import", "--store", &store, &first]);
    std::thread::sleep(Duration::from_millis(2100));
    done(["import", "--store", &store, "--max-age", "1h", &first]);
    assert_eq!(count(&store).0, 20);
    done(["import", "--store", &store, "--max-age", "2s", &second]);
    let (found, status, said) = count(&store);
    assert!((20..40).contains(&found), "{found} packets, status {status:?}: {said}");
    assert!(logbook(Path::new(&store)).iter().any(|line| line.contains("\"reason\":\"age\"")));
}

/// Records what fills a disk several times, from an interface.
fn record_over(disk: &Disk, segment_bytes: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let load = PathBuf::from(capture(folder.path(), 5000, 1300));
    let link = Link::new();
    let options = ["--ring", "32MiB", "--segment-bytes", segment_bytes];
    let recording = link.record(Path::new(&store_on(disk)), &options);
    for _ in 0..60 {
        link.send(&load, &["--mbps=200"]);
    }
    let account = recording.stop();
    assert_eq!(account["received"], 300_000);
    account
}

#[test]
fn a_full_disk_costs_no_packet_where_blocks_are_reserved_or_freed_late() {
    if !may_make_namespaces() {
        return;
    }
    for (kind, mib, segment_bytes) in [("ext4", 96, "4MiB"), ("btrfs", 256, "8MiB")] {
        let Some(disk) = Disk::in_file(kind, mib) else { continue };
        let account = record_over(&disk, segment_bytes);
        assert_eq!(account["dropped"], serde_json::json!({ "kernel": 0, "disk": 0 }), "{kind}: {account}");
        let expired = logbook(Path::new(&store_on(&disk)));
        let expired = expired.iter().filter(|line| line.contains("disk full")).count();
        assert!(expired > 10, "{kind}: the disk was full, {expired} expired");
        done(["verify", "--store", &store_on(&disk)]);
    }
}

#[test]
fn a_disk_that_fails_is_told_of_and_the_account_adds_up() {
    if !may_make_namespaces() {
        return;
    }
    let Some(disk) = Disk::in_file("ext4", 64) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let load = PathBuf::from(capture(folder.path(), 100, 100));
    let (link, store) = (Link::new(), store_on(&disk));
    let recording = link.record(Path::new(&store), &["--segment-age", "1s"]);
    link.send(&load, &[]);
    wait_until("the segment is sealed", || !segments(&store).is_empty());
    // As after an error of the device, every write fails from now on: ext4(5).
    disk.remount("abort");
    link.send(&load, &[]);
    std::thread::sleep(Duration::from_secs(2));
    let (status, account, said) = recording.end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("Packets cannot be written: rx0: ") && said.contains("Read-only"), "{said}");
    let number = |name: &str| account[name].as_u64().expect("a number");
    let (written, dropped) = (number("written"), account["dropped"]["disk"].as_u64().expect("a number"));
    assert_eq!((number("received"), written + dropped), (200, 200), "{said}");
    assert!(written > 0 && dropped >= 100, "{said}");
    assert_eq!(count(&store).0, written, "all that was written is there");
}
