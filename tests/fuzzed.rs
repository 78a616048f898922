//! Every function that reads bytes from outside holds what it promises over the inputs that are kept for it: `fuzz/README.md`.

use std::collections::BTreeSet;

use crate::support::{files_below, netrewind, seed};
use crate::tidy::root;

#[path = "../fuzz/src/lib.rs"]
mod functions;

/// A function that takes any bytes, and its name.
type NamedFunction = (&'static str, fn(&[u8]));

const FUNCTIONS: [NamedFunction; 24] = [
    ("alert", functions::alert::read),
    ("capture_file", functions::capture_file::read),
    ("catalog", functions::catalog::read),
    ("cursor", functions::cursor::read),
    ("dissection", functions::dissection::read),
    ("evidence", functions::evidence::read),
    ("filter", functions::filter::read),
    ("filter_text", functions::filter_text::read),
    ("hold", functions::hold::read),
    ("hour", functions::hour::read),
    ("index", functions::index::read),
    ("labels", functions::labels::read),
    ("lists", functions::lists::read),
    ("logbook", functions::logbook::read),
    ("manifest", functions::manifest::read),
    ("packet", functions::packet::read),
    ("packet_line", functions::packet_line::read),
    ("parameters", functions::parameters::read),
    ("remote", functions::remote::read),
    ("search_text", functions::search_text::read),
    ("segment", functions::segment::read),
    ("sign_in", functions::sign_in::read),
    ("tokens", functions::tokens::read),
    ("tunnel", functions::tunnel::read),
];

#[test]
fn what_is_promised_of_any_bytes_holds_for_the_kept_inputs() {
    let names: BTreeSet<String> = FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = files_below(&root().join("fuzz/src")).into_iter();
    let modules = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    assert_eq!(names, modules.filter(|name| name != "lib").collect());
    for (name, read) in FUNCTIONS {
        let inputs = files_below(&root().join("fuzz/corpus").join(name));
        assert!(!inputs.is_empty(), "no inputs are kept for {name}");
        for input in inputs {
            let bytes = std::fs::read(&input).expect("an input");
            eprintln!("{}", input.display());
            read(&bytes);
        }
    }
}

/// Random arguments that Wireshark's call may be made of, and any text.
fn arguments(random: &mut fastrand::Rng) -> Vec<String> {
    const WORDS: [&str; 24] = [
        "--extcap-interfaces",
        "--extcap-interface",
        "netrewind",
        "--extcap-dlts",
        "--extcap-config",
        "--extcap-reload-option",
        "--extcap-capture-filter",
        "--extcap-version",
        "--capture",
        "--fifo",
        "/dev/null",
        "--store",
        "/nonexistent",
        "--tz",
        "Europe/Rome",
        "--mode",
        "live",
        "--from",
        "5m ago",
        "--filter",
        "port 53",
        "--decapsulate=true",
        "install",
        "",
    ];
    let word = |random: &mut fastrand::Rng| match random.u32(..8) {
        0 => (0..random.usize(..20)).map(|_| random.char('\u{1}'..='\u{2fff}')).collect(),
        1 => format!("{}={}", WORDS[random.usize(..WORDS.len())], WORDS[random.usize(..WORDS.len())]),
        _ => WORDS[random.usize(..WORDS.len())].to_owned(),
    };
    // `install` would write into the home folder of whoever runs this.
    let words = (0..random.usize(1..10)).map(|_| word(random)).filter(|word| word != "install");
    std::iter::once("--extcap-version=4.0".to_owned()).chain(words).collect()
}

#[test]
fn whatever_wireshark_is_made_to_call_ends_with_a_status_and_a_line() {
    let mut random = fastrand::Rng::with_seed(seed());
    // Some name a file to write to.
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..100 {
        let words = arguments(&mut random);
        let output = netrewind().args(&words).current_dir(folder.path()).output().expect("netrewind runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0..=3)), "{words:?}: {} {said}", output.status);
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}
