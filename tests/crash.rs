//! kill -9 at any moment: nothing committed is lost, everything opens again by itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;

use crate::support::link::{Link, count_in_logbook};
use crate::support::packets::{Packet, read_pcap, write_pcap};
use crate::support::{done, files_below, may_make_namespaces, run, seed};

/// Kills, unless `NETREWIND_KILLS` says otherwise.
const KILLS: usize = 32;
/// Bytes of a segment without packets.
const HEADER_BYTES: usize = 24;
/// What a cold segment's file has behind the name that it had.
const COLD_ENDING: &str = ".zst";

/// The committed mark of an open segment: `recorder/store/FORMAT.md`.
fn committed_bytes(open: &Path) -> usize {
    let mark = PathBuf::from(open.display().to_string().replace(".pcap.open", ".mark"));
    let bytes = std::fs::read(mark).unwrap_or_default();
    bytes.get(8..16).map_or(0, |field| u64::from_le_bytes(field.try_into().expect("8 bytes")) as usize)
}

/// Contents of a store's segments, as they will be named once sealed.
pub struct Remains {
    /// Sealed segments and what they hold.
    sealed: BTreeMap<PathBuf, Vec<u8>>,
    /// Open segments and what had been promised of them.
    promised: BTreeMap<PathBuf, Vec<u8>>,
}

impl Remains {
    /// Of a store that nobody writes to.
    fn of(store: &Path) -> Self {
        Self::read(store).expect("segments")
    }

    /// Of a store that is being recorded to: what is there at one moment between begin and end of the call.
    pub fn of_live(store: &Path) -> Self {
        loop {
            match Self::read(store) {
                Ok(remains) => return remains,
                // A segment has been sealed or has expired meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => panic!("{}: {error}", store.display()),
            }
        }
    }

    fn read(store: &Path) -> io::Result<Self> {
        let (mut sealed, mut promised) = (BTreeMap::new(), BTreeMap::new());
        for path in files_below(&store.join("segments")) {
            let name = path.display().to_string();
            if let Some(will_be) = name.strip_suffix(".open") {
                let committed = committed_bytes(&path);
                let mut bytes = std::fs::read(&path)?;
                assert!(bytes.len() >= committed, "{name}: the mark promises what is not there");
                bytes.truncate(committed);
                promised.insert(inside(store, Path::new(will_be)), bytes);
            } else if let Some(was) = name.strip_suffix(COLD_ENDING) {
                sealed.insert(inside(store, Path::new(was)), zstd::decode_all(&*std::fs::read(&path)?)?);
            } else if name.ends_with(".pcap") {
                sealed.insert(inside(store, &path), std::fs::read(&path)?);
            }
        }
        Ok(Self { sealed, promised })
    }

    /// Bytes that had been promised of open segments.
    pub fn promised_bytes(&self) -> usize {
        self.promised.values().map(Vec::len).sum()
    }

    /// The last packet that had been promised, or was sealed.
    pub fn last_promised(&self) -> Option<Packet> {
        let with_packets = |segments: &BTreeMap<PathBuf, Vec<u8>>| {
            let last = segments.iter().rfind(|(_, bytes)| bytes.len() > HEADER_BYTES);
            last.map(|(path, bytes)| (path.clone(), bytes.clone()))
        };
        let last = [&self.sealed, &self.promised].into_iter().filter_map(with_packets).max()?;
        read_pcap(&last.1).pop()
    }

    fn assert_kept(&self, store: &Path, what: &str) {
        self.assert_kept_since("", store, what);
    }

    /// All of it is in a store, but for segments older than this one: they have expired.
    pub fn assert_kept_since(&self, oldest: &str, store: &Path, what: &str) {
        let is_kept = |path: &&Path| name_of(path).as_str() >= oldest;
        let read = |path: &Path| {
            contents(&store.join(path)).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()))
        };
        for path in self.sealed.keys().map(PathBuf::as_path).filter(is_kept) {
            assert!(read(path) == self.sealed[path], "{what}: {} has changed", path.display());
        }
        for path in self.promised.keys().map(PathBuf::as_path).filter(is_kept) {
            let promised = &self.promised[path];
            if promised.len() > HEADER_BYTES {
                let now = read(path);
                let differs = now.iter().zip(promised).position(|(now, promised)| now != promised);
                assert!(
                    now.starts_with(promised),
                    "{what}: {} lost what was promised: {} bytes were, and it has {}; they differ at {differs:?}",
                    path.display(),
                    promised.len(),
                    now.len()
                );
                read_pcap(&now); // whole records only
            }
        }
    }
}

/// Name of a segment, with its date.
pub fn name_of(segment: &Path) -> String {
    let text = segment.display().to_string();
    let named = Path::new(text.split(".pcap").next().unwrap_or_default());
    let mut parts: Vec<_> =
        named.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.reverse();
    parts.join("/")
}

/// The bytes of a segment, which may be cold.
fn contents(segment: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            zstd::decode_all(&*std::fs::read(format!("{}{COLD_ENDING}", segment.display()))?)
        }
        read => read,
    }
}

/// Files of segments, also of cold ones.
pub fn segment_files(store: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "pcap" || extension == &COLD_ENDING[1..])
    };
    files_below(&store.join("segments")).into_iter().filter(is_segment).collect()
}

fn inside(store: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(store).expect("a file of the store").to_owned()
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
    let kills = std::env::var("NETREWIND_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    for round in 0..kills {
        let recording = link.record(&store, &["--segment-bytes", "32MiB", "--budget", "8GiB"]);
        if let Some(remains) = &remains {
            remains.assert_kept(&store, &format!("round {round}"));
            recovered += remains.promised.values().filter(|promised| promised.len() > HEADER_BYTES).count();
        }
        std::thread::sleep(Duration::from_millis(rng.u64(..1000)));
        recording.kill();
        let after = Remains::of(&store);
        promised_bytes += after.promised_bytes();
        // What was promised can be read as it lies, before anything has been recovered.
        if round % 8 == 0 {
            let records =
                |bytes: &Vec<u8>| if bytes.len() > HEADER_BYTES { read_pcap(bytes).len() } else { 0 };
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
    remains.expect("rounds").assert_kept(&store, "at the end");
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
    eprintln!("{kills} kills, {recovered} segments recovered, {promised_bytes} bytes had been promised");
}
