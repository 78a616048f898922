//! Reading the logbook: whole days, parts of them, and lines added since the last read.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;

use super::{Event, LogbookEntry};
use crate::files::{OpenMode, unless_missing};
use crate::seal::{LinePlace, LineSequence, Seal, unsealed};
use crate::{Store, StoreError, Timestamp};

/// A parsed line of the logbook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost every line is an entry")]
pub enum LogbookLine {
    /// An entry of interest.
    Entry(LogbookEntry),
    /// A line written by a later version, with an event that this version does not know.
    Later {
        /// Name of the event.
        event: String,
        /// Time of the event.
        at: Timestamp,
    },
    /// A line that cannot be read, or cannot be trusted: cut by a crash, damaged, or not where it was written.
    Unreadable(String),
}

/// The fields that a line of every version has.
#[derive(Deserialize)]
struct AnyEntry {
    event: String,
    at: Timestamp,
}

/// True if this version knows the event.
fn is_known(event: &str) -> bool {
    let bare = serde_json::json!({ "event": event });
    serde_json::from_value::<Event>(bare)
        .err()
        .is_none_or(|error| !error.to_string().starts_with("unknown variant"))
}

/// Text that every line of a quiet second contains, and no other line does.
pub(super) const SECOND_PREFIX: &str = "{\"event\":\"second\"";
pub(super) const NOTHING_DROPPED: &str = "\"dropped\":{}";
/// Text before the start time in a line that covers more than a second, and bytes of the two together.
const BEHIND_PREFIX: &str = "\"behind_ms\":";
const SINCE_PREFIX: &str = "\"since\":\"";
const SINCE_BYTES: usize = SINCE_PREFIX.len() + "2026-11-22T09:31:01.628448290Z\"".len();

/// Text before the time of a line that covers no more than a second, and bytes from there to the end of what it says.
const AT_PREFIX: &str = ",\"at\":\"";
const AT_BYTES: usize = AT_PREFIX.len() + "2026-11-22T09:31:01.628448290Z\"".len();

/// Text before the day that the first line of a day's file names, and its lines.
const FOLLOWS_PREFIX: &str = ",\"follows\":\"";

/// The longest line that is read; netrewind writes no longer ones.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a day's file that are read where only its beginning or its end is wanted.
const PART_BYTES: u64 = 64 << 10;

/// Part of a day's lines to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayExcerpt {
    /// All lines.
    Whole,
    /// Some of the first lines: about 500.
    Head,
    /// Some of the last lines.
    Tail,
}

/// A second in which nothing was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietSecond {
    /// The lane.
    pub lane: u16,
    /// Packets that arrived.
    pub received: u64,
    /// See [`LaneLoad::behind_ms`](crate::LaneLoad::behind_ms).
    pub behind_ms: u32,
    /// End of the second.
    pub at: Timestamp,
}

/// A line as it stands in the logbook, unparsed.
#[derive(Clone, Copy, Debug)]
pub struct RawLine<'a> {
    text: &'a str,
    /// Its content, without the last brace, and without number and checksum.
    body: &'a str,
    seal: Seal,
    place: LinePlace,
    /// False where invalid UTF-8 had to be replaced.
    is_text: bool,
}

impl<'a> RawLine<'a> {
    /// A line of text that was kept from an earlier read.
    pub fn new(text: &'a str) -> Self {
        Self::of(text, true)
    }

    fn of(text: &'a str, is_text: bool) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let (body, seal) = unsealed(text);
        let place = if seal == Seal::Wrong { LinePlace::Unsealed } else { LinePlace::Next };
        Self { text, body, seal, place, is_text }
    }

    /// With its place behind the lines before it.
    pub(super) fn placed(self, sequence: &mut LineSequence) -> Self {
        if self.text.is_empty() {
            return self;
        }
        Self { place: sequence.take(self.seal), ..self }
    }

    /// Its place among the lines before it.
    pub(super) fn place(&self) -> LinePlace {
        self.place
    }

