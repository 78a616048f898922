//! The logbook: what happened to the recording, beside the packets. One JSON object a line, one file a UTC day.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use crate::catalog::Hour;
use crate::store::FileIdentity;
use crate::{LinkType, Pace, SegmentName, Store, StoreError, Timestamp};

/// Packets that arrived and were not written, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drops {
    /// The kernel's ring was full, or the kernel had no room for other reasons.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel: u64,
    /// The disk was full or failed.
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

/// What a recorder took in and what became of it: `received = written + dropped.total()`.
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
    /// Whether every packet is accounted for.
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
    /// How many there were.
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
        /// Why.
        reason: String,
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
        /// Why it ended, and what was lost with it.
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
        /// How well the lane kept up; older lines do not tell.
        #[serde(flatten)]
        pace: Pace,
    },
    /// A segment was opened.
    Open {
        /// The segment.
        segment: SegmentName,
        /// Where its packets come from.
        interface: String,
        /// Its link type.
        link_type: u16,
        /// What the interface is for, where a capture file says so beside its name.
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
        /// Which limit asked for it: `budget`, `age` or `disk full`.
        reason: String,
        /// The earliest timestamp that was in it, where its index told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Timestamp>,
        /// The latest timestamp that was in it, where its index told.
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
        /// Why.
        reason: String,
    },
    /// An hour of the catalog was removed to keep to its budget or its greatest age.
    ExpireHour {
        /// The hour.
        hour: Hour,
        /// Bytes of disk that this freed.
        freed_bytes: u64,
        /// Which limit asked for it: `budget` or `age`.
        reason: String,
    },
    /// The wall clock jumped against the monotonic one.
    ClockStep {
        /// By how many nanoseconds, negative where it went back.
        by_ns: i64,
    },
    /// A segment's blocks could not be indexed while they were in memory; its index is built from the file.
    IndexBehind {
        /// The segment.
        segment: SegmentName,
        /// Why.
        reason: String,
    },
    /// An index was found damaged, foreign or of another version.
    IndexRejected {
        /// Whose index it was.
        segment: SegmentName,
        /// What is wrong with it.
        reason: String,
    },
    /// Writing failed; packets are dropped until it works again. While it goes on failing, it is told again now and then.
    DiskError {
        /// The lane.
        lane: u16,
        /// What the system said.
        reason: String,
        /// Packets that had been written and are lost with their segment, where any are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<LostPackets>,
    },
    /// A part of the store had been removed or renamed while it was written to, and was made again.
    Mended {
        /// What.
        what: String,
    },
    /// A capture file was imported.
    Import {
        /// The file.
        file: String,
        /// Packets taken from it.
        records: u64,
        /// What was wrong with it, up to which it was imported: what came behind is lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damage: Option<String>,
        /// The earliest timestamp imported; older lines do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<Timestamp>,
        /// The latest timestamp imported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Timestamp>,
        /// What the file holds that a store does not keep, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out: Option<String>,
    },
    /// A capture stream, or a file that was replayed, was damaged behind its last packet: what came there is lost.
    CaptureDamage {
        /// The file or stream.
        file: String,
        /// What was wrong with it.
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
        /// How many.
        dropped: Drops,
        /// From when on, by the capture's own clock.
        from: Timestamp,
        /// Until when.
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
pub struct Entry {
    /// What happened. Comes first in the line, so that a reader can pass over the many `second` lines unparsed.
    #[serde(flatten)]
    pub event: Event,
    /// When, by the wall clock.
    pub at: Timestamp,
}

/// Appends to a store's logbook.
#[derive(Debug)]
pub struct Logbook {
    store: Store,
    today: Option<(String, File)>,
}

impl Logbook {
    /// The logbook of `store`. Only who holds the store's lock writes to it.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), today: None }
    }

    /// Appends one line, by a single write.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<(), StoreError> {
        let date = at.date();
        let path = self.store.logbook_path(&date);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let mut line = serde_json::to_vec(&Entry { event, at }).map_err(io::Error::other).map_err(failed)?;
        line.push(b'\n');
        let goes_on =
            self.today.as_ref().is_some_and(|(open, file)| *open == date && self.is_ours(file, &path));
        let file = match &mut self.today {
            Some((_, file)) if goes_on => file,
            today => {
                self.store.prepare_logbook()?;
                let file = open_for_append(&path).map_err(failed)?;
                &mut today.insert((date, file)).1
            }
        };
        file.write_all(&line).map_err(failed)
    }

    /// Whether the open file is still the day's: it may have been renamed or removed. Where the whole store has been moved away,
    /// what is left to be said goes with it.
    fn is_ours(&self, file: &File, path: &std::path::Path) -> bool {
        let is_named = FileIdentity::of(file).ok() == FileIdentity::at(path).ok().flatten();
        is_named || self.store.is_in_place().is_err()
    }

    /// Makes everything appended so far last through a power cut.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some((date, file)) = &self.today {
            file.sync_data()
                .map_err(|source| StoreError::Io { path: self.store.logbook_path(date), source })?;
        }
        Ok(())
    }
}

