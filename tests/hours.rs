//! Indexes of hours: with them every answer is what it is without, whatever became of the segments that they speak of.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use serde_json::Value;

use crate::roundtrip::segments;
use crate::support::packets::{Packet, read_pcap, tcp, write_pcap};
use crate::support::{done, files_below, run, seed};

const PACKETS: usize = 250;
const START: u32 = 1_795_339_861;

/// A store of segments that have little in common: hosts, tunnels, VLAN tags, fragments, IPv6, ARP.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub filters: Vec<String>,
}

fn of_workload(name: &str, seed: u64, start: u32) -> Vec<Packet> {
    let workload = netrewind_workloads::Workload::named(name).expect("a workload").with_alive(20);
    let mut frames = workload.frames(seed);
    let packet = |number: u32| {
        let bytes = frames.next_frame().to_vec();
        Packet { seconds: start + number / 10, nanoseconds: number, len: bytes.len() as u32, bytes }
    };
    (0..PACKETS as u32).map(packet).collect()
}

fn with_bytes(seconds: u32, bytes: Vec<u8>) -> Packet {
    Packet { seconds, nanoseconds: 0, len: bytes.len() as u32, bytes }
}

/// A conversation, in a VLAN, with a fragmented datagram and ARP beside it.
fn mixture(seconds: u32, host: u8) -> Vec<Packet> {
    let ends = [([10, 77, 0, host], 40_000), ([10, 77, 1, 1], 443)];
    let mut packets: Vec<Packet> = (0..20).map(|n| tcp((seconds, n), ends, (n, 0), 0x18, b"hello")).collect();
    for packet in packets.clone() {
        let mut bytes = packet.bytes[..12].to_vec();
        bytes.extend([0x81, 0, 0, host]);
        bytes.extend(&packet.bytes[12..]);
        packets.push(with_bytes(seconds, bytes));
    }
    for (offset, more) in [(0u8, 0x20u8), (8, 0)] {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 84, 0, host, more, offset];
        bytes.extend([64, 17, 0, 0, 10, 77, 2, host, 10, 77, 3, 1, 0, 53, 0, 99, 0, 128, 0, 0]);
        bytes.resize(98, 7);
        packets.push(with_bytes(seconds, bytes));
    }
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 77, 0, host]);
    arp.resize(60, 0);
    packets.push(with_bytes(seconds, arp));
    let mut ipv6 = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64];
    ipv6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77, host]);
    ipv6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 0, 53, 0, 8, 0, 0]);
    packets.push(with_bytes(seconds, ipv6));
    packets
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut captures: Vec<Vec<Packet>> =
            (0..3).map(|n| of_workload("campus", n, START + n as u32 * 30)).collect();
        captures.push(of_workload("vxlan", 9, START));
        captures.extend((1..4).map(|host| mixture(START + u32::from(host) * 20, host)));
        let some = read_pcap(&write_pcap(1, &captures[1]));
        let address =
            |at: usize| some[17].bytes[at..at + 4].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        let filters = [
            String::new(),
            format!("host {}", address(26)),
            format!("host {} and host {}", address(26), address(30)),
            format!("net {}.0.0.0/8", some[17].bytes[30]),
            "host 10.77.0.2 and host 10.77.1.1 and port 443".into(),
            "host 10.77.0.2 and host 10.77.1.9".into(),
            "host 203.0.113.7".into(),
            "net 10.77.2.0/24".into(),
            "udp port 53".into(),
            "portrange 40000-40001 or icmp".into(),
            "ip6 host 2001:db8::7702".into(),
            "vlan 2".into(),
            "vlan and host 10.77.0.3".into(),
            "arp".into(),
            "not ip".into(),
            "ip[8] = 64 and ip[16:4] & 0xff = 1".into(),
            "src net 10.77.0.0/16 and not dst port 443".into(),
            "host 10.77.2.2 and udp port 99".into(),
        ];
        let scene = Self { folder, filters: filters.into() };
        for (number, packets) in captures.iter().enumerate() {
            let file = scene.folder.path().join(format!("{number}.pcap"));
            fs::write(&file, write_pcap(1, packets)).expect("written");
            done(["import", "--store", &scene.store(), &file.display().to_string()]);
        }
        scene.index();
        scene
    }

    pub fn store(&self) -> String {
        self.folder.path().join("store").display().to_string()
    }

    pub fn segments(&self) -> Vec<PathBuf> {
        segments(Path::new(&self.store()))
    }

    pub fn index(&self) {
        done(["index", "--store", &self.store()]);
        assert!(!self.hours().is_empty());
    }

    pub fn hours(&self) -> Vec<PathBuf> {
        hours_of(&self.store())
    }

    /// Asserts that the store answers with the indexes of its hours as without.
    fn assert_same_without(&self, what: &str, filters: &[String]) {
        let with = answers(&self.store(), filters);
        let hours = self.hours();
        let aside = |hour: &Path| hour.with_extension("aside");
        hours.iter().for_each(|hour| fs::rename(hour, aside(hour)).expect("renamed"));
        let without = answers(&self.store(), filters);
        hours.iter().for_each(|hour| fs::rename(aside(hour), hour).expect("renamed"));
        assert_unchanged(what, &without, &with);
    }
}

