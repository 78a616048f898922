//! What the tests share: running the command and its rivals, reading what they wrote, chance.

pub mod archived;
pub mod disk;
pub mod expressions;
pub mod geoip;
pub mod link;
pub mod numbered;
pub mod object_cluster;
pub mod object_store;
pub mod packets;
pub mod power_disk;
pub mod proxied;
pub mod served;
pub mod service;
pub mod wrapping;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use packets::Packet;

/// The command under test.
pub fn netrewind() -> Command {
    Command::new(env!("CARGO_BIN_EXE_netrewind"))
}

/// Runs the command with these arguments, in whatever way it ends.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    netrewind().args(arguments).output().expect("netrewind runs")
}

/// Runs the command, which must end with status 0, and gives its standard output.
pub fn done<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "netrewind ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(4096)]),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The files of a store's logbook, one a day.
pub fn logbook_days(store: &Path) -> Vec<PathBuf> {
    let mut days = files_below(&store.join("logbook"));
    days.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    days.sort_unstable();
    days
}

/// Makes a store's logbook one of before lines were numbered, of the lines that `is_kept` lets stay.
pub fn unnumber_logbook(store: &Path, is_kept: impl Fn(&str) -> bool) {
    for day in logbook_days(store) {
        let text = std::fs::read_to_string(&day).expect("lines");
        let bare = |line: &str| line.split(",\"line\":").next().unwrap_or_default().to_owned() + "}\n";
        let lines: String = text.lines().filter(|line| is_kept(line)).map(bare).collect();
        std::fs::write(&day, lines).expect("written");
    }
    std::fs::remove_file(store.join("logbook").join(".end")).expect("removed");
}

/// Imports files into a store, which may report damage in them.
pub fn import(store: &Path, files: &[&Path]) {
    let output =
        netrewind().arg("import").arg("--store").arg(store).args(files).output().expect("netrewind runs");
    let status = output.status.code();
    assert!(
        matches!(status, Some(0 | 1)),
        "import of {files:?} ended with {status:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The packets of `file` that `tcpdump -r` accepts, in the file's order; or what it says of the expression.
pub fn tcpdump(file: &Path, expression: &str) -> Result<Vec<Packet>, String> {
    let output = Command::new("tcpdump")
        .args(["--nano", "-w", "-", "-r"])
        .arg(file)
        .arg(expression)
        .output()
        .expect("tcpdump runs: scripts/install test");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It writes the file header only after the expression has compiled.
    if output.stdout.is_empty() { Err(said) } else { Ok(packets::read_pcap(&output.stdout)) }
}

/// Whether tcpdump's verdict on an expression is chance: libpcap 1.10 compiles some (`geneve or ...`) to programs that read
/// memory which no instruction on the way has written, and its interpreter does not clear that.
pub fn is_left_to_chance(file: &Path, expression: &str) -> bool {
    // Opcodes: bpf(4).
    const STORE_A: u32 = 0x02;
    const STORE_X: u32 = 0x03;
    const LOAD_A: u32 = 0x60;
    const LOAD_X: u32 = 0x61;
    let listing = Command::new("tcpdump")
        .args(["-ddd", "-r"])
        .arg(file)
        .arg(expression)
        .output()
        .expect("tcpdump runs");
    let text = String::from_utf8_lossy(&listing.stdout).into_owned();
    let program: Vec<Vec<u32>> = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
        .collect();
    // Every place with every set of words that may have been written by then.
    let (mut waiting, mut seen) = (vec![(0, 0u32)], std::collections::BTreeSet::new());
    while let Some((at, written)) = waiting.pop() {
        let Some([code, jump_true, jump_false, k]) = program.get(at).map(Vec::as_slice) else { continue };
        if !seen.insert((at, written)) {
            continue;
        }
        match (code, code & 7) {
            (&LOAD_A | &LOAD_X, _) if written >> k & 1 == 0 => return true,
            (&STORE_A | &STORE_X, _) => waiting.push((at + 1, written | 1 << k)),
            (0x05, _) => waiting.push((at + 1 + *k as usize, written)),
            (_, 5) => waiting.extend([jump_true, jump_false].map(|jump| (at + 1 + *jump as usize, written))),
            (_, 6) => {}
            _ => waiting.push((at + 1, written)),
        }
    }
    false
}

/// Every file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The folder of real captures, or `None`, having said so.
pub fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("NETREWIND_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no captures in {} (set NETREWIND_CORPUS)", folder.display());
    None
}

/// The captures of the corpus.
pub fn captures() -> Option<Vec<PathBuf>> {
    let folder = corpus()?;
    let is_capture =
        |path: &PathBuf| !matches!(path.extension().and_then(|e| e.to_str()), Some("md" | "txt"));
    Some(files_below(&folder).into_iter().filter(is_capture).collect())
}

/// A seed for this run: `NETREWIND_TEST_SEED`, or one of its own; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("NETREWIND_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("NETREWIND_TEST_SEED={seed}");
    seed
}

/// True where this process may make network namespaces; says so where not.
pub fn may_make_namespaces() -> bool {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        eprintln!("skipped: network namespaces need root");
    }
    root
}