    /// True if it has a checksum.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal != Seal::Absent
    }

    /// Lines before it that are missing.
    pub fn missing(&self) -> u64 {
        if let LinePlace::After(missing) = self.place { missing } else { 0 }
    }

    /// The day before, and how many lines it had: in the first line of a day.
    pub fn follows(&self) -> Option<(&'a str, u64)> {
        let (_, follows) = self.body.strip_suffix('"')?.rsplit_once(FOLLOWS_PREFIX)?;
        let (date, lines) = follows.split_once(' ')?;
        Some((date, lines.parse().ok()?)).filter(|_| self.is_trusted())
    }

    /// True unless it has changed, or is not where it was written.
    fn is_trusted(&self) -> bool {
        self.is_text && matches!(self.place, LinePlace::Next | LinePlace::After(_))
    }

    /// The line's text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// True if the line is that of a second, judged by its beginning.
    pub fn is_second(&self) -> bool {
        self.text.starts_with(SECOND_PREFIX)
    }

    /// True for a second in which nothing was dropped.
    pub fn is_uneventful(&self) -> bool {
        self.is_second() && self.text.contains(NOTHING_DROPPED) && self.is_trusted()
    }

    /// The fields of a second in which nothing was dropped, read without parsing the rest; `None` for any other line, and for one
    /// that another version may have written.
    pub fn quiet_second(&self) -> Option<QuietSecond> {
        if self.is_trusted()
            && let Some(second) = self.usual_second()
        {
            return Some(second);
        }
        if !self.is_uneventful() {
            return None;
        }
        let rest = self.body.strip_prefix(SECOND_PREFIX)?.strip_prefix(",\"lane\":")?;
        let (lane, rest) = rest.split_once(',')?;
        let (received, _) = rest.strip_prefix("\"received\":")?.split_once(',')?;
        let (lane, received) = (lane.parse().ok()?, received.parse().ok()?);
        let (before, at) = (self.body.rsplit_once(",\"at\":\"")?.0, self.at()?.parse().ok()?);
        (!has_start(before)).then_some(QuietSecond { lane, received, behind_ms: behind_ms(before), at })
    }

    /// The same for a line whose fields are in the order in which they are written: almost all lines of a logbook.
    fn usual_second(&self) -> Option<QuietSecond> {
        let field = |text: &'a str, name: &str| text.strip_prefix(name)?.split_once(',');
        let rest = self.body.strip_prefix(SECOND_PREFIX)?.strip_prefix(',')?;
        let (lane, rest) = field(rest, "\"lane\":")?;
        let (received, rest) = field(rest, "\"received\":")?;
        let (_, rest) = field(rest, "\"written\":")?;
        let rest = rest.strip_prefix(NOTHING_DROPPED)?.strip_prefix(',')?;
        let (before, at) = rest.split_at_checked(rest.len().checked_sub(AT_BYTES)?)?;
        let at = at.strip_prefix(AT_PREFIX)?.strip_suffix('"')?;
        let (lane, received) = (lane.parse().ok()?, received.parse().ok()?);
        let second = QuietSecond { lane, received, behind_ms: behind_ms(before), at: at.parse().ok()? };
        (!has_start(before)).then_some(second)
    }

    /// Time of the line, as written: its text sorts by time, and compares with what [`Timestamp`] displays.
    pub fn at(&self) -> Option<&'a str> {
        self.body.rsplit_once("\"at\":\"")?.1.split_once('"').map(|(at, _)| at)
    }

    /// Parses the line.
    pub fn parse(&self) -> LogbookLine {
        let unreadable = || LogbookLine::Unreadable(self.text.to_owned());
        if !self.is_trusted() {
            return unreadable();
        }
        if let Ok(entry) = serde_json::from_str(self.text) {
            return LogbookLine::Entry(entry);
        }
        match serde_json::from_str::<AnyEntry>(self.text) {
            Ok(AnyEntry { event, at }) if !is_known(&event) => LogbookLine::Later { event, at },
            _ => unreadable(),
        }
    }
}

/// An entry as JSON, to be the first line of a day: with the day before, and how many lines it has.
pub(super) fn follows(object: &str, date: &str, lines: u64) -> String {
    format!("{}{FOLLOWS_PREFIX}{date} {lines}\"}}", object.strip_suffix('}').unwrap_or(object))
}

/// The text of a line, with what is no text replaced.
fn text_of(line: &[u8]) -> Cow<'_, str> {
    // Faster than looking for what is to be replaced.
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

/// True if a line whose text before its time is this covers more than a second.
fn has_start(before: &str) -> bool {
    let end = before.len().checked_sub(SINCE_BYTES).and_then(|at| before.get(at..));
    end.is_some_and(|end| end.starts_with(SINCE_PREFIX))
}

