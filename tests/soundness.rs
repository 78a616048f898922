//! Damage to what is recorded: every bit of a sealed segment that changes is named, and no index is built that would hide it.

mod bits;
mod checked;
mod every_kind;
mod lacks;
mod live;
mod repair;

use std::path::{Path, PathBuf};

use crate::roundtrip::segments;
use crate::support::packets::{Packet, write_pcap};
use crate::support::{done, logbook_days, run};

const PACKETS: u32 = 3000;
const FLIPS: usize = 25;
const GRANULE_BYTES: usize = 16 << 10;

struct Scene {
    _folder: tempfile::TempDir,
    store: String,
}

/// A store of a few segments, of several granules each.
fn scene() -> Scene {
    let mut frames =
        netrewind_workloads::Workload::named("campus").expect("a workload").with_alive(50).frames(3);
    let packets: Vec<Packet> = (0..PACKETS)
        .map(|number| {
            let bytes = frames.next_frame().to_vec();
            Packet { seconds: 1_700_000_000 + number, nanoseconds: 0, len: bytes.len() as u32, bytes }
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("capture.pcap");
    std::fs::write(&capture, write_pcap(1, &packets)).expect("written");
    let store = folder.path().join("store").display().to_string();
    done(["import", "--store", &store, "--segment-bytes", "1MiB", &capture.display().to_string()]);
    done(["verify", "--store", &store]);
    Scene { _folder: folder, store }
}

impl Scene {
    fn segments(&self) -> Vec<PathBuf> {
        segments(Path::new(&self.store))
    }

    /// Status and words of a command.
    fn said(&self, command: &str, options: &[&str]) -> (Option<i32>, String) {
        let output = run([command, "--store", &self.store].iter().chain(options));
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&words).into_owned())
    }
}

fn name_of(segment: &Path) -> String {
    segment.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned()
}

/// The line that names the granule of a segment in which a byte stands.
fn names_damage(said: &str, segment: &Path, at: usize, length: usize) -> bool {
    let begin = at / GRANULE_BYTES * GRANULE_BYTES;
    let end = (begin + GRANULE_BYTES).min(length);
    said.lines().any(|line| {
        line.contains(&name_of(segment)) && line.contains(&format!("bytes {begin} to {end} differ"))
    })
}

#[test]
fn every_flipped_bit_is_named() {
    let scene = scene();
    let segments = scene.segments();
    assert!(segments.len() > 1);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let in_header = [0, 5, 16, 20, 23].map(|at| (0, Some(at)));
    let anywhere = (0..FLIPS).map(|flip| (flip % segments.len(), None));
    for (number, at) in in_header.into_iter().chain(anywhere) {
        let segment = &segments[number];
        let whole = std::fs::read(segment).expect("a segment");
        let at = at.unwrap_or_else(|| chance.usize(..whole.len()));
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << chance.u8(..8);
        std::fs::write(segment, &damaged).expect("written");
        let (status, said) = scene.said("verify", &[]);
        assert_eq!(status, Some(1), "byte {at}: {said}");
        assert!(names_damage(&said, segment, at, whole.len()), "byte {at} of {}: {said}", segment.display());
        assert!(!said.contains("--rebuild"), "byte {at}: no index is to be built over damage: {said}");
        std::fs::write(segment, &whole).expect("written");
    }
    done(["verify", "--store", &scene.store]);
}

/// Not by `index`, whatever makes it look at a segment; only where it is told to, and then the logbook keeps the fact.
#[test]
fn no_index_hides_damage() {
    let scene = scene();
    let segment = scene.segments().remove(0);
    let index = segment.with_extension("idx");
    let (whole, kept) =
        (std::fs::read(&segment).expect("a segment"), std::fs::read(&index).expect("an index"));
    for at in [30, whole.len() / 2, whole.len() - 3] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&segment, &damaged).expect("written");
        let (status, said) = scene.said("index", &["--rebuild"]);
        assert_eq!(status, Some(1), "{said}");
        assert!(names_damage(&said, &segment, at, whole.len()), "{said}");
        assert!(said.contains("--accept-damage"), "{said}");
        scene.said("index", &[]);
        scene.said("index", &["--tunnel-port", "vxlan=5555"]);
        assert!(std::fs::read(&index).expect("an index") == kept, "byte {at}: it stays as it is");
        scene.said("index", &["--tunnel-port", "default"]);
        assert_eq!(scene.said("verify", &[]).0, Some(1));
    }
    let (status, said) = scene.said("index", &["--rebuild", "--accept-damage"]);
    assert_eq!(status, Some(0), "{said}");
    for options in [&[][..], &["--rebuild"]] {
        assert_eq!(scene.said("index", options).0, Some(0), "its index is of it as it is");
        let (status, said) = scene.said("verify", &[]);
        assert!(status == Some(1) && said.contains("cannot be vouched for"), "and says so: {said}");
    }
    let days = logbook_days(Path::new(&scene.store));
    let lines: String = days.iter().map(|day| std::fs::read_to_string(day).expect("a logbook")).collect();
    assert!(lines.contains("rebuilt from a damaged segment: bytes"), "{lines}");
}

/// A segment that ends earlier, with a whole record, has nothing wrong in what is left of it.
#[test]
fn what_a_segment_has_lost_is_named() {
    let scene = scene();
    let segment = scene.segments().remove(0);
    let whole = std::fs::read(&segment).expect("a segment");
    let (mut at, mut ends) = (24, Vec::new());
    while at < whole.len() {
        let caplen = u32::from_le_bytes(whole[at + 8..at + 12].try_into().expect("four bytes"));
        at += 16 + caplen as usize;
        ends.push(at);
    }
    let end = ends[ends.len() - 10];
    for file in std::fs::read_dir(Path::new(&scene.store).join("logbook")).expect("a folder") {
        std::fs::remove_file(file.expect("a file").path()).expect("removed: it would tell, too");
    }
    std::fs::write(&segment, &whole[..end]).expect("written");
    let (status, said) = scene.said("verify", &[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&format!("it has {end} bytes, but had {}", whole.len())), "{said}");
    assert_eq!(scene.said("index", &[]).0, Some(1), "and it is not indexed as if it were whole");
}

/// It has no checksums, and is built again as ever.
#[test]
fn an_index_of_an_earlier_version_is_built_again() {
    let scene = scene();
    let index = scene.segments().remove(0).with_extension("idx");
    let kept = std::fs::read(&index).expect("an index");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("indexer/index/tests/golden/version-2.idx");
    std::fs::copy(old, &index).expect("copied");
    let (status, said) = scene.said("verify", &[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("version 2") && said.contains("--rebuild"), "{said}");
    let count = |options: &[&str]| {
        let options = [&["--count", "--filter", "udp"], options].concat();
        run(["extract", "--store", &scene.store].iter().chain(&options)).stdout
    };
    assert_eq!(count(&[]), count(&["--no-index"]), "answers are right meanwhile");
    done(["index", "--store", &scene.store]);
    assert!(std::fs::read(&index).expect("an index") == kept);
    done(["verify", "--store", &scene.store]);
}
