//! A store that has a file of every kind: three segments of neighbouring hours on two days, the first of them cold, and a fourth that
//! a killed recorder has left open, their indexes, a catalog with boundaries, a logbook, an audit.

use std::fs;
use std::path::{Path, PathBuf};

use netrewind_store::{
    Account, Drops, Event, LaneLoad, LinkType, Logbook, Mark, SegmentName, Store, Timestamp,
};

use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::service::Service;
use crate::support::{done, files_below, run};

/// 2026-11-21 23:00:00 UTC.
const BEGIN: u32 = 1_795_302_000;
const HOUR: u32 = 3600;
pub const SEALED: usize = 3;
/// Conversations of an hour, and seconds from the beginning of one to that of the next.
const CONVERSATIONS: u32 = 100;
const STEP: u32 = 30;
const PACKETS: u32 = 4;

pub struct EveryKind {
    folder: tempfile::TempDir,
    pub store: PathBuf,
}

fn packets(hour: u32) -> Vec<Packet> {
    let one = |number: u32| {
        let conversation = number / PACKETS;
        let ends = [
            ([10, hour as u8, (conversation % 7) as u8, 1], 1000 + conversation as u16),
            ([10, 9, 9, 9], 443),
        ];
        let at = BEGIN + hour * HOUR + 60 + conversation * STEP + number % PACKETS;
        tcp((at, number), ends, (number, 0), 0x18, &[number as u8; 200])
    };
    (0..CONVERSATIONS * PACKETS).map(one).collect()
}

fn name(hour: u32) -> SegmentName {
    SegmentName { opened: Timestamp::new(BEGIN + hour * HOUR + 10, 7), lane: 0 }
}

fn counts(at: u32, logbook: &mut Logbook) {
    let event = Event::Second {
        lane: 0,
        received: 9,
        written: 9,
        dropped: Drops::default(),
        bytes: 900,
        pace: LaneLoad::default(),
    };
    logbook.append(Timestamp::new(at, 9), event).expect("a line");
}

