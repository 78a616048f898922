//! Whatever a file holds, the command ends in good time and says what is wrong.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{captures, done, netrewind, seed};

/// Far more than any file of the corpus takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs to the end, which must come in good time, and be an orderly one.
fn orderly(arguments: &[&str]) -> Output {
    let begun = Instant::now();
    let mut child = netrewind()
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("netrewind runs");
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().expect("killed");
            panic!("netrewind {arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0..=3)),
        "netrewind {arguments:?}: {}: {said}",
        output.status
    );
    assert!(!said.contains("panicked"), "netrewind {arguments:?}: {said}");
    output
}

fn survives(folder: &Path, name: &str, bytes: &[u8]) {
    let file = folder.join("hostile");
    std::fs::write(&file, bytes).expect("written");
    let store = folder.join("store");
    let (file, store_text) = (file.display().to_string(), store.display().to_string());
    let imported = orderly(&["import", "--store", &store_text, &file]);
    if imported.status.code() != Some(0) {
        let said = String::from_utf8_lossy(&imported.stderr).into_owned();
        assert!(said.contains("hostile"), "{name}: damage is reported with the file's name: {said}");
    }
    if store.join("store.toml").exists() {
        done(["verify", "--store", &store_text]);
        orderly(&[
            "extract",
            "--store",
            &store_text,
            "--filter",
            "not port 1",
            "--format",
            "pcapng",
            "-o",
            "-",
        ]);
        std::fs::remove_dir_all(&store).expect("removed");
    }
}

fn shard(shard: usize) {
    let Some(captures) = captures() else { return };
    let mut rng = Rng::with_seed(seed() ^ shard as u64);
    let folder = tempfile::tempdir().expect("a folder");
    for file in captures.iter().skip(shard).step_by(2) {
        let whole = std::fs::read(file).expect("a capture");
        let name = file.display().to_string();
        if rng.bool() {
            survives(folder.path(), &name, &whole[..rng.usize(..=whole.len())]);
        } else {
            let mut damaged = whole;
            for _ in 0..rng.usize(1..8) {
                let at = rng.usize(..damaged.len().clamp(1, 4096));
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = rng.u8(..);
                }
            }
            survives(folder.path(), &name, &damaged);
        }
    }
}

#[test]
fn damaged_captures_0() {
    shard(0);
}

#[test]
fn damaged_captures_1() {
    shard(1);
}
