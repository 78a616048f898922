//! `extract --check`: what has changed since it was recorded is named, and given as it stands there.

use super::every_kind::EveryKind;
use crate::support::packets::read_pcap;
use crate::support::service::Service;
use crate::support::{run, seed};

const GRANULE_BYTES: usize = 16 << 10;

#[test]
fn an_answer_names_the_bytes_that_have_changed() {
    let every = EveryKind::new();
    let mut chance = fastrand::Rng::with_seed(seed());
    let ask = |options: &[&str]| {
        let store = every.text();
        let arguments = ["extract", "--store", &store, "--check", "-o", "-"];
        let output = run(arguments.iter().chain(options));
        (
            output.status.code(),
            read_pcap(&output.stdout).len(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let sealed = ["--to", "2026-11-22T02:00:00Z"];
    let (status, all, said) = ask(&sealed);
    assert_eq!((status, all), (Some(0), 1200), "{said}");
    for segment in every.files_with(|file| file.ends_with(".pcap")) {
        let whole = every.read(&segment);
        // In a packet's payload: nothing else shows it.
        let record = 16 + 54 + 200;
        let at = 24 + chance.usize(..400) * record + 16 + 54 + chance.usize(..200);
        let mut changed = whole.clone();
        changed[at] ^= 1 << chance.u8(..8);
        let begin = at / GRANULE_BYTES * GRANULE_BYTES;
        let end = (begin + GRANULE_BYTES).min(whole.len());
        let named = format!("bytes {begin} to {end} differ from those recorded");
        every.with_changed(&segment, &changed, |every| {
            let (status, count, said) = ask(&sealed);
            assert_eq!((status, count), (Some(1), all), "{said}");
            assert!(said.contains(&named), "{named}: {said}");
            // Not asked for, not looked at.
            let (_, said) = every.said("extract", &["--count", sealed[0], sealed[1]]);
            assert!(!said.contains("differ"), "{said}");
            let (status, said) = every.said("extract", &["--count", "--check", sealed[0], sealed[1]]);
            assert!(status == Some(1) && said.contains(&named), "{said}");
            let service = Service::of(&every.text());
            let answer = service.get("/api/v1/packets?check=true&to=2026-11-22T02:00:00Z");
            let report = answer.trailer("netrewind-answer").or(answer.header("netrewind-answer"));
            assert!(report.is_some_and(|report| report.contains("\"complete\":false")), "{report:?}");
        });
    }
}

/// A filter that reads one granule compares that one.
#[test]
fn what_an_answer_does_not_read_it_does_not_compare() {
    let every = EveryKind::new();
    let segment = every.files_with(|file| file.ends_with(".pcap")).remove(0);
    let whole = every.read(&segment);
    let mut changed = whole.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let one = ["--check", "--count", "--filter", "port 1000", "--to", "2026-11-21T23:59:59Z"];
    let (status, said) = every.with_changed(&segment, &changed, |every| every.said("extract", &one));
    assert_eq!(status, Some(0), "{said}");
}
