//! A store in an archive, for readers: lists, indexes and pieces of the logbook are kept in a cache, ranges of segments are fetched.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use netrewind_store::archived::{
    ArchiveFacts, ArchivedCopy, ArchivedLines, ArchivedListing, ArchivedObject, ArchivedPart,
    ArchivedSegment, ArchivedStore,
};
use netrewind_store::catalog::Hour;
use netrewind_store::clock::Clock;
use netrewind_store::{SegmentName, locked};

use crate::bucket::Bucket;
use crate::cache::{CacheFolder, CachePart, Cached, bytes_of};
use crate::fetcher::Fetcher;
use crate::listing::ListedHours;
use crate::meter::{ArchiveMeter, count};
use crate::objects::{ArchiveObject, LogbookPiece, StoreKeys};

/// Name in the cache of the list of stores.
const STORES: &str = "stores";
/// Time for which a list of an archive is used again.
pub const LISTED_FOR: Duration = Duration::from_secs(10);
/// Bytes at the beginning of a segment that are fetched before it is opened: the table of its frames, and the first of them.
pub const HEAD_BYTES: u64 = 192 << 10;
/// Bytes of an index that is fetched whole.
pub const WHOLE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the lines in a piece of the logbook.
pub const LINES_BYTES_MAX: u64 = 256 << 20;

/// An archive, as readers see it.
#[derive(Debug)]
pub struct ArchiveReader {
    bucket: Arc<Bucket>,
    fetcher: Arc<Fetcher>,
    cache: Option<Arc<CacheFolder>>,
    meter: Arc<ArchiveMeter>,
    clock: Arc<dyn Clock>,
}

/// A store in an archive.
#[derive(Debug)]
struct StoreReader {
    url: String,
    keys: StoreKeys,
    fetcher: Arc<Fetcher>,
    cache: Option<CachePart>,
    meter: Arc<ArchiveMeter>,
    clock: Arc<dyn Clock>,
    identity: OnceLock<Arc<Vec<u8>>>,
    hours: ListedHours,
    listed: Mutex<(Option<u64>, Arc<ArchivedListing>)>,
}

impl ArchiveReader {
    /// Of a bucket. Nothing is asked of it yet, and no thread started.
    pub fn new(bucket: Bucket, cache: Option<CacheFolder>, clock: Arc<dyn Clock>) -> Self {
        let (bucket, meter) = (Arc::new(bucket), Arc::new(ArchiveMeter::default()));
        let fetcher = Arc::new(Fetcher::new(Arc::clone(&bucket), Arc::clone(&meter), Arc::clone(&clock)));
        Self { bucket, fetcher, cache: cache.map(Arc::new), meter, clock }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.bucket.url().to_string()
    }

    /// Counters of its requests.
    pub fn meter(&self) -> &Arc<ArchiveMeter> {
        &self.meter
    }

    /// Ids of the stores in it, sorted.
    pub fn stores(&self) -> Result<Vec<String>, String> {
        let mut names = self.fetcher.list(|bucket| bucket.folders(""))?;
        names.retain(|name| StoreKeys::new(name).is_some());
        if let Some(cache) = self.cache.as_ref().map(|folder| CachePart::new(Arc::clone(folder), &self.url()))
        {
            let _ = cache.put(STORES, names.join("\n").as_bytes());
        }
        Ok(names)
    }

    /// Ids of the stores that were in it the last time: asking for them takes a request's time.
    pub fn stores_before(&self) -> Vec<String> {
        let part = self.cache.as_ref().map(|folder| CachePart::new(Arc::clone(folder), &self.url()));
        let known = part.map(|part| part.get(STORES));
        let text = match known {
            Some(Cached::Sound(copy)) => bytes_of(&copy).unwrap_or_default(),
            _ => Vec::new(),
        };
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// The store with this id; `None` if that is no id.
    pub fn store(&self, id: &str) -> Option<Arc<dyn ArchivedStore>> {
        let keys = StoreKeys::new(id)?;
        let url = format!("{}/{id}", self.url().trim_end_matches('/'));
        let cache = self.cache.as_ref().map(|folder| CachePart::new(Arc::clone(folder), &url));
        Some(Arc::new(StoreReader {
            url,
            keys,
            fetcher: Arc::clone(&self.fetcher),
            cache,
            meter: Arc::clone(&self.meter),
            clock: Arc::clone(&self.clock),
            identity: OnceLock::new(),
            hours: ListedHours::default(),
            listed: Mutex::default(),
        }))
    }
}

impl StoreReader {
    fn object(&self, object: &ArchiveObject, bytes: u64) -> Arc<dyn ArchivedObject> {
        Arc::new(self.fetcher.object(&self.keys.key(object), bytes))
    }

