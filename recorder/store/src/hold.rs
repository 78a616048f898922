//! Holds: the segments that retention leaves alone for a case, or a case's own packets; as text, a checksummed line each.
//!
//! **Invariant:** a hold that is damaged holds more, never less: where a line cannot be read, every segment counts as held that
//! may have stood there.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::seal::{Seal, sealed, unsealed};
use crate::{SegmentName, Timestamp};

/// Version of the holds that this version of netrewind writes.
pub const HOLD_VERSION: u32 = 1;
/// Characters of a case's name.
pub const CASE_CHARACTERS_MAX: usize = 64;
/// Characters of the note of a hold, and of the name of who made it.
pub const NOTE_CHARACTERS_MAX: usize = 1000;
/// Segments of a hold.
pub const HOLD_SEGMENTS_MAX: usize = 1 << 18;
/// Bytes of the file of a hold; a longer one is not read.
pub const HOLD_BYTES_MAX: u64 = 64 << 20;

/// Name of a case: letters, digits, `.`, `_` and `-`, of which the first is a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseName(String);

impl CaseName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not the name of a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a case: use up to {CASE_CHARACTERS_MAX} letters, digits, dots, _ and -, beginning with a letter or a digit, such as INC-2041"
)]
pub struct NotACaseName(String);

impl FromStr for CaseName {
    type Err = NotACaseName;
    fn from_str(text: &str) -> Result<Self, NotACaseName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = text.len() <= CASE_CHARACTERS_MAX
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text.bytes().all(is_plain);
        let shown = || text.chars().take(CASE_CHARACTERS_MAX).collect();
        if is_name { Ok(Self(text.to_owned())) } else { Err(NotACaseName(shown())) }
    }
}

crate::text::serde_as_text!(CaseName);

/// Form of a case's own packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseFormat {
    /// One link type.
    Pcap,
    /// Several link types.
    Pcapng,
}

/// Packets of a case, in a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CasePackets {
    /// Form of the file.
    pub format: CaseFormat,
    /// Disk space that is kept for the file while it is written; zero once it is whole.
    pub reserved_bytes: u64,
}

/// First line of a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldHead {
    /// The case.
    pub hold: CaseName,
    /// See [`HOLD_VERSION`].
    pub version: u32,
    /// Time at which it was made.
    pub made: Timestamp,
    /// Start of the range that was asked for; absent: the oldest packet kept then.
    pub from: Option<Timestamp>,
    /// Its end, exclusive; absent: the newest packet.
    pub to: Option<Timestamp>,
    /// Name of who made it.
    pub by: String,
    /// The reason, in words.
    pub note: String,
    /// Lines that follow, a segment each.
    pub segments: u64,
    /// The case's own packets; absent: it holds segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<CasePackets>,
}

/// A held segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSegment {
    /// Its name.
    pub segment: SegmentName,
    /// Bytes of its file when it was held; zero of one that was still open.
    pub bytes: u64,
}

/// Names that a damaged part of a hold may have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    after: Option<SegmentName>,
    before: Option<SegmentName>,
    /// Those opened later did not exist.
    opened_by: Timestamp,
}

impl Doubt {
    /// Every segment opened by then.
    pub fn opened_by(opened_by: Timestamp) -> Self {
        Self { after: None, before: None, opened_by }
    }

    fn may_be(&self, name: &SegmentName) -> bool {
        self.after.is_none_or(|after| after < *name)
            && self.before.is_none_or(|before| *name < before)
            && name.opened <= self.opened_by
    }
}

/// Segments that a hold keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldNames {
    names: BTreeSet<SegmentName>,
    doubts: Vec<Doubt>,
}

impl HeldNames {
    /// Names that nothing is known of but when they were written down.
    pub fn unknown(doubt: Doubt) -> Self {
        Self { names: BTreeSet::new(), doubts: vec![doubt] }
    }

