//! Hours of the catalog, which keeps records of conversations longer than their packets.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::files::StoreFile;
use crate::time::HOUR_NS;
use crate::{SegmentName, Timestamp};

/// Version of the hours that this version of netrewind writes.
pub const CATALOG_VERSION: u32 = 3;
/// The earliest version that it reads as well. Hours of other versions are written again.
pub const CATALOG_VERSION_MIN: u32 = 2;
/// The version from which on the index of an hour keeps documents without what its columns hold.
pub const CATALOG_VERSION_SHORT: u32 = 3;

/// Bytes of a file that are read at once to compute its checksum.
const READ_BYTES: usize = 1 << 20;

/// An hour of UTC: the one in which segments were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// The hour that contains an instant.
    pub fn of(at: Timestamp) -> Self {
        Self(at.ns() / HOUR_NS)
    }

    /// Start of the hour.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(HOUR_NS))
    }

    /// End of the hour, exclusive.
    pub fn end(self) -> Timestamp {
        self.start().plus_ns(HOUR_NS)
    }

    /// Its number on its day: `09`.
    pub fn of_day(self) -> String {
        self.start().time_of_day().chars().take(2).collect()
    }

    /// The hour before.
    pub fn before(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// `2026-11-22T09`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.start().date(), self.of_day())
    }
}

/// A text that is not an hour.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an hour, such as 2026-11-22T09")]
pub struct NotAnHour(String);

impl FromStr for Hour {
    type Err = NotAnHour;
    fn from_str(text: &str) -> Result<Self, NotAnHour> {
        let read = || {
            let (date, hour) = text.split_once('T')?;
            let at = Timestamp::from_date_and_time(date, &format!("{hour}0000.000000000Z"))?;
            Some(Self::of(at)).filter(|hour| hour.to_string() == text)
        };
        read().ok_or_else(|| NotAnHour(text.to_owned()))
    }
}

crate::text::serde_as_text!(Hour);

/// A segment that an hour was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CataloguedSegment {
    /// Its name.
    pub name: SegmentName,
    /// The earliest timestamp in it.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

/// Manifest of a catalog hour: written last, so an hour that has one is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`CATALOG_VERSION`].
    pub version: u32,
    /// The hour.
    pub hour: Hour,
    /// Records of conversations in it.
    pub records: u64,
    /// Packets that the records count.
    pub packets: u64,
    /// Bytes of these packets on the wire.
    pub bytes: u64,
    /// Segments that the hour was made of, by name. Those without packets are left out.
    pub segments: Vec<CataloguedSegment>,
    /// Segments of the hour that hold no packets, or cannot be read.
    #[serde(default)]
    pub without_packets: Vec<SegmentName>,
    /// Link types of the segments, ascending.
    pub link_types: Vec<u16>,
    /// Parts of the segments that could not be read, or were ended early, in words.
    pub lacks: Vec<String>,
    /// Too many conversations were open at once: some are in several records that are not marked as open.
    #[serde(default)]
    pub is_divided: bool,
    /// The other files of the hour by their names, but for those that may be replaced; none in hours of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileSum>,
}

/// Length and checksum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its length.
    pub bytes: u64,
    /// XXH3 (64 bits) of it.
    pub xxh3: u64,
}

impl FileSum {
    /// Of a file as it is now.
    pub fn of(file: &dyn StoreFile) -> io::Result<Self> {
        let (mut hash, mut bytes, mut buffer) = (Xxh3Default::new(), 0, vec![0; READ_BYTES]);
        loop {
            let read = file.read_at_most(&mut buffer, bytes)?;
            if read == 0 {
                return Ok(Self { bytes, xxh3: hash.digest() });
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
    }
}

impl Manifest {
    /// The same without what is known only when the hour has been written: by this, other files know it.
    pub fn without_files(&self) -> Self {
        Self { files: BTreeMap::new(), ..self.clone() }
    }

    /// True if the hour was made with this segment in the store.
    pub fn knows(&self, name: &SegmentName) -> bool {
        self.segments.iter().any(|segment| segment.name == *name) || self.without_packets.contains(name)
    }

    /// The earliest and the latest timestamp of its segments; `None` where it has none.
    pub fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.segments.iter().map(|segment| segment.first).min()?;
        let last = self.segments.iter().map(|segment| segment.last).max()?;
        Some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_come_back_and_others_do_not() {
        let hour = Hour::of(Timestamp::new(1_795_339_861, 5));
        assert_eq!(hour.to_string(), "2026-11-22T09");
        assert_eq!(hour.to_string().parse::<Hour>().unwrap(), hour);
        assert_eq!(Hour::of(hour.end()).start(), hour.end());
        for odd in ["", "2026-11-22T24", "2026-11-22T9", "2026-11-22", ".2026-11-22T09.new", "2026-11-22T09x"]
        {
            assert!(odd.parse::<Hour>().is_err(), "{odd}");
        }
    }
}
