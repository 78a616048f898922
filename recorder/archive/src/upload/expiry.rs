//! Expiry in the archive: whole days, by name.

use std::collections::BTreeMap;
use std::time::Duration;

use netrewind_store::Timestamp;

use super::queue::is_older;
use super::segment::Uploader;
use crate::error::ArchiveError;
use crate::objects::ArchiveObject;

/// Order in which the objects of a day are removed: nothing is committed whose file is gone.
fn turn(object: &ArchiveObject) -> u8 {
    match object {
        ArchiveObject::Hour(_) => 0,
        ArchiveObject::Index(_) => 1,
        ArchiveObject::Segment { .. } => 2,
        ArchiveObject::Logbook(_) => 3,
        ArchiveObject::Identity => u8::MAX,
    }
}

/// Removes the objects of days that ended so long ago; gives how many they were.
pub fn expire(to: &Uploader<'_>, age_max: Duration, now: Timestamp) -> Result<u64, ArchiveError> {
    let is_due = |object: &ArchiveObject| object.date().is_some_and(|date| is_older(&date, age_max, now));
    let mut due: BTreeMap<(String, u8), Vec<String>> = BTreeMap::new();
    let mut add = |key: String| {
        if let Some(object) = to.keys.object(&key).filter(is_due) {
            let date = object.date().unwrap_or_default();
            due.entry((date, turn(&object))).or_default().push(key);
        }
    };
    // The folders of days are few; only those that are due are listed.
    for folder in [to.keys.segments(), to.keys.logbook()] {
        for date in to.bucket.folders(&folder)? {
            if is_older(&date, age_max, now) {
                to.bucket.list(&format!("{folder}/{date}"))?.into_iter().for_each(|listed| add(listed.key));
            }
        }
    }
    to.bucket.list(&to.keys.hours())?.into_iter().for_each(|listed| add(listed.key));
    let mut removed = 0;
    for keys in due.into_values() {
        to.bucket.remove(&keys)?;
        removed += keys.len() as u64;
    }
    Ok(removed)
}
