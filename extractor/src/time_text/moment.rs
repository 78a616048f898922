//! One end of a range: an instant, however it is written.

use jiff::civil;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;

/// Accepted notations of a time, listed in error messages.
const FORMS: &str = "write one as 2026-11-22T09:31:01.628448290Z, '2026-11-22 09:30' (with tz), '09:30' (today), \
    'yesterday 14:00', 1795339861.5 (Unix seconds), '2h ago' or -2h";

/// The latest instant that a packet can have: a segment counts seconds in 32 bits.
pub(super) const LATEST: Timestamp = Timestamp::new(u32::MAX, 999_999_999);

/// Years outside of which no packet can be, in any zone.
const YEARS: std::ops::RangeInclusive<i16> = 1969..=2106;

/// Numbers from which on a count since 1970 is one of milliseconds, microseconds and nanoseconds: seconds reach that far in
/// the year 5138, and the others were there in 1973.
const UNITS: [(u64, u64); 4] = [
    (100_000_000_000_000_000, 1),
    (100_000_000_000_000, 1_000),
    (100_000_000_000, 1_000_000),
    (0, SECOND_NS),
];

/// Position of a moment relative to the times that packets can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before any packet can be.
    Before1970,
    /// At this instant.
    At(Timestamp),
    /// After any packet can be.
    After2106,
}

/// An instant as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParsedTime {
    pub(super) when: When,
    /// True if it moves on with the clock: a range that begins there ends now.
    pub(super) is_relative: bool,
}

/// Reads an instant:
///
/// - RFC 3339: `2026-11-22T09:31:01.628448290Z`, `2026-11-22 10:31+01:00`
/// - Unix seconds, with a fraction: `1795339861.628448290`; milliseconds, microseconds and nanoseconds by their size
/// - a span back from `now`: `2h ago`, `1d 30m ago`, `-5m`; or `now`
/// - a date, or a date and a time of day, in `zone`: `2026-11-22`, `2026-11-22 09:30`, `2026-11-22 09:31:01.5`
/// - a time of day of today in `zone`: `09:30`; `today`, `yesterday`, `tomorrow`, `yesterday 14:00`
pub(super) fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<ParsedTime, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (written, zone) = match lower.strip_suffix(" utc").or_else(|| lower.strip_suffix(" gmt")) {
        Some(written) => (written.trim_end(), &TimeZone::UTC),
        None => (lower.as_str(), zone),
    };
    let absolute = |when| ParsedTime { when, is_relative: false };
    let relative = |when| ParsedTime { when, is_relative: true };
    if written == "now" {
        return Ok(relative(When::At(now)));
    }
    if written.starts_with(|first: char| first.is_ascii_digit())
        && written.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        return since_1970(written).map(absolute);
    }
    if written.ends_with("ago") || written.starts_with('-') {
        return span_from(written, now).map(relative);
    }
    if let Some((date, time)) = day_and_time(written, now, zone) {
        return in_day(text, date, time?, zone).map(relative);
    }
    dated(text, written, zone).map(absolute)
}

/// A span of time from `base` on; one that is written as `2h ago` or `-2h` goes back.
pub(super) fn span_from(written: &str, base: Timestamp) -> Result<When, String> {
    let wrong =
        || format!("{written:?} is not a span of time: write one as '2h ago', '1d 30m ago', -90s or +5m");
    let span: jiff::Span = written.parse().map_err(|_| wrong())?;
    let base = jiff::Timestamp::from_nanosecond(i128::from(base.ns())).map_err(|_| wrong())?;
    // Days and weeks count 24 hours each, as in UTC.
    let then = base.to_zoned(TimeZone::UTC).checked_add(span);
    Ok(then.map_or(if span.is_negative() { When::Before1970 } else { When::After2106 }, |then| {
        within(then.timestamp().as_nanosecond())
    }))
}

/// Classifies an instant, in nanoseconds since 1970, by whether a packet can have it.
fn within(ns: i128) -> When {
    match u64::try_from(ns) {
        Err(_) if ns < 0 => When::Before1970,
        Ok(ns) if ns <= LATEST.ns() => When::At(Timestamp(ns)),
        _ => When::After2106,
    }
}

/// A number of seconds since 1970, or of parts of seconds, by its size.
fn since_1970(text: &str) -> Result<When, String> {
    let wrong = || {
        format!(
            "{text:?} is not a number of seconds since 1970, with at most 9 decimals (nor of milliseconds, microseconds or \
             nanoseconds)"
        )
    };
    if let Some(meant) = as_digits_of_a_date(text) {
        return Err(format!(
            "{text:?} can be a date or a number of seconds since 1970: write it as '{meant}', or with decimals as {text}.0"
        ));
    }
    if text.len() > 1 && text.starts_with('0') && !text.starts_with("0.") {
        return Err(format!("{text:?} is not a time: {FORMS}"));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let count: u64 = whole.parse().map_err(|_| wrong())?;
    let (_, unit_ns) = UNITS.into_iter().find(|(least, _)| count >= *least).ok_or_else(wrong)?;
    // As many decimals as the unit has nanoseconds.
    let decimals = unit_ns.ilog10() as usize;
    let all_decimals = format!("{fraction:0<decimals$}");
    let is_exact = match decimals {
        0 => fraction == "0",
        _ => (1..=decimals).contains(&fraction.len()),
    };
    if !is_exact {
        return Err(wrong());
    }
    let rest: u64 = if decimals == 0 { 0 } else { all_decimals.parse().map_err(|_| wrong())? };
    Ok(within(i128::from(count) * i128::from(unit_ns) + i128::from(rest)))
}

/// A date, and perhaps a time of day, that was written in digits alone: `20261122`, `202611220930`, or a year.
fn as_digits_of_a_date(text: &str) -> Option<String> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let year: i16 = text.get(..4)?.parse().ok().filter(|year| (1970..2107).contains(year))?;
    let date = |month, day| civil::Date::new(year, month, day).ok();
    match text.len() {
        4 => Some(format!("{year}-01-01")),
        8 => date(part(4..6)?, part(6..8)?).map(|date| date.to_string()),
        12 | 14 => {
            let second = if text.len() == 14 { part(12..14)? } else { 0 };
            let time = civil::Time::new(part(8..10)?, part(10..12)?, second, 0).ok()?;
            date(part(4..6)?, part(6..8)?).map(|date| format!("{date} {time}"))
        }
        _ => None,
    }
}

