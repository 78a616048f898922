//! Uploads one segment, compressed on its way if it is not cold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use netrewind_store::cold::{self, Compression};
use netrewind_store::files::StoreFile;
use netrewind_store::room::Room;
use netrewind_store::store::{ListedSegment, UploadFiles};
use netrewind_store::{LOST_PAGES, Map, SegmentName, Store};

use crate::bucket::{Bucket, Put};
use crate::error::ArchiveError;
use crate::objects::{ArchiveObject, StoreKeys};

/// Bytes of a part of an object that is sent: the pace of sending is kept part by part.
pub const PART_BYTES: usize = 256 << 10;

/// A segment whose file is in the archive, and whose index is not yet.
#[derive(Debug)]
pub struct Uncommitted {
    /// Its name.
    pub name: SegmentName,
    /// Bytes of its object.
    pub bytes: u64,
    /// Its index, held open: it may expire meanwhile.
    index: Box<dyn StoreFile>,
}

/// What became of a segment.
#[derive(Debug)]
pub enum SegmentUpload {
    /// Its file is there.
    Sent(Uncommitted),
    /// It has expired, or has no index any more.
    Gone,
    /// The process is to end.
    Stopped,
}

/// A mapped file as the bytes of an object.
#[derive(Clone)]
struct SharedMap(Arc<Map>);

impl AsRef<[u8]> for SharedMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Puts objects of a store into its archive.
#[derive(Clone, Copy)]
pub struct Uploader<'u> {
    /// The store.
    pub store: &'u Store,
    /// Its archive.
    pub bucket: &'u Bucket,
    /// Keys of its objects.
    pub keys: &'u StoreKeys,
    /// Set once the process is to end.
    pub stop: &'u AtomicBool,
}

impl Uploader<'_> {
    /// Sends a segment's file.
    pub fn segment(
        &self,
        segment: &ListedSegment,
        room: Option<&dyn Room>,
    ) -> Result<SegmentUpload, ArchiveError> {
        let files = UploadFiles::of(self.store);
        let name = segment.name;
        let Some(index) = self.store.open_index(&name)? else { return Ok(SegmentUpload::Gone) };
        let Some((file, is_cold)) = files.open_segment(&name)? else { return Ok(SegmentUpload::Gone) };
        if is_cold {
            let bytes = self.send(&ArchiveObject::Segment { name, is_cold }, &*file)?;
            return Ok(SegmentUpload::Sent(Uncommitted { name, bytes, index }));
        }
        let segment_bytes = file.status()?.bytes;
        room.map_or(Ok(()), |room| room.make_room(segment_bytes))?;
        let sent = self.compress_and_send(&name, &*file, segment_bytes);
        // On a full disk, a partial file would only take space.
        let ended = files.end();
        let sent = sent?;
        ended?;
        Ok(sent
            .map_or(SegmentUpload::Stopped, |bytes| SegmentUpload::Sent(Uncommitted { name, bytes, index })))
    }

    /// Sends a plain segment in the form of a cold one, if that is worth it. `None` if it is to stop.
    fn compress_and_send(
        &self,
        name: &SegmentName,
        file: &dyn StoreFile,
        segment_bytes: u64,
    ) -> Result<Option<u64>, ArchiveError> {
        let files = UploadFiles::of(self.store);
        let compressed = files.begin()?;
        let mut goes_on = || !self.stop.load(Ordering::Relaxed);
        let done = cold::compress(file, segment_bytes, &*compressed, &mut goes_on)?;
        let object = |is_cold| ArchiveObject::Segment { name: *name, is_cold };
        match done {
            Compression::Written(_) => self.send(&object(true), &*files.finished()?).map(Some),
            Compression::NotWorthIt => self.send(&object(false), file).map(Some),
            Compression::Stopped => Ok(None),
        }
    }

    /// Commits a segment: sends its index.
    pub fn commit(&self, segment: &Uncommitted) -> Result<(), ArchiveError> {
        self.send(&ArchiveObject::Index(segment.name), &*segment.index)?;
        Ok(())
    }

    /// Sends a file as an object that is not there yet; gives its length.
    fn send(&self, object: &ArchiveObject, file: &dyn StoreFile) -> Result<u64, ArchiveError> {
        let bytes = file.status()?.bytes;
        let map = Arc::new(file.map(bytes)?);
        map.read_in_order();
        let whole = Bytes::from_owner(SharedMap(Arc::clone(&map)));
        let parts = (0..whole.len()).step_by(PART_BYTES);
        let parts = parts.map(|at| whole.slice(at..(at + PART_BYTES).min(whole.len()))).collect();
        let key = self.keys.key(object);
        let put = self.bucket.put_new(&key, parts);
        if map.has_lost() {
            // Zeros stand for what could not be read: nobody may find them there.
            if let Ok(Put::Written) = put {
                self.bucket.remove(&[key])?;
            }
            return Err(ArchiveError::Part(format!("{object}: {LOST_PAGES}")));
        }
        match put? {
            Put::Written => Ok(bytes),
            Put::AlreadyThere => self.compare(object, &key, bytes),
        }
    }

    /// Sends some bytes as an object; one that is there already is the same.
    pub fn put(&self, object: &ArchiveObject, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.bucket.put_new(&self.keys.key(object), vec![Bytes::from(bytes)])?;
        Ok(())
    }

    /// An object that was there already: it has the same length, or is another.
    fn compare(&self, object: &ArchiveObject, key: &str, bytes: u64) -> Result<u64, ArchiveError> {
        match self.bucket.size(key)? {
            Some(found) if found != bytes && !self.is_same_segment(object, key, found)? => {
                Err(ArchiveError::Part(format!(
                    "{}: it is in the archive with {found} bytes, and would have {bytes}: whether it is damaged there, netrewind verify --archive says; remove the object to have it archived again",
                    self.bucket.describe(key)
                )))
            }
            Some(found) => Ok(found),
            None => Err(ArchiveError::Part(format!(
                "{}: another process was writing it, and is not done: it is tried again",
                self.bucket.describe(key)
            ))),
        }
    }

    /// True for a compressed segment that holds as many bytes as ours: another version may compress to another length.
    fn is_same_segment(&self, object: &ArchiveObject, key: &str, found: u64) -> Result<bool, ArchiveError> {
        let ArchiveObject::Segment { name, is_cold: true } = object else { return Ok(false) };
        let Some(opened) = self.store.open_segment(name)? else { return Ok(false) };
        let head = self.bucket.get_range(key, 0..found.min(cold::TABLE_HEAD_BYTES as u64))?;
        Ok(cold::segment_bytes_in(&head) == Some(opened.readable_bytes))
    }
}
