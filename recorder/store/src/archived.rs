//! Parts of a store that lie elsewhere: in an archive, from which ranges of a segment are fetched, and whole indexes.
//!
//! **Invariant:** this crate knows no archive; whoever does implements [`ArchivedStore`], and what reads a store reads it through
//! [`JoinedFiles`](crate::store::JoinedFiles).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::SegmentName;
use crate::catalog::Hour;
use crate::files::StoreFile;

mod facts;
mod file;
mod object;

pub use facts::{ArchiveFacts, ArchiveRequests};
pub(crate) use file::{ArchivedDay, ArchivedFile, FolderFacts, status_of};
pub use object::ArchivedObject;
pub(crate) use object::{LostRanges, PlainObject};

/// An object that was fetched whole.
#[derive(Debug)]
pub enum ArchivedCopy {
    /// The first bytes of a file of this machine, so many.
    File(Box<dyn StoreFile>, u64),
    /// In memory.
    Memory(Arc<Vec<u8>>),
}

impl ArchivedCopy {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(_, bytes) => *bytes,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// A segment of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// True if it is compressed, as cold ones are.
    pub is_cold: bool,
    /// Length of its object.
    pub bytes: u64,
    /// Length of its index.
    pub index_bytes: u64,
}

/// A piece of a day's logbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedLines {
    /// Its place in the day's file.
    pub range: Range<u64>,
    /// Bytes at its beginning that the pieces before it have.
    pub skipped: u64,
    /// Length of its object, which is compressed.
    pub object_bytes: u64,
}

impl ArchivedLines {
    /// Bytes that it adds to those before it.
    pub fn bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start).saturating_sub(self.skipped)
    }

    /// The pieces of a day that count, out of their places and lengths: of several with the same beginning the longest.
    pub fn in_order(mut pieces: Vec<(Range<u64>, u64)>) -> Vec<Self> {
        pieces.sort_unstable_by_key(|(piece, _)| (piece.start, std::cmp::Reverse(piece.end)));
        let (mut chosen, mut end) = (Vec::new(), 0);
        for (range, object_bytes) in pieces.into_iter().filter(|(piece, _)| piece.start < piece.end) {
            if range.end > end {
                let skipped = u64::saturating_sub(end, range.start);
                end = range.end;
                chosen.push(Self { range, skipped, object_bytes });
            }
        }
        chosen
    }
}

/// What an archive has of a UTC day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivedDate {
    /// The segments.
    pub segments: BTreeMap<SegmentName, ArchivedSegment>,
    /// The indexes of hours, and their lengths.
    pub hours: BTreeMap<Hour, u64>,
    /// A number that is another one when the day has changed.
    pub stamp: i64,
}

/// What an archive has of a store.
#[derive(Clone, Debug, Default)]
pub struct ArchivedListing {
    /// The days, by their dates.
    pub days: BTreeMap<String, ArchivedDate>,
    /// The pieces of each day's logbook, in order.
    pub logbook: BTreeMap<String, Vec<ArchivedLines>>,
    /// Parts that could not be listed, with the reason.
    pub faults: Vec<(String, String)>,
}

impl ArchivedListing {
    /// A segment, if it is there.
    pub fn segment(&self, name: &SegmentName) -> Option<ArchivedSegment> {
        self.days.get(&name.date())?.segments.get(name).copied()
    }

    /// Length of an hour's index, if it is there.
    pub fn hour_bytes(&self, hour: Hour) -> Option<u64> {
        self.days.get(&hour.start().date())?.hours.get(&hour).copied()
    }
}

/// A part of a store that is about to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivedPart {
    /// The beginning of a segment, and its index.
    Segment(SegmentName, ArchivedSegment),
    /// The index of an hour, of this length.
    Hour(Hour, u64),
    /// A piece of a day's logbook.
    Lines(String, ArchivedLines),
}

/// A store in an archive.
pub trait ArchivedStore: Debug + Send + Sync {
    /// Its URL, and the requests to it.
    fn facts(&self) -> ArchiveFacts;

    /// Its `store.toml`.
    fn identity(&self) -> io::Result<ArchivedCopy>;

    /// Its parts, as they were listed last.
    fn listing(&self) -> Arc<ArchivedListing>;

    /// Lists them anew, if the last time is long enough ago.
    fn refresh(&self);

    /// Starts fetching parts that are about to be opened, and returns at once.
    fn will_open(&self, parts: &[ArchivedPart]);

    /// A segment's object.
    fn segment(&self, name: &SegmentName, listed: ArchivedSegment) -> Arc<dyn ArchivedObject>;

    /// The index of a segment.
    fn index(&self, name: &SegmentName, listed: ArchivedSegment) -> io::Result<ArchivedCopy>;

    /// The index of an hour.
    fn hour(&self, hour: Hour, bytes: u64) -> io::Result<ArchivedCopy>;

    /// A piece of a day's logbook: as many bytes as its range has.
    fn lines(&self, date: &str, piece: &ArchivedLines) -> io::Result<Vec<u8>>;
}
