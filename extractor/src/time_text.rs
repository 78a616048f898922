//! How times are written: on the command line and over HTTP alike.

use std::time::Duration;

use jiff::tz::TimeZone;
use netrewind_segment::Timestamp;

/// Nanoseconds in a second, as digits of a fraction.
const FRACTION_DIGITS: usize = 9;

/// Reads an instant:
///
/// - RFC 3339: `2026-11-22T09:31:01.628448290Z`, `2026-11-22T10:31:01+01:00`
/// - Unix seconds, with a fraction: `1795339861.628448290`
/// - a span back from `now`: `2h ago`, `1d 30m ago`; or `now`
/// - a date, or a date and a time of day, in `zone`: `2026-11-22`, `2026-11-22 09:30`, `2026-11-22 09:31:01.5`
pub fn instant(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        return unix_seconds(text);
    }
    if text.ends_with("ago") {
        return span_before(text, now);
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return from_jiff(stamp, text);
    }
    let civil: jiff::civil::DateTime = text.parse().map_err(|error| {
        format!(
            "{text:?} is not a time ({error}); write one as 2026-11-22T09:31:01.628448290Z, \
             '2026-11-22 09:30' (with --tz), 1795339861.5 (Unix seconds), or '2h ago'"
        )
    })?;
    let zoned = civil.to_zoned(zone.clone()).map_err(|error| format!("{text:?}: {error}"))?;
    from_jiff(zoned.timestamp(), text)
}

fn from_jiff(stamp: jiff::Timestamp, text: &str) -> Result<Timestamp, String> {
    u64::try_from(stamp.as_nanosecond())
        .map(Timestamp)
        .map_err(|_| format!("{text:?} is before 1970: no packet is that old"))
}

fn unix_seconds(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is not a number of seconds since 1970 with at most 9 decimals");
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > FRACTION_DIGITS {
        return Err(wrong());
    }
    let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
    let nanoseconds: u64 = format!("{fraction:0<FRACTION_DIGITS$}").parse().map_err(|_| wrong())?;
    seconds
        .checked_mul(netrewind_segment::time::SECOND_NS)
        .and_then(|ns| ns.checked_add(nanoseconds))
        .map(Timestamp)
        .ok_or_else(wrong)
}

fn span_before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong =
        |error: jiff::Error| format!("{text:?} is not a span such as '2h ago' or '1d 30m ago': {error}");
    let back: jiff::Span = text.parse().map_err(wrong)?;
    let now = jiff::Timestamp::from_nanosecond(i128::from(now.ns())).map_err(wrong)?;
    // Days and weeks count 24 hours each, which is what UTC makes of them.
    let then = now.to_zoned(TimeZone::UTC).checked_add(back).map_err(wrong)?;
    from_jiff(then.timestamp(), text)
}

/// Reads a time zone: an IANA name such as `Europe/Rome`, or `UTC`.
pub fn time_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        "UTC" | "utc" | "Z" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|error| format!("{name:?} is not a time zone: {error}")),
    }
}

/// Reads a duration: `60s`, `7d`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |error: jiff::Error| format!("{error}; write a duration as 60s, 1h 30m, or 7d");
    let span: jiff::Span = text.parse().map_err(wrong)?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
    Duration::try_from(duration).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::new(1_795_339_861, 628_448_290);

    fn read(text: &str) -> u64 {
        instant(text, NOW, &TimeZone::UTC).unwrap_or_else(|error| panic!("{error}")).ns()
    }

    #[test]
    fn every_way_to_write_a_time() {
        for text in [
            "2026-11-22T09:31:01.628448290Z",
            "2026-11-22T10:31:01.62844829+01:00",
            "1795339861.62844829",
            "2026-11-22 09:31:01.628448290",
            "now",
        ] {
            assert_eq!(read(text), NOW.ns(), "{text}");
        }
        assert_eq!(read("2h ago"), NOW.ns() - 7_200_000_000_000);
        assert_eq!(read("1d 30m ago"), NOW.ns() - 88_200_000_000_000);
        assert_eq!(read("1795339861"), 1_795_339_861_000_000_000);
        assert_eq!(read("2026-11-22"), 1_795_305_600_000_000_000);
        let rome = time_zone("Europe/Rome").unwrap();
        assert_eq!(instant("2026-11-22 10:31:01.628448290", NOW, &rome), Ok(NOW));
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "",
            "yesterdayish",
            "25:00",
            "1795339861.1234567891",
            "99999999999999999999",
            "-2h",
            "1969-01-01",
        ] {
            assert!(instant(text, NOW, &TimeZone::UTC).is_err(), "{text}");
        }
        assert!(instant("09h30", NOW, &TimeZone::UTC).unwrap_err().contains("2h ago"));
    }
}
