use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

fn at(second: u32) -> Timestamp {
    Timestamp::new(1_795_339_860 + second, 0)
}

pub(super) fn extraction(who: &str, filter: &str) -> Extraction {
    let joined = JoinedFilter { filter: "net 10.1.0.0/16".into(), ..JoinedFilter::default() };
    Extraction {
        asked: at(0),
        who: who.to_owned(),
        peer: Some(SocketAddr::from(([192, 0, 2, 1], 3342))),
        recorder: None,
        what: "packets",
        flow: None,
        query: Query { joined: vec![joined], ..Query::of(filter) },
        packets: 5,
        bytes: 300,
        ending: Ending::ClientGone,
        error: None,
        seconds: 0.25,
    }
}

fn refused(second: u32) -> Refused {
    let reason = "the token is not valid".into();
    let path = format!("/api/v1/packets{}", "x".repeat(1000));
    Refused { at: at(second), who: None, peer: None, status: 401, path, reason }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the audit");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn an_extraction_says_who_got_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::start(AuditFile::at(&path).expect("a file")).expect("a thread");
    audit.extraction(&extraction("soc", "port 53\n\"quoted\""));
    drop(audit);
    let lines = lines(&path);
    assert_eq!(lines.len(), 1, "a filter cannot add a line");
    let line = &lines[0];
    assert_eq!((&line["event"], &line["who"]), (&"extraction".into(), &"soc".into()));
    assert_eq!((&line["peer"], &line["ending"]), (&"192.0.2.1:3342".into(), &"client-gone".into()));
    assert_eq!(line["query"]["filter"], "port 53\n\"quoted\"");
    assert_eq!(line["joined"][0]["filter"], "net 10.1.0.0/16");
    assert_eq!((line["packets"].as_u64(), line["seconds"].as_f64()), (Some(5), Some(0.25)));
}

#[test]
fn refusals_are_written_at_a_bounded_rate_and_counted_beyond() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::start(AuditFile::at(&path).expect("a file")).expect("a thread");
    (0..500).for_each(|_| audit.refused(&refused(0)));
    audit.refused(&refused(61));
    drop(audit);
    let lines = lines(&path);
    assert_eq!(lines.len(), REFUSALS_A_MINUTE_MAX as usize + 1);
    assert_eq!(lines.last().expect("a line")["unlisted"], 500 - REFUSALS_A_MINUTE_MAX);
    assert!(lines[0]["path"].as_str().expect("a path").len() <= TEXT_CHARACTERS_MAX);
}

#[test]
fn files_are_bounded_in_size_and_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = (0..3).map(|number| folder.path().join(number.to_string())).collect();
    let write = |count: u32| {
        let mut file = AuditFile::of_size(Box::new(AuditPaths::from(paths.clone())), 300).expect("a file");
        (0..count).for_each(|number| file.append(&format!("{number:020}")).expect("room"));
    };
    (0..10).for_each(|_| write(7));
    let sizes: Vec<u64> = paths.iter().map(|path| std::fs::metadata(path).expect("a file").len()).collect();
    assert!(sizes.iter().all(|&bytes| bytes <= 300) && sizes[1] > 200, "{sizes:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 3);
    let newest = std::fs::read_to_string(&paths[0]).expect("a file");
    let last = newest.lines().last().expect("a line");
    assert!(last.starts_with(&format!("{:020},\"line\":70,", 6)), "numbers go on: {newest}");
}

#[test]
fn a_place_that_cannot_be_written_is_named_with_a_remedy() {
    let error = AuditFile::at(Path::new("/proc/none/audit.jsonl")).expect_err("no such folder").to_string();
    assert!(error.contains("/proc/none/audit.jsonl") && error.contains("--no-audit"), "{error}");
}