    /// The copy in the cache, if there is a sound one of this length.
    fn cached(&self, object: &ArchiveObject, bytes: Option<u64>) -> Option<ArchivedCopy> {
        match self.cache.as_ref()?.get(&object.to_string()) {
            Cached::Sound(copy) if bytes.is_none_or(|bytes| copy.bytes() == bytes) => {
                count(&self.meter.cache_hits, 1);
                Some(copy)
            }
            Cached::Damaged => {
                count(&self.meter.cache_damaged, 1);
                None
            }
            Cached::Sound(_) | Cached::Absent => None,
        }
    }

    /// An object of a known length, whole: from the cache, or fetched into it.
    fn whole(&self, object: &ArchiveObject, bytes: u64) -> io::Result<ArchivedCopy> {
        if let Some(copy) = self.cached(object, Some(bytes)) {
            return Ok(copy);
        }
        if bytes > WHOLE_BYTES_MAX {
            let reason = format!(
                "{}: it has {bytes} bytes, and at most {WHOLE_BYTES_MAX} are read",
                self.keys.key(object)
            );
            return Err(io::Error::other(reason));
        }
        count(&self.meter.cache_misses, 1);
        let found = self.object(object, bytes).read(0..bytes)?;
        let kept = self.cache.as_ref().and_then(|cache| cache.put(&object.to_string(), &found));
        Ok(kept.unwrap_or_else(|| ArchivedCopy::Memory(Arc::new(found))))
    }

    /// Starts fetching an object whole, unless it is in the cache.
    fn will_need_whole(&self, object: &ArchiveObject, bytes: u64) {
        let is_cached = self.cache.as_ref().is_some_and(|cache| cache.has(&object.to_string()));
        if !is_cached && bytes <= WHOLE_BYTES_MAX {
            self.object(object, bytes).will_need(std::slice::from_ref(&(0..bytes)));
        }
    }
}

/// Name in the cache of a segment's beginning.
fn head_name(segment: &ArchiveObject) -> String {
    format!("head_{segment}")
}

/// A cold segment, whose beginning is kept in the cache: without it, neither its frames are found nor is it known that its index belongs to
/// it.
#[derive(Debug)]
struct HeadedObject {
    object: Arc<dyn ArchivedObject>,
    name: String,
    cache: CachePart,
    meter: Arc<ArchiveMeter>,
    head: OnceLock<Vec<u8>>,
}

impl HeadedObject {
    fn head_bytes(&self) -> u64 {
        HEAD_BYTES.min(self.object.bytes())
    }

    fn head(&self) -> io::Result<&[u8]> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let read = match self.cache.get(&self.name) {
            Cached::Sound(copy) if copy.bytes() == self.head_bytes() => {
                count(&self.meter.cache_hits, 1);
                bytes_of(&copy)?
            }
            _ => {
                count(&self.meter.cache_misses, 1);
                let read = self.object.read(0..self.head_bytes())?;
                let _ = self.cache.put(&self.name, &read);
                read
            }
        };
        Ok(self.head.get_or_init(|| read))
    }
}

impl ArchivedObject for HeadedObject {
    fn bytes(&self) -> u64 {
        self.object.bytes()
    }

    fn will_need(&self, ranges: &[Range<u64>]) {
        let behind = |range: &Range<u64>| range.end > self.head_bytes();
        let ranges: Vec<Range<u64>> = ranges.iter().filter(|range| behind(range)).cloned().collect();
        self.object.will_need(&ranges);
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        if range.end > self.head_bytes() {
            return self.object.read(range);
        }
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let head = self.head()?;
        Ok(head.get(index(range.start)..index(range.end)).unwrap_or_default().to_vec())
    }
}

fn lines_object(date: &str, piece: &ArchivedLines) -> ArchiveObject {
    let (date, begin, end) = (date.to_owned(), piece.range.start, piece.range.end);
    ArchiveObject::Logbook(LogbookPiece { date, begin, end })
}

