//! The logbook: what happened to the recording, beside the packets. One JSON object a line, one file a UTC day.

mod append;
mod check;
mod pace;
mod reading;

use serde::{Deserialize, Serialize};

use crate::catalog::Hour;
use crate::time::SECOND_NS;
use crate::{LinkType, SegmentName, Timestamp};

pub use crate::logbook_end::{DayEnd, LOGBOOK_END_BYTES, LogbookEnd};
pub use append::Logbook;
pub use check::{CheckedDay, Fault, check_day};
pub use pace::{LaneLoad, RingFill, TOLD_WITHIN_NS, WRITE_BOUNDS_US, WRITE_BUCKETS, WriteTimes};
pub use reading::{
    DayExcerpt, DayPosition, LogbookLine, QuietSecond, RawLine, read, read_day, read_day_from,
};

/// Packets received but not written, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Drops {
    /// Packets dropped by the kernel because its ring was full; absent: none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>))]
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel: u64,
    /// Packets dropped by the recorder because the disk was full or failed; absent: none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>))]
    #[serde(skip_serializing_if = "is_zero")]
    pub disk: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Drops {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.kernel + self.disk
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.kernel += other.kernel;
        self.disk += other.disk;
    }
}

/// Packets that a recorder received, wrote and dropped: `received = written + dropped.total()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Packets that arrived.
    pub received: u64,
    /// Packets in segments.
    pub written: u64,
    /// Packets in no segment.
    pub dropped: Drops,
    /// Bytes of the packets written, without headers.
    pub bytes: u64,
    /// Segments sealed.
    pub segments: u64,
}

impl Account {
    /// True if every packet is accounted for.
    pub fn adds_up(&self) -> bool {
        self.received == self.written + self.dropped.total()
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.written += other.written;
        self.dropped.add(&other.dropped);
        self.bytes += other.bytes;
        self.segments += other.segments;
    }
}

/// Packets that had been written to a segment whose file has been removed since, or cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPackets {
    /// The segment.
    pub segment: SegmentName,
    /// Records lost.
    pub records: u64,
    /// The earliest timestamp among them.
    pub first: Timestamp,
    /// The latest timestamp among them.
    pub last: Timestamp,
}

