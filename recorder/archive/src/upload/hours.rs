//! Uploads the indexes of hours that are over.

use std::collections::BTreeSet;

use netrewind_index::{HourIndex, restamped};
use netrewind_store::SegmentName;
use netrewind_store::catalog::Hour;
use netrewind_store::files::FileStamp;
use netrewind_store::store::{HourFiles, SegmentStamps};

use super::queue::{SegmentObjects, day_objects};
use super::segment::Uploader;
use crate::error::ArchiveError;
use crate::objects::ArchiveObject;

/// Hours whose indexes are in the archive.
#[derive(Debug, Default)]
pub struct HourUpload {
    /// Those of the store that are there; `None` before the archive was listed.
    done: Option<BTreeSet<Hour>>,
    /// Hours that cannot have one: segments are missing there, or here.
    left_out: BTreeSet<Hour>,
}

impl HourUpload {
    /// Sends the indexes of these hours, as far as they are written. True for each that was sent or is there.
    pub fn send(&mut self, to: &Uploader<'_>, over: &BTreeSet<Hour>) -> Result<(), ArchiveError> {
        let done = self.done(to)?;
        let due: Vec<Hour> = over.difference(done).copied().collect();
        for hour in due.into_iter().filter(|hour| !self.left_out.contains(hour)).collect::<Vec<_>>() {
            self.send_one(to, hour)?;
        }
        self.left_out.retain(|hour| over.contains(hour));
        Ok(())
    }

    /// Hours of which something is still to be sent.
    pub fn is_done(&self, hour: Hour) -> bool {
        self.done.as_ref().is_some_and(|done| done.contains(&hour)) || self.left_out.contains(&hour)
    }

    /// Removes the index of an hour that gets another segment after all.
    pub fn reopen(&mut self, to: &Uploader<'_>, hour: Hour) -> Result<(), ArchiveError> {
        if self.done(to)?.contains(&hour) {
            to.bucket.remove(&[to.keys.key(&ArchiveObject::Hour(hour))])?;
            self.done(to)?.remove(&hour);
        }
        self.left_out.remove(&hour);
        Ok(())
    }

    fn done(&mut self, to: &Uploader<'_>) -> Result<&mut BTreeSet<Hour>, ArchiveError> {
        if self.done.is_none() {
            let listed = to.bucket.list(&to.keys.hours())?;
            let hour = |key: &str| match to.keys.object(key) {
                Some(ArchiveObject::Hour(hour)) => Some(hour),
                _ => None,
            };
            self.done = Some(listed.iter().filter_map(|listed| hour(&listed.key)).collect());
        }
        Ok(self.done.get_or_insert_default())
    }

    fn send_one(&mut self, to: &Uploader<'_>, hour: Hour) -> Result<(), ArchiveError> {
        // Written a moment after the hour is over; until then it is asked for again.
        let Some(file) = HourFiles::of(to.store).open(hour)? else { return Ok(()) };
        let bytes = file.read_all()?;
        let Ok(index) = HourIndex::open(&bytes[..]) else { return Ok(()) };
        let known: BTreeSet<SegmentName> = index.segments().iter().map(|segment| segment.name).collect();
        let day = day_objects(to.bucket, to.keys, &hour.start().date())?;
        let is_of_hour = |name: &SegmentName| Hour::of(name.opened) == hour;
        let there = day.iter().filter(|(name, objects)| is_of_hour(name) && objects.is_committed());
        let there: BTreeSet<SegmentName> = there.map(|(name, _)| *name).collect();
        if known != there {
            // Segments have expired here since, or were not archived.
            self.left_out.insert(hour);
            return Ok(());
        }
        let stamps = |name: &SegmentName| {
            let SegmentObjects { segment_bytes, index_bytes } = *day.get(name)?;
            let stamp = |bytes| FileStamp { bytes, ..FileStamp::default() };
            Some(SegmentStamps { segment: stamp(segment_bytes?), index: stamp(index_bytes?) })
        };
        let Ok(bytes) = restamped(&bytes, &stamps) else { return Ok(()) };
        to.put(&ArchiveObject::Hour(hour), bytes)?;
        self.done(to)?.insert(hour);
        Ok(())
    }
}
