//! Files that are missing, emptied, shortened or in each other's place, and lines that are missing, repeated or moved.

use super::every_kind::EveryKind;
use crate::support::seed;

/// Words that name a file.
fn names(file: &str) -> String {
    let day = file.split('/').nth(1).unwrap_or_default();
    match file {
        _ if file.ends_with(".hour") => {
            let hour = file.rsplit('/').next().unwrap_or_default().trim_end_matches(".hour");
            format!("index of hour {day}T{hour}: ")
        }
        _ if file.starts_with("catalog") => format!("hour {day}: "),
        _ if file.starts_with("segments") => {
            let stem = file.rsplit('/').next().unwrap_or_default().split(".pcap").next().unwrap_or_default();
            format!("segment {day}/{}: ", stem.trim_end_matches(".idx").trim_end_matches(".mark"))
        }
        _ => format!("{file}: "),
    }
}

#[test]
fn a_missing_emptied_or_shortened_file_is_named() {
    let every = EveryKind::new();
    let mut chance = fastrand::Rng::with_seed(seed());
    let mut unnoticed = Vec::new();
    let mut look = |what: &str, file: &str, (status, said): (Option<i32>, String)| {
        // Without the index of an hour, nothing is wrong, and answers take longer.
        let is_right =
            status == Some(1) || (status == Some(0) && what == "missing" && file.ends_with(".hour"));
        // The lack of a file of the audit shows in the number of the next line, if there is one.
        let is_of_no_trace = what != "shortened" && file == "audit.jsonl";
        if !(is_of_no_trace || is_right && said.contains(&names(file))) {
            unnoticed.push(format!("{file} {what}: {status:?} {said}"));
        }
    };
    for file in every.files() {
        let whole = every.read(&file);
        if file.ends_with(".pcap.open") {
            continue; // what a crash has cut off is told when it is recovered
        }
        look("missing", &file, every.without(&file, EveryKind::verified));
        look("emptied", &file, every.with_changed(&file, b"", EveryKind::verified));
        let end = chance.usize(1..whole.len());
        look("shortened", &file, every.with_changed(&file, &whole[..end], EveryKind::verified));
    }
    assert!(unnoticed.is_empty(), "{} of them: {}", unnoticed.len(), unnoticed.join("\n"));
}

#[test]
fn two_files_in_each_others_place_are_named() {
    let every = EveryKind::new();
    let ends =
        ["-0.pcap", "Z-0.idx", ".hour", ".jsonl", "/rollup", "/seam", "/manifest.json", ".store", ".fast"];
    for end in ends {
        let files = every.files_with(|file| file.ends_with(end) && !file.starts_with("audit"));
        let [one, other] = [&files[0], &files[1]];
        let (bytes, others) = (every.read(one), every.read(other));
        if bytes == others {
            continue; // nothing has changed places
        }
        let (status, said) =
            every.with_changed(one, &others, |every| every.with_changed(other, &bytes, EveryKind::verified));
        assert_eq!(status, Some(1), "{end}: {said}");
        assert!(said.contains(&names(one)) && said.contains(&names(other)), "{one}, {other}: {said}");
    }
}

/// By `verify`, and by answers.
#[test]
fn lines_of_the_logbook_that_are_missing_repeated_or_moved_are_named() {
    let every = EveryKind::new();
    let ask = |every: &EveryKind| (every.verified(), every.said("extract", &["--count"]));
    for file in every.files_with(|file| file.starts_with("logbook/") && file.ends_with(".jsonl")) {
        let text = String::from_utf8(every.read(&file)).expect("text");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for at in 0..lines.len() {
            let mut removed = lines.clone();
            removed.remove(at);
            let mut repeated = lines.clone();
            repeated.insert((at + 2).min(lines.len()), lines[at]);
            let mut moved = removed.clone();
            moved.insert(if at == 0 { 1 } else { 0 }, lines[at]);
            for (what, changed) in [("removed", removed), ("repeated", repeated), ("moved", moved)] {
                let ((status, said), (_, answer)) =
                    every.with_changed(&file, changed.concat().as_bytes(), ask);
                assert_eq!(status, Some(1), "line {at} {what}: {said}");
                assert!(said.contains(&format!("{file}: ")), "line {at} {what}: {said}");
                assert!(answer.contains(&format!("unreadable: {file}")), "line {at} {what}: {answer}");
            }
        }
    }
}

#[test]
fn a_day_without_its_logbook_is_told_by_every_answer_about_it() {
    let every = EveryKind::new();
    for file in every.files_with(|file| file.starts_with("logbook/") && file.ends_with(".jsonl")) {
        let date = file.trim_start_matches("logbook/").trim_end_matches(".jsonl");
        if !date.starts_with("2026-11-2") {
            continue; // that of today: the packets are older
        }
        let ask = |every: &EveryKind| every.said("extract", &["--count"]);
        let (status, said) = every.without(&file, ask);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(&format!("logbook of {date}: it is missing")), "{said}");
    }
    let (from, to) = ("2026-11-21T23:30:00Z", "2026-11-21T23:40:00Z");
    let complete = |every: &EveryKind| every.said("extract", &["--count", "--from", from, "--to", to]);
    assert_eq!(complete(&every).0, Some(0), "{}", complete(&every).1);
    assert_eq!(every.without("logbook/2026-11-21.jsonl", complete).0, Some(1));
}

#[test]
fn lines_of_the_audit_that_are_missing_are_named() {
    let every = EveryKind::new();
    let text = String::from_utf8(every.read("audit.jsonl")).expect("text");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert!(lines.len() >= 3, "{text}");
    let without_second = [&lines[..1], &lines[2..]].concat().concat();
    let (status, said) = every.with_changed("audit.jsonl", without_second.as_bytes(), EveryKind::verified);
    assert!(
        status == Some(1) && said.contains("audit.jsonl: line 2: the line before it is missing"),
        "{said}"
    );
}
