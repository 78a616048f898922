//! What the tests share: running the command and its rivals, reading what they wrote, chance.

pub mod expressions;
pub mod link;
pub mod packets;

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
        "netrewind ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
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

/// A seed for this run: `NETREWIND_SEED`, or one of its own; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("NETREWIND_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("NETREWIND_SEED={seed}");
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
