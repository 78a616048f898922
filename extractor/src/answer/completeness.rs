//! Completeness of an answer: the time it covers and everything it lacks.

use std::fmt::Write;

use netrewind_store::time::{HOUR_NS, Span};
use netrewind_store::{Drops, SegmentName, Store, Timestamp};
use serde::{Deserialize, Serialize};

use crate::query::Query;

/// The most gaps, unreadable places and notes that an answer lists; more are only counted.
pub const LISTED_MAX: usize = 1000;

/// Precision of times for restricted askers that come only from packets: an hour.
pub(crate) const VEILED_NS: u64 = HOUR_NS;

/// Time that an answer covers, and everything it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Completeness {
    /// The range as asked: absent ends were left open.
    pub asked: Asked,
    /// Range that the answer covers: an open end stands for the oldest packet kept, or the newest committed. Absent if the
    /// store holds nothing that could stand for it.
    pub covered: Option<Span>,
    /// Parts of it in which nothing was recorded, in order of time.
    pub gaps: Vec<Gap>,
    /// Packets received but not written in it, according to the logbook's lines for each second.
    pub dropped: Drops,
    /// Part of the range whose packets have expired.
    pub no_longer_kept: Option<Span>,
    /// Reason why nothing in the range is kept; absent if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub nothing_kept: Option<String>,
    /// Parts of segments that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Other parts of the store that could not be read: folders, days of the logbook, hours of the catalog.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damage>,
    /// Limit at which the answer ended although there was more.
    pub limit_reached: Option<ReachedLimit>,
    /// Number of gaps, unreadable places and notes beyond the listed ones.
    pub unlisted: u64,
    /// Further remarks; none of them makes the answer incomplete.
    pub notes: Vec<String>,
    /// Completeness by recorder, for answers from recorders over the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<RecorderCompleteness>,
}

/// An index that was bypassed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RejectedIndex {
    /// Whose index it is.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub segment: SegmentName,
    /// Defect found in it.
    pub reason: String,
    /// True if the file itself could not be read: access is denied, or it is not a file.
    pub is_unreadable: bool,
}

/// Completeness of the part of an answer that one recorder gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RecorderCompleteness {
    /// Its host and port.
    pub recorder: String,
    /// True if that part is complete.
    pub is_complete: bool,
    /// Lines for a person to read.
    pub lines: Vec<String>,
}

impl RecorderCompleteness {
    /// Completeness that the recorder itself states.
    pub fn of(recorder: String, completeness: &Completeness) -> Self {
        Self { recorder, is_complete: completeness.is_complete(), lines: completeness.lines() }
    }

    /// Completeness of a recorder that did not give everything.
    pub fn lacking(recorder: String, why: &str) -> Self {
        Self { recorder, is_complete: false, lines: vec![format!("incomplete: {why}")] }
    }
}

/// The range of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Asked {
    /// Earliest timestamp.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub from: Option<Timestamp>,
    /// End of the range, exclusive.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = "date-time"))]
    pub to: Option<Timestamp>,
}

/// A time in which nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Gap {
    /// Start of the gap.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub from: Timestamp,
    /// End of the gap, exclusive.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub to: Timestamp,
    /// Reason for the gap, for a person.
    pub reason: String,
}

/// A part of a segment that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unreadable {
    /// The segment.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub segment: SegmentName,
    /// Offset of the first byte that could not be read.
    pub offset: u64,
    /// Cause, and what to do about it.
    pub reason: String,
}

/// A part of the store, beside segments, that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Damage {
    /// Damaged part: a path within the store.
    pub part: String,
    /// Cause, and what to do about it.
    pub reason: String,
    /// True if the answer may be incomplete because of it. Without an index or a total, an answer is made from the packets and
    /// records themselves.
    pub is_needed: bool,
}

/// The limit that ended an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReachedLimit {
    /// [`crate::AnswerLimits::packets`].
    Packets,
    /// [`crate::AnswerLimits::bytes`].
    Bytes,
    /// The time that the asker allowed ([`crate::Control::cut`]).
    Time,
    /// The service's own end ([`crate::Control::cut`]).
    Shutdown,
}