impl EveryKind {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        let store = Store::open_or_create(&path, Timestamp::new(BEGIN, 0), 7).expect("a store");
        let mut logbook = Logbook::new(&store);
        let mut log = |at: u32, event: Event| logbook.append(Timestamp::new(at, 5), event).expect("a line");
        let (interface, version) = ("eth0".to_owned(), "1".to_owned());
        log(BEGIN, Event::Start { lane: 0, interface, snaplen: None, capture_filter: None, version });
        let mut account = Account::default();
        for hour in 0..SEALED as u32 {
            let (name, packets) = (name(hour), packets(hour));
            let begin = BEGIN + hour * HOUR + 10;
            logbook
                .append(Timestamp::new(begin, 8), Event::open(name, "eth0", LinkType::ETHERNET))
                .expect("a line");
            (1..5).for_each(|second| counts(begin + second * 600, &mut logbook));
            let bytes = write_pcap(1, &packets);
            store.prepare_folder(&name).expect("a folder");
            fs::write(store.sealed_path(&name), &bytes).expect("written");
            let times = |packet: &Packet| Timestamp::new(packet.seconds, packet.nanoseconds);
            let (first, last) = (times(&packets[0]), times(&packets[packets.len() - 1]));
            let sealed = Event::Seal {
                segment: name,
                records: packets.len() as u64,
                bytes: bytes.len() as u64,
                first,
                last,
            };
            account.received += packets.len() as u64;
            account.written += packets.len() as u64;
            logbook.append(Timestamp::new(begin + HOUR - 20, 9), sealed).expect("a line");
        }
        let end = BEGIN + SEALED as u32 * HOUR;
        logbook.append(Timestamp::new(end, 1), Event::Stop { lane: 0, account }).expect("a line");
        logbook.sync().expect("synced");
        drop(logbook);
        let every = Self { folder, store: path };
        done(["index", "--store", &every.text(), "--catalog"]);
        every.compress_first();
        every.audit();
        every.leave_open(&store);
        every
    }

    /// Compresses the segment of the first hour: it is older than all others by an hour.
    fn compress_first(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let age = now.as_secs() - u64::from(BEGIN + HOUR - 300);
        done(["compress", "--store", &self.text(), "--after", &format!("{age}s")]);
        let count = |ending: &str| self.files_with(|file| file.ends_with(ending)).len();
        assert_eq!((count(".pcap.zst"), count(".pcap")), (1, SEALED - 1));
    }

    /// Has the service write an audit.
    fn audit(&self) {
        let mut service = Service::of(&self.text());
        for filter in ["tcp", "port%20443", "host%2010.9.9.9"] {
            let answer = service.get(&format!("/api/v1/packets?filter={filter}"));
            assert!(!answer.body.is_empty());
        }
        assert_eq!(service.terminate(), Some(0));
    }

    /// A segment as a killed recorder leaves it, and the logbook of its time.
    fn leave_open(&self, store: &Store) {
        let (name, packets) = (name(SEALED as u32), packets(SEALED as u32));
        let mut bytes = write_pcap(1, &packets);
        let mark = Mark {
            committed_bytes: bytes.len() as u64,
            records: packets.len() as u64,
            first: Timestamp::new(packets[0].seconds, packets[0].nanoseconds),
            last: Timestamp::new(packets[packets.len() - 1].seconds, 0),
        };
        bytes.resize(bytes.len() + 4096, 0);
        store.prepare_folder(&name).expect("a folder");
        fs::write(store.open_path(&name), &bytes).expect("written");
        fs::write(store.mark_path(&name), mark.to_file()).expect("written");
        let mut logbook = Logbook::new(store);
        let at = Timestamp::new(BEGIN + SEALED as u32 * HOUR + 10, 8);
        logbook.append(at, Event::open(name, "eth0", LinkType::ETHERNET)).expect("a line");
    }

    pub fn text(&self) -> String {
        self.store.display().to_string()
    }

    /// Every file of the store but its lock, by its path in it.
    pub fn files(&self) -> Vec<String> {
        let path =
            |path: PathBuf| path.strip_prefix(&self.store).expect("a file of it").display().to_string();
        let mut files: Vec<String> = files_below(&self.store).into_iter().map(path).collect();
        files.retain(|file| file != "lock" && !file.ends_with(".lock"));
        files.sort_unstable();
        files
    }

    /// The files that this is true of.
    pub fn files_with(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        self.files().into_iter().filter(|file| is_meant(file)).collect()
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.store.join(file)).expect("a file")
    }

    pub fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.store.join(file), bytes).expect("written");
    }

    /// Changes a file, looks, and puts it back.
    pub fn with_changed<T>(&self, file: &str, bytes: &[u8], look: impl FnOnce(&Self) -> T) -> T {
        let whole = self.read(file);
        self.write(file, bytes);
        let seen = look(self);
        self.write(file, &whole);
        seen
    }

    /// Removes a file, looks, and puts it back.
    pub fn without<T>(&self, file: &str, look: impl FnOnce(&Self) -> T) -> T {
        let aside = self.folder.path().join("aside");
        fs::rename(self.store.join(file), &aside).expect("renamed");
        let seen = look(self);
        fs::rename(&aside, self.store.join(file)).expect("renamed");
        seen
    }

    /// Status and words of a command.
    pub fn said(&self, command: &str, options: &[&str]) -> (Option<i32>, String) {
        said(command, &self.store, options)
    }

    pub fn verified(&self) -> (Option<i32>, String) {
        self.said("verify", &[])
    }

    /// A copy, to be repaired.
    pub fn copy(&self) -> PathBuf {
        let copy = self.folder.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        copy_folder(&self.store, &copy);
        copy
    }
}

pub fn said(command: &str, store: &Path, options: &[&str]) -> (Option<i32>, String) {
    let store = store.display().to_string();
    let output = run([command, "--store", &store].iter().chain(options));
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&words).into_owned())
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(fs::copy(&path, &target).expect("copied")),
        }
    }
}

/// Number of the line in which a byte is, from 1 on.
pub fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Words that `verify` has to say of a fault at a byte of a file.
pub fn words_for(file: &str, bytes: &[u8], at: usize) -> Vec<String> {
    let stem = Path::new(file).file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let stem =
        stem.split(".pcap").next().unwrap_or_default().trim_end_matches(".idx").trim_end_matches(".mark");
    let day = file.split('/').nth(1).unwrap_or_default();
    let segment = format!("segment {day}/{stem}: ");
    match file {
        _ if file.ends_with(".jsonl") => vec![format!("{file}: line {}", line_of(bytes, at))],
        _ if file.ends_with(".hour") => {
            vec![format!("index of hour {day}T{}: ", stem.trim_end_matches(".hour"))]
        }
        _ if file.starts_with("catalog") => vec![format!("hour {day}: ")],
        _ if file.ends_with(".mark") => vec![segment, "mark".to_owned()],
        _ if file.starts_with("segments") => vec![segment],
        _ => vec![format!("{file}: ")],
    }
}
