//! Holds `FORMAT.md` against the code.

use netrewind_store::catalog::Hour;
use netrewind_store::layout::{self, CAPLEN_MAX, FILE_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader};
use netrewind_store::logbook::{CheckedDay, DayEnd, LOGBOOK_END_BYTES, LogbookEnd, LogbookEntry, check_day};
use netrewind_store::{
    Account, Drops, Event, LaneLoad, LinkType, Logbook, LostPackets, Mark, RingFill, SegmentName, Store,
    Timestamp, WriteTimes,
};

const DOCUMENT: &str = include_str!("../FORMAT.md");

/// The rows of the table below `heading`: their cells.
fn table(heading: &str, header: &str) -> Vec<Vec<String>> {
    let section = DOCUMENT.split(heading).nth(1).expect("the section");
    let table = section.split(header).nth(1).expect("the table");
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn range(cell: &str) -> std::ops::Range<usize> {
    let (from, to) = cell.split_once("..").expect("a range");
    from.parse().expect("a number")..to.parse().unwrap_or(usize::MAX)
}

fn row<'a>(rows: &'a [Vec<String>], name: &str) -> &'a [String] {
    rows.iter().find(|cells| cells[0] == name).unwrap_or_else(|| panic!("no row {name}"))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

#[test]
fn the_file_header_is_as_documented() {
    let rows = table("## A segment", "| Field | At | Value |");
    let header = layout::file_header(LinkType(276));
    let field = |name| number(&header[range(&row(&rows, name)[1])]);
    assert_eq!(field("magic"), 0xa1b2_3c4d);
    assert!(row(&rows, "magic")[2].contains("a1b23c4d"));
    assert_eq!(field("version"), 2 | 4 << 16);
    assert_eq!(field("reserved"), 0);
    assert_eq!(field("snaplen"), u64::from(CAPLEN_MAX));
    assert_eq!(row(&rows, "snaplen")[2], CAPLEN_MAX.to_string());
    assert_eq!(field("link type"), 276);
    assert_eq!(range(&row(&rows, "link type")[1]).end, FILE_HEADER_BYTES);
}

#[test]
fn records_are_as_documented() {
    let rows = table("Then the records", "| Field | At | Value |");
    let header = RecordHeader { seconds: 1, nanoseconds: 2, caplen: 3, len: 4 };
    let bytes = header.to_bytes();
    for (name, value) in [("seconds", 1), ("nanoseconds", 2), ("caplen", 3), ("len", 4)] {
        assert_eq!(number(&bytes[range(&row(&rows, name)[1])]), value, "{name}");
    }
    assert_eq!(range(&row(&rows, "packet")[1]).start, RECORD_HEADER_BYTES);
    assert!(row(&rows, "caplen")[2].contains(&CAPLEN_MAX.to_string()));
}

#[test]
fn the_mark_is_as_documented() {
    let rows = table("## The committed mark", "| Field | At | Value |");
    let mark = Mark { committed_bytes: 11, records: 12, first: Timestamp(13), last: Timestamp(14) };
    let bytes = mark.to_bytes();
    for (name, value) in
        [("committed bytes", 11), ("records", 12), ("first", 13), ("last", 14), ("reserved", 0)]
    {
        assert_eq!(number(&bytes[range(&row(&rows, name)[1])]), value, "{name}");
    }
    let magic = row(&rows, "magic");
    assert_eq!(magic[2].trim_matches('`').as_bytes(), &bytes[range(&magic[1])]);
    assert_eq!(range(&row(&rows, "checksum")[1]).end, layout::mark::BYTES);
}

#[test]
fn the_end_of_the_logbook_is_as_documented() {
    let rows = table("### The end of the logbook", "| Field | At | Value |");
    let end = LogbookEnd { last: DayEnd { day: 11, lines: 12 }, other: DayEnd { day: 9, lines: 10 } };
    let bytes = end.to_bytes();
    for (name, value) in [("day", 11), ("lines", 12), ("other day", 9), ("other lines", 10), ("reserved", 0)]
    {
        assert_eq!(number(&bytes[range(&row(&rows, name)[1])]), value, "{name}");
    }
    let magic = row(&rows, "magic");
    assert_eq!(magic[2].trim_matches('`').as_bytes(), &bytes[range(&magic[1])]);
    assert_eq!(range(&row(&rows, "checksum")[1]).end, LOGBOOK_END_BYTES);
}

/// Lines as they were written first: they stay readable, and their seals right.
#[test]
fn lines_of_each_kind_are_read_as_they_were_written() {
    let golden = include_str!("golden/2026-11-22.jsonl");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    std::fs::write(store.logbook_path("2026-11-22"), golden).unwrap();
    let mut faults = Vec::new();
    let mut lanes = Vec::new();
    let mut take = |entry: LogbookEntry| {
        if let Event::Up { lane } = entry.event {
            lanes.push(lane);
        }
    };
    let checked = check_day(&store, "2026-11-22", false, &mut take, &mut |fault| faults.push(fault)).unwrap();
    assert_eq!((faults, lanes), (Vec::new(), vec![1, 2, 3]));
    let follows = Some(("2026-11-21".to_owned(), 8231));
    assert_eq!(checked, CheckedDay { sound: 3, unsealed: 1, last: 2, follows });
    // Of its own accord, the writer goes on in the same way.
    let mut logbook = Logbook::new(&store);
    logbook.append(Timestamp::new(1_795_339_863, 0), Event::Up { lane: 4 }).unwrap();
    let text = std::fs::read_to_string(store.logbook_path("2026-11-22")).unwrap();
    assert!(text.lines().last().unwrap().contains("\"line\":3,\"sum\":\""), "{text}");
}

