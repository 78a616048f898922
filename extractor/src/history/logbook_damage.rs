//! Unreadable parts of the logbook, and whether an answer may lack something because of them.
//!
//! A truncated line, and a damaged second, concern only the time between their neighbours. Any other line may concern any time:
//! of an imported file, or a segment that has expired.

use std::collections::{BTreeMap, BTreeSet};

use netrewind_store::logbook::{LogbookEnd, RawLine};
use netrewind_store::store::StoreWriter;
use netrewind_store::time::{DAY_NS, SECOND_NS, Span};
use netrewind_store::{SegmentName, Store, StoreError, Timestamp};

use crate::answer::completeness::Damage;

/// Longest time from the opening of a segment to its line in the logbook.
const LOGGED_WITHIN_NS: u64 = 10 * SECOND_NS;

/// First bytes of any line.
const LINE_PREFIX: &str = "{\"event\":\"";

/// Defects found while days were read, in order.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    range: Option<Span>,
    /// Paths of the logbook's days, as they are reported.
    parts: BTreeMap<String, String>,
    /// The last one is being written.
    is_being_written: bool,
    last_date: Option<String>,
    date: String,
    /// The last time that was read.
    at: Timestamp,
    /// Lines that cannot be read of the time since, in these days.
    pending: Vec<(String, Timestamp)>,
    lines: BTreeMap<String, u64>,
    /// Number of the last line of each day that was read to its end.
    ends: BTreeMap<String, u64>,
    later: BTreeMap<String, u64>,
    days: Vec<Damage>,
}

impl Troubles {
    /// Empty record for the days to be read for this range.
    pub(super) fn new(store: &Store, range: Span, dates: &[String]) -> Self {
        let parts = dates.iter().map(|date| (date.clone(), store.part(&store.logbook_path(date)))).collect();
        Self {
            range: Some(range),
            parts,
            // Who cannot tell takes the last line for one that was cut.
            is_being_written: matches!(StoreWriter::of(store), Ok(Some(_))),
            last_date: dates.last().cloned(),
            ..Self::default()
        }
    }

    /// Damage for a logbook whose days cannot be listed.
    pub(super) fn of_folder(store: &Store, error: &StoreError) -> Damage {
        let (part, reason) = part_and_reason(store, error);
        Damage::needed(part, format!("{reason}: drops and gaps are not known"))
    }

    /// Damage for a missing logbook: every store has one from its creation.
    pub(super) fn of_missing_folder() -> Damage {
        Damage::needed("logbook", "it is missing: drops and gaps are not known")
    }

    /// A day begins. `before` is the day that was read before it, if lanes were recording at its end: then each day between them
    /// must have a file.
    pub(super) fn begin(&mut self, date: &str, before: Option<String>) {
        date.clone_into(&mut self.date);
        let Some(before) = before else { return };
        let is_missing = |day: &String| day.as_str() < date && !self.parts.contains_key(day);
        let range = self.range;
        let is_asked =
            |day: &String| range.is_none_or(|range| range.from.date() <= *day && *day <= range.to.date());
        let missing: Vec<String> = days_after(&before)
            .take_while(|day| day.as_str() < date)
            .filter(is_missing)
            .filter(is_asked)
            .collect();
        for day in missing {
            let part = format!("logbook of {day}");
            self.days
                .push(Damage::needed(part, "it is missing, although the days before and after it exist"));
        }
    }

    /// The day has been read, if `last` to its end.
    pub(super) fn end_day(&mut self, last: Option<u64>) {
        self.ends.extend(last.map(|last| (self.date.clone(), last)));
    }

    /// The day names the day before it, and how many lines that had.
    pub(super) fn follows(&mut self, before: &str, lines: u64) {
        match self.parts.contains_key(before) {
            true => self.has_at_least(before, lines),
            // Days expire from the first on.
            false if self.has_earlier(before) => self.days.push(missing_day(before)),
            false => {}
        }
    }

    /// The whole logbook ends there, or behind.
    pub(super) fn reaches(&mut self, store: &Store, end: Result<Option<LogbookEnd>, StoreError>) {
        match end {
            Ok(end) => {
                for day in end.unwrap_or_default().days() {
                    match self.parts.contains_key(&day.date()) {
                        true => self.has_at_least(&day.date(), day.lines),
                        // Days expire from the first on.
                        false if self.is_asked(&day.date()) && self.has_earlier(&day.date()) => {
                            self.days.push(missing_day(&day.date()));
                        }
                        false => {}
                    }
                }
            }
            Err(error) => {
                let (part, reason) = part_and_reason(store, &error);
                let reason =
                    format!("{reason}: whether the last lines of the logbook are there is not known");
                self.days.push(Damage { part, reason, is_needed: false });
            }
        }
    }

