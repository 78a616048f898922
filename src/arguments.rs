//! How zones, sizes and numbers are written on the command line; times and durations are read by [`netrewind_extractor::time_text`].

use jiff::tz::TimeZone;
use netrewind_extractor::time_text;
pub use netrewind_extractor::time_text::duration;
pub use netrewind_extractor::time_text::instant;

/// Reads a time zone: an IANA name such as `Europe/Rome`, `UTC`, or `local`.
pub fn time_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        "local" => Ok(TimeZone::system()),
        name => time_text::time_zone(name),
    }
}

/// Reads a size: `1GiB`, `500 MB`, `65536`.
pub fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|error| format!("{error}; write a size as 10GiB, 500MB, or a number of bytes"))
}

/// Reads a number of at most `bits` bits: `42`, `0x2a`.
pub fn number(text: &str, bits: u32) -> Result<u32, String> {
    let read = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    let most = u32::MAX >> (u32::BITS - bits);
    read.ok()
        .filter(|&number| number <= most)
        .ok_or_else(|| format!("{text:?} is not a number from 0 to {most}; write one as 42 or 0x2a"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("500MB"), Ok(500_000_000));
        assert_eq!(bytes("65536"), Ok(65_536));
        assert!(bytes("much").is_err());
        assert_eq!(
            [number("42", 10), number("0x3ff", 10), number("0xFFFFFFFF", 32)],
            [42, 1023, u32::MAX].map(Ok)
        );
        assert!(["1024", "0x400", "", "0x", "-1", "0x+1"].iter().all(|text| number(text, 10).is_err()));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("-5s").is_err() && duration("soon").is_err());
    }
}