impl Completeness {
    /// Completeness of a query before its answer is known.
    pub(crate) fn of_question(query: &Query) -> Self {
        let asked = Asked { from: query.from, to: query.to };
        Self { asked, notes: query.note.iter().cloned().collect(), ..Self::default() }
    }

    /// True if the answer holds every packet of the range that was on the wire and that the filter accepts.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
            && self.dropped.total() == 0
            && self.no_longer_kept.is_none()
            && self.nothing_kept.is_none()
            && self.unreadable.is_empty()
            && !self.damaged.iter().any(|damage| damage.is_needed)
            && self.limit_reached.is_none()
            && self.recorders.iter().all(|recorder| recorder.is_complete)
    }

    /// True if the answer is complete and no damage was found.
    pub fn is_sound(&self) -> bool {
        self.is_complete() && self.damaged.is_empty()
    }

    /// End of the covered range.
    pub fn covered_to(&self) -> Option<Timestamp> {
        self.covered.map(|span| span.to)
    }

    /// Completeness as lines for a person to read; the first one says whether the answer is complete.
    pub fn lines(&self) -> Vec<String> {
        if !self.recorders.is_empty() {
            return self.lines_of_recorders();
        }
        let mut lines = vec![self.first_line()];
        lines.extend(self.no_longer_kept.map(|span| format!("no longer kept: {span}")));
        lines.extend(self.gaps.iter().map(|gap| format!("not recorded: {}: {}", gap.span(), gap.reason)));
        if self.dropped.total() > 0 {
            let Drops { kernel, disk } = self.dropped;
            lines
                .push(format!("dropped while recording: {kernel} packets by the kernel, {disk} by the disk"));
        }
        lines.extend(self.unreadable.iter().map(|at| {
            format!("unreadable: segment {} from byte {} on: {}", at.segment, at.offset, at.reason)
        }));
        lines.extend(self.damaged.iter().map(Damage::line));
        lines.extend(self.limit_reached.map(|limit| limit.line().to_owned()));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        if self.unlisted > 0 {
            lines.push(format!("and {} more", self.unlisted));
        }
        lines
    }

    fn lines_of_recorders(&self) -> Vec<String> {
        let limit = self.limit_reached.map(|limit| limit.line().to_owned());
        if let [only] = &self.recorders[..] {
            let is_told = |line: &String| only.lines.contains(line);
            return only.lines.iter().cloned().chain(limit.filter(|line| !is_told(line))).collect();
        }
        let complete = self.recorders.iter().filter(|recorder| recorder.is_complete).count();
        let word = if self.is_complete() { "complete" } else { "incomplete" };
        let mut lines =
            vec![format!("{word}: {complete} of {} recorders gave a complete answer", self.recorders.len())];
        lines.extend(limit);
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        for recorder in &self.recorders {
            lines.extend(recorder.lines.iter().map(|line| format!("{}: {line}", recorder.recorder)));
        }
        lines
    }

    fn first_line(&self) -> String {
        let mut line = String::from(if self.is_complete() { "complete" } else { "incomplete" });
        if let Some(words) = self.nothing_kept_words() {
            _ = write!(line, ": {words}");
            return line;
        }
        match self.covered {
            Some(span) => _ = write!(line, ": {span}"),
            None => line.push_str(": nothing is stored"),
        }
        line
    }

    /// Statement that nothing of the range is kept, and why, if so.
    pub fn nothing_kept_words(&self) -> Option<String> {
        let reason = self.nothing_kept.as_ref()?;
        Some(format!("nothing is kept {}: {reason}", self.asked))
    }

    /// Adds a note for the reader. Beyond [`LISTED_MAX`], notes are only counted.
    pub fn note(&mut self, note: String) {
        push_bounded(&mut self.notes, note, &mut self.unlisted);
    }

    pub(crate) fn add_gap(&mut self, gap: Gap) {
        push_bounded(&mut self.gaps, gap, &mut self.unlisted);
    }

    pub(crate) fn add_gone(&mut self, gone: Span) {
        let all = self.no_longer_kept.get_or_insert(gone);
        *all = Span { from: all.from.min(gone.from), to: all.to.max(gone.to) };
    }

    pub(crate) fn add_damage(&mut self, damage: Damage) {
        if !self.damaged.contains(&damage) {
            push_bounded(&mut self.damaged, damage, &mut self.unlisted);
        }
    }

    /// Reports rejected indexes and unreadable places as far as the asker may know them: restricted askers learn only the number
    /// of places and the start of their segments.
    pub(crate) fn tell_of_segments(&mut self, rejected: &mut Vec<RejectedIndex>, is_restricted: bool) {
        if is_restricted {
            self.veil_times();
            rejected.clear();
            self.unreadable.iter_mut().for_each(Unreadable::redact);
            self.veil_damage();
        }
        for RejectedIndex { segment, reason, is_unreadable } in rejected {
            match is_unreadable {
                false => self.note(format!("segment {segment} was read without its index: {reason}")),
                true => self.add_damage(Damage {
                    part: format!("the index of segment {segment}"),
                    reason: reason.clone(),
                    is_needed: false,
                }),
            }
        }
    }

    /// Leaves of damage only that there is some.
    fn veil_damage(&mut self) {
        self.damaged.retain(|damage| damage.is_needed);
        self.damaged.truncate(1);
        for damage in &mut self.damaged {
            damage.part = VEILED_PART.to_owned();
            damage.reason = VEILED_REASON.to_owned();
        }
    }

    /// Rounds the part that is no longer kept to the hour: its ends are those of packets.
    pub(crate) fn veil_times(&mut self) {
        let Some(gone) = &mut self.no_longer_kept else { return };
        let (from, to) = (gone.from.rounded_down(VEILED_NS), gone.to.rounded_up(VEILED_NS));
        let covered = self.covered.unwrap_or(Span { from, to });
        *gone = Span { from: from.max(covered.from), to: to.min(covered.to).max(covered.from) };
    }

    pub(crate) fn add_unreadable(&mut self, place: Unreadable) {
        push_bounded(&mut self.unreadable, place, &mut self.unlisted);
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, unlisted: &mut u64) {
    if list.len() < LISTED_MAX {
        list.push(item);
    } else {
        *unlisted += 1;
    }
}

