//! Output for a terminal: one line that is rewritten, and numbers in units.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// One line on standard error that is rewritten, if that is a terminal; otherwise nothing.
#[derive(Debug)]
pub struct StatusLine {
    shown: bool,
    is_terminal: bool,
}

impl StatusLine {
    /// Starts without a line.
    pub fn new() -> Self {
        Self { shown: false, is_terminal: std::io::stderr().is_terminal() }
    }

    /// True if anybody would see it.
    pub fn is_visible(&self) -> bool {
        self.is_terminal
    }

    /// Shows this text in place of the last one.
    pub fn show(&mut self, text: &str) {
        if self.is_terminal {
            self.shown = true;
            // Erase to the end of the line: ECMA-48, EL. A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{}\x1b[K", printable(text));
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints a line on standard error.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", printable(&line.to_string()));
}

/// Prints a line on standard output: what [`StandardOutput`] fails with ends the command.
pub fn print(line: impl std::fmt::Display) -> io::Result<()> {
    StandardOutput.write_all(format!("{}\n", printable(&line.to_string())).as_bytes())
}

/// What was printed of a command whose work is done by then: whether anybody reads it changes nothing.
pub fn if_read<T: Default>(printed: io::Result<T>) -> io::Result<T> {
    match printed {
        Err(error) if is_reader_gone(&error) => Ok(T::default()),
        printed => printed,
    }
}

/// Standard output. Its errors name it, and are [`ReaderGone`] where nobody reads it any more.
#[derive(Clone, Copy, Debug)]
pub struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = io::stdout().lock();
        // What its buffer kept until the process ends could no longer fail.
        output.write(bytes).and_then(|written| output.flush().map(|()| written)).map_err(of_standard_output)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(of_standard_output)
    }
}

/// The error of a write to standard output.
pub fn of_standard_output(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind @ io::ErrorKind::BrokenPipe => io::Error::new(kind, ReaderGone),
        kind => io::Error::new(kind, format!("standard output: {error}")),
    }
}

/// End of the output that a command was asked for: whoever read it has seen enough. This ends the command without an error.
#[derive(Debug)]
pub struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output: nobody reads it any more")
    }
}

impl std::error::Error for ReaderGone {}

/// True for the error of an output whose reader has gone, and not for that of a connection that broke.
pub fn is_reader_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_output = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<ReaderGone>());
    error.is::<ReaderGone>() || error.downcast_ref().is_some_and(of_output)
}

/// A text without anything that a terminal would do more with than show it: names of files and interfaces, and other text from
/// outside, may hold escape sequences. Line breaks are kept.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\n' || !c.is_control() && !turns_text_around(c);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            c if is_plain(c) => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// A value as JSON, without control sequences for a terminal either.
pub fn object<T: serde::Serialize>(value: &T) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    // What JSON leaves as it is of these stands in texts alone, where it can be written by its number.
    let numbered = |c: char| {
        if c.is_control() || turns_text_around(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() }
    };
    Ok(text.chars().map(numbered).collect())
}

/// True for marks that change the direction of text: Unicode Standard Annex 9, section 2.
fn turns_text_around(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Style of a text on a terminal: ECMA-48, SGR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a head.
    Bold,
    /// For what should be looked at.
    Yellow,
}

/// A text in a style, where that helps: on a terminal, unless NO_COLOR is set (<https://no-color.org>) or it can show none.
pub fn styled(style: Style, text: &str, is_terminal: bool) -> String {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    if !is_terminal || is_set("NO_COLOR") || is_dumb {
        return text.to_owned();
    }
    let code = if style == Style::Bold { 1 } else { 33 };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Prints a line on standard error that should be looked at.
fn warn(line: impl std::fmt::Display) {
    let is_terminal = std::io::stderr().is_terminal();
    let _ =
        writeln!(std::io::stderr(), "{}", styled(Style::Yellow, &printable(&line.to_string()), is_terminal));
}

/// Prints a line about an answer's completeness on standard error.
pub fn say_completeness(line: &str) {
    if line.starts_with("incomplete") { warn(line) } else { say(line) }
}

/// `1.2 GiB`.
pub fn bytes(n: u64) -> String {
    bytesize::ByteSize::b(n).display().iec().to_string()
}

/// `560.1 k`, in steps of 1,000: for rates.
pub fn thousands(n: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut n = n;
    let mut unit = 0;
    while n >= 999.95 && unit + 1 < UNITS.len() {
        n /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n:.0} ") } else { format!("{n:.1} {}", UNITS[unit]) }
}

/// `3%`: a share from 0 to 1. Anything above zero is at least `1%`.
pub fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).ceil())
}

/// `1.2 s`, `12 ms`, `0.4 ms`: for what should be short.
pub fn moment(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms >= 1000.0 => format!("{seconds:.1} s"),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// `3 d 4 h`, `2 h 5 min`, `7 min 3 s` or `12 s`: the two largest units.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_steers_the_terminal() {
        assert_eq!(
            printable("a\u{1b}]0;owned\u{7}\r\u{9b}2J\u{202e}b"),
            "a\\u{1b}]0;owned\\u{7}\\u{d}\\u{9b}2J\\u{202e}b"
        );
        assert_eq!(printable("two\nlines, a\ttab, è"), "two\nlines, a tab, è");
        assert!(matches!(printable("Größe 1\n"), Cow::Borrowed(_)));
        let text = "a\u{1b}\u{9b}\u{202e}\n\"è";
        let object = object(&text).expect("JSON");
        assert_eq!(printable(&object), object);
        assert_eq!(serde_json::from_str::<String>(&object).expect("JSON"), text);
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!(thousands(560_123.0), "560.1 k");
        assert_eq!(thousands(7.0), "7 ");
        assert_eq!(thousands(999_999.0), "1.0 M");
        assert_eq!(
            [span(12), span(423), span(7500), span(273_600)],
            ["12 s", "7 min 3 s", "2 h 5 min", "3 d 4 h"]
        );
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
