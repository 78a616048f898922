//! Segments of a store that are not in its archive.
//!
//! **Invariant:** the store is the queue: nothing is remembered of a segment that it does not have any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netrewind_store::catalog::Hour;
use netrewind_store::store::ListedSegment;
use netrewind_store::time::{DAY_NS, SECOND_NS};
use netrewind_store::{SegmentName, SegmentState, Store, Timestamp};

use crate::bucket::{Bucket, BucketError};
use crate::error::ArchiveError;
use crate::objects::{ArchiveObject, StoreKeys};

/// Time after sealing from which a segment is archived: its line is in the logbook by then.
pub const SETTLING_TIME: Duration = Duration::from_secs(5);

/// Objects of a segment, as a listing has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentObjects {
    /// Length of the segment's object.
    pub segment_bytes: Option<u64>,
    /// Length of the index.
    pub index_bytes: Option<u64>,
}

impl SegmentObjects {
    /// True if the segment is there, for readers.
    pub fn is_committed(&self) -> bool {
        self.segment_bytes.is_some() && self.index_bytes.is_some()
    }
}

/// The segments of a day in the archive.
pub fn day_objects(
    bucket: &Bucket,
    keys: &StoreKeys,
    date: &str,
) -> Result<BTreeMap<SegmentName, SegmentObjects>, BucketError> {
    let mut found: BTreeMap<SegmentName, SegmentObjects> = BTreeMap::new();
    for listed in bucket.list(&keys.segments_of(date))? {
        match keys.object(&listed.key) {
            Some(ArchiveObject::Segment { name, is_cold }) => {
                let objects = found.entry(name).or_default();
                // Of two files the compressed one counts: readers take it.
                if is_cold || objects.segment_bytes.is_none() {
                    objects.segment_bytes = Some(listed.bytes);
                }
            }
            Some(ArchiveObject::Index(name)) => {
                found.entry(name).or_default().index_bytes = Some(listed.bytes)
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Segments that wait, at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Time at which the oldest was opened.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    fn add(&mut self, segment: &ListedSegment) {
        self.segments += 1;
        self.bytes += segment.file_bytes;
        let opened = segment.name.opened;
        self.oldest = Some(self.oldest.map_or(opened, |oldest| oldest.min(opened)));
    }
}

/// Segments that wait, and those that are done.
#[derive(Debug, Default)]
pub struct UploadQueue {
    /// Segments of the store that are in the archive.
    done: BTreeSet<SegmentName>,
    /// Segments that could not be archived, and why; they are tried again later.
    faults: BTreeMap<SegmentName, String>,
    /// Segments that waited at the last look.
    waited: BTreeMap<SegmentName, u64>,
    /// Days of which the archive has been listed.
    listed: BTreeSet<String>,
}

impl UploadQueue {
    /// Looks at the store, and at days of the archive that it has not looked at before. Gives the segments that are due, oldest
    /// first, and those that expired before they were archived.
    pub fn look(
        &mut self,
        store: &Store,
        bucket: &Bucket,
        keys: &StoreKeys,
        now: Timestamp,
        age_max: Option<Duration>,
    ) -> Result<Look, ArchiveError> {
        let segments = ListedSegment::all(store)?;
        let is_young =
            |segment: &&ListedSegment| age_max.is_none_or(|age| !is_older(&segment.name.date(), age, now));
        let sealed: Vec<&ListedSegment> = segments
            .iter()
            .filter(|segment| segment.state == SegmentState::Sealed)
            .filter(is_young)
            .collect();
        let dates: BTreeSet<String> = sealed.iter().map(|segment| segment.name.date()).collect();
        for date in dates.iter().filter(|date| !self.listed.contains(*date)).cloned().collect::<Vec<_>>() {
            let found = day_objects(bucket, keys, &date)?;
            let committed = found.iter().filter(|(_, objects)| objects.is_committed());
            self.done.extend(committed.map(|(name, _)| *name));
            self.listed.insert(date);
        }
        let is_kept =
            |name: &SegmentName| segments.binary_search_by_key(name, |segment| segment.name).is_ok();
        let waited = std::mem::take(&mut self.waited);
        let expired = waited.into_keys().filter(|name| !is_kept(name) && !self.done.contains(name)).collect();
        self.done.retain(is_kept);
        self.faults.retain(|name, _| is_kept(name));
        self.listed.retain(|date| dates.contains(date));
        let mut look = Look { expired, ..Look::default() };
        for segment in sealed.into_iter().filter(|segment| !self.done.contains(&segment.name)) {
            self.waited.insert(segment.name, segment.file_bytes);
            look.waiting.add(segment);
            if segment.has_index && !self.faults.contains_key(&segment.name) {
                look.due.push(*segment);
            }
        }
        look.hours = hours_of(&segments, &self.done, now);
        Ok(look)
    }

    /// A segment is in the archive now.
    pub fn archived(&mut self, name: SegmentName) {
        self.waited.remove(&name);
        self.done.insert(name);
    }

    /// A segment cannot be archived.
    pub fn failed(&mut self, name: SegmentName, reason: String) {
        self.faults.insert(name, reason);
    }

    /// Has those that could not be archived tried again.
    pub fn forget_faults(&mut self) {
        self.faults.clear();
    }

    /// The first of the segments that cannot be archived, with the reason, and how many there are.
    pub fn fault(&self) -> Option<(&str, usize)> {
        Some((self.faults.values().next()?, self.faults.len()))
    }

    /// Those that wait now.
    pub fn waiting(&self) -> Waiting {
        let opened = self.waited.keys().next().map(|name| name.opened);
        Waiting { segments: self.waited.len() as u64, bytes: self.waited.values().sum(), oldest: opened }
    }
}

/// Result of a look.
#[derive(Debug, Default)]
pub struct Look {
    /// Segments that can be archived, oldest first.
    pub due: Vec<ListedSegment>,
    /// Segments that waited at the last look, and have expired since.
    pub expired: Vec<SegmentName>,
    /// All that wait, also those without an index.
    pub waiting: Waiting,
    /// Hours that are over, all of whose segments are archived.
    pub hours: BTreeSet<Hour>,
}

/// Hours that are over, whose kept segments are all sealed and archived.
fn hours_of(segments: &[ListedSegment], done: &BTreeSet<SegmentName>, now: Timestamp) -> BTreeSet<Hour> {
    let current = Hour::of(now);
    let mut hours: BTreeMap<Hour, bool> = BTreeMap::new();
    for segment in segments {
        let is_done = done.contains(&segment.name);
        *hours.entry(Hour::of(segment.name.opened)).or_insert(true) &= is_done;
    }
    hours.into_iter().filter(|(hour, is_done)| *is_done && *hour < current).map(|(hour, _)| hour).collect()
}

/// True for a day that ended so long ago.
pub fn is_older(date: &str, age: Duration, now: Timestamp) -> bool {
    let Some(begin) = Timestamp::from_date_and_time(date, "000000.000000000Z") else { return false };
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    begin.ns().saturating_add(DAY_NS).saturating_add(age_ns) < now.ns()
}

/// True if a sealed file was written long enough ago.
pub fn is_settled(modified: Timestamp, now: Timestamp) -> bool {
    modified.ns().saturating_add(SETTLING_TIME.as_secs() * SECOND_NS) <= now.ns()
}
