//! Broken-off downloads that go on where they ended (RFC 9110, sections 13.1.5 and 14).
//!
//! The same bytes come again only of a finished answer: one whose range has passed, and whose segments are all sealed. Its tag names
//! the query and these segments, so it changes when retention, an import or another recording changes what the answer has. An answer
//! is made by reading from its start: so is the rest of one, of which the first bytes are left out. Its length is known after it was
//! made once.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use netrewind_extractor::Preface;
use netrewind_store::{Timestamp, locked};
use xxhash_rust::xxh3::Xxh3;

use crate::parameters::Format;
use crate::problem::{Kind, Problem};

/// Lengths of answers that are remembered.
pub const KNOWN_LENGTHS_MAX: usize = 1024;

/// Strong entity tag of an answer: the same bytes have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerTag(u128);

impl fmt::Display for AnswerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:032x}\"", self.0)
    }
}

impl AnswerTag {
    /// Tag of the answer with this preface; `None` if it is not finished.
    pub fn of(preface: &Preface<'_>, format: Format, now: Timestamp) -> Option<Self> {
        let (query, contents) = (preface.query, preface.fingerprint?);
        query.to.filter(|to| *to <= now)?;
        // Secrets go, or become unreadable, without any change to the segments.
        (!query.secrets).then_some(())?;
        let mut digest = Xxh3::new();
        digest.update(env!("CARGO_PKG_VERSION").as_bytes());
        digest.update(format.extension().as_bytes());
        digest.update(&contents.to_le_bytes());
        digest.update(&serde_json::to_vec(query).ok()?);
        digest.update(format!("{:?}", query.joined).as_bytes());
        Some(Self(digest.digest128()))
    }

    /// The tag as a header has it.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        HeaderValue::from_str(&self.to_string()).ok().map(|value| (header::ETAG, value))
    }
}

/// First byte that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstByte {
    /// `bytes=500-`.
    At(u64),
    /// `bytes=-500`: as many from the end.
    FromEnd(u64),
}

/// Part of an answer that is asked for.
#[derive(Clone, Debug)]
pub struct PartRequest {
    first: FirstByte,
    /// Tag that the part has to be of.
    if_range: Option<String>,
    /// True if the query means the same at any time.
    is_fixed: bool,
}

impl PartRequest {
    /// Part that a request asks for; `None` for the whole answer. Ranges with an end are ignored: each would be made from the start.
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let range = text(header::RANGE).filter(|_| *method == Method::GET)?.trim();
        let (unit, range) = range.split_once('=')?;
        let (first, last) =
            range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        // What is too long for a number is beyond every end.
        let number = |text: &str| is_number(text).then(|| text.parse().unwrap_or(u64::MAX));
        let first = match (first, last) {
            ("", last) => FirstByte::FromEnd(number(last)?),
            (first, "") => FirstByte::At(number(first)?),
            _ => return None,
        };
        Some(Self { first, if_range: text(header::IF_RANGE).map(str::to_owned), is_fixed: false })
    }

    /// Says if the query means the same at any time.
    #[must_use]
    pub fn fixed(self, is_fixed: bool) -> Self {
        Self { is_fixed, ..self }
    }

    /// True if the part may be given of the answer with this tag. Without a condition only where the client cannot be wrong about it.
    pub fn is_of(&self, tag: AnswerTag) -> bool {
        self.if_range.as_ref().map_or(self.is_fixed, |wanted| wanted.trim() == tag.to_string())
    }

    /// The part of an answer with this length.
    pub fn part(&self, length: u64) -> Result<Part, Problem> {
        let first = match self.first {
            FirstByte::At(first) => first,
            FirstByte::FromEnd(0) => length,
            FirstByte::FromEnd(bytes) => length.saturating_sub(bytes),
        };
        match first < length {
            true => Ok(Part { first, length }),
            false => Err(unsatisfiable(length)),
        }
    }
}

/// The problem of a part behind the end of an answer with this length.
fn unsatisfiable(length: u64) -> Problem {
    let detail = format!("Range: the answer has {length} bytes, and nothing behind them");
    Problem::new(Kind::RangeNotSatisfiable, detail).with("length", length)
}

/// Part of an answer, up to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub first: u64,
    /// Length of the whole answer.
    pub length: u64,
}

