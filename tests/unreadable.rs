//! Parts of a store that cannot be read: whoever asks is told which, and answered as far as the others go.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::packets::{Packet, tcp, write_pcap};
use crate::support::{done, netrewind, run};

/// Whom no file is open to that does not say so: nobody.
const USER: u32 = 65_534;
const PACKETS: u32 = 200;
/// Bytes of a record of these packets, its header included.
const RECORD_BYTES: u64 = 16 + 54 + 1;
const ALL: [&str; 4] = ["extract", "flows", "status", "verify"];

/// What has happened to a part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    NoPermission,
    FolderInPlace,
    FileInPlace,
    Garbage,
    Emptied,
}

use Fault::{Emptied, FileInPlace, FolderInPlace, Garbage, NoPermission};

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// A store of two segments with indexes and a catalog; what it is asked by is no superuser where that can be had.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { folder };
        let mode =
            |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        mode(scene.folder.path());
        fs::copy(netrewind().get_program(), scene.path("netrewind")).expect("copied");
        mode(&scene.path("netrewind"));
        for number in 0..2 {
            let packets: Vec<Packet> = (0..PACKETS)
                .map(|n| {
                    let ends = [([10, 0, 0, 1], 1000 + (n % 9) as u16), ([10, 0, 0, 2], 80)];
                    tcp((1_795_339_861 + number * 3600, n), ends, (n, 0), 0x18, b"x")
                })
                .collect();
            let file = scene.path(&format!("{number}.pcap"));
            fs::write(&file, write_pcap(1, &packets)).expect("written");
            done(["import", "--store", &scene.text("store"), &file.display().to_string()]);
        }
        done(["index", "--store", &scene.text("store"), "--catalog", "--current-hour"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A copy of the store, and the part of it that this leads to: `*` is the first name in its folder, `*.x` the first that ends so.
    fn copy(&self, part: &str) -> (PathBuf, PathBuf) {
        let copy = self.path("copy");
        if copy.exists() {
            // Folders without permissions among them are no obstacle to who may change them.
            done_by(Command::new("chmod").args(["-R", "u+rwX"]).arg(&copy));
            fs::remove_dir_all(&copy).expect("removed");
        }
        done_by(Command::new("cp").arg("-a").arg(self.path("store")).arg(&copy));
        let at = part.split('/').fold(copy.clone(), |folder, name| match name.strip_prefix('*') {
            Some(end) => {
                let names = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("one").path());
                let mut names: Vec<_> =
                    names.filter(|path| path.display().to_string().ends_with(end)).collect();
                names.sort();
                names.into_iter().next().expect("a name")
            }
            None => folder.join(name),
        });
        (copy, at)
    }

    /// Asks, as somebody who is not let through everywhere.
    fn ask(&self, store: &Path, command: &str) -> Output {
        let mut arguments = vec![command.to_owned(), "--store".into(), store.display().to_string()];
        if command == "extract" {
            arguments.push("--count".into());
        }
        if !is_superuser() {
            return run(arguments);
        }
        done_by(Command::new("chown").args(["-R", &format!("{USER}:{USER}")]).arg(store));
        let user = USER.to_string();
        let output = Command::new("setpriv")
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(self.path("netrewind"))
            .args(arguments)
            .output();
        output.expect("setpriv runs")
    }
}

fn is_superuser() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    chown(folder.path(), Some(USER), Some(USER)).is_ok()
}