/// One of each event, so that a new one is documented.
fn events() -> Vec<Event> {
    let segment = SegmentName { opened: Timestamp(1), lane: 0 };
    let (interface, reason) = (String::from("eth0"), String::from("why"));
    let (first, last) = (Timestamp(1), Timestamp(2));
    vec![
        Event::Start {
            lane: 0,
            interface: interface.clone(),
            snaplen: Some(1),
            capture_filter: Some("tcp".into()),
            version: "1".into(),
        },
        Event::Stop { lane: 0, account: Account::default() },
        Event::Down { lane: 0, reason: reason.clone(), worked_until: Some(Timestamp(0)) },
        Event::Note { lane: 0, text: reason.clone() },
        Event::Up { lane: 0 },
        Event::Second { lane: 0, received: 0, written: 0, dropped: Drops::default(), bytes: 0, pace: pace() },
        Event::Open {
            segment,
            interface: interface.clone(),
            link_type: 1,
            description: Some("uplink".into()),
            file: Some("a".into()),
        },
        Event::Seal { segment, records: 1, bytes: 1, first, last },
        Event::Recover { segment, committed_bytes: 1, kept_bytes: 1, cut_bytes: 1, records: 1, first, last },
        Event::Expire {
            segment,
            freed_bytes: 1,
            reason: reason.clone(),
            held_bytes: Some(1),
            first: Some(first),
            last: Some(last),
        },
        Event::ClockStep { by_ns: 1 },
        Event::IndexBehind { segment, reason: reason.clone() },
        Event::IndexRejected { segment, reason: reason.clone() },
        Event::Catalogued { hour: Hour::of(first), records: 1, bytes: 1 },
        Event::CatalogBehind { hour: Hour::of(first), reason: reason.clone() },
        Event::Exported { hour: Hour::of(first), records: 1, bytes: 1 },
        Event::ExportBehind { hour: Hour::of(first), reason: reason.clone() },
        Event::Ipfix {
            collector: "udp:192.0.2.1:4739".into(),
            records: 1,
            messages: 1,
            dropped_segments: 1,
            waiting_segments: 1,
            trouble: Some(reason.clone()),
        },
        Event::ExpireHour { hour: Hour::of(first), freed_bytes: 1, reason: reason.clone() },
        Event::DiskError {
            lane: 0,
            reason: reason.clone(),
            lost: Some(LostPackets { segment, records: 1, first, last }),
        },
        Event::Compressed { segment, bytes: 2, file_bytes: 1 },
        Event::CompressionBehind { reason: reason.clone() },
        Event::Archive {
            archive: "s3://packets".into(),
            segments: 1,
            bytes: 1,
            waiting_segments: 1,
            waiting_bytes: 1,
            oldest: Some(first),
            removed: 1,
            trouble: Some(reason.clone()),
        },
        Event::Unarchived { segment },
        Event::Mended { what: reason.clone() },
        Event::Connected { lane: 0, peer: "192.0.2.1:57012".into() },
        Event::Disconnected { lane: 0, peer: "192.0.2.1:57012".into(), records: 1, reason: reason.clone() },
        Event::Import {
            file: "a".into(),
            records: 1,
            damage: Some(reason),
            first: Some(first),
            last: Some(last),
            left_out: Some("1 comment".into()),
        },
        Event::CaptureDamage { file: "a".into(), reason: "cut".into(), first, last },
        Event::CaptureDrops { file: "a".into(), interface, dropped: Drops::default(), from: first, to: last },
    ]
}

fn pace() -> LaneLoad {
    let mut writes = WriteTimes::default();
    writes.count(1);
    LaneLoad { ring: Some(RingFill::default()), writes, behind_ms: 1 }
}

#[test]
fn every_event_is_documented_with_its_fields() {
    let rows = table("## The logbook", "| event | fields | meaning |");
    let events = events();
    assert_eq!(rows.len(), events.len());
    for event in events {
        let line = serde_json::to_value(&event).unwrap();
        let fields = line.as_object().unwrap();
        let name = fields["event"].as_str().unwrap();
        let mut documented: Vec<_> = row(&rows, &format!("`{name}`"))[1]
            .split(", ")
            .map(|field| field.trim_matches(['`', '?']))
            .collect();
        let mut written: Vec<_> = fields.keys().map(String::as_str).filter(|key| *key != "event").collect();
        documented.sort_unstable();
        written.sort_unstable();
        assert_eq!(documented, written, "{name}");
    }
}
