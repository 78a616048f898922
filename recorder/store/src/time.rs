//! Instants: nanoseconds since the Unix epoch, and the UTC dates that name folders and segments.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds in a millisecond.
pub const MILLISECOND_NS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds in a minute.
pub const MINUTE_NS: u64 = 60 * SECOND_NS;
/// Nanoseconds in an hour.
pub const HOUR_NS: u64 = 60 * MINUTE_NS;
/// Nanoseconds in a day of UTC.
pub const DAY_NS: u64 = 24 * HOUR_NS;
/// Seconds in a day of UTC.
pub const DAY_SECONDS: u64 = DAY_NS / SECOND_NS;

/// An instant in nanoseconds since the Unix epoch (UTC, no leap seconds). Reaches to the year 2554; a pcap record
/// reaches to 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(0);
    /// The latest instant.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant of a pcap record's fields; `nanoseconds` over a second carry.
    #[inline]
    pub const fn new(seconds: u32, nanoseconds: u32) -> Self {
        Self(seconds as u64 * SECOND_NS + nanoseconds as u64)
    }

    /// Nanoseconds since the Unix epoch.
    #[inline]
    pub const fn ns(self) -> u64 {
        self.0
    }

    /// The instant `ns` later, limited to the latest one.
    #[inline]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// The last multiple of `to_ns` that is not later.
    pub const fn rounded_down(self, to_ns: u64) -> Self {
        Self(self.0 - self.0 % to_ns)
    }

    /// The first multiple of `to_ns` that is not earlier, limited to the latest instant.
    pub const fn rounded_up(self, to_ns: u64) -> Self {
        match self.0.checked_next_multiple_of(to_ns) {
            Some(ns) => Self(ns),
            None => Self::MAX,
        }
    }

    /// Nanoseconds since `earlier`; zero if that is not earlier.
    #[inline]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The wall clock's reading. A clock before 1970 reads as 1970.
    pub fn from_system(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn civil(self) -> jiff::Zoned {
        let seconds = i64::try_from(self.0 / SECOND_NS).unwrap_or(i64::MAX);
        let nanoseconds = i32::try_from(self.0 % SECOND_NS).unwrap_or(0);
        jiff::Timestamp::new(seconds, nanoseconds)
            .unwrap_or(jiff::Timestamp::MAX)
            .to_zoned(jiff::tz::TimeZone::UTC)
    }

    /// The UTC date as `2026-11-22`.
    pub fn date(self) -> String {
        self.civil().strftime("%Y-%m-%d").to_string()
    }

    /// The UTC time of day as `093101.628448290Z`.
    pub fn time_of_day(self) -> String {
        let (second, ns) = (self.0 / SECOND_NS % DAY_SECONDS, self.0 % SECOND_NS);
        format!("{:02}{:02}{:02}.{ns:09}Z", second / 3600, second / 60 % 60, second % 60)
    }

    /// The inverse of [`Self::date`] and [`Self::time_of_day`].
    pub fn from_date_and_time(date: &str, time_of_day: &str) -> Option<Self> {
        // Stores have many names of the same form: they are taken apart by place.
        let (second, ns) = time_of_day.strip_suffix('Z')?.split_once('.')?;
        if second.len() != 6 || ns.len() != 9 {
            return None;
        }
        Self::at(
            date,
            [digits(second, 0..2)?, digits(second, 2..4)?, digits(second, 4..6)?, digits(ns, 0..9)?],
        )
    }

    /// The instant that [`fmt::Display`] writes so; `None` for any other form.
    fn from_display(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let marks = [time.get(2..3)?, time.get(5..6)?, time.get(8..9)?];
        if time.len() != 18 || marks != [":", ":", "."] {
            return None;
        }
        Self::at(date, [digits(time, 0..2)?, digits(time, 3..5)?, digits(time, 6..8)?, digits(time, 9..18)?])
    }

    /// The instant at this hour, minute, second and nanosecond of a day.
    fn at(date: &str, [hour, minute, second, ns]: [u64; 4]) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let of_day = (hour * 3600 + minute * 60 + second) * SECOND_NS + ns;
        days_to(date)?.checked_mul(DAY_NS)?.checked_add(of_day).map(Self)
    }
}

