//! kill -9 at any moment: nothing committed is lost, everything opens again by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;

use crate::support::link::{Link, count_in_logbook};
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::{done, files_below, may_make_namespaces, run, seed};

const KILLS: usize = 32;

/// The committed mark of an open segment: `recorder/store/FORMAT.md`.
fn committed_bytes(open: &Path) -> usize {
    let mark = PathBuf::from(open.display().to_string().replace(".pcap.open", ".mark"));
    let bytes = std::fs::read(mark).unwrap_or_default();
    bytes.get(8..16).map_or(0, |field| u64::from_le_bytes(field.try_into().expect("8 bytes")) as usize)
}

struct Remains {
    /// Sealed segments and what they hold.
    sealed: BTreeMap<PathBuf, Vec<u8>>,
    /// Open segments under the name that they will be sealed with, and what had been promised of them.
    promised: BTreeMap<PathBuf, Vec<u8>>,
}

impl Remains {
    fn of(store: &Path) -> Self {
        let (mut sealed, mut promised) = (BTreeMap::new(), BTreeMap::new());
        for path in files_below(&store.join("segments")) {
            let name = path.display().to_string();
            if let Some(will_be) = name.strip_suffix(".open") {
                let mut bytes = std::fs::read(&path).expect("an open segment");
                let committed = committed_bytes(&path);
                assert!(bytes.len() >= committed, "{name}: the mark promises what is not there");
                bytes.truncate(committed);
                promised.insert(PathBuf::from(will_be), bytes);
            } else if name.ends_with(".pcap") {
                sealed.insert(path.clone(), std::fs::read(&path).expect("a segment"));
            }
        }
        Self { sealed, promised }
    }

    fn assert_kept(&self, what: &str) {
        for (path, before) in &self.sealed {
            let now =
                std::fs::read(path).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()));
            assert!(now == *before, "{what}: {} has changed", path.display());
        }
        for (path, promised) in self.promised.iter().filter(|(_, promised)| promised.len() > 24) {
            let now =
                std::fs::read(path).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()));
            assert!(now.starts_with(promised), "{what}: {} lost what was promised", path.display());
            read_pcap(&now); // whole records only
        }
    }
}

#[test]
fn kill_at_random_moments_under_load() {
    if !may_make_namespaces() {
        return;
    }
    let mut rng = Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut frames = netrewind_workloads::Workload::named("imix").expect("a workload").frames(5);
    let packets: Vec<_> = (0..20_000u32)
        .map(|i| {
            let bytes = frames.next_frame().to_vec();
            Packet { seconds: 1_700_000_000, nanoseconds: i, len: bytes.len() as u32, bytes }
        })
        .collect();
    let capture = folder.path().join("load.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");

    let link = Link::new();
    let mut sender = link.send_forever(&capture, &["--mbps=300"]);
    let mut remains: Option<Remains> = None;
    let (mut promised_bytes, mut recovered) = (0, 0);
    let store_text = store.display().to_string();
    for round in 0..KILLS {
        let recording = link.record(&store, &["--segment-bytes", "32MiB", "--budget", "8GiB"]);
        if let Some(remains) = &remains {
            remains.assert_kept(&format!("round {round}"));
            recovered += remains.promised.values().filter(|promised| promised.len() > 24).count();
        }
        std::thread::sleep(Duration::from_millis(rng.u64(..1000)));
        recording.kill();
        let after = Remains::of(&store);
        promised_bytes += after.promised.values().map(Vec::len).sum::<usize>();
        // What was promised can be read as it lies, before anything has been recovered.
        if round % 8 == 0 {
            let records = |bytes: &Vec<u8>| if bytes.len() > 24 { read_pcap(bytes).len() } else { 0 };
            let wanted: usize = after.sealed.values().chain(after.promised.values()).map(records).sum();
            let counted = run(["extract", "--store", &store_text, "--count"]);
            let text = String::from_utf8_lossy(&counted.stdout).into_owned();
            assert_eq!(text.split_whitespace().next(), Some(wanted.to_string().as_str()));
        }
        remains = Some(after);
    }
    sender.kill().expect("killed");
    sender.wait().expect("a child");
    // The last recorder ends as it should, and leaves everything sealed and indexed.
    link.record(&store, &[]).stop();
    remains.expect("rounds").assert_kept("at the end");
    let open =
        files_below(&store).into_iter().filter(|path| path.extension().is_some_and(|e| e == "open")).count();
    assert_eq!(open, 0);
    let without_index: Vec<_> = crate::roundtrip::segments(&store)
        .into_iter()
        .filter(|segment| !segment.with_extension("idx").exists())
        .collect();
    assert_eq!(without_index, Vec::<PathBuf>::new());
    done(["verify", "--store", &store_text]);
    let told = count_in_logbook(&store, "\"event\":\"recover\"");
    assert!(told >= recovered && recovered > 0, "{told} recoveries told, {recovered} segments recovered");
    assert!(promised_bytes > 0);
    // A crash is a gap, and every answer over it says so.
    assert_eq!(run(["extract", "--store", &store_text, "--count"]).status.code(), Some(1));
    eprintln!("{KILLS} kills, {recovered} segments recovered, {promised_bytes} bytes had been promised");
}
