//! Notation of times: the same on the command line, over HTTP, in Wireshark and on the page.
//!
//! ```text
//!  --from, --to, --tz -- range -> the instants of the range, and notes on them
//!                          \----- WrongTime: which of them is wrong, and what to write instead
//!  a line for a person -- in_zone -> the same line, its times in the zone that was asked in
//! ```
//!
//! **Invariant:** a range means the same, and is refused in the same words, wherever it is asked for.

mod moment;
mod range;
mod zone;

use std::time::Duration;

pub use range::{AROUND_WINDOW, AskedRange, WrittenRange, WrongTime, range};
pub use zone::{in_zone, time_zone};

/// Reads a duration: `60s`, `7d`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write one as 60s, 1h 30m, or 7d");
    let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration)
        .map_err(|_| format!("{text:?} is negative: write a duration as 60s, 1h 30m, or 7d"))
}

#[cfg(test)]
mod tests;
