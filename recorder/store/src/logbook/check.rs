//! Strict check of the logbook: reports every bad line, where answers only skip the lines that they cannot use.

use std::io::{BufRead, BufReader, Read};

use super::reading::{LINE_BYTES_MAX, LogbookLine, RawLine};
use super::{Event, LogbookEntry};
use crate::files::OpenMode;
use crate::seal::{LinePlace, LineSequence, NOT_ENDED, Seal};
use crate::{Store, StoreError};

/// A fault of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the line in its file, counted from 1.
    pub line: u64,
    /// Description of the fault.
    pub reason: String,
    /// True for a line of a later version: reported, but not wrong.
    pub is_later: bool,
}

/// A day of the logbook that was read from end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedDay {
    /// Lines that are as they were written, as far as they can tell.
    pub sound: u64,
    /// Of these, lines of earlier versions, which have no checksum.
    pub unsealed: u64,
    /// Number of the last line that has one.
    pub last: u64,
    /// The day before, and how many lines it had when this one began.
    pub follows: Option<(String, u64)>,
}

/// Checks every line of a day: calls `visit` for each entry, and `tell` for each fault. `is_being_written` says that the last
/// line may be incomplete because it is being written.
pub fn check_day(
    store: &Store,
    date: &str,
    is_being_written: bool,
    visit: &mut dyn FnMut(LogbookEntry),
    tell: &mut dyn FnMut(Fault),
) -> Result<CheckedDay, StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let file = store.files().open(&path, OpenMode::Read).map_err(failed)?;
    let mut input = BufReader::new(file.reader(0));
    let (mut bytes, mut number) = (Vec::new(), 0);
    let (mut day, mut sequence) = (CheckedDay::default(), LineSequence::from_first());
    loop {
        bytes.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(failed)? as u64;
        if read == 0 {
            return Ok(CheckedDay { last: sequence.last(), ..day });
        }
        number += 1;
        let is_ended = bytes.ends_with(b"\n");
        let mut fault = |reason: String| tell(Fault { line: number, reason, is_later: false });
        let Ok(text) = std::str::from_utf8(&bytes) else {
            sequence.take(Seal::Wrong);
            fault("it is not text".to_owned());
            continue;
        };
        let line = RawLine::new(text);
        if line.text().is_empty() || (!is_ended && is_being_written && read < LINE_BYTES_MAX) {
            continue; // nothing, or under way
        }
        let line = line.placed(&mut sequence);
        let misplacement = line.place().fault().unwrap_or_default();
        if line.missing() > 0 {
            fault(misplacement.clone());
        }
        match (line.place(), line.parse()) {
            (LinePlace::Misplaced, _) => {
                fault(format!("{misplacement}: behind the line with the number {}", sequence.last()));
            }
            (_, LogbookLine::Unreadable(_)) if !is_ended => {
                fault("it is cut short, as by a crash".to_owned())
            }
            (LinePlace::Unsealed, _) => fault(misplacement),
            (_, LogbookLine::Unreadable(_)) => fault("it is not a valid entry".to_owned()),
            (_, LogbookLine::Later { event, .. }) => {
                day.add(&line);
                tell(Fault {
                    line: number,
                    reason: format!(
                        "it has the event {event:?}, which only a later version of netrewind knows"
                    ),
                    is_later: true,
                });
            }
            (_, LogbookLine::Entry(entry)) => {
                day.add(&line);
                if !is_ended {
                    fault(NOT_ENDED.to_owned());
                }
                if entry.at.date() != date {
                    fault(format!("it belongs to another day, {}", entry.at.date()));
                }
                if let Event::Stop { account, .. } = &entry.event
                    && !account.adds_up()
                {
                    fault(
                        "its counts do not add up: received is not the sum of written and dropped".to_owned(),
                    );
                }
                visit(entry);
            }
        }
    }
}

impl CheckedDay {
    fn add(&mut self, line: &RawLine<'_>) {
        self.sound += 1;
        self.unsealed += u64::from(!line.is_sealed());
        if let Some((date, lines)) = line.follows() {
            self.follows = Some((date.to_owned(), lines));
        }
    }
}