/// Reads `yesterday`, `today 09:30`, `09:30`: the day, and the time of day if there is one; `None` for any other text.
fn day_and_time(
    written: &str,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<(civil::Date, Result<Option<civil::Time>, String>)> {
    let today = || {
        let now = jiff::Timestamp::from_nanosecond(i128::from(now.ns())).ok()?;
        Some(now.to_zoned(zone.clone()).date())
    };
    let (word, rest) = written.split_once(' ').unwrap_or((written, ""));
    let day = match word {
        "today" => today(),
        "yesterday" => today()?.yesterday().ok(),
        "tomorrow" => today()?.tomorrow().ok(),
        _ => None,
    };
    match (day, rest.trim()) {
        (Some(day), "") => Some((day, Ok(None))),
        (Some(day), rest) => {
            let wrong = || format!("{rest:?} is not a time of day: write one as 09:30 or 09:30:15.5");
            Some((day, time_of_day(rest).map(Some).ok_or_else(wrong)))
        }
        (None, _) => Some((today()?, Ok(Some(time_of_day(written)?)))),
    }
}

/// `09:30`, `9:30`, `09:30:15.5`.
fn time_of_day(text: &str) -> Option<civil::Time> {
    let (hours, _) = text.split_once(':')?;
    let text = if hours.len() == 1 { format!("0{text}") } else { text.to_owned() };
    let is_time = text.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    is_time.then(|| text.parse().ok()).flatten()
}

/// A date, with or without a time of day and an offset from UTC.
fn dated(text: &str, written: &str, zone: &TimeZone) -> Result<When, String> {
    let wrong = || match written.parse::<jiff::Span>() {
        Ok(_) => format!("{text:?} is a span of time, not a time: write '{written} ago' or -{written}"),
        Err(_) => format!("{text:?} is not a time: {FORMS}"),
    };
    // Hours with one digit are no part of any standard.
    let padded = match written.as_bytes() {
        [.., b' ' | b't', _, b':', _, _] if written.len() == "2026-11-22 9:30".len() => {
            format!("{}0{}", &written[..11], &written[11..])
        }
        _ => written.to_owned(),
    };
    let pieces = Pieces::parse(&padded).map_err(|_| wrong())?;
    let (date, time) = (pieces.date(), pieces.time());
    if !YEARS.contains(&date.year()) {
        return Ok(if date.year() < *YEARS.start() { When::Before1970 } else { When::After2106 });
    }
    let named = pieces.time_zone_annotation().map(|named| named.to_time_zone()).transpose();
    let named = named.map_err(|_| wrong())?;
    match (pieces.to_numeric_offset(), time) {
        (Some(offset), time) => {
            let at = offset.to_timestamp(date.to_datetime(time.unwrap_or_default())).map_err(|_| wrong())?;
            Ok(within(at.as_nanosecond()))
        }
        (None, time) => in_day(text, date, time, named.as_ref().unwrap_or(zone)),
    }
}

/// A time of day of a date in a zone; without one, the beginning of the date.
fn in_day(text: &str, date: civil::Date, time: Option<civil::Time>, zone: &TimeZone) -> Result<When, String> {
    let Some(time) = time else {
        let wrong = || format!("{text:?} is not a time: {FORMS}");
        let begin = date.to_zoned(zone.clone()).and_then(|day| day.start_of_day()).map_err(|_| wrong())?;
        return Ok(within(begin.timestamp().as_nanosecond()));
    };
    let local = date.to_datetime(time);
    let at = |offset: Offset| {
        // The years that are left are far from where instants end.
        offset.to_timestamp(local).map_or(When::After2106, |at| within(at.as_nanosecond()))
    };
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => Ok(at(offset)),
        AmbiguousOffset::Fold { before, after } => Err(format!(
            "{text:?} comes twice in {}, where clocks go back: write '{}' for the first or '{}' for the second",
            name(zone),
            with_offset(local, before),
            with_offset(local, after)
        )),
        AmbiguousOffset::Gap { before, after } => Err(format!(
            "{text:?} does not exist in {}, where clocks go forward: write '{}' or '{}'",
            name(zone),
            with_offset(shifted(local, before, after), before),
            with_offset(shifted(local, after, before), after)
        )),
    }
}

/// Clock reading at the offset `to` when clocks at the offset `from` show `local`.
fn shifted(local: civil::DateTime, to: Offset, from: Offset) -> civil::DateTime {
    from.to_timestamp(local).map_or(local, |at| to.to_datetime(at))
}

fn with_offset(local: civil::DateTime, offset: Offset) -> String {
    let seconds = offset.seconds();
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{} {}{sign}{hours:02}:{minutes:02}", local.date(), local.time())
}

fn name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("this time zone")
}