/// The number that these digits are, and nothing but digits.
fn digits(text: &str, range: std::ops::Range<usize>) -> Option<u64> {
    let digits = text.get(range)?;
    digits
        .bytes()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// Days from 1970 to a date as `2026-11-22`; `None` if there is no such date, or it is earlier.
fn days_to(date: &str) -> Option<u64> {
    let (year, month, day) = (digits(date, 0..4)?, digits(date, 5..7)?, digits(date, 8..10)?);
    if date.len() != 10 || date.get(4..5) != Some("-") || date.get(7..8) != Some("-") {
        return None;
    }
    let (year_of, month_of, day_of) =
        (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    jiff::civil::Date::new(year_of, month_of, day_of).ok()?;
    // Years begin with March, so that a leap day ends one: all months before have the same days in every year.
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    days.checked_sub(DAYS_TO_1970)
}

/// Days from the first of March of the year 0 to 1970.
const DAYS_TO_1970: u64 = 719_468;

/// RFC 3339 with nanoseconds, in UTC: `2026-11-22T09:31:01.628448290Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.civil().strftime("%Y-%m-%dT%H:%M:%S.%9fZ"))
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    /// Reads what `Display` writes, and any other RFC 3339 instant since 1970.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        // Logbooks have many of this form.
        if let Some(found) = Self::from_display(text) {
            return Ok(found);
        }
        let stamp: jiff::Timestamp = text.parse()?;
        Ok(Self(u64::try_from(stamp.as_nanosecond().max(0)).unwrap_or(u64::MAX)))
    }
}

crate::text::serde_as_text!(Timestamp);

/// A span of time: `from <= t < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Span {
    /// Start of the span.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub from: Timestamp,
    /// End of the span, exclusive.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub to: Timestamp,
}

/// `2026-11-22T09:31:01.000000000Z to 2026-11-22T09:32:01.000000000Z`; of a single instant only that.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to.ns().saturating_sub(self.from.ns()) {
            0 | 1 => write!(f, "{}", self.from),
            _ => write!(f, "{} to {}", self.from, self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_come_back() {
        let at = Timestamp::new(1_795_339_861, 628_448_290);
        assert_eq!(at.date(), "2026-11-22");
        assert_eq!(at.time_of_day(), "093101.628448290Z");
        assert_eq!(Timestamp::from_date_and_time(&at.date(), &at.time_of_day()), Some(at));
        assert_eq!(at.to_string(), "2026-11-22T09:31:01.628448290Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        assert_eq!("2026-11-22T10:31:01.62844829+01:00".parse::<Timestamp>().unwrap(), at);
        assert!("2026-11-22T24:31:01.628448290Z".parse::<Timestamp>().is_err());
        for (date, time) in [
            ("2026-11-22", "93101.6Z"),
            ("2026-11-22", "093101.628448290"),
            ("2026-11-22", "240000.000000000Z"),
            ("2026-11-22", "006000.000000000Z"),
            ("2026-11-22", "000060.000000000Z"),
            ("2026-11-22", "+93101.000000000Z"),
            ("2026-02-29", "000000.000000000Z"),
            ("2026-13-01", "000000.000000000Z"),
            ("2026-1-22", "000000.000000000Z"),
            ("1969-12-31", "000000.000000000Z"),
            ("2026/11/22", "000000.000000000Z"),
            ("9999-12-31", "000000.000000000Z"),
        ] {
            assert_eq!(Timestamp::from_date_and_time(date, time), None, "{date} {time}");
        }
    }

    #[test]
    fn every_day_has_its_date() {
        for day in 0..213_503 {
            let at = Timestamp(day * DAY_NS + day * 86_413 % DAY_NS);
            assert_eq!(Timestamp::from_date_and_time(&at.date(), &at.time_of_day()), Some(at));
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
            assert_eq!(at.time_of_day(), at.civil().strftime("%H%M%S.%9fZ").to_string());
        }
    }
}