/// Damage of `store.toml`, if it cannot be read.
pub(crate) fn identity_damage(store: &Store) -> Option<Damage> {
    let fault = store.identity_fault()?;
    let what = "its tunnel ports are not known, so the usual ones are used";
    Some(Damage::needed("store.toml", format!("{fault}: {what}")))
}

/// Text that replaces the part and reason of damage for askers who may not see all packets.
const VEILED_PART: &str = "the store";
const VEILED_REASON: &str = "part of the recording cannot be read";

impl Damage {
    /// Damage that the answer may lack something for.
    pub(crate) fn needed(part: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { part: part.into(), reason: reason.into(), is_needed: true }
    }

    fn line(&self) -> String {
        let Self { part, reason, is_needed } = self;
        match is_needed {
            true => format!("unreadable: {part}: {reason}"),
            false => format!("damaged: {part}: {reason}; the answer was made without it"),
        }
    }
}

impl Unreadable {
    fn redact(&mut self) {
        self.segment.lane = 0;
        self.offset = 0;
        self.reason = VEILED_REASON.to_owned();
    }
}

impl ReachedLimit {
    fn line(self) -> &'static str {
        match self {
            Self::Packets => "stopped at the limit of packets",
            Self::Bytes => "stopped at the limit of bytes",
            Self::Time => "stopped at the limit of time",
            Self::Shutdown => "cut by shutdown",
        }
    }
}

impl Gap {
    pub(crate) fn span(&self) -> Span {
        Span { from: self.from, to: self.to }
    }
}

/// `of 2026-11-22T09:31:01.000000000Z to 2026-11-22T09:32:01.000000000Z`, `from 2026-11-22T09:31:01.000000000Z on`.
impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) => write!(f, "of {}", Span { from, to }),
            (Some(from), None) => write!(f, "from {from} on"),
            (None, Some(to)) => write!(f, "before {to}"),
            (None, None) => f.write_str("here"),
        }
    }
}
