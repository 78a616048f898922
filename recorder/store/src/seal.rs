//! Number and checksum at the end of a line, so that a line that has changed is noticed, and one that is gone or out of its place.
//!
//! A sealed line is a JSON object whose last two members are `"line"`, its number, and `"sum"`, the XXH3 (64 bits) of all that comes
//! before `,"sum"`. Lines of earlier versions have neither.

use xxhash_rust::xxh3::xxh3_64;

/// Text before the number.
const LINE: &str = ",\"line\":";
/// Text before the checksum.
const SUM: &str = ",\"sum\":\"";
/// Digits of a checksum.
const SUM_DIGITS: usize = 16;
/// End of a sealed line.
const END: &str = "\"}";

/// State of a line's seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// It has none: a line of an earlier version, or a damaged one.
    Absent,
    /// It is as it was written, and has this number.
    Sound(u64),
    /// It has changed since it was written.
    Wrong,
}

/// Adds number and checksum to a JSON object.
pub fn sealed(object: &str, line: u64) -> String {
    let body = object.strip_suffix('}').unwrap_or(object);
    let mut text = format!("{body}{LINE}{line}");
    let sum = xxh3_64(text.as_bytes());
    text.push_str(&format!("{SUM}{sum:016x}{END}"));
    text
}

/// Adds a checksum alone to a JSON object, as its last member.
pub fn summed(object: &str) -> String {
    let body = object.strip_suffix('}').unwrap_or(object);
    format!("{body}{SUM}{:016x}{END}", xxh3_64(body.as_bytes()))
}

/// Compares a JSON object with its checksum; `None` if it has none.
pub fn is_summed(text: &str) -> Option<bool> {
    let (covered, sum) = divided(text)?;
    Some(sum_of(sum) == Some(xxh3_64(covered.as_bytes())))
}

/// Divides a line into what it says, without the last brace, and the state of its seal.
pub fn unsealed(text: &str) -> (&str, Seal) {
    let bare = text.strip_suffix('}').unwrap_or(text);
    let Some((covered, sum)) = divided(text) else { return (bare, Seal::Absent) };
    let Some((body, line)) = numbered(covered) else { return (bare, Seal::Wrong) };
    (body, if sum_of(sum) == Some(xxh3_64(covered.as_bytes())) { Seal::Sound(line) } else { Seal::Wrong })
}

/// Divides a text into the part that a checksum covers, and the checksum.
fn divided(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_suffix(END)?;
    let (rest, sum) = rest.split_at_checked(rest.len().checked_sub(SUM_DIGITS)?)?;
    Some((rest.strip_suffix(SUM)?, sum))
}

/// Content of a line, and its number.
fn numbered(covered: &str) -> Option<(&str, u64)> {
    let head = covered.trim_end_matches(|digit: char| digit.is_ascii_digit());
    Some((head.strip_suffix(LINE)?, covered.get(head.len()..)?.parse().ok()?))
}

/// A checksum as it is written: lower-case digits only.
fn sum_of(digits: &str) -> Option<u64> {
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    digits.bytes().all(is_digit).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// Place of a line among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinePlace {
    /// It follows on the line before it, or cannot tell.
    Next,
    /// So many lines between it and the one before are missing.
    After(u64),
    /// It has the number of an earlier line, or an earlier one's: it stands there twice, or not where it was written.
    Misplaced,
    /// It has no number, although lines before it have, or its checksum is wrong.
    Unsealed,
}

/// Fault of a last line without a newline, where nobody is writing.
pub const NOT_ENDED: &str = "it does not end as a line does: its last byte is missing";

impl LinePlace {
    /// What is wrong with the line at this place, in words.
    pub fn fault(self) -> Option<String> {
        Some(match self {
            Self::Next => return None,
            Self::After(1) => "the line before it is missing".to_owned(),
            Self::After(lines) => format!("{lines} lines before it are missing"),
            Self::Misplaced => "it stands there twice, or is not where it was written".to_owned(),
            Self::Unsealed => "its checksum is wrong, or missing".to_owned(),
        })
    }
}

/// Numbers of the lines of a file, as they are read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineSequence {
    /// Number of the last line that has one; `None` before the first, if lines before it were not read.
    last: Option<u64>,
    /// Lines without a number since: each may be one that seems to be missing.
    unnumbered: u64,
}