/// The field of a second that comes last before `at`, if it is there.
fn behind_ms(before: &str) -> u32 {
    let digits = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let value = digits.ends_with(BEHIND_PREFIX).then(|| before.get(digits.len()..)?.parse().ok());
    value.flatten().unwrap_or(0)
}

/// Calls `visit` for each line of the days from `from` to `to` (both included), in order. Seconds in which nothing was dropped
/// are skipped unless `all`: there are 86,400 a day, and the indexes hold their counts as well.
pub fn read(
    store: &Store,
    from: Timestamp,
    to: Timestamp,
    all: bool,
    mut visit: impl FnMut(LogbookLine),
) -> Result<(), StoreError> {
    let (first, last) = (from.date(), to.date());
    for date in store.logbook_dates()? {
        if date < first || date > last {
            continue;
        }
        read_day(store, &date, DayExcerpt::Whole, |line| {
            if all || !line.is_uneventful() {
                visit(line.parse());
            }
        })?;
    }
    Ok(())
}

/// Calls `visit` for each line of a part of a day, in order, unparsed. A day without a file has none. Returns the number of the last
/// line, zero if none has one; the part [`DayExcerpt::Head`] does not know it.
pub fn read_day(
    store: &Store,
    date: &str,
    part: DayExcerpt,
    mut visit: impl FnMut(RawLine<'_>),
) -> Result<Option<u64>, StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let opened = unless_missing(store.files().open(&path, OpenMode::Read)).map_err(failed)?;
    let Some(file) = opened else { return Ok(None) }; // expired, or not begun
    let bytes = file.status().map_err(failed)?.bytes;
    let (skipped, wanted) = match part {
        DayExcerpt::Whole => (0, u64::MAX),
        DayExcerpt::Head => (0, PART_BYTES),
        DayExcerpt::Tail => (bytes.saturating_sub(PART_BYTES), u64::MAX),
    };
    let mut input = BufReader::with_capacity(1 << 18, file.reader(skipped).take(wanted));
    let mut line = Vec::new();
    // A part may begin and end in the middle of a line.
    let mut is_cut = skipped > 0;
    let mut sequence = if is_cut { LineSequence::from_anywhere() } else { LineSequence::from_first() };
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || (part == DayExcerpt::Head && bytes > wanted && !line.ends_with(b"\n")) {
            return Ok((part != DayExcerpt::Head).then(|| sequence.last()));
        }
        if std::mem::take(&mut is_cut) {
            continue;
        }
        let text = text_of(&line);
        let raw = RawLine::of(&text, matches!(text, Cow::Borrowed(_))).placed(&mut sequence);
        if !raw.text.is_empty() {
            visit(raw);
        }
    }
}

/// Place in a day's file up to which its lines have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayPosition {
    /// End of the last complete line.
    pub end: u64,
    sequence: LineSequence,
}

impl Default for DayPosition {
    fn default() -> Self {
        Self { end: 0, sequence: LineSequence::from_first() }
    }
}

impl DayPosition {
    /// Number of the last line; zero if none has one.
    pub fn last_line(&self) -> u64 {
        self.sequence.last()
    }
}

/// Calls `visit` for each line of a day from `position` on, in order, with true if it is complete: the last one may still be being
/// written. The position moves behind the last complete line.
pub fn read_day_from(
    store: &Store,
    date: &str,
    position: &mut DayPosition,
    mut visit: impl FnMut(RawLine<'_>, bool),
) -> Result<(), StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let opened = unless_missing(store.files().open(&path, OpenMode::Read)).map_err(failed)?;
    let Some(file) = opened else { return Ok(()) }; // expired, or not begun
    let mut input = BufReader::with_capacity(1 << 18, file.reader(position.end));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)? as u64;
        let is_whole = line.ends_with(b"\n") || read == LINE_BYTES_MAX;
        let mut sequence = position.sequence;
        let text = text_of(&line);
        let raw = RawLine::of(&text, matches!(text, Cow::Borrowed(_))).placed(&mut sequence);
        if !raw.text.is_empty() {
            visit(raw, is_whole);
        }
        if !is_whole {
            return Ok(());
        }
        *position = DayPosition { end: position.end + read, sequence };
    }
}
