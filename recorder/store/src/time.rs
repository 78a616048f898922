//! Instants: nanoseconds since the Unix epoch, and the UTC dates that name folders and segments.

use std::fmt;

use serde::{Deserialize, Serialize};

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
        self.civil().strftime("%H%M%S.%9fZ").to_string()
    }

    /// The inverse of [`Self::date`] and [`Self::time_of_day`].
    pub fn from_date_and_time(date: &str, time_of_day: &str) -> Option<Self> {
        let text = format!("{date} {}", time_of_day.strip_suffix('Z')?);
        let civil = jiff::civil::DateTime::strptime("%Y-%m-%d %H%M%S.%f", text).ok()?;
        let stamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        let found = Self(u64::try_from(stamp.as_nanosecond()).ok()?);
        (found.date() == date && found.time_of_day() == time_of_day).then_some(found)
    }
}

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
        assert_eq!(Timestamp::from_date_and_time("2026-11-22", "93101.6Z"), None);
    }
}
