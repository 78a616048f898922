//! Faults found, and what is good.

use std::collections::HashSet;

use netrewind_store::Store;

use crate::terminal::{self, StatusLine};

/// Parts of one kind: how many there are, and how many of them are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The parts, in words: `segments with 9 packets`.
    pub what: String,
    /// Number of good ones.
    pub sound: u64,
    /// Number of all.
    pub all: u64,
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
}

impl Default for FaultReport {
    fn default() -> Self {
        Self { line: StatusLine::new(), faults: 0, tallies: Vec::new(), parts: HashSet::new() }
    }
}

impl FaultReport {
    /// Names a fault of a part.
    pub fn fault(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        self.faults += 1;
        self.parts.insert(part.to_owned());
        self.print(part, reason)
    }

    /// Names something that is no fault.
    pub fn remark(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        self.print(part, &format!("{reason}: no fault"))
    }

    fn print(&mut self, part: &str, reason: &str) -> std::io::Result<()> {
        self.line.clear();
        terminal::print(format_args!("{part}: {reason}"))
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
    pub fn sound(&self) -> String {
        let words = self.tallies.iter().map(|Tally { what, sound, all }| match sound == all {
            true => format!("{all} {what}"),
            false => format!("{sound} of {all} {what}"),
        });
        format!("sound: {}", words.collect::<Vec<_>>().join(", "))
    }
}
