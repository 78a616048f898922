//! Names of the objects of an archive, as `FORMAT.md` has them.
//!
//! **Invariant:** no other module of the project builds or reads a key of an object.

use std::fmt;

use netrewind_store::SegmentName;
use netrewind_store::catalog::Hour;
use netrewind_store::time::Timestamp;

const IDENTITY: &str = "store.toml";
const SEGMENTS: &str = "segments/";
const HOURS: &str = "hours/";
const LOGBOOK: &str = "logbook/";
const PLAIN_EXTENSION: &str = ".pcap";
const COLD_EXTENSION: &str = ".pcap.zst";
const INDEX_EXTENSION: &str = ".idx";
const HOUR_EXTENSION: &str = ".hour";
const LINES_EXTENSION: &str = ".jsonl.zst";

/// Digits of a store's id.
const STORE_ID_DIGITS: usize = 32;
/// Digits of a position in a day's logbook: names sort by it.
const POSITION_DIGITS: usize = 12;

/// Some whole lines of a day's logbook: bytes of its file from `begin` to `end`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogbookPiece {
    /// The UTC day.
    pub date: String,
    /// Position of the first byte in the day's file.
    pub begin: u64,
    /// Position behind the last.
    pub end: u64,
}

/// An object of a store in an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveObject {
    /// The store's identity, as in the store.
    Identity,
    /// A segment.
    Segment {
        /// Its name.
        name: SegmentName,
        /// True if it is compressed, as cold segments are.
        is_cold: bool,
    },
    /// The index of a segment: its presence is the commit.
    Index(SegmentName),
    /// The index of an hour.
    Hour(Hour),
    /// Some of a day's logbook.
    Logbook(LogbookPiece),
}

/// The key below that of the store.
impl fmt::Display for ArchiveObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str(IDENTITY),
            Self::Segment { name, is_cold: true } => write!(f, "{SEGMENTS}{name}{COLD_EXTENSION}"),
            Self::Segment { name, is_cold: false } => write!(f, "{SEGMENTS}{name}{PLAIN_EXTENSION}"),
            Self::Index(name) => write!(f, "{SEGMENTS}{name}{INDEX_EXTENSION}"),
            Self::Hour(hour) => write!(f, "{HOURS}{hour}{HOUR_EXTENSION}"),
            Self::Logbook(LogbookPiece { date, begin, end }) => write!(
                f,
                "{LOGBOOK}{date}/{begin:0width$}-{end:0width$}{LINES_EXTENSION}",
                width = POSITION_DIGITS
            ),
        }
    }
}

/// True for a text that is a date as folders have it.
fn is_date(text: &str) -> bool {
    Timestamp::from_date_and_time(text, "000000.000000000Z").is_some_and(|day| day.date() == text)
}

impl ArchiveObject {
    /// The inverse of its text; `None` for a key that is none of ours.
    pub fn parse(key: &str) -> Option<Self> {
        let object = Self::read(key)?;
        (object.to_string() == key).then_some(object)
    }

    fn read(key: &str) -> Option<Self> {
        if key == IDENTITY {
            return Some(Self::Identity);
        }
        if let Some(rest) = key.strip_prefix(SEGMENTS) {
            let named = |extension: &str| rest.strip_suffix(extension)?.parse::<SegmentName>().ok();
            let plain = || Some(Self::Segment { name: named(PLAIN_EXTENSION)?, is_cold: false });
            let cold = || Some(Self::Segment { name: named(COLD_EXTENSION)?, is_cold: true });
            return plain().or_else(cold).or_else(|| named(INDEX_EXTENSION).map(Self::Index));
        }
        if let Some(hour) = key.strip_prefix(HOURS) {
            return Some(Self::Hour(hour.strip_suffix(HOUR_EXTENSION)?.parse().ok()?));
        }
        let (date, range) = key.strip_prefix(LOGBOOK)?.strip_suffix(LINES_EXTENSION)?.split_once('/')?;
        let (begin, end) = range.split_once('-')?;
        let piece =
            LogbookPiece { date: date.to_owned(), begin: begin.parse().ok()?, end: end.parse().ok()? };
        (is_date(date) && piece.begin < piece.end).then_some(Self::Logbook(piece))
    }