/// Opens a day's file; a last line that a crash cut short is ended, so that it spoils no other.
fn open_for_append(path: &std::path::Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// What a line of the logbook holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An entry of interest.
    Entry(Entry),
    /// A line that cannot be read: cut by a crash, or written by a later version.
    Unreadable(String),
}

/// What every quiet second's line contains and no other does.
const SECOND_PREFIX: &str = "{\"event\":\"second\"";
const NOTHING_DROPPED: &str = "\"dropped\":{}";

/// The longest line that is read; a longer one is none of ours.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// How much of a day's file is read where only its beginning or its end is asked for.
const PART_BYTES: u64 = 64 << 10;

/// Which lines of a day are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// Some of the first ones: about half a thousand.
    Head,
    /// Some of the last ones.
    Tail,
}

/// A second in which nothing was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietSecond {
    /// The lane.
    pub lane: u16,
    /// Packets that arrived.
    pub received: u64,
    /// When it was over.
    pub at: Timestamp,
}

/// A line as it stands in the logbook, unparsed.
#[derive(Clone, Copy, Debug)]
pub struct RawLine<'a>(&'a str);

impl<'a> RawLine<'a> {
    /// A line that was kept aside.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The line's text.
    pub fn text(&self) -> &'a str {
        self.0
    }

    /// A second in which nothing was dropped.
    pub fn is_uneventful(&self) -> bool {
        self.0.starts_with(SECOND_PREFIX) && self.0.contains(NOTHING_DROPPED)
    }

    /// What a second says in which nothing was dropped, read without looking at the rest; `None` of any other line, and of one
    /// that some other version may have written.
    pub fn quiet_second(&self) -> Option<QuietSecond> {
        if !self.is_uneventful() {
            return None;
        }
        let rest = self.0.strip_prefix(SECOND_PREFIX)?.strip_prefix(",\"lane\":")?;
        let (lane, rest) = rest.split_once(',')?;
        let (received, _) = rest.strip_prefix("\"received\":")?.split_once(',')?;
        let (lane, received) = (lane.parse().ok()?, received.parse().ok()?);
        Some(QuietSecond { lane, received, at: self.at()?.parse().ok()? })
    }

    /// When, as it is written: compares as time does, with what [`Timestamp`] displays.
    pub fn at(&self) -> Option<&'a str> {
        self.0.rsplit_once("\"at\":\"")?.1.strip_suffix("\"}")
    }

    /// What it holds.
    pub fn parse(&self) -> Line {
        serde_json::from_str(self.0).map_or_else(|_| Line::Unreadable(self.0.to_owned()), Line::Entry)
    }
}