impl Part {
    /// `bytes 500-999/1000`.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        let Self { first, length } = self;
        let text = format!("bytes {first}-{}/{length}", length.saturating_sub(1));
        HeaderValue::from_str(&text).ok().map(|value| (header::CONTENT_RANGE, value))
    }
}

/// Lengths of answers that were made to their end, by their tags.
#[derive(Debug, Default)]
pub struct KnownLengths(Mutex<VecDeque<(AnswerTag, u64)>>);

impl KnownLengths {
    /// The length of an answer, if it is known.
    pub fn of(&self, tag: AnswerTag) -> Option<u64> {
        let known = locked(&self.0);
        known.iter().find(|(other, _)| *other == tag).map(|(_, length)| *length)
    }

    /// Remembers a length, in place of the one that was learnt first.
    pub fn remember(&self, tag: AnswerTag, length: u64) {
        let mut known = locked(&self.0);
        known.retain(|(other, _)| *other != tag);
        if known.len() >= KNOWN_LENGTHS_MAX {
            known.pop_front();
        }
        known.push_back((tag, length));
    }
}

/// Counts bytes, and keeps none.
#[derive(Debug, Default)]
pub struct ByteCounter(std::rc::Rc<std::cell::Cell<u64>>);

impl ByteCounter {
    /// A counter, and its count.
    pub fn new() -> (Self, std::rc::Rc<std::cell::Cell<u64>>) {
        let count = std::rc::Rc::default();
        (Self(std::rc::Rc::clone(&count)), count)
    }
}

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &'static str) -> Option<FirstByte> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        assert!(PartRequest::of(&Method::POST, &headers).is_none());
        PartRequest::of(&Method::GET, &headers).map(|asked| asked.first)
    }

    #[test]
    fn ranges_without_an_end_are_parts_and_others_are_ignored() {
        for (range, expected) in [
            ("bytes=0-", Some(FirstByte::At(0))),
            ("Bytes = 500-", Some(FirstByte::At(500))),
            ("bytes=-500", Some(FirstByte::FromEnd(500))),
            ("bytes=99999999999999999999999-", Some(FirstByte::At(u64::MAX))),
            ("bytes=0-499", None),
            ("bytes=0-, 5-", None),
            ("bytes=-", None),
            ("bytes=+5-", None),
            ("packets=5-", None),
            ("bytes", None),
        ] {
            assert_eq!(asked(range), expected, "{range}");
        }
    }

    #[test]
    fn parts_end_with_the_answer() {
        let request = |first| PartRequest { first, if_range: None, is_fixed: true };
        let part = |first, length| request(first).part(length).ok();
        assert_eq!(part(FirstByte::At(5), 10), Some(Part { first: 5, length: 10 }));
        assert_eq!(part(FirstByte::At(10), 10), None);
        assert_eq!(part(FirstByte::FromEnd(3), 10), Some(Part { first: 7, length: 10 }));
        assert_eq!(part(FirstByte::FromEnd(30), 10), Some(Part { first: 0, length: 10 }));
        assert_eq!(part(FirstByte::FromEnd(0), 10), None);
        let header = Part { first: 5, length: 10 }.header().map(|(_, value)| value);
        assert_eq!(header, Some(HeaderValue::from_static("bytes 5-9/10")));
    }

    #[test]
    fn the_tag_has_to_be_the_one_that_was_given() {
        let tag = AnswerTag(7);
        let request = |if_range: Option<&str>, is_fixed| PartRequest {
            first: FirstByte::At(1),
            if_range: if_range.map(str::to_owned),
            is_fixed,
        };
        assert!(request(Some(&tag.to_string()), false).is_of(tag));
        for other in ["\"8\"", "W/\"00000000000000000000000000000007\"", "Sun, 22 Nov 2026 09:31:01 GMT"] {
            assert!(!request(Some(other), true).is_of(tag), "{other}");
        }
        assert!(request(None, true).is_of(tag) && !request(None, false).is_of(tag));
    }

    #[test]
    fn lengths_are_forgotten_in_the_order_of_learning() {
        let known = KnownLengths::default();
        (0..=KNOWN_LENGTHS_MAX as u64).for_each(|number| known.remember(AnswerTag(number.into()), number));
        assert_eq!((known.of(AnswerTag(0)), known.of(AnswerTag(1))), (None, Some(1)));
    }
}
