//! A 5-tuple in the spellings of logs and of people: two addresses, and what stands around them.

use std::net::{IpAddr, SocketAddr};

/// Words before a port.
const PORT_WORDS: [&str; 10] =
    ["port", "sport", "dport", "spt", "dpt", "src_port", "dst_port", "dest_port", "srcport", "dstport"];
/// Words that may stand around a tuple and change nothing.
const KNOWN_WORDS: [&str; 18] = [
    "src",
    "dst",
    "source",
    "destination",
    "from",
    "to",
    "proto",
    "protocol",
    "ip",
    "ip6",
    "srcip",
    "dstip",
    "src_ip",
    "dst_ip",
    "dest_ip",
    "host",
    "and",
    "at",
];
/// Names of protocols and their numbers, by the name in filters.
const PROTOCOLS: [(&str, &[&str], u32); 5] = [
    ("tcp", &["tcp"], 6),
    ("udp", &["udp"], 17),
    ("icmp", &["icmp"], 1),
    ("icmp6", &["icmp6", "icmpv6", "ipv6-icmp"], 58),
    ("sctp", &["sctp"], 132),
];
/// Characters between the parts.
const BETWEEN: &str = ",;|(){}\"'<>=→↔";
/// Digits of seconds, and of milliseconds, since 1970.
const SECONDS_DIGITS: usize = 10;
const MILLISECONDS_DIGITS: usize = 13;
/// Bits of an IPv4 address: a larger number behind a slash is a port.
const PREFIX_MAX: u16 = 32;

/// A conversation as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub ends: [IpAddr; 2],
    pub ports: [Option<u16>; 2],
    pub protocol: Option<&'static str>,
    /// Its time, as [`crate::time_text`] reads it.
    pub time: Option<String>,
}

/// An address with its port, and whether a slash stood between.
struct End {
    address: IpAddr,
    port: Option<u16>,
    is_slashed: bool,
}

/// Parts of a line, as far as they are understood.
#[derive(Default)]
struct Parts {
    ends: Vec<End>,
    protocol: Option<&'static str>,
    time: Option<String>,
    /// Numbers behind the first address, the number of addresses before each, and whether a word says that it is a port.
    numbers: Vec<(u16, usize, bool)>,
    /// True if there is a word that means nothing here: then numbers without a word before them mean nothing either.
    is_prose: bool,
}

/// Reads a line; `nothing` is the error for one without addresses.
pub(super) fn read(line: &str, nothing: &str) -> Result<Tuple, String> {
    let parts = Parts::of(line);
    let [one, other] = match &parts.ends[..] {
        [] => return Err(nothing.to_owned()),
        [only] => {
            let address = only.address;
            return Err(format!(
                "it has one address, and a conversation has two: for all packets of it, use the filter host {address}"
            ));
        }
        [one, other] => [one, other],
        _ => return Err("it has more than two addresses: leave the two of the conversation".to_owned()),
    };
    if one.address.is_ipv4() != other.address.is_ipv4() {
        return Err("one of its addresses is IPv4 and the other IPv6".to_owned());
    }
    if [one, other].iter().any(|end| end.is_slashed)
        && ![one, other].iter().any(|end| end.port.is_some_and(|port| port > PREFIX_MAX))
    {
        return Err(
            "it has networks: for their packets, use a filter such as net 10.0.0.0/8 and net 192.0.2.0/24"
                .to_owned(),
        );
    }
    let mut numbers: Vec<(u16, usize)> = parts
        .numbers
        .iter()
        .filter(|(_, _, is_named)| *is_named || !parts.is_prose)
        .map(|(number, behind, _)| (*number, *behind))
        .collect();
    let mut ports = [one.port, other.port];
    if ports == [None, None] {
        ports[0] = take(&mut numbers, 1);
        ports[0] = ports[0].or_else(|| if numbers.len() > 1 { take(&mut numbers, 2) } else { None });
        ports[1] = if ports[0].is_some() { take(&mut numbers, 2) } else { None };
    }
    let protocol = parts.protocol.or_else(|| match numbers[..] {
        // The number of the protocol comes last, where it has no name.
        [(number, 2)] => {
            PROTOCOLS.iter().find(|(_, _, own)| *own == u32::from(number)).map(|(name, ..)| *name)
        }
        _ => None,
    });
    Ok(Tuple { ends: [one.address, other.address], ports, protocol, time: parts.time })
}

/// Takes the first of the numbers that stand behind so many addresses.
fn take(numbers: &mut Vec<(u16, usize)>, behind: usize) -> Option<u16> {
    let at = numbers.iter().position(|(_, its)| *its == behind)?;
    Some(numbers.remove(at).0)
}

