//! Faults found, and what is good.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use netrewind_extractor::time_text::in_zone;
use netrewind_store::Store;
use serde::Serialize;

use crate::terminal::{self, StatusLine};

/// Parts of one kind: how many there are, and how many of them are good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The parts, in words: `segments with 9 packets`.
    pub what: String,
    /// Number of good ones.
    pub sound: u64,
    /// Number of all.
    pub all: u64,
}

/// Form of a report.
#[derive(Clone, Debug)]
pub struct ReportForm {
    /// True for one JSON object at the end, with times in UTC, instead of a line for each fault.
    pub json: bool,
    /// The zone of times in lines.
    pub zone: TimeZone,
}

/// Something found in a part of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The part: a segment, a file.
    pub part: String,
    /// Its fault, or what is said of it.
    pub reason: String,
}

/// Faults found so far.
pub struct FaultReport {
    /// Progress.
    pub line: StatusLine,
    /// Number of faults.
    pub faults: usize,
    tallies: Vec<Tally>,
    /// Parts that have been named already.
    parts: HashSet<String>,
    form: ReportForm,
    /// Faults that are not printed yet.
    gathered: Vec<Finding>,
    /// Likewise, of remarks.
    remarks: Vec<Finding>,
}

/// A report as JSON.
#[derive(Serialize)]
struct WholeReport<'r> {
    store: &'r str,
    segments: u64,
    packets: u64,
    faults: &'r [Finding],
    remarks: &'r [Finding],
    sound: &'r [Tally],
}

impl FaultReport {
    /// Nothing so far.
    pub fn new(form: &ReportForm) -> Self {
        Self {
            line: StatusLine::new(),
            faults: 0,
            tallies: Vec::new(),
            parts: HashSet::new(),
            form: form.clone(),
            gathered: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Names a fault of a part.
    pub fn fault(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        self.faults += 1;
        self.parts.insert(part.to_owned());
        if self.form.json {
            self.gathered.push(Finding { part: part.to_owned(), reason: reason.to_owned() });
            return Ok(());
        }
        self.print(part, reason)
    }

    /// Names something that is no fault.
    pub fn remark(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        if self.form.json {
            self.remarks.push(Finding { part: part.to_owned(), reason: reason.to_owned() });
            return Ok(());
        }
        self.print(part, &format!("{reason}: no fault"))
    }

    fn print(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        self.line.clear();
        terminal::print(in_zone(&format!("{part}: {reason}"), &self.form.zone))
    }

    /// Prints what is left to say of a store with so many segments and packets.
    pub fn end(&mut self, store: &str, segments: u64, packets: u64) -> std::io::Result<()> {
        self.line.clear();
        if self.form.json {
            let (faults, remarks, sound) = (&self.gathered[..], &self.remarks[..], &self.tallies[..]);
            let whole = WholeReport { store, segments, packets, faults, remarks, sound };
            return terminal::if_read(terminal::print(terminal::object(&whole)?));
        }
        terminal::if_read(terminal::print(in_zone(&self.sound(), &self.form.zone)))?;
        terminal::if_read(terminal::print(format_args!(
            "{segments} segments, {packets} packets, {} faults",
            self.faults
        )))
    }

    /// Takes note that a part, by another name, has been named.
    pub fn is_also(&mut self, part: String) {
        self.parts.insert(part);
    }

    /// True if a part has been named.
    pub fn has_named(&self, part: &str) -> bool {
        self.parts.iter().any(|named| part == named || part.ends_with(named))
    }

    /// True if a day of the logbook has been named, which answers call `logbook of 2026-11-22` where it is missing.
    pub fn has_named_day(&self, store: &Store, part: &str) -> bool {
        let date = part.strip_prefix("logbook of ");
        date.is_some_and(|date| self.has_named(&store.part(&store.logbook_path(date))))
    }

    /// Counts parts of a kind.
    pub fn tally(&mut self, what: impl Into<String>, sound: u64, all: u64) {
        self.tallies.push(Tally { what: what.into(), sound, all });
    }

    /// Description of the good parts.
    fn sound(&self) -> String {
        let words = self.tallies.iter().map(|Tally { what, sound, all }| match sound == all {
            true => format!("{all} {what}"),
            false => format!("{sound} of {all} {what}"),
        });
        format!("sound: {}", words.collect::<Vec<_>>().join(", "))
    }
}