impl ArchivedStore for StoreReader {
    fn facts(&self) -> ArchiveFacts {
        ArchiveFacts { url: self.url.clone(), is_alone: true, requests: self.meter.requests() }
    }

    fn identity(&self) -> io::Result<ArchivedCopy> {
        if let Some(known) = self.identity.get() {
            return Ok(ArchivedCopy::Memory(Arc::clone(known)));
        }
        let found = Arc::new(self.fetcher.whole(&self.keys.key(&ArchiveObject::Identity))?);
        Ok(ArchivedCopy::Memory(Arc::clone(self.identity.get_or_init(|| found))))
    }

    fn listing(&self) -> Arc<ArchivedListing> {
        let is_listed = {
            let listed = locked(&self.listed);
            listed.0.is_some().then(|| Arc::clone(&listed.1))
        };
        is_listed.unwrap_or_else(|| {
            self.refresh();
            Arc::clone(&locked(&self.listed).1)
        })
    }

    fn refresh(&self) {
        let mut listed = locked(&self.listed);
        let now = self.clock.now();
        if listed.0.is_some_and(|until| now.monotonic_ns < until) {
            return;
        }
        let listing = self.hours.list(&self.fetcher, &self.keys, self.cache.as_ref(), &listed.1);
        *listed = (Some(self.clock.now().after(LISTED_FOR)), Arc::new(listing));
    }

    fn will_open(&self, parts: &[ArchivedPart]) {
        for part in parts {
            match part {
                ArchivedPart::Segment(name, listed) => {
                    self.will_need_whole(&ArchiveObject::Index(*name), listed.index_bytes);
                    let object = ArchiveObject::Segment { name: *name, is_cold: listed.is_cold };
                    let is_cached = self.cache.as_ref().is_some_and(|cache| cache.has(&head_name(&object)));
                    if !listed.is_cold || !is_cached {
                        let head = if listed.is_cold { HEAD_BYTES } else { 1 };
                        self.object(&object, listed.bytes).will_need(std::slice::from_ref(&(0..head)));
                    }
                }
                ArchivedPart::Hour(hour, bytes) => self.will_need_whole(&ArchiveObject::Hour(*hour), *bytes),
                ArchivedPart::Lines(date, piece) => {
                    self.will_need_whole(&lines_object(date, piece), piece.object_bytes);
                }
            }
        }
    }

    fn segment(&self, name: &SegmentName, listed: ArchivedSegment) -> Arc<dyn ArchivedObject> {
        let object = ArchiveObject::Segment { name: *name, is_cold: listed.is_cold };
        let fetched = self.object(&object, listed.bytes);
        match &self.cache {
            Some(cache) if listed.is_cold => Arc::new(HeadedObject {
                object: fetched,
                name: head_name(&object),
                cache: cache.clone(),
                meter: Arc::clone(&self.meter),
                head: OnceLock::new(),
            }),
            _ => fetched,
        }
    }

    fn index(&self, name: &SegmentName, listed: ArchivedSegment) -> io::Result<ArchivedCopy> {
        self.whole(&ArchiveObject::Index(*name), listed.index_bytes)
    }

    fn hour(&self, hour: Hour, bytes: u64) -> io::Result<ArchivedCopy> {
        self.whole(&ArchiveObject::Hour(hour), bytes)
    }

    fn lines(&self, date: &str, piece: &ArchivedLines) -> io::Result<Vec<u8>> {
        let object = lines_object(date, piece);
        let bytes = piece.range.end.saturating_sub(piece.range.start);
        let damaged = |reason: String| {
            let message = format!("{}: {reason}", self.keys.key(&object));
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        if bytes > LINES_BYTES_MAX {
            return Err(damaged(format!("it holds {bytes} bytes, and at most {LINES_BYTES_MAX} are read")));
        }
        let packed = bytes_of(&self.whole(&object, piece.object_bytes)?)?;
        let capacity = usize::try_from(bytes).map_err(io::Error::other)?;
        let lines = zstd::bulk::decompress(&packed, capacity).map_err(|error| damaged(error.to_string()))?;
        match lines.len() as u64 == bytes {
            true => Ok(lines),
            false => Err(damaged(format!("it holds {} bytes instead of {bytes}", lines.len()))),
        }
    }
}