pub fn hours_of(store: &str) -> Vec<PathBuf> {
    let files = files_below(&Path::new(store).join("segments"));
    files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "hour")).collect()
}

/// Status, standard output, and what is said of the answer, without the work that it took.
pub type Answer = (Option<i32>, Vec<u8>, Value);

/// Asserts that answers are those of before.
pub fn assert_unchanged(what: &str, before: &[(Vec<String>, Answer)], now: &[(Vec<String>, Answer)]) {
    assert_eq!(before.len(), now.len(), "{what}");
    for ((question, before), (_, now)) in before.iter().zip(now) {
        assert!(before == now, "{what}: {question:?}\nbefore\n{before:?}\nnow\n{now:?}");
    }
}

pub fn answers(store: &str, filters: &[String]) -> Vec<(Vec<String>, Answer)> {
    answers_from(&["--store", store], filters)
}

/// The same, of what these arguments name.
pub fn answers_from(place: &[&str], filters: &[String]) -> Vec<(Vec<String>, Answer)> {
    let range = [format!("--from={}", START + 25), format!("--to={}", START + 45)];
    let mut answers = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        let mut asked: Vec<Vec<&str>> = vec![
            vec!["extract", "-o", "-", "--json", "--filter", filter],
            vec!["extract", "--count", "--json", "--view", "outer", "--filter", filter, &range[0], &range[1]],
            vec!["flows", "--format", "json", "--filter", filter],
        ];
        match number % 4 {
            0 => asked.push(vec!["extract", "-o", "-", "--json", "--view", "any", "--filter", filter]),
            1 => asked.push(vec!["extract", "--estimate", "--json", "--filter", filter]),
            2 => asked.push(vec![
                "extract",
                "-o",
                "-",
                "--json",
                "--ignore-vlan",
                "--filter",
                filter,
                &range[0],
            ]),
            _ => asked.push(vec!["extract", "--count", "--json", "--dedup", "--filter", filter, &range[1]]),
        }
        for question in asked {
            let output = run(question[..1].iter().chain(place).chain(&question[1..]));
            let said = String::from_utf8_lossy(&output.stderr);
            let mut stdout = output.stdout.clone();
            let mut told: Value =
                said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
            if let Ok(mut printed) = serde_json::from_slice::<Value>(&stdout) {
                forget_work(&mut printed);
                stdout = printed.to_string().into_bytes();
            }
            forget_work(&mut told);
            let question = question.into_iter().map(str::to_owned).collect();
            answers.push((question, (output.status.code(), stdout, told)));
        }
    }
    answers
}

fn forget_work(answer: &mut Value) {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("work");
        fields.remove("took");
    }
}