impl LineSequence {
    /// From the first line of a file on, or of a series of files.
    pub fn from_first() -> Self {
        Self { last: Some(0), unnumbered: 0 }
    }

    /// From the middle of a file on: any number may come first.
    pub fn from_anywhere() -> Self {
        Self::default()
    }

    /// Number of the last sealed line; zero if there was none.
    pub fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// Takes the next line.
    pub fn take(&mut self, seal: Seal) -> LinePlace {
        match seal {
            Seal::Absent if self.last() == 0 => LinePlace::Next,
            Seal::Absent | Seal::Wrong => {
                self.unnumbered += 1;
                LinePlace::Unsealed
            }
            Seal::Sound(line) => match self.last {
                Some(last) if line <= last => LinePlace::Misplaced,
                last => {
                    let skipped = last.map_or(0, |last| line - last - 1);
                    let missing = skipped.saturating_sub(std::mem::take(&mut self.unnumbered));
                    self.last = Some(line);
                    if missing > 0 { LinePlace::After(missing) } else { LinePlace::Next }
                }
            },
        }
    }
}

/// Number of the last sound line of some text, of which the front may be cut off; `None` if there is none.
pub fn last_number(text: &[u8]) -> Option<u64> {
    let number = |line: &[u8]| match unsealed(std::str::from_utf8(line).ok()?).1 {
        Seal::Sound(line) => Some(line),
        Seal::Absent | Seal::Wrong => None,
    };
    text.split(|byte| *byte == b'\n').rev().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"event":"up","lane":3,"at":"2026-11-22T09:31:01.000000000Z"}"#;

    #[test]
    fn a_sealed_line_comes_back_and_every_flipped_bit_of_it_is_noticed() {
        let text = sealed(OBJECT, 17);
        assert_eq!(unsealed(&text), (&OBJECT[..OBJECT.len() - 1], Seal::Sound(17)));
        assert_eq!(unsealed(OBJECT), (&OBJECT[..OBJECT.len() - 1], Seal::Absent));
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "it is an object still");
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = std::str::from_utf8(&bytes) else { continue };
            assert!(!matches!(unsealed(changed).1, Seal::Sound(_)), "bit {bit}: {changed}");
        }
    }

    #[test]
    fn lines_that_are_gone_repeated_or_moved_are_noticed() {
        use LinePlace::{After, Misplaced, Next, Unsealed};
        use Seal::{Absent, Sound, Wrong};
        let places = |mut sequence: LineSequence, seals: &[Seal]| -> Vec<LinePlace> {
            seals.iter().map(|&seal| sequence.take(seal)).collect()
        };
        let cases: &[(&[Seal], &[LinePlace])] = &[
            (&[Absent, Absent, Sound(1), Sound(2)], &[Next; 4]),
            (&[Sound(1), Sound(3), Sound(4)], &[Next, After(1), Next]),
            (&[Sound(1), Sound(2), Sound(2), Sound(3)], &[Next, Next, Misplaced, Next]),
            (&[Sound(1), Sound(3), Sound(2), Sound(4)], &[Next, After(1), Misplaced, Next]),
            (&[Sound(1), Wrong, Sound(3)], &[Next, Unsealed, Next]),
            (&[Sound(1), Wrong, Sound(4)], &[Next, Unsealed, After(1)]),
            (&[Sound(1), Absent, Sound(2)], &[Next, Unsealed, Next]),
            (&[Absent, Sound(2)], &[Next, After(1)]),
        ];
        for (seals, expected) in cases {
            assert_eq!(places(LineSequence::from_first(), seals), *expected, "{seals:?}");
        }
        assert_eq!(places(LineSequence::from_anywhere(), &[Sound(9), Sound(11)]), [Next, After(1)]);
    }

    #[test]
    fn the_last_number_is_found_behind_what_is_damaged() {
        let text = format!("{}\n{}\n{{\"event\":\"sto", sealed(OBJECT, 3), sealed(OBJECT, 4));
        assert_eq!(last_number(text.as_bytes()), Some(4));
        assert_eq!(last_number(&text.as_bytes()[..text.len() - 20]), Some(3));
        assert_eq!(last_number(OBJECT.as_bytes()), None);
    }
}
