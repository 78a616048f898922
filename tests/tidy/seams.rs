//! Time and files are arguments: code that reads a clock, sleeps or touches a file by itself stands in few places.

use std::collections::BTreeMap;
use std::path::Path;

use super::{code, is_test, sources};

/// Files and folders that do so, each for its reason.
const ROOMS: [(&str, &str); 7] = [
    ("recorder/store/src/clock.rs", "the clocks themselves"),
    ("recorder/store/src/files/system.rs", "the files themselves"),
    ("recorder/store/src/sys", "maps of files"),
    ("recorder/src/disk", "the disk itself: direct writes, reserved space"),
    ("recorder/src/sys", "io_uring, and the packet sockets"),
    ("recorder/src/source/capture_file.rs", "files that a user names: they are no part of a store"),
    ("src", "the command"),
];

/// Files that are still to be given their clock and their files, with the lines that do without. Only to be shortened.
const TO_BE_MOVED: [(&str, usize); 16] = [
    ("extractor/http/src/access/authenticator.rs", 1),
    ("extractor/http/src/access/gate.rs", 1),
    ("extractor/http/src/access/tokens.rs", 5),
    ("extractor/http/src/audit/file.rs", 3),
    ("extractor/http/src/audited.rs", 1),
    ("extractor/http/src/blocking.rs", 2),
    ("extractor/http/src/body_channel.rs", 1),
    ("extractor/http/src/connection.rs", 2),
    ("extractor/http/src/flows.rs", 2),
    ("extractor/http/src/geoip.rs", 3),
    ("extractor/http/src/json.rs", 1),
    ("extractor/http/src/log.rs", 1),
    ("extractor/http/src/packet_answer.rs", 1),
    ("extractor/http/src/packets.rs", 2),
    ("extractor/http/src/server.rs", 1),
    ("extractor/http/src/tls.rs", 3),
];

/// True if a line reads a clock, sleeps, or touches a file.
fn is_outside(line: &str) -> bool {
    let words = ["Instant::now", "SystemTime::now", "std::fs", "File::open", "OpenOptions"];
    let sleeps = line.contains("sleep(") && !line.contains("clock.sleep(");
    sleeps || words.iter().any(|word| line.contains(word))
}

#[test]
fn time_and_files_are_arguments() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources() {
        let is_room = ROOMS.iter().any(|(room, _)| path.starts_with(room));
        if is_room || is_test(&path) {
            continue;
        }
        for (number, line) in code(&text).filter(|(_, line)| is_outside(line)) {
            let lines = found.entry(path.display().to_string()).or_default();
            lines.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
        }
    }
    let allowed: BTreeMap<&str, usize> = TO_BE_MOVED.into_iter().collect();
    let more: Vec<_> = found
        .iter()
        .filter(|(file, lines)| lines.len() > allowed.get(file.as_str()).copied().unwrap_or(0))
        .flat_map(|(_, lines)| lines.iter().map(String::as_str))
        .collect();
    assert!(more.is_empty(), "take a Clock, or go through the store's Files:\n{}", more.join("\n"));
    let done: Vec<_> = allowed.keys().filter(|file| !found.contains_key(**file)).collect();
    assert!(done.is_empty(), "no longer to be moved: {done:?}");
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