fn done_by(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

fn spoil(part: &Path, fault: Fault) {
    let remove = || match part.is_dir() {
        true => fs::remove_dir_all(part).expect("removed"),
        false => fs::remove_file(part).expect("removed"),
    };
    match fault {
        NoPermission => fs::set_permissions(part, fs::Permissions::from_mode(0o0)).expect("a mode"),
        FolderInPlace => {
            remove();
            fs::create_dir(part).expect("a folder");
        }
        FileInPlace => {
            remove();
            fs::write(part, "x").expect("written");
        }
        Garbage => {
            let length = fs::metadata(part).expect("a file").len();
            fs::write(part, (0..length).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>()).expect("written");
        }
        Emptied => fs::write(part, "").expect("written"),
    }
}

/// Who is to be told, of each part and fault.
const CASES: [(&str, &[Fault], &[&str]); 12] = [
    ("store.toml", &[NoPermission, FolderInPlace, Garbage, Emptied], &ALL),
    ("logbook", &[NoPermission, FileInPlace], &ALL),
    ("logbook/*.jsonl", &[NoPermission, FolderInPlace, Garbage], &ALL),
    ("logbook/*.jsonl", &[Emptied], &["extract", "flows", "verify"]),
    ("logbook/.end", &[NoPermission, FolderInPlace, Garbage, Emptied], &["verify"]),
    ("segments", &[NoPermission, FileInPlace], &ALL),
    ("segments/*", &[NoPermission, FileInPlace], &ALL),
    ("segments/*/*.pcap", &[NoPermission, FolderInPlace, Garbage, Emptied], &ALL),
    ("segments/*/*.idx", &[NoPermission, FolderInPlace], &ALL),
    ("catalog", &[NoPermission, FileInPlace], &["flows", "status", "verify"]),
    (
        "catalog/*/manifest.json",
        &[NoPermission, FolderInPlace, Garbage, Emptied],
        &["flows", "status", "verify"],
    ),
    ("catalog/*/rollup", &[NoPermission, FolderInPlace, Garbage, Emptied], &["verify"]),
];

#[test]
fn a_part_that_cannot_be_read_is_named_and_the_rest_is_answered() {
    let scene = Scene::new();
    for (part, faults, told) in CASES {
        for &fault in faults {
            for command in told {
                let (store, at) = scene.copy(part);
                spoil(&at, fault);
                let output = scene.ask(&store, command);
                let context = format!("{command}, {part}, {fault:?}: {}", said(&output));
                assert_eq!(output.status.code(), Some(1), "{context}");
                let name = at.file_stem().expect("a name").to_string_lossy().into_owned();
                assert!(said(&output).contains(&name), "{context}");
                if *command == "extract" {
                    let count: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a count");
                    let lost = match part {
                        "segments" | "segments/*" => 2 * PACKETS,
                        "segments/*/*.pcap" => PACKETS,
                        _ => 0,
                    };
                    assert_eq!(count, 2 * PACKETS - lost, "{context}");
                }
            }
        }
    }
}

#[test]
fn a_lock_that_cannot_be_read_hides_nothing_else() {
    let scene = Scene::new();
    let (store, lock) = scene.copy("lock");
    spoil(&lock, NoPermission);
    let output = scene.ask(&store, "status");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("lock: ") && said(&output).contains("2 segments"), "{}", said(&output));
}

#[test]
fn a_segment_that_ends_early_between_two_records_is_named_with_and_without_its_index() {
    let scene = Scene::new();
    for has_index in [true, false] {
        for command in ALL {
            let (store, segment) = scene.copy("segments/*/*.pcap");
            let file = fs::OpenOptions::new().write(true).open(&segment).expect("opened");
            let length = file.metadata().expect("a file").len();
            file.set_len(length - 3 * RECORD_BYTES).expect("cut");
            if !has_index {
                fs::remove_file(segment.with_extension("idx")).expect("removed");
            }
            let output = scene.ask(&store, command);
            let context = format!("{command}, with index: {has_index}: {}", said(&output));
            if command == "status" && !has_index {
                continue; // only the logbook knows its length then, with which it compares nothing
            }
            let name = segment.file_stem().expect("a name").to_string_lossy().into_owned();
            assert_eq!(output.status.code(), Some(1), "{context}");
            assert!(said(&output).contains(&name), "{context}");
            if command == "extract" {
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (2 * PACKETS - 3).to_string());
            }
        }
    }
}