/// Something that happened. `FORMAT.md` describes each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A lane begins to record.
    Start {
        /// The lane.
        lane: u16,
        /// The interface, or what else the packets come from.
        interface: String,
        /// Bytes of a packet that are kept at most; absent where all are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snaplen: Option<u32>,
        /// The capture filter, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capture_filter: Option<String>,
        /// The version of netrewind.
        version: String,
    },
    /// A lane has ended as it should.
    Stop {
        /// The lane.
        lane: u16,
        /// All that it did since its start.
        account: Account,
    },
    /// A lane's interface went away, or its capture failed: nothing is received until it is back.
    Down {
        /// The lane.
        lane: u16,
        /// Reason, in words.
        reason: String,
        /// Last time that it worked; absent if it never did, and in lines of older versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worked_until: Option<Timestamp>,
    },
    /// A notice for the user about a lane, which makes no answer incomplete.
    Note {
        /// The lane.
        lane: u16,
        /// The notice.
        text: String,
    },
    /// A lane's interface is back.
    Up {
        /// The lane.
        lane: u16,
    },
    /// A peer has connected, whose packets this lane takes.
    Connected {
        /// The lane.
        lane: u16,
        /// Its address.
        peer: String,
    },
    /// A peer's stream has ended.
    Disconnected {
        /// The lane.
        lane: u16,
        /// Its address.
        peer: String,
        /// Packets taken from it.
        records: u64,
        /// Reason it ended, and anything lost with it.
        reason: String,
    },
    /// One second of a lane: written for a second in which anything arrived or was dropped, and every ten seconds
    /// besides, as a sign of life.
    Second {
        /// The lane.
        lane: u16,
        /// Packets that arrived.
        received: u64,
        /// Packets written.
        written: u64,
        /// Packets not written.
        dropped: Drops,
        /// Bytes of the packets written.
        bytes: u64,
        /// Fill of the ring and latency of writes; absent in older lines.
        #[serde(flatten)]
        pace: LaneLoad,
    },
    /// A segment was opened.
    Open {
        /// The segment.
        segment: SegmentName,
        /// The interface, or other source, of its packets.
        interface: String,
        /// Its link type.
        link_type: u16,
        /// Description of the interface, where a capture file gives one beside its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The capture file that the packets were imported from; absent where they were recorded, and in older lines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// A segment was sealed.
    Seal {
        /// The segment.
        segment: SegmentName,
        /// Records in it.
        records: u64,
        /// Bytes of the file.
        bytes: u64,
        /// The earliest timestamp in it.
        first: Timestamp,
        /// The latest timestamp in it.
        last: Timestamp,
    },
    /// A segment that its writer had left open was sealed.
    Recover {
        /// The segment.
        segment: SegmentName,
        /// Bytes that its writer had promised.
        committed_bytes: u64,
        /// Bytes that are kept.
        kept_bytes: u64,
        /// Bytes after them that held no whole record and were cut off; space that was only reserved does not count.
        cut_bytes: u64,
        /// Records kept.
        records: u64,
        /// The earliest timestamp kept.
        first: Timestamp,
        /// The latest timestamp kept.
        last: Timestamp,
    },
    /// A segment was removed to keep to the budget or the greatest age.
    Expire {
        /// The segment.
        segment: SegmentName,
        /// Bytes of disk that this freed.
        freed_bytes: u64,
        /// Limit that required it: `budget`, `age` or `disk full`.
        reason: String,
        /// Bytes of disk that holds took then, if they took any and it had to make room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_bytes: Option<u64>,
        /// The earliest timestamp that was in it, if its index had it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Timestamp>,
        /// The latest timestamp that was in it, if its index had it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Timestamp>,
    },
    /// An hour of the catalog was written.
    Catalogued {
        /// The hour.
        hour: Hour,
        /// Records of conversations in it.
        records: u64,
        /// Bytes of disk that it takes.
        bytes: u64,
    },
    /// An hour of the catalog could not be written; it is tried again.
    CatalogBehind {
        /// The hour.
        hour: Hour,
        /// Reason, in words.
        reason: String,
    },
    /// An hour of the catalog was exported as a table.
    Exported {
        /// The hour.
        hour: Hour,
        /// Records of conversations in it.
        records: u64,
        /// Bytes of its files.
        bytes: u64,
    },
    /// An hour of the catalog could not be exported, or only a part of it; if not, it is tried again.
    ExportBehind {
        /// The hour.
        hour: Hour,
        /// Reason, in words.
        reason: String,
    },
    /// Flow records sent to an IPFIX collector since the last such line.
    Ipfix {
        /// The collector.
        collector: String,
        /// Data records.
        records: u64,
        /// Messages that they were in.
        messages: u64,
        /// Segments whose flows were left out: too many waited, or they expired, or could not be read.
        dropped_segments: u64,
        /// Segments whose flows wait to be sent.
        waiting_segments: u64,
        /// Reason why nothing is sent at the moment, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// An hour of the catalog was removed to keep to its budget or its greatest age.
    ExpireHour {
        /// The hour.
        hour: Hour,
        /// Bytes of disk that this freed.
        freed_bytes: u64,
        /// Limit that required it: `budget` or `age`.
        reason: String,
    },
    /// The wall clock jumped against the monotonic one.
    ClockStep {
        /// Nanoseconds of the jump, negative if it went back.
        by_ns: i64,
    },
    /// A segment's blocks could not be indexed while they were in memory; its index is built from the file.
    IndexBehind {
        /// The segment.
        segment: SegmentName,
        /// Reason, in words.
        reason: String,
    },
    /// An index was found damaged, foreign or of another version.
    IndexRejected {
        /// The segment of the index.
        segment: SegmentName,
        /// Description of the fault.
        reason: String,
    },
    /// Writing failed; packets are dropped until it works again. While it keeps failing, it is reported again at intervals.
    DiskError {
        /// The lane.
        lane: u16,
        /// The system's error.
        reason: String,
        /// Packets that had been written and are lost with their segment, where any are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<LostPackets>,
    },
    /// A segment became cold: its file is compressed.
    Compressed {
        /// The segment.
        segment: SegmentName,
        /// Bytes of the segment.
        bytes: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },
    /// Segments could not be compressed, and stay as they are; it is tried again.
    CompressionBehind {
        /// The cause, in words.
        reason: String,
    },
    /// Segments that went into the archive since the last such line.
    Archive {
        /// URL of the archive.
        archive: String,
        /// Segments that are there now.
        segments: u64,
        /// Bytes of their objects.
        bytes: u64,
        /// Segments that wait.
        waiting_segments: u64,
        /// Bytes of their files.
        waiting_bytes: u64,
        /// Time at which the oldest of them was opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        oldest: Option<Timestamp>,
        /// Objects that were removed from the archive because of their age.
        #[serde(default, skip_serializing_if = "is_zero")]
        removed: u64,
        /// Reason why nothing, or not everything, can be archived at the moment, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// A segment expired before it was archived.
    Unarchived {
        /// The segment.
        segment: SegmentName,
    },
    /// A part of the store had been removed or renamed while it was written to, and was made again.
    Mended {
        /// The part that was made again.
        what: String,
    },
    /// A capture file was imported.
    Import {
        /// The file.
        file: String,
        /// Packets taken from it.
        records: u64,
        /// Damage up to which the file was imported; everything behind it is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damage: Option<String>,
        /// The earliest timestamp imported; absent in older lines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Timestamp>,
        /// The latest timestamp imported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Timestamp>,
        /// Contents of the file that a store does not keep, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<String>,
    },
    /// A capture stream, or a file that was replayed, was damaged behind its last packet: the packets there are lost.
    CaptureDamage {
        /// The file or stream.
        file: String,
        /// Description of the damage.
        reason: String,
        /// The earliest timestamp taken from it.
        first: Timestamp,
        /// The latest.
        last: Timestamp,
    },
    /// Packets are missing in what was taken from a capture file or stream: dropped where it was captured, as it says
    /// itself, or not written while it was imported.
    CaptureDrops {
        /// The file or stream.
        file: String,
        /// The interface that they were captured on.
        interface: String,
        /// Packets missing, by reason.
        dropped: Drops,
        /// Start of the loss, by the capture's own clock.
        from: Timestamp,
        /// End of the loss.
        to: Timestamp,
    },
}

impl Event {
    /// An [`Event::Open`].
    pub fn open(segment: SegmentName, interface: &str, link_type: LinkType) -> Self {
        let interface = interface.to_owned();
        Self::Open { segment, interface, link_type: link_type.0, description: None, file: None }
    }
}
/// One line of the logbook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogbookEntry {
    /// The event. Comes first in the line, so that a reader can skip the many `second` lines unparsed.
    #[serde(flatten)]
    pub event: Event,
    /// Start of the time that the line covers, where it is not one second before [`Self::at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Wall-clock time of the event, also where the line could only be written later.
    pub at: Timestamp,
}

impl LogbookEntry {
    /// An entry of an instant, or of the second before it.
    pub fn new(at: Timestamp, event: Event) -> Self {
        Self { event, since: None, at }
    }

    /// Start of the time that the counts of an [`Event::Second`] cover.
    pub fn began(&self) -> Timestamp {
        self.since.unwrap_or(Timestamp(self.at.ns().saturating_sub(SECOND_NS)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;
    use crate::Store;

    #[test]
    fn lines_come_back_in_order_and_a_torn_one_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let day = |n: u32| Timestamp::new(1_795_300_000 + n * 86_400, 5);
        let second = |kernel| Event::Second {
            lane: 0,
            received: 9,
            written: 9 - kernel,
            dropped: Drops { kernel, disk: 0 },
            bytes: 100,
            pace: LaneLoad { behind_ms: 17 * u32::try_from(kernel).unwrap_or(0), ..LaneLoad::default() },
        };
        let mut logbook = Logbook::new(&store);
        let start = Event::Start {
            lane: 0,
            interface: "eth0".into(),
            snaplen: None,
            capture_filter: None,
            version: "1".into(),
        };
        let events = [
            (day(0), start),
            (day(0), second(0)),
            (day(1), second(2)),
            (day(2), Event::ClockStep { by_ns: -4 }),
        ];
        for (at, event) in &events {
            logbook.append(*at, event.clone()).unwrap();
        }
        let path = store.logbook_path(&day(2).date());
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"event\":\"sto").unwrap();
        let mut logbook = Logbook::new(&store);
        logbook.append(day(2), second(1)).unwrap();
        logbook.sync().unwrap();

        let lines = |from, to, all| {
            let mut lines = Vec::new();
            read(&store, from, to, all, |line| lines.push(line)).unwrap();
            lines
        };
        let entry = |i: usize| LogbookLine::Entry(LogbookEntry::new(events[i].0, events[i].1.clone()));
        let torn = LogbookLine::Unreadable("{\"event\":\"sto".into());
        let last = LogbookLine::Entry(LogbookEntry::new(day(2), second(1)));
        assert_eq!(
            lines(Timestamp::MIN, Timestamp::MAX, true),
            [entry(0), entry(1), entry(2), entry(3), torn, last]
        );
        assert_eq!(lines(day(0), day(1), false), [entry(0), entry(2)]);
        let mut texts = Vec::new();
        for part in [DayExcerpt::Whole, DayExcerpt::Head, DayExcerpt::Tail] {
            read_day(&store, &day(1).date(), part, |line| {
                texts.push((line.is_uneventful(), line.at().map(str::to_owned)));
            })
            .unwrap();
        }
        assert_eq!(texts, vec![(false, Some(day(1).to_string())); 3]);
        let text = std::fs::read_to_string(store.logbook_path(&day(0).date())).unwrap();
        assert!(
            text.lines().nth(1).unwrap().starts_with(reading::SECOND_PREFIX)
                && text.contains(reading::NOTHING_DROPPED)
        );
        let quiet: Vec<_> = text.lines().filter_map(|line| RawLine::new(line).quiet_second()).collect();
        assert!(!quiet.is_empty(), "{text}");
        for line in text.lines() {
            let LogbookLine::Entry(LogbookEntry {
                event: Event::Second { lane, received, dropped, pace, .. },
                at,
                ..
            }) = RawLine::new(line).parse()
            else {
                assert_eq!(RawLine::new(line).quiet_second(), None);
                continue;
            };
            let expected = (dropped.total() == 0).then_some(QuietSecond {
                lane,
                received,
                behind_ms: pace.behind_ms,
                at,
            });
            assert_eq!(RawLine::new(line).quiet_second(), expected, "{line}");
        }
    }
    #[test]
    fn a_line_can_speak_of_more_than_a_second_and_a_later_version_of_what_is_not_known() {
        let entry = |since| {
            let event = Event::Second {
                lane: 3,
                received: 9,
                written: 9,
                dropped: Drops::default(),
                bytes: 100,
                pace: LaneLoad::default(),
            };
            LogbookEntry { since, ..LogbookEntry::new(Timestamp::new(1_795_300_000, 5), event) }
        };
        let since = Timestamp::new(1_795_299_000, 1);
        let text = serde_json::to_string(&entry(Some(since))).unwrap();
        assert_eq!(RawLine::new(&text).parse(), LogbookLine::Entry(entry(Some(since))));
        assert_eq!(
            (entry(Some(since)).began(), entry(None).began()),
            (since, Timestamp::new(1_795_299_999, 5))
        );
        assert!(RawLine::new(&text).is_uneventful() && RawLine::new(&text).quiet_second().is_none());
        let later = r#"{"event":"teleported","lane":1,"at":"2026-11-22T09:31:01.000000000Z"}"#;
        assert!(
            matches!(RawLine::new(later).parse(), LogbookLine::Later { event, .. } if event == "teleported")
        );
        for damaged in
            [r#"{"event":"up","at":"2026-11-22T09:31:01Z"}"#, r#"{"event":"teleported"}"#, "\0\0\0"]
        {
            assert!(matches!(RawLine::new(damaged).parse(), LogbookLine::Unreadable(_)), "{damaged}");
        }
    }

    #[test]
    fn a_strict_look_names_each_line_that_answers_pass_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let (date, path) = ("2026-11-22", store.logbook_path("2026-11-22"));
        let up = |lane: u16, day: u32| {
            format!("{{\"event\":\"up\",\"lane\":{lane},\"at\":\"2026-11-{day}T09:31:01Z\"}}\n")
        };
        let mut bytes = [up(1, 22), up(2, 21), "garbage\n".to_owned()].concat().into_bytes();
        bytes.extend_from_slice(b"{\"event\":\"up\",\"lane\":3,\"at\":\"\xff\"}\n");
        bytes.extend_from_slice(&up(4, 22).into_bytes()[..20]);
        std::fs::write(&path, &bytes).unwrap();
        let look = |is_being_written| {
            let (mut lanes, mut faults) = (Vec::new(), Vec::new());
            let mut take = |entry: LogbookEntry| {
                if let Event::Up { lane } = entry.event {
                    lanes.push(lane);
                }
            };
            check_day(&store, date, is_being_written, &mut take, &mut |fault| faults.push(fault.line))
                .unwrap();
            (lanes, faults)
        };
        assert_eq!(look(true), (vec![1, 2], vec![2, 3, 4]));
        assert_eq!(look(false), (vec![1, 2], vec![2, 3, 4, 5]));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let nothing = &mut |_| {};
        check_day(&store, date, false, nothing, &mut |_| {}).unwrap_err();
    }

    #[test]
    fn a_file_or_folder_that_was_taken_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let mut logbook = Logbook::new(&store);
        let at = Timestamp::new(1_795_300_000, 5);
        let path = store.logbook_path(&at.date());
        for lane in 0..4 {
            match lane {
                1 => std::fs::rename(&path, folder.path().join("elsewhere")).unwrap(),
                2 => std::fs::remove_dir_all(path.parent().unwrap()).unwrap(),
                _ => {}
            }
            logbook.append(at, Event::Up { lane }).unwrap();
            logbook.sync().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "those after it was last removed: {text}");
    }
}