#[test]
fn every_answer_is_the_same_with_the_hours_and_without() {
    let scene = Scene::new();
    scene.assert_same_without("as it is", &scene.filters);
    let found = answers(&scene.store(), &scene.filters);
    let packets = |answer: &Answer| answer.2["packets"].as_u64().unwrap_or(0);
    assert!(
        found.iter().filter(|(_, answer)| packets(answer) > 0).count() > 10,
        "the sample finds something"
    );
    done(["verify", "--store", &scene.store()]);
}

/// What can become of a store.
type Change = (&'static str, fn(&Scene, &mut Rng));

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    let at = at % bytes.len();
    bytes[at] ^= 0x40;
    // In place: the file stays the same.
    fs::write(path, bytes).expect("written");
}

fn cut(path: &Path, bytes: u64) {
    fs::File::options().write(true).open(path).and_then(|file| file.set_len(bytes)).expect("cut");
}

fn some(scene: &Scene, rng: &mut Rng) -> PathBuf {
    let segments = scene.segments();
    segments[rng.usize(..segments.len())].clone()
}

fn index_of(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

const CHANGES: &[Change] = &[
    ("a bit of a segment's head", |scene, rng| flip(&some(scene, rng), rng.usize(..300))),
    ("a bit of a segment", |scene, rng| flip(&some(scene, rng), rng.usize(..))),
    ("a segment is cut", |scene, rng| {
        let segment = some(scene, rng);
        let bytes = fs::metadata(&segment).expect("there").len();
        cut(&segment, rng.u64(..bytes));
    }),
    ("a segment is emptied", |scene, rng| cut(&some(scene, rng), 0)),
    ("a segment is another one", |scene, rng| {
        let (one, other) = (some(scene, rng), some(scene, rng));
        fs::write(one, fs::read(other).expect("read")).expect("written");
    }),
    ("a segment is gone", |scene, rng| fs::remove_file(some(scene, rng)).expect("removed")),
    ("a segment is gone with its index", |scene, rng| {
        let segment = some(scene, rng);
        fs::remove_file(index_of(&segment)).expect("removed");
        fs::remove_file(segment).expect("removed");
    }),
    ("a folder is in its place", |scene, rng| {
        let segment = some(scene, rng);
        fs::remove_file(&segment).expect("removed");
        fs::create_dir(segment).expect("created");
    }),
    ("a link to nothing is in its place", |scene, rng| {
        let segment = some(scene, rng);
        fs::remove_file(&segment).expect("removed");
        std::os::unix::fs::symlink("nowhere", segment).expect("linked");
    }),
    ("an index is gone", |scene, rng| fs::remove_file(index_of(&some(scene, rng))).expect("removed")),
    ("a bit of an index's head", |scene, rng| flip(&index_of(&some(scene, rng)), rng.usize(..520))),
    ("a bit of an index", |scene, rng| flip(&index_of(&some(scene, rng)), rng.usize(..))),
    ("a bit of an index, and its time set back", |scene, rng| {
        let index = index_of(&some(scene, rng));
        let modified = fs::metadata(&index).and_then(|found| found.modified()).expect("a time");
        flip(&index, rng.usize(..));
        let file = fs::File::options().write(true).open(&index).expect("opened");
        file.set_modified(modified).expect("set");
    }),
    ("an index is cut", |scene, rng| {
        let index = index_of(&some(scene, rng));
        let bytes = fs::metadata(&index).expect("there").len();
        cut(&index, rng.u64(..bytes));
    }),
    ("an index is another's", |scene, rng| {
        let (one, other) = (some(scene, rng), some(scene, rng));
        fs::write(index_of(&one), fs::read(index_of(&other)).expect("read")).expect("written");
    }),
    ("two segments have changed names", |scene, rng| {
        let (one, other) = (some(scene, rng), some(scene, rng));
        let aside = one.with_extension("aside");
        fs::rename(&one, &aside).expect("renamed");
        if one != other {
            fs::rename(&other, &one).expect("renamed");
        }
        fs::rename(&aside, &other).expect("renamed");
    }),
    ("a segment has another name", |scene, rng| {
        let segment = some(scene, rng);
        let name = segment.file_name().and_then(|name| name.to_str()).expect("a name");
        let other = if name.starts_with("00") { "01" } else { "00" };
        let renamed = segment.with_file_name(format!("{other}{}", &name[2..]));
        fs::rename(index_of(&segment), index_of(&renamed)).expect("renamed");
        fs::rename(segment, renamed).expect("renamed");
    }),
    ("another import", |scene, _| {
        let file = scene.folder.path().join("later.pcap");
        fs::write(&file, write_pcap(1, &mixture(START + 33, 2))).expect("written");
        done(["import", "--store", &scene.store(), &file.display().to_string()]);
    }),
    ("the whole store is a copy", |scene, _| {
        let copy = scene.folder.path().join("copy");
        let copied = std::process::Command::new("cp").arg("-a").arg(scene.store()).arg(&copy).status();
        assert!(copied.expect("cp runs").success());
        fs::remove_dir_all(scene.store()).expect("removed");
        fs::rename(copy, scene.store()).expect("renamed");
    }),
    ("every index is built again", |scene, _| drop(done(["index", "--store", &scene.store(), "--rebuild"]))),
    ("other tunnel ports, and no index built again", |scene, _| {
        let file = Path::new(&scene.store()).join("store.toml");
        // As by hand: without a checksum.
        let text = fs::read_to_string(&file).expect("read");
        let bare = text.split("checksum").next().unwrap_or_default().to_owned();
        fs::write(file, bare + "tunnel_ports = [\"none=4789\"]\n").expect("written");
    }),
    ("other tunnel ports", |scene, _| {
        drop(done(["index", "--store", &scene.store(), "--tunnel-port", "none=4789"]));
    }),
    ("the hour is emptied", |scene, _| scene.hours().iter().for_each(|hour| cut(hour, 0))),
    ("the hour is cut", |scene, rng| {
        scene.hours().iter().for_each(|hour| cut(hour, rng.u64(..fs::metadata(hour).expect("there").len())));
    }),
    ("a bit of the hour", |scene, rng| scene.hours().iter().for_each(|hour| flip(hour, rng.usize(..)))),
    ("a bit of the hour's head", |scene, rng| {
        scene.hours().iter().for_each(|hour| flip(hour, rng.usize(..230)))
    }),
    ("the hour is another's", |scene, _| {
        let other = Scene::new();
        let theirs = fs::read(&other.hours()[0]).expect("read");
        scene.hours().iter().for_each(|hour| fs::write(hour, &theirs).expect("written"));
    }),
    ("the hour has the name of every other", |scene, _| {
        let hour = scene.hours().swap_remove(0);
        let bytes = fs::read(&hour).expect("read");
        (0..24)
            .for_each(|n| fs::write(hour.with_file_name(format!("{n:02}.hour")), &bytes).expect("written"));
    }),
];

#[test]
fn what_has_changed_is_answered_as_if_there_were_no_hours() {
    let mut rng = Rng::with_seed(seed());
    for (what, change) in CHANGES {
        let scene = Scene::new();
        change(&scene, &mut rng);
        let mut filters: Vec<String> = scene.filters.clone();
        rng.shuffle(&mut filters);
        filters.truncate(4);
        filters.push("host 203.0.113.7".into());
        scene.assert_same_without(what, &filters);
    }
}

#[test]
fn a_damaged_hour_is_named_by_verify_and_written_again() {
    let scene = Scene::new();
    let hour = scene.hours().swap_remove(0);
    let whole = fs::read(&hour).expect("read");
    for at in [3, 8, 100, 400, whole.len() / 2, whole.len() - 1] {
        flip(&hour, at);
        let output = run(["verify", "--store", &scene.store()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "byte {at}: {said}");
        assert!(said.contains("index of hour") && said.contains("run netrewind index"), "{said}");
        done(["index", "--store", &scene.store(), "--rebuild"]);
        done(["verify", "--store", &scene.store()]);
        scene.assert_same_without("written again", &scene.filters[..3]);
    }
}
