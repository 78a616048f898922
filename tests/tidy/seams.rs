//! Time and files are arguments: code that reads a clock, sleeps or touches a file by itself stands in few places.

use std::path::Path;

use super::{code, is_test, sources};

/// Files and folders that do so, each for its reason.
const ROOMS: [(&str, &str); 8] = [
    ("recorder/store/src/clock.rs", "the clocks themselves"),
    ("recorder/store/src/files/system.rs", "the files themselves"),
    ("recorder/store/src/sys", "maps of files"),
    ("recorder/src/source/capture_file.rs", "files that a user names: they are no part of a store"),
    ("recorder/archive/src/bucket/connect.rs", "certificates that a user names"),
    ("recorder/archive/src/profile.rs", "keys of a cloud's own tools"),
    ("extractor/http/src/files.rs", "files that an operator names: they are no part of a store"),
    ("src", "the command"),
];

/// True if a line reads a clock, sleeps, or touches a file. Async code waits by its runtime's timers, which are an argument: a
/// runtime can be built with its time paused.
fn is_outside(line: &str) -> bool {
    let line = line.replace("tokio::time::Instant::now", "").replace("tokio::time::sleep", "");
    let words = ["Instant::now", "SystemTime::now", "std::fs", "File::open", "OpenOptions"];
    let sleeps = line.contains("sleep(") && !line.contains("clock.sleep(");
    sleeps || words.iter().any(|word| line.contains(word))
}

#[test]
fn time_and_files_are_arguments() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let is_room = ROOMS.iter().any(|(room, _)| path.starts_with(room));
        if is_room || is_test(&path) {
            continue;
        }
        let lines = code(&text).filter(|(_, line)| is_outside(line));
        found.extend(
            lines.map(|(number, line)| format!("{}:{}: {}", path.display(), number + 1, line.trim())),
        );
    }
    assert!(found.is_empty(), "take a Clock, or go through the store's Files:\n{}", found.join("\n"));
}

#[test]
fn rooms_are_used() {
    for (room, reason) in ROOMS {
        let is_used = sources()
            .iter()
            .any(|(path, text)| path.starts_with(room) && code(text).any(|(_, line)| is_outside(line)));
        assert!(is_used && Path::new(env!("CARGO_MANIFEST_DIR")).join(room).exists(), "{room}: {reason}");
    }
}
