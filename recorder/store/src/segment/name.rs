//! Segment names: the wall clock at opening, and the lane.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

/// The name of a segment. Names of one lane increase strictly with the order of writing, whatever the packets' timestamps or the
/// wall clock do, so their order is the order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The wall clock when it was opened.
    pub opened: Timestamp,
    /// Number of the recorder's lane that wrote it.
    pub lane: u16,
}

impl SegmentName {
    /// The folder of its day, below `segments/`.
    pub fn date(&self) -> String {
        self.opened.date()
    }

    /// The file's name without folder and extension: `093101.628448290Z-0`.
    pub fn stem(&self) -> String {
        format!("{}-{}", self.opened.time_of_day(), self.lane)
    }

    /// The inverse of [`Self::date`] and [`Self::stem`].
    pub fn parse(date: &str, stem: &str) -> Option<Self> {
        let (time_of_day, lane) = stem.rsplit_once('-')?;
        let opened = Timestamp::from_date_and_time(date, time_of_day)?;
        let name = Self { opened, lane: lane.parse().ok()? };
        (name.lane.to_string() == lane).then_some(name)
    }
}

/// `2026-11-22/093101.628448290Z-0`: a segment's name in messages and in the logbook.
impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.date(), self.stem())
    }
}

/// A text that is not a segment's name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the name of a segment, such as 2026-11-22/093101.628448290Z-0")]
pub struct NotASegmentName(String);

impl FromStr for SegmentName {
    type Err = NotASegmentName;
    fn from_str(text: &str) -> Result<Self, NotASegmentName> {
        text.split_once('/')
            .and_then(|(date, stem)| Self::parse(date, stem))
            .ok_or_else(|| NotASegmentName(text.to_owned()))
    }
}

crate::text::serde_as_text!(SegmentName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_do_not() {
        let name = SegmentName { opened: Timestamp::new(1_795_339_861, 628_448_290), lane: 3 };
        assert_eq!(name.to_string(), "2026-11-22/093101.628448290Z-3");
        assert_eq!(name.to_string().parse::<SegmentName>().unwrap(), name);
        for odd in [
            "",
            "x/y",
            "2026-11-22/093101.628448290Z",
            "2026-11-22/093101.628448290Z-03",
            "2026-11-22/93101Z-0",
        ] {
            assert!(odd.parse::<SegmentName>().is_err(), "{odd}");
        }
    }
}
