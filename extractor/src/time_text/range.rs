//! The two ends of a range, checked against each other and against the clock.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use netrewind_store::Timestamp;

use super::duration;
use super::moment::{LATEST, ParsedTime, When, moment, span_from};
use super::zone::shown;

/// The parameter that says where a range begins.
const FROM: &str = "from";
/// The parameter that says where it ends.
const TO: &str = "to";

/// The parameter that stands for both ends.
const AROUND: &str = "around";
/// The parameter that says how far they are from it.
const WINDOW: &str = "window";
/// Time before and after `around`, unless the window is given.
pub const AROUND_WINDOW: Duration = Duration::from_secs(60);

/// A range as it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct WrittenRange<'a> {
    /// Start of the range; absent: the oldest packet kept.
    pub from: Option<&'a str>,
    /// End of the range; absent: now if the start moves with the clock, else the newest packet.
    pub to: Option<&'a str>,
    /// Middle of the range, instead of both ends.
    pub around: Option<&'a str>,
    /// Time before and after the middle; absent: [`AROUND_WINDOW`].
    pub window: Option<&'a str>,
    /// True if the answer continues with new packets: then an absent end means none.
    pub follows: bool,
}

/// A range as it was understood: never an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedRange {
    /// Earliest instant; absent: unbounded.
    pub from: Option<Timestamp>,
    /// First instant that is too late; absent: unbounded.
    pub to: Option<Timestamp>,
    /// Remark about the range.
    pub note: Option<String>,
}

/// Refused time of a range: it cannot be what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTime {
    /// `from`, `to`, `around` or `window`.
    pub parameter: &'static str,
    /// Reason, and a valid way to write it.
    pub message: String,
}

/// `to: "2026-09-21" is earlier than ...`.
impl fmt::Display for WrongTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter, self.message)
    }
}

/// Reads a range. This is the only place that decides which ranges are valid.
pub fn range(written: &WrittenRange<'_>, now: Timestamp, zone: &TimeZone) -> Result<AskedRange, WrongTime> {
    let wrong = |parameter| move |message| WrongTime { parameter, message };
    if written.around.is_some() || written.window.is_some() {
        let (from, to) = around(written, now, zone)?;
        let note = note_of_future(from, now, zone);
        return Ok(AskedRange { from: Some(from), to: Some(to), note });
    }
    let begin = written.from.map(|text| beginning(text, now, zone)).transpose().map_err(wrong(FROM))?;
    let from = begin.and_then(|begin| match begin.when {
        When::At(at) => Some(at),
        // Nothing is older than what a segment can hold.
        _ => None,
    });
    let to = match written.to {
        Some(text) => end(text, from, now, zone).map_err(wrong(TO))?,
        // A packet of a sender whose clock is ahead is not of the last five minutes.
        None if begin.is_some_and(|begin| begin.is_relative) && !written.follows => Some(now),
        None => None,
    };
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        return Err(no_range(written, from, to, zone));
    }
    let note = from.filter(|_| !written.follows).and_then(|from| note_of_future(from, now, zone));
    Ok(AskedRange { from, to, note })
}

fn note_of_future(from: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<String> {
    (from > now).then(|| {
        format!(
            "this range lies in the future: it begins at {}, and it is {} now; only packets whose sender's clock is ahead can be in it",
            shown(from, zone),
            shown(now, zone)
        )
    })
}

/// Both ends of a range that is given by its middle.
fn around(
    written: &WrittenRange<'_>,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(Timestamp, Timestamp), WrongTime> {
    let wrong = |parameter, message: String| WrongTime { parameter, message };
    let Some(text) = written.around else {
        return Err(wrong(WINDOW, format!("it is the time before and after {AROUND}, which is not given")));
    };
    if written.from.is_some() || written.to.is_some() {
        return Err(wrong(
            AROUND,
            format!("it stands for both ends of the range: give it, or {FROM} and {TO}"),
        ));
    }
    let middle = match moment(text, now, zone).map_err(|message| wrong(AROUND, message))?.when {
        When::At(at) => at,
        When::Before1970 | When::After2106 => {
            let message = format!(
                "no packet can be of {text:?}: times begin with 1970 and end at {}",
                shown(LATEST, zone)
            );
            return Err(wrong(AROUND, message));
        }
    };
    let window =
        written.window.map_or(Ok(AROUND_WINDOW), duration).map_err(|message| wrong(WINDOW, message))?;
    let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    if window_ns == 0 {
        return Err(wrong(WINDOW, "it must be longer than 0".to_owned()));
    }
    Ok((Timestamp(middle.ns().saturating_sub(window_ns)), middle.plus_ns(window_ns)))
}

fn beginning(text: &str, now: Timestamp, zone: &TimeZone) -> Result<ParsedTime, String> {
    if text.trim_start().starts_with('+') {
        return Err(format!("{text:?} counts from the beginning of the range, so it can only be the end"));
    }
    match moment(text, now, zone)? {
        ParsedTime { when: When::After2106, .. } => {
            Err(format!("{text:?} is too late: times end at {}", shown(LATEST, zone)))
        }
        begin => Ok(begin),
    }
}

fn end(
    text: &str,
    from: Option<Timestamp>,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<Option<Timestamp>, String> {
    let when = match (text.trim().strip_prefix('+'), from) {
        (Some(span), Some(from)) => span_from(span, from)?,
        (Some(_), None) => {
            return Err(format!(
                "{text:?} counts from the beginning of the range, which is not said: give a from"
            ));
        }
        (None, _) => moment(text, now, zone)?.when,
    };
    match when {
        When::Before1970 => Err(format!("{text:?} is too early: times begin with 1970")),
        When::At(Timestamp::MIN) => Err(format!("{text:?} is too early: times begin there")),
        When::At(at) => Ok(Some(at)),
        When::After2106 => Ok(None),
    }
}

/// The words for a range in which nothing can be.
fn no_range(written: &WrittenRange<'_>, from: Timestamp, to: Timestamp, zone: &TimeZone) -> WrongTime {
    let (begin, end) = (shown(from, zone), shown(to, zone));
    if written.to.is_none() && to == from {
        let message = format!("the range begins now ({begin}) and would end there: give a to, or use follow");
        return WrongTime { parameter: FROM, message };
    }
    if written.to.is_none() {
        let text = written.from.unwrap_or_default().trim();
        let earlier = match text.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("write 'yesterday {text}' for the day before, or give a to"),
            false => "give a to, or an earlier from".to_owned(),
        };
        let message = format!("the range begins in the future, at {begin}, and it is {end} now: {earlier}");
        return WrongTime { parameter: FROM, message };
    }
    let message = if to == from {
        format!("the range would begin and end at {begin}, so it would be empty: give a later to")
    } else {
        format!(
            "the range would end at {end}, which is earlier than its beginning, {begin}: are they swapped?"
        )
    };
    WrongTime { parameter: TO, message }
}
