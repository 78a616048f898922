//! Every bit of every file of a store is vouched for.

use super::every_kind::{EveryKind, words_for};
use crate::support::seed;

/// Bits of each file that are flipped, one at a time.
const FLIPS: usize = 4;

/// Files that nothing vouches for: an open segment is vouched for when it is sealed and indexed.
fn is_open(file: &str) -> bool {
    file.ends_with(".pcap.open")
}

#[test]
fn every_flipped_bit_of_every_file_is_named() {
    let every = EveryKind::new();
    let (status, said) = every.verified();
    assert_eq!(status, Some(0), "{said}");
    let seed = seed();
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut unnoticed = Vec::new();
    for file in every.files().iter().filter(|file| !is_open(file)) {
        let whole = every.read(file);
        let last = whole.len() - 1;
        let places: Vec<usize> = (2..FLIPS).map(|_| chance.usize(..whole.len())).collect();
        for at in [0, last].into_iter().chain(places) {
            let bit = chance.u8(..8);
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let (status, said) = every.with_changed(file, &changed, EveryKind::verified);
            let words = words_for(file, &whole, at);
            if status != Some(1) || !words.iter().all(|words| said.contains(words.as_str())) {
                unnoticed
                    .push(format!("{file}: bit {bit} of byte {at} of {}: {words:?}: {said}", whole.len()));
            }
        }
    }
    assert!(unnoticed.is_empty(), "{} of them: {}", unnoticed.len(), unnoticed.join("\n"));
    assert_eq!(every.verified().0, Some(0));
}

/// An answer that may lack something because of a line of the logbook says so; the packets are given all the same.
#[test]
fn answers_over_a_damaged_logbook_say_so() {
    let every = EveryKind::new();
    let ask = |every: &EveryKind| every.said("extract", &["--count"]);
    let (_, whole) = ask(&every);
    let count = whole.lines().next().expect("a count").to_owned();
    assert!(!whole.contains("logbook"), "{whole}");
    let mut chance = fastrand::Rng::with_seed(seed());
    for file in every.files_with(|file| file.starts_with("logbook/") && file.ends_with(".jsonl")) {
        let lines = every.read(&file);
        for _ in 0..FLIPS {
            let mut changed = lines.clone();
            changed[chance.usize(..lines.len())] ^= 1 << chance.u8(..8);
            let (status, said) = every.with_changed(&file, &changed, ask);
            assert_eq!(status, Some(1), "{said}");
            assert!(said.contains(&format!("unreadable: {file}")), "{said}");
            assert!(said.contains(&count), "the packets are given: {said}");
        }
    }
}
