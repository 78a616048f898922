//! Zones, sizes, numbers and addresses as written on the command line; times and durations are parsed by
//! [`netrewind_extractor::time_text`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use jiff::tz::TimeZone;
use netrewind_extractor::time_text;
pub use netrewind_extractor::time_text::duration;
use netrewind_store::layout::CAPLEN_MAX;

use crate::outcome::Failure;

/// Reads a time zone: an IANA name such as `Europe/Rome`, `UTC`, an offset such as `+02:00`, or `local`.
fn time_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        "local" => Ok(TimeZone::system()),
        name => time_text::time_zone(name).map_err(|error| format!("{error}, or local")),
    }
}

/// The zone that `--tz` names.
pub fn zone(tz: &str) -> Result<TimeZone, Failure> {
    time_zone(tz).map_err(|error| Failure::usage(format!("--tz: {error}")))
}

/// Reads a size: `1GiB`, `500 MB`, `65536`.
pub fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is not a size: write one as 10GiB, 500MB, or a number of bytes"))
}

/// Reads a number of things: `20`.
pub fn count(text: &str) -> Result<u64, String> {
    within(text, 0, u64::MAX)
}

/// As [`count`], where it is held in memory.
pub fn length(text: &str) -> Result<usize, String> {
    count(text).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Reads the number of lanes of an interface.
pub fn lanes(text: &str) -> Result<u16, String> {
    within(text, 1, 64).map(|lanes| u16::try_from(lanes).unwrap_or(1))
}

/// Reads a snaplen: as with tcpdump, 0 keeps packets whole.
pub fn snaplen(text: &str) -> Result<u32, String> {
    let bytes = within(text, 0, u64::from(CAPLEN_MAX))?;
    Ok(u32::try_from(bytes).ok().filter(|&bytes| bytes > 0).unwrap_or(CAPLEN_MAX))
}

fn within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number =
        is_number.then(|| text.parse().ok()).flatten().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| match most {
        u64::MAX => format!("{text:?} is not a whole number: write one as 20"),
        _ => format!("{text:?} is not a whole number from {least} to {most}"),
    })
}

/// Reads an address: `10.0.0.1`, `2001:db8::1`.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("{text:?} is not an address: write one as 10.0.0.1 or 2001:db8::1"))
}

/// Address to listen on: an address and a port, or a port of this machine alone, over IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// At this address.
    At(SocketAddr),
    /// `localhost`, at this port.
    Localhost(u16),
}

impl ListenAddress {
    /// The addresses to bind; the first one is required.
    pub fn addresses(self) -> Vec<SocketAddr> {
        match self {
            Self::At(address) => vec![address],
            // Any free port would be another one for each.
            Self::Localhost(0) => vec![(Ipv4Addr::LOCALHOST, 0).into()],
            Self::Localhost(port) => {
                vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
        }
    }
}

/// Reads an address to listen on: `127.0.0.1:8640`, `[::1]:8640`, `localhost:8640`.
pub fn listen_address(text: &str) -> Result<ListenAddress, String> {
    let of_localhost = |text: &str| {
        let (host, port) = text.rsplit_once(':')?;
        host.eq_ignore_ascii_case("localhost").then(|| port.parse().ok()).flatten()
    };
    match (text.parse(), of_localhost(text)) {
        (Ok(address), _) => Ok(ListenAddress::At(address)),
        (Err(_), Some(port)) => Ok(ListenAddress::Localhost(port)),
        (Err(_), None) => Err(format!(
            "{text:?} is not an address with a port: write one as 127.0.0.1:8640, [::1]:8640, localhost:8640, or 0.0.0.0:8640 \
             for every interface"
        )),
    }
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
        assert!(bytes("much").is_err_and(|error| error.contains("10GiB") && !error.contains("parse")));
        assert_eq!(snaplen("0"), Ok(CAPLEN_MAX));
        assert_eq!(snaplen("128"), Ok(128));
        assert!(snaplen("262145").is_err_and(|error| error.contains("from 0 to 262144")));
        assert!(["", "-1", "+1", "x", "1.5", "99999999999999999999"].iter().all(|text| count(text).is_err()));
        assert!(["0", "65"].iter().all(|text| lanes(text).is_err()));
        assert_eq!(address("[::1]"), Ok(Ipv6Addr::LOCALHOST.into()));
        assert!(address("localhost").is_err_and(|error| error.contains("10.0.0.1")));
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

    #[test]
    fn where_to_listen() {
        let addresses = |text: &str| {
            let addresses = listen_address(text).unwrap_or_else(|error| panic!("{error}")).addresses();
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses("127.0.0.1:8640"), ["127.0.0.1:8640"]);
        assert_eq!(addresses("[::1]:1"), ["[::1]:1"]);
        assert_eq!(addresses("localhost:8640"), ["127.0.0.1:8640", "[::1]:8640"]);
        assert_eq!(addresses("Localhost:0"), ["127.0.0.1:0"]);
        for text in ["localhost", "8640", ":8640", "probe:8640", "localhost:99999", "127.0.0.1"] {
            assert!(listen_address(text).is_err_and(|error| error.contains("localhost:8640")), "{text}");
        }
    }
}
