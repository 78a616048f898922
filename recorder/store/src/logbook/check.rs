//! Strict check of the logbook: reports every bad line, where answers only skip the lines that they cannot use.

use std::io::{BufRead, BufReader, Read};

use super::reading::{LINE_BYTES_MAX, LogbookLine, RawLine};
use super::{Event, LogbookEntry};
use crate::files::OpenMode;
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

/// Checks every line of a day: calls `visit` for each entry, and `tell` for each fault. `is_being_written` says that the last
/// line may be incomplete because it is being written.
pub fn check_day(
    store: &Store,
    date: &str,
    is_being_written: bool,
    visit: &mut dyn FnMut(LogbookEntry),
    tell: &mut dyn FnMut(Fault),
) -> Result<(), StoreError> {
    let path = store.logbook_path(date);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let file = store.files().open(&path, OpenMode::Read).map_err(failed)?;
    let mut input = BufReader::new(file.reader(0));
    let (mut bytes, mut number) = (Vec::new(), 0);
    loop {
        bytes.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(failed)? as u64;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let is_ended = bytes.ends_with(b"\n");
        let is_under_way = !is_ended && is_being_written && read < LINE_BYTES_MAX;
        let mut fault =
            |reason: &str| tell(Fault { line: number, reason: reason.to_owned(), is_later: false });
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.trim_end(),
            Err(_) => {
                fault("it is not text");
                continue;
            }
        };
        match RawLine::new(text).parse() {
            _ if text.is_empty() || is_under_way => {}
            LogbookLine::Unreadable(_) if !is_ended => fault("it is cut short, as by a crash"),
            LogbookLine::Unreadable(_) => fault("it is not a valid entry"),
            LogbookLine::Later { event, .. } => tell(Fault {
                line: number,
                reason: format!("it has the event {event:?}, which only a later version of netrewind knows"),
                is_later: true,
            }),
            LogbookLine::Entry(entry) => {
                if entry.at.date() != date {
                    fault(&format!("it belongs to another day, {}", entry.at.date()));
                }
                if let Event::Stop { account, .. } = &entry.event
                    && !account.adds_up()
                {
                    fault("its counts do not add up: received is not the sum of written and dropped");
                }
                visit(entry);
            }
        }
    }
}
