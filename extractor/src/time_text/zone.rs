//! Time zones: how they are written, and how times are shown in them.

use std::borrow::Cow;

use jiff::tz::{Offset, TimeZone};
use netrewind_store::Timestamp;

/// The farthest that a zone is from UTC, in hours.
const OFFSET_HOURS_MAX: i32 = 23;
/// Characters of an instant as [`Timestamp`] writes it: `2026-11-22T09:31:01.628448290Z`.
const INSTANT_BYTES: usize = 30;

/// Reads a time zone: an IANA name such as `Europe/Rome`, `UTC`, or an offset from it such as `+02:00`.
pub fn time_zone(text: &str) -> Result<TimeZone, String> {
    let name = text.trim();
    if ["utc", "z", "gmt"].contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name)
        .map_err(|_| format!("{text:?} is not a time zone: write one as Europe/Rome, UTC, or +02:00"))
}

/// `+02:00`, `-0530`, `+2`, also behind `UTC`.
fn offset(text: &str) -> Option<Offset> {
    let behind_utc =
        text.get(..3).filter(|start| start.eq_ignore_ascii_case("UTC")).and_then(|_| text.get(3..));
    let text = behind_utc.unwrap_or(text);
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-" | "\u{2212}", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(parts), _) => parts,
        (None, 4) => digits.split_at_checked(2)?,
        (None, _) => (digits, "00"),
    };
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours, 1..=2)?, number(minutes, 2..=2)?);
    if hours > OFFSET_HOURS_MAX || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// An instant in a zone, with its offset, as queries accept it: `2026-11-22T10:31:01.628448290+01:00`.
pub(super) fn shown(at: Timestamp, zone: &TimeZone) -> String {
    let instant = i128::from(at.ns());
    match jiff::Timestamp::from_nanosecond(instant) {
        Ok(instant) if *zone != TimeZone::UTC => {
            instant.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string()
        }
        _ => at.to_string(),
    }
}

/// A line for a person with its instants in a zone. Lines have instants in UTC, also from other machines; the zone of the query
/// is known only where they are shown.
pub fn in_zone<'a>(line: &'a str, zone: &TimeZone) -> Cow<'a, str> {
    if *zone == TimeZone::UTC {
        return Cow::Borrowed(line);
    }
    let mut told = String::new();
    let mut rest = line;
    while let Some((at, instant)) = first_instant(rest) {
        told.push_str(&rest[..at]);
        told.push_str(&shown(instant, zone));
        rest = &rest[at + INSTANT_BYTES..];
    }
    told.push_str(rest);
    Cow::Owned(told)
}

/// The first instant in a text, and where it begins.
fn first_instant(text: &str) -> Option<(usize, Timestamp)> {
    text.match_indices('T').find_map(|(t, _)| {
        let at = t.checked_sub("2026-11-22".len())?;
        let written = text.get(at..at + INSTANT_BYTES)?;
        let instant: Timestamp = written.parse().ok()?;
        (instant.to_string() == written).then_some((at, instant))
    })
}