    /// Damage for each day on which segments were opened, and which has no file.
    pub(super) fn unlogged(&mut self, segments: impl Iterator<Item = SegmentName>) -> Vec<Damage> {
        // The line about its opening is a little younger than its name.
        let day = |name: SegmentName| name.opened.plus_ns(LOGGED_WITHIN_NS).ns() / DAY_NS;
        let own = |name: &SegmentName| day(*name) == name.opened.ns() / DAY_NS;
        let days: BTreeSet<u64> = segments.filter(own).map(day).collect();
        let dates = days.into_iter().map(|day| Timestamp(day * DAY_NS).date());
        dates.filter(|date| !self.parts.contains_key(date)).map(|date| missing_day(&date)).collect()
    }

    fn has_earlier(&self, date: &str) -> bool {
        self.parts.keys().any(|earlier| earlier.as_str() < date)
    }

    fn is_asked(&self, date: &str) -> bool {
        self.range.is_none_or(|range| *range.from.date() <= *date && *date <= *range.to.date())
    }

    /// A day has at least so many lines, or some are missing at its end.
    fn has_at_least(&mut self, date: &str, lines: u64) {
        let missing = self.ends.get(date).map_or(0, |end| lines.saturating_sub(*end));
        if missing > 0 {
            *self.lines.entry(date.to_owned()).or_default() += missing;
        }
    }

    /// Lines are missing. They may concern any time.
    pub(super) fn missing_lines(&mut self, count: u64) {
        *self.lines.entry(self.date.clone()).or_default() += count;
    }

    /// A time that was read.
    pub(super) fn at(&mut self, at: Timestamp) {
        for (date, since) in std::mem::take(&mut self.pending) {
            self.settle(date, since, at);
        }
        self.at = at;
    }

    /// A line of an event that only a later version knows.
    pub(super) fn later(&mut self, event: &str, at: Timestamp) {
        self.at(at);
        *self.later.entry(event.to_owned()).or_default() += 1;
    }

    /// Lines of events that this version does not know, for a person.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.later.iter().map(|(event, count)| {
            format!(
                "{count} lines of the logbook have the event {event:?}, which only a later version of netrewind knows"
            )
        })
    }

    /// A line that cannot be read.
    pub(super) fn unreadable_line(&mut self, text: &str, is_whole: bool) {
        let is_last = self.last_date.as_ref() == Some(&self.date);
        if !is_whole && self.is_being_written && is_last {
            return; // it is under way
        }
        let is_of_here = RawLine::new(text).is_second()
            || !is_whole
            || (text.starts_with(LINE_PREFIX) && !text.ends_with('}'));
        match is_of_here {
            true => self.pending.push((self.date.clone(), self.at)),
            false => *self.lines.entry(self.date.clone()).or_default() += 1,
        }
    }

    /// A line of the time from `since` to `until`.
    fn settle(&mut self, date: String, since: Timestamp, until: Timestamp) {
        let from = Timestamp(since.ns().saturating_sub(SECOND_NS));
        if self.range.is_none_or(|range| from < range.to && range.from <= until) {
            *self.lines.entry(date).or_default() += 1;
        }
    }

    /// A day cannot be read.
    pub(super) fn unreadable_day(&mut self, store: &Store, date: &str, error: &StoreError) {
        let (_, reason) = part_and_reason(store, error);
        let part = self.part(date);
        self.days.push(Damage::needed(part, format!("{reason}: its drops and gaps are not known")));
    }

    fn part(&self, date: &str) -> String {
        self.parts.get(date).cloned().unwrap_or_else(|| format!("logbook of {date}"))
    }

    /// Everything that was found.
    pub(super) fn end(&mut self) -> Vec<Damage> {
        for (date, since) in std::mem::take(&mut self.pending) {
            self.settle(date, since, Timestamp::MAX);
        }
        let of_lines = |(date, count): (&String, &u64)| {
            let what =
                if *count == 1 { "a line of it is".to_owned() } else { format!("{count} lines of it are") };
            let reason = format!(
                "{what} missing or cannot be read, so drops and gaps may be missing: run netrewind verify to list them"
            );
            Damage::needed(self.part(date), reason)
        };
        let lines: Vec<Damage> = self.lines.iter().map(of_lines).collect();
        std::mem::take(&mut self.days).into_iter().chain(lines).collect()
    }
}

fn missing_day(date: &str) -> Damage {
    Damage::needed(format!("logbook of {date}"), "it is missing: its drops and gaps are not known")
}

/// The days after one, for ever.
fn days_after(date: &str) -> impl Iterator<Item = String> {
    let begin = Timestamp::from_date_and_time(date, "000000.000000000Z").unwrap_or(Timestamp::MAX);
    (1..).map(move |days| begin.plus_ns(DAY_NS.saturating_mul(days)).date())
}

/// Location of an error in the store, and its description.
pub(crate) fn part_and_reason(store: &Store, error: &StoreError) -> (String, String) {
    match error {
        StoreError::Io { path, source } => (store.part(path), source.to_string()),
        StoreError::Manifest { path, reason } => (store.part(path), reason.clone()),
        other => ("the store".to_owned(), other.to_string()),
    }
}
