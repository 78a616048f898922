//! An object of an archive, of which ranges are fetched, and what of it could not be had.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::locked;
use crate::sys::Map;

/// Bytes of a segment that is not cold that are fetched, and can be lost, together.
const BLOCK_BYTES: u64 = 128 << 10;

/// An object that ranges are fetched of. It never changes.
pub trait ArchivedObject: Debug + Send + Sync {
    /// Its length.
    fn bytes(&self) -> u64;

    /// Starts fetching these ranges, which ascend, and returns at once.
    fn will_need(&self, ranges: &[Range<u64>]);

    /// Waits for a range: exactly these bytes, or the reason why they cannot be had.
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>>;
}

/// Ranges that could not be had, with the first reason.
#[derive(Debug, Default)]
pub(crate) struct LostRanges(Mutex<(Vec<Range<u64>>, Option<String>)>);

impl LostRanges {
    pub(crate) fn add(&self, range: Range<u64>, reason: &io::Error) {
        let mut lost = locked(&self.0);
        if !lost.0.contains(&range) {
            lost.0.push(range);
        }
        lost.1.get_or_insert_with(|| reason.to_string());
    }

    /// The first lost byte within a range.
    pub(crate) fn first_in(&self, range: &Range<u64>) -> Option<u64> {
        let lost = locked(&self.0);
        let met = lost.0.iter().filter(|held| held.start < range.end && range.start < held.end);
        met.map(|held| held.start.max(range.start)).min()
    }

    pub(crate) fn reason(&self) -> Option<String> {
        locked(&self.0).1.clone()
    }
}

/// A segment of an archive that is not cold.
#[derive(Debug)]
pub(crate) struct PlainObject {
    object: Arc<dyn ArchivedObject>,
    lost: LostRanges,
}

impl PlainObject {
    pub(crate) fn new(object: Arc<dyn ArchivedObject>) -> Self {
        Self { object, lost: LostRanges::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.object.bytes()
    }

    /// The bytes of a range; zeros for those that are lost.
    pub(crate) fn read(&self, range: &Range<u64>) -> Map {
        if let Ok(bytes) = self.object.read(range.clone()) {
            return Map::from_bytes(bytes);
        }
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = (at / BLOCK_BYTES + 1).saturating_mul(BLOCK_BYTES).min(range.end);
            match self.object.read(at..end) {
                Ok(block) => bytes.extend(block),
                Err(error) => {
                    bytes.resize(bytes.len() + usize::try_from(end - at).unwrap_or(0), 0);
                    self.lost.add(at..end, &error);
                }
            }
            at = end;
        }
        Map::from_bytes(bytes)
    }

    pub(crate) fn will_need(&self, ranges: &[Range<u64>]) {
        self.object.will_need(ranges);
    }

    pub(crate) fn lost(&self) -> &LostRanges {
        &self.lost
    }
}