/// Calls `visit` for each line of the days from `from` to `to` (both included), in order. Seconds in which nothing was
/// dropped are passed over unless `all`: there are 86,400 a day, and what they count is in the indexes as well.
pub fn read(
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    all: bool,
    mut visit: impl FnMut(Line),
) -> Result<(), StoreError> {
    let (first, last) = (from.date(), to.date());
    for date in store.logbook_dates()? {
        if date < first || date > last {
            continue;
        }
        read_day(store, &date, Part::Whole, |line| {
            if all || !line.is_uneventful() {
                visit(line.parse());
            }
        })?;
    }
    Ok(())
}

/// Calls `visit` for each line of a part of a day, in order, unparsed. A day without a file has none.
pub fn read_day(
    store: &Store,
    date: &str,
    part: Part,
    mut visit: impl FnMut(RawLine<'_>),
) -> Result<(), StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // expired, or not begun
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.metadata().map_err(failed)?.len();
    let (skipped, wanted) = match part {
        Part::Whole => (0, u64::MAX),
        Part::Head => (0, PART_BYTES),
        Part::Tail => (bytes.saturating_sub(PART_BYTES), u64::MAX),
    };
    file.seek(SeekFrom::Start(skipped)).map_err(failed)?;
    let mut input = BufReader::with_capacity(1 << 18, file.take(wanted));
    let mut line = Vec::new();
    // A part may begin and end in the middle of a line.
    let mut is_cut = skipped > 0;
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || (part == Part::Head && bytes > wanted && !line.ends_with(b"\n")) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() && !std::mem::take(&mut is_cut) {
            visit(RawLine(text));
        }
    }
}

/// Calls `visit` for each line of a day that begins at `offset` of its file or behind, in order, with whether it is whole: the
/// last one may still be being written. Says where the last whole one ends.
pub fn read_day_from(
    store: &Store,
    date: &str,
    offset: u64,
    mut visit: impl FnMut(RawLine<'_>, bool),
) -> Result<u64, StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(offset), // expired, or not begun
        Err(error) => return Err(failed(error)),
    };
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut input = BufReader::with_capacity(1 << 18, file);
    let (mut line, mut end) = (Vec::new(), offset);
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)? as u64;
        let is_whole = line.ends_with(b"\n") || read == LINE_BYTES_MAX;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            visit(RawLine(text), is_whole);
        }
        if !is_whole {
            return Ok(end);
        }
        end += read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            pace: Pace::default(),
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
        let entry = |i: usize| Line::Entry(Entry { at: events[i].0, event: events[i].1.clone() });
        let torn = Line::Unreadable("{\"event\":\"sto".into());
        let last = Line::Entry(Entry { at: day(2), event: second(1) });
        assert_eq!(
            lines(Timestamp::MIN, Timestamp::MAX, true),
            [entry(0), entry(1), entry(2), entry(3), torn, last]
        );
        assert_eq!(lines(day(0), day(1), false), [entry(0), entry(2)]);
        let mut texts = Vec::new();
        for part in [Part::Whole, Part::Head, Part::Tail] {
            read_day(&store, &day(1).date(), part, |line| {
                texts.push((line.is_uneventful(), line.at().map(str::to_owned)));
            })
            .unwrap();
        }
        assert_eq!(texts, vec![(false, Some(day(1).to_string())); 3]);
        let text = std::fs::read_to_string(store.logbook_path(&day(0).date())).unwrap();
        assert!(text.lines().nth(1).unwrap().starts_with(SECOND_PREFIX) && text.contains(NOTHING_DROPPED));
        let quiet: Vec<_> = text.lines().filter_map(|line| RawLine::new(line).quiet_second()).collect();
        assert!(!quiet.is_empty(), "{text}");
        for line in text.lines() {
            let Line::Entry(Entry { event: Event::Second { lane, received, dropped, .. }, at }) =
                RawLine::new(line).parse()
            else {
                assert_eq!(RawLine::new(line).quiet_second(), None);
                continue;
            };
            let expected = (dropped.total() == 0).then_some(QuietSecond { lane, received, at });
            assert_eq!(RawLine::new(line).quiet_second(), expected, "{line}");
        }
    }
}