    /// The UTC day that it belongs to; `None` for the store's identity. By it, objects expire.
    pub fn date(&self) -> Option<String> {
        match self {
            Self::Identity => None,
            Self::Segment { name, .. } | Self::Index(name) => Some(name.date()),
            Self::Hour(hour) => Some(hour.start().date()),
            Self::Logbook(piece) => Some(piece.date.clone()),
        }
    }
}

/// Keys of one store's objects, below the prefix of the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKeys {
    id: String,
}

impl StoreKeys {
    /// Of the store with this id; `None` if that is no id: 32 hexadecimal digits.
    pub fn new(id: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (id.len() == STORE_ID_DIGITS && id.bytes().all(is_digit)).then(|| Self { id: id.to_owned() })
    }

    /// The store's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key of an object.
    pub fn key(&self, object: &ArchiveObject) -> String {
        format!("{}/{object}", self.id)
    }

    /// The object that has this key; `None` if it is none of this store's.
    pub fn object(&self, key: &str) -> Option<ArchiveObject> {
        ArchiveObject::parse(key.strip_prefix(self.id.as_str())?.strip_prefix('/')?)
    }

    /// The folder of all objects of the store.
    pub fn everything(&self) -> String {
        self.id.clone()
    }

    /// The folder of all segments and their indexes.
    pub fn segments(&self) -> String {
        self.folder(SEGMENTS)
    }

    /// The folder of a UTC day's segments and their indexes.
    pub fn segments_of(&self, date: &str) -> String {
        format!("{}/{date}", self.segments())
    }

    /// The folder of the indexes of hours.
    pub fn hours(&self) -> String {
        self.folder(HOURS)
    }

    /// The folder of the logbook.
    pub fn logbook(&self) -> String {
        self.folder(LOGBOOK)
    }

    /// The folder of a UTC day's logbook.
    pub fn logbook_of(&self, date: &str) -> String {
        format!("{}/{date}", self.logbook())
    }

    fn folder(&self, name: &str) -> String {
        format!("{}/{}", self.id, name.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_others_are_none_of_ours() {
        let name: SegmentName = "2026-11-22/093101.628448290Z-0".parse().unwrap();
        let hour = Hour::of(name.opened);
        let piece = LogbookPiece { date: "2026-11-22".into(), begin: 0, end: 4711 };
        let id = "18df6a5b6c7d8e9f00112233445566aa";
        let keys = StoreKeys::new(id).unwrap();
        let all = [
            (ArchiveObject::Identity, "store.toml"),
            (
                ArchiveObject::Segment { name, is_cold: true },
                "segments/2026-11-22/093101.628448290Z-0.pcap.zst",
            ),
            (ArchiveObject::Segment { name, is_cold: false }, "segments/2026-11-22/093101.628448290Z-0.pcap"),
            (ArchiveObject::Index(name), "segments/2026-11-22/093101.628448290Z-0.idx"),
            (ArchiveObject::Hour(hour), "hours/2026-11-22T09.hour"),
            (ArchiveObject::Logbook(piece), "logbook/2026-11-22/000000000000-000000004711.jsonl.zst"),
        ];
        for (object, key) in all {
            assert_eq!(object.to_string(), key);
            assert_eq!(ArchiveObject::parse(key), Some(object.clone()));
            assert_eq!(keys.object(&keys.key(&object)), Some(object.clone()));
            assert_eq!(keys.key(&object), format!("{id}/{key}"));
            assert_eq!(object.date().is_some(), key != "store.toml");
        }
        let odd = [
            "",
            "segments/2026-11-22/093101.628448290Z-0.mark",
            "segments/2026-11-22/93101Z-0.idx",
            "hours/2026-11-22T24.hour",
            "logbook/2026-11-22/0-4711.jsonl.zst",
            "logbook/2026-11-22/000000004711-000000004711.jsonl.zst",
            "logbook/2026-13-22/000000000000-000000004711.jsonl.zst",
            "other",
        ];
        assert!(odd.iter().all(|key| ArchiveObject::parse(key).is_none()));
        assert!(["", "18DF6A5B6C7D8E9F00112233445566AA", "1"].iter().all(|id| StoreKeys::new(id).is_none()));
    }
}