    /// True if some of its names cannot be read.
    pub fn is_doubtful(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// True if it keeps the segment, or may.
    pub fn may_hold(&self, name: &SegmentName) -> bool {
        self.names.contains(name) || self.doubts.iter().any(|doubt| doubt.may_be(name))
    }
}

/// A hold as its file tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldText {
    /// The first line, if it can be read.
    pub head: Option<HoldHead>,
    /// The segments that it names, ascending.
    pub segments: Vec<HeldSegment>,
    /// Names that cannot be read.
    pub doubts: Vec<Doubt>,
    /// Faults, in words.
    pub faults: Vec<String>,
}

impl HoldText {
    /// Writes the text of a hold.
    pub fn write(head: &HoldHead, segments: &[HeldSegment]) -> String {
        // Neither has maps or numbers that JSON does not know.
        let first = serde_json::to_string(head).unwrap_or_default();
        let others = segments.iter().map(|segment| serde_json::to_string(segment).unwrap_or_default());
        let lines = std::iter::once(first).chain(others).zip(1..);
        lines.map(|(line, number)| sealed(&line, number) + "\n").collect()
    }

    /// Reads it; `changed` is the last change to the file.
    pub fn read(bytes: &[u8], changed: Timestamp) -> Self {
        let mut text = Self::default();
        // Number of the last sound line, and whether lines behind it cannot be read.
        let (mut last_line, mut is_torn) = (0, false);
        let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        for (at, line) in lines {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let taken = match unsealed(line).1 {
                Seal::Sound(number) if number > last_line => {
                    let is_next = number == last_line + 1;
                    (last_line, is_torn) = (number, is_torn || !is_next);
                    text.take(line, number, &mut is_torn, changed)
                }
                _ => Err("its checksum is wrong, or it is out of its place"),
            };
            if let Err(reason) = taken {
                is_torn = true;
                text.faults.push(format!("line {}: {reason}", at + 1));
            }
        }
        let lines = text.head.as_ref().map(|head| head.segments + 1);
        if lines.is_none_or(|lines| last_line < lines) || is_torn {
            let after = text.segments.last().map(|last| last.segment);
            text.doubts.push(Doubt { after, before: None, opened_by: changed });
            if text.faults.is_empty() {
                text.faults.push("its last lines are missing".to_owned());
            }
        }
        if let Some(HoldHead { version, .. }) = &text.head
            && *version != HOLD_VERSION
        {
            text.faults.push(format!("it has version {version}, and this netrewind reads {HOLD_VERSION}"));
            text.doubts.push(Doubt::opened_by(changed));
        }
        text
    }

    /// Takes a sound line.
    fn take(
        &mut self,
        line: &str,
        number: u64,
        is_torn: &mut bool,
        changed: Timestamp,
    ) -> Result<(), &'static str> {
        if number == 1 {
            self.head = Some(serde_json::from_str(line).map_err(|_| "it is not the first line of a hold")?);
            return Ok(());
        }
        let held: HeldSegment = serde_json::from_str(line).map_err(|_| "it does not name a segment")?;
        let after = self.segments.last().map(|last| last.segment);
        if after.is_some_and(|after| held.segment <= after) {
            return Err("its segment is out of order");
        }
        if std::mem::take(is_torn) {
            self.doubts.push(Doubt { after, before: Some(held.segment), opened_by: changed });
            if self.faults.is_empty() {
                self.faults.push(format!("lines before line {number} are missing"));
            }
        }
        self.segments.push(held);
        Ok(())
    }

    /// The segments that it keeps, or may.
    pub fn names(&self) -> HeldNames {
        let names = self.segments.iter().map(|held| held.segment).collect();
        HeldNames { names, doubts: self.doubts.clone() }
    }
}

/// Limits that the last recorder had, as the store remembers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLimits {
    /// Disk space for everything in the store; absent: no limit.
    pub budget_bytes: Option<u64>,
    /// Part of it that holds may take, if it was given.
    pub hold_budget_bytes: Option<u64>,
}

/// Divisor of the budget, or of the disk where there is none, that gives what holds may take if nothing else was said.
pub const HOLD_BUDGET_DIVISOR: u64 = 2;