impl Parts {
    fn of(line: &str) -> Self {
        let spaced = line.replace("->", " ").replace("--", " ");
        let words = spaced.split(|letter: char| letter.is_whitespace() || BETWEEN.contains(letter));
        let words: Vec<&str> = words
            .map(|word| word.trim_end_matches([':', '.', '-']).trim_start_matches('-'))
            .filter(|word| !word.is_empty())
            .collect();
        let mut parts = Self::default();
        for (at, word) in words.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or_default();
            let next = words.get(at + 1).copied().unwrap_or_default();
            parts.add(word, &before.to_ascii_lowercase(), next);
        }
        parts
    }

    fn add(&mut self, word: &str, before: &str, next: &str) {
        let lower = word.to_ascii_lowercase();
        if let Some(name) = protocol(&lower) {
            self.protocol = self.protocol.or(Some(name));
        } else if let Some((name, end)) =
            lower.split_once("://").and_then(|(name, rest)| Some((protocol(name), end(rest)?)))
        {
            self.protocol = self.protocol.or(name);
            self.ends.push(end);
        } else if let Some((end, name)) = end_with_protocol(&lower) {
            self.protocol = self.protocol.or(name);
            self.ends.push(end);
        } else if let Some(time) = time(word, next).filter(|time| self.ends.is_empty() || time.contains(':'))
        {
            // A large number behind the addresses may be anything.
            self.time = self.time.take().or(Some(time));
        } else if let Ok(number) = lower.parse::<u16>() {
            if ["proto", "protocol", "ip_proto"].contains(&before) {
                let found = PROTOCOLS.iter().find(|(_, _, own)| *own == u32::from(number));
                self.protocol = self.protocol.or(found.map(|(name, ..)| *name));
            } else if !self.ends.is_empty() {
                self.numbers.push((number, self.ends.len(), PORT_WORDS.contains(&before)));
            }
        } else if !PORT_WORDS.contains(&&*lower) && !KNOWN_WORDS.contains(&&*lower) && !is_time_of_day(word) {
            self.is_prose = true;
        }
    }
}

fn protocol(word: &str) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, names, _)| names.contains(&word)).map(|(name, ..)| *name)
}

/// `192.0.2.1:443/tcp` as well.
fn end_with_protocol(word: &str) -> Option<(End, Option<&'static str>)> {
    match word.rsplit_once('/').map(|(rest, name)| (rest, protocol(name))) {
        Some((rest, Some(name))) => Some((end(rest)?, Some(name))),
        _ => Some((end(word)?, None)),
    }
}

/// An address, with its port behind `:`, `.` or `/` if there is one.
fn end(word: &str) -> Option<End> {
    let of = |address, port, is_slashed| Some(End { address, port, is_slashed });
    if let Ok(address) = word.trim_start_matches('[').trim_end_matches(']').parse() {
        return of(address, None, false);
    }
    if let Ok(socket) = word.parse::<SocketAddr>() {
        return of(socket.ip(), Some(socket.port()), false);
    }
    let (letter, (address, port)) =
        ['/', '.'].iter().find_map(|letter| Some((*letter, word.rsplit_once(*letter)?)))?;
    of(address.parse().ok()?, Some(port.parse().ok()?), letter == '/')
}

/// A time with its day, in the notation of ranges.
fn time(word: &str, next: &str) -> Option<String> {
    let digits = word.split('.').next().unwrap_or_default();
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match digits.len() {
            SECONDS_DIGITS if word.parse::<f64>().is_ok() => Some(word.to_owned()),
            MILLISECONDS_DIGITS if digits == word => {
                let (seconds, rest) = digits.split_at(SECONDS_DIGITS);
                Some(format!("{seconds}.{rest}"))
            }
            _ => None,
        };
    }
    if is_day(word, '-') {
        return is_time_of_day(next).then(|| format!("{word} {next}"));
    }
    if let Some((day, _)) = word.split_once('T').filter(|(day, _)| is_day(day, '-')) {
        return (!day.is_empty()).then(|| word.to_owned());
    }
    // Suricata's fast.log and Snort: 11/22/2026-09:30:00.250000.
    let (day, rest) = word.split_once('-')?;
    let [month, day, year]: [&str; 3] = day.split('/').collect::<Vec<_>>().try_into().ok()?;
    let day = format!("{year}-{month}-{day}");
    (is_day(&day, '-') && is_time_of_day(rest)).then(|| format!("{day} {rest}"))
}

/// `2026-11-22`.
fn is_day(word: &str, between: char) -> bool {
    let lengths: Vec<usize> = word.split(between).map(str::len).collect();
    lengths == [4, 2, 2] && word.chars().all(|letter| letter.is_ascii_digit() || letter == between)
}

/// `09:30:00.25`.
fn is_time_of_day(word: &str) -> bool {
    let is_digit = |letter: char| letter.is_ascii_digit();
    word.contains(':')
        && word.starts_with(is_digit)
        && word.chars().all(|letter| is_digit(letter) || ":.".contains(letter))
}
