//! The text of a list: lines of entries, or JSON of MISP.

use super::error::{LIST_ENTRIES_MAX, LeftOut, ListError, ListKind};
use super::misp;

/// Characters of a wrong entry that are shown again.
const SHOWN_CHARACTERS: usize = 80;

/// Reads the entries of a text, each by `read`, which is told whether it is an exception.
pub(super) fn read_entries(
    text: &str,
    kind: ListKind,
    mut read: impl FnMut(&str, bool) -> Option<()>,
) -> Result<LeftOut, ListError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut count = 0usize;
    let mut add = |entry: &str, place: &dyn Fn() -> String| {
        count += 1;
        if count > LIST_ENTRIES_MAX {
            return Err(ListError::TooLong);
        }
        let (value, is_exception) = match entry.strip_prefix('!') {
            Some(value) => (value, true),
            None => (entry, false),
        };
        read(&armed(value), is_exception).ok_or_else(|| ListError::Entry {
            place: place(),
            entry: entry.chars().take(SHOWN_CHARACTERS).collect(),
            expected: kind.expected(),
        })
    };
    let left_out = match text.trim_start().starts_with(['{', '[']) {
        true => misp::read(text, kind, &mut add)?,
        false => {
            for (number, line) in (1u64..).zip(text.lines()) {
                let line = line.split(['#', ';']).next().unwrap_or_default();
                for entry in line.split([',', ' ', '\t', '\r']).filter(|entry| !entry.is_empty()) {
                    add(entry, &|| format!("line {number}"))?;
                }
            }
            LeftOut::default()
        }
    };
    if count == 0 { Err(ListError::Empty(left_out)) } else { Ok(left_out) }
}

/// An indicator without the brackets and quotes that keep programs from following it: `192[.]0[.]2[.]1`.
fn armed(entry: &str) -> std::borrow::Cow<'_, str> {
    let entry = entry.trim_matches('"');
    match entry.contains('[') {
        true => entry.replace("[.]", ".").replace("[:]", ":").into(),
        false => entry.into(),
    }
}