impl HoldLimits {
    /// Disk space that holds may take, of a disk that has `disk_bytes` for the store.
    pub fn hold_bytes_max(&self, disk_bytes: u64) -> u64 {
        self.hold_budget_bytes.unwrap_or(self.budget_bytes.unwrap_or(disk_bytes) / HOLD_BUDGET_DIVISOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(second: u32) -> SegmentName {
        SegmentName { opened: Timestamp::new(1_795_339_861 + second, 5), lane: 0 }
    }

    fn hold(seconds: &[u32]) -> (HoldHead, Vec<HeldSegment>) {
        let head = HoldHead {
            hold: "INC-1".parse().unwrap(),
            version: HOLD_VERSION,
            made: name(500).opened,
            from: Some(name(0).opened),
            to: None,
            by: "somebody".into(),
            note: "an \"odd\" note\nof two lines".into(),
            segments: seconds.len() as u64,
            packets: None,
        };
        (head, seconds.iter().map(|&second| HeldSegment { segment: name(second), bytes: 9 }).collect())
    }

    const CHANGED: Timestamp = Timestamp::new(1_795_339_861 + 600, 0);

    #[test]
    fn names_of_cases_are_safe_in_a_path() {
        for sound in ["a", "INC-2041", "2026.11_x", &"x".repeat(CASE_CHARACTERS_MAX)] {
            assert_eq!(sound.parse::<CaseName>().unwrap().to_string(), sound);
        }
        for odd in ["", ".", "..", "-x", "_x", "a/b", "a b", "é", "a\0", &"x".repeat(CASE_CHARACTERS_MAX + 1)]
        {
            assert!(odd.parse::<CaseName>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_hold_comes_back_and_every_flipped_bit_of_it_is_noticed_and_holds_no_less() {
        let (head, segments) = hold(&[10, 20, 30]);
        let text = HoldText::write(&head, &segments).into_bytes();
        let read = HoldText::read(&text, CHANGED);
        assert_eq!(read, HoldText { head: Some(head), segments: segments.clone(), ..HoldText::default() });
        assert!(!read.names().may_hold(&name(15)) && read.names().may_hold(&name(20)));
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = HoldText::read(&changed, CHANGED);
            // A newline that has become another character at the end of the last line is none of its bytes.
            let is_last = bit / 8 == text.len() - 1;
            assert!(!read.faults.is_empty() || is_last, "bit {bit}: {read:?}");
            let names = read.names();
            assert!(segments.iter().all(|held| names.may_hold(&held.segment)), "bit {bit}: {read:?}");
            assert!(!names.may_hold(&name(700)), "bit {bit}: what was opened later is not held");
        }
        for bytes in 0..text.len() - 1 {
            let names = HoldText::read(&text[..bytes], CHANGED).names();
            assert!(segments.iter().all(|held| names.may_hold(&held.segment)), "cut at {bytes}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_holds_what_lies_between_its_neighbours() {
        let (head, segments) = hold(&[10, 20, 30]);
        let text = HoldText::write(&head, &segments);
        let mut lines: Vec<&str> = text.lines().collect();
        lines[2] = "{}";
        let read = HoldText::read(lines.join("\n").as_bytes(), CHANGED).names();
        let held: Vec<u32> = (0..40).filter(|&second| read.may_hold(&name(second))).collect();
        assert_eq!(held, (10..=30).collect::<Vec<_>>());
        lines.remove(2);
        assert_eq!(
            HoldText::read(lines.join("\n").as_bytes(), CHANGED).names(),
            read,
            "missing is no better"
        );
    }

    #[test]
    fn holds_take_half_unless_told() {
        let limits = |budget_bytes, hold_budget_bytes| HoldLimits { budget_bytes, hold_budget_bytes };
        assert_eq!(limits(Some(100), Some(30)).hold_bytes_max(7), 30);
        assert_eq!(limits(Some(100), None).hold_bytes_max(7), 50);
        assert_eq!(limits(None, None).hold_bytes_max(40), 20);
    }
}
