//! Segment as a query sees it: its bytes up to the end that was readable when the query began, with bounds of their time and
//! order, from its index or from a walk.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use netrewind_index::{Index, IndexError};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::{CAPLEN_MAX, FILE_HEADER_BYTES, link_type_of};
use netrewind_store::store::OpenedSegment;
use netrewind_store::{LinkType, Map, SegmentName, SegmentState, Store, StoreError, Timestamp, locked};

use crate::answer::RejectedIndex;

use crate::read::reader::{Match, PacketOrder, index as offset_in};
use crate::store::scan::{Scan, damage_at};
use crate::store::segment_cache::{Opened, SegmentCache};
use crate::{ExtractError, Unreadable};

/// Bytes at the front of an index that are fetched at once: its header, templates and directories stand there.
const INDEX_FRONT_BYTES: usize = 128 << 10;
/// Granules of walks that are remembered, over all segments: 32 MB, which is 64 GiB of segments.
const REMEMBERED_GRANULES_MAX: usize = 1 << 20;

/// Reason reported for mapped pages that cannot be read.
pub(crate) const LOST_PAGES: &str = "the file was shortened while it was being read, or its disk fails (the kernel's log tells); \
                                     run netrewind verify";

/// Says why an index is of no use where a part of it could not be read: to be asked after it was used.
pub(crate) fn lost_part_of(index: &Index<Map>) -> Result<(), IndexError> {
    if index.bytes().has_lost() { Err(IndexError::Unreadable) } else { Ok(()) }
}

/// A segment opened for a query.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    /// Its place among all segments of the store, by name.
    pub(crate) ordinal: u32,
    pub(crate) link_type: LinkType,
    pub(crate) bytes: Arc<Map>,
    /// The index, found to belong to these bytes.
    pub(crate) index: Option<Arc<Index<Map>>>,
    /// Offset of the first byte that the query has not read before: anything before it is left out.
    pub(crate) begin: u64,
    /// Bounds of its timestamps; absent until a walk gives them.
    pub(crate) bounds: Option<(Timestamp, Timestamp)>,
    /// Number of its packets' interface among the query's interfaces.
    pub(crate) interface: u32,
    /// See [`Self::is_plain`].
    plain: Arc<OnceLock<bool>>,
    /// True if its maps are kept until the query has read it.
    pub(crate) is_held: bool,
    /// True if it is sealed: its content does not change.
    is_sealed: bool,
    /// True if its maps were released, so that it has to be opened again to be read.
    is_released: bool,
    /// Size of the segment when the index was built that does not fit it any more; zero if none is known.
    indexed_bytes: u64,
}

/// Result of opening a listed segment.
pub(crate) enum Opening {
    /// It can be read.
    Ready(Box<Segment>, Option<RejectedIndex>),
    /// It is gone, or holds nothing yet.
    Nothing,
    /// It is there, and no segment.
    Unreadable(Unreadable),
}

impl Segment {
    /// Maps a sealed segment's bytes; `None` where it is gone.
    pub(crate) fn map(store: &Store, name: SegmentName) -> Result<Option<Map>, ExtractError> {
        let Some(opened) = store.open_segment(&name)? else { return Ok(None) };
        map(&opened, name).map(Some)
    }

    /// One with an index.
    fn of(name: SegmentName, ordinal: u32, opened: Opened) -> Self {
        let Opened { bytes, index, plain } = opened;
        Self {
            name,
            ordinal,
            link_type: index.link_type(),
            bytes,
            begin: 0,
            bounds: Some((index.first(), index.last())),
            index: Some(index),
            interface: 0,
            plain,
            is_held: false,
            is_sealed: true,
            is_released: false,
            indexed_bytes: 0,
        }
    }

    /// Releases its maps, of which a process can have only so many. Only if its content cannot change: a sealed segment whose
    /// bounds are known.
    pub(crate) fn release(&mut self) {
        if self.is_sealed && self.bounds.is_some() {
            self.index = None;
            self.bytes = Arc::default();
            self.is_released = true;
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.is_released
    }

    /// Opens a released segment again; `None` where it is gone, or cannot be read any more.
    pub(crate) fn reopen(
        &self,
        segment_cache: &SegmentCache,
        use_index: bool,
    ) -> Result<Option<Self>, ExtractError> {
        Ok(match self.reopened(segment_cache, use_index)? {
            Opening::Ready(segment, _) => Some(*segment),
            Opening::Nothing | Opening::Unreadable(_) => None,
        })
    }

    /// Opens a released segment again, and returns the result in full.
    pub(crate) fn reopened(
        &self,
        segment_cache: &SegmentCache,
        use_index: bool,
    ) -> Result<Opening, ExtractError> {
        Ok(match segment_cache.open(self.name, self.ordinal, use_index)? {
            Opening::Ready(segment, rejection) => {
                let segment = Self { interface: self.interface, bounds: self.bounds, ..*segment };
                Opening::Ready(Box::new(segment), rejection)
            }
            other => other,
        })
    }

    /// An open segment as two: the front that an index knows, and the rest.
    pub(crate) fn divided(&self, index: Arc<Index<Map>>) -> [Self; 2] {
        let front = usize::try_from(index.segment_bytes()).unwrap_or(usize::MAX);
        let part = |bytes, begin, index, bounds| Self {
            name: self.name,
            ordinal: self.ordinal,
            link_type: self.link_type,
            bytes,
            index,
            begin,
            bounds,
            interface: self.interface,
            plain: Arc::default(),
            is_held: self.is_held,
            is_sealed: false,
            is_released: false,
            indexed_bytes: 0,
        };
        let bounds = Some((index.first(), index.last()));
        let (begin, rest) = (index.segment_bytes(), Arc::clone(&self.bytes));
        let front = Arc::new(Map::front(&self.bytes, front));
        [part(front, self.begin, Some(index), bounds), part(rest, begin, None, self.bounds)]
    }

    /// True once nothing more will be added to it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// The place of one of its packets in the order of answers.
    pub(crate) fn place_of(&self, found: Match) -> PacketOrder {
        PacketOrder { at: found.at, lane: self.name.lane, ordinal: self.ordinal, offset: found.offset }
    }

    /// True if the index knows that no packet has a view but itself, so that none has to be dissected.
    pub(crate) fn is_plain(&self) -> bool {
        *self.plain.get_or_init(|| {
            let templates = self.index.as_ref().and_then(|index| index.templates().ok());
            templates.is_some_and(|templates| {
                templates.iter().all(|template| template.views.len() == 1 && !template.is_opaque())
            })
        })
    }

    /// Place from which it cannot be read, after a walk that reached as far as `walk` says.
    pub(crate) fn damage(&self, walk: &Scan) -> Option<Unreadable> {
        let bytes = self.bytes.len() as u64;
        (walk.end < bytes.max(self.indexed_bytes)).then(|| self.unreadable_at(walk.end))
    }

    pub(crate) fn unreadable_at(&self, offset: u64) -> Unreadable {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let reason = match self.bytes.first_lost(at..at.saturating_add(CAPLEN_MAX as usize)) {
            Some(_) => LOST_PAGES.to_owned(),
            None if at >= self.bytes.len() && offset < self.indexed_bytes => {
                format!("the file ends here and had {} bytes: it was shortened", self.indexed_bytes)
            }
            None => damage_at(&self.bytes, offset),
        };
        Unreadable { segment: self.name, offset, reason }
    }

    /// The front of it, up to the first page that was found lost, without its index; `None` where none was.
    pub(crate) fn before_lost_pages(&self) -> Option<Self> {
        let lost = self.bytes.first_lost(0..self.bytes.len())?;
        let bytes = Arc::new(Map::front(&self.bytes, lost));
        Some(Self { bytes, index: None, plain: Arc::default(), ..*self })
    }
}

/// Mapped files of a segment, not yet examined. The disk fetches the parts needed first.
pub(crate) struct Mapped {
    name: SegmentName,
    ordinal: u32,
    files: SegmentFiles,
}

enum SegmentFiles {
    /// They stand opened, and have been checked.
    Kept(Opened),
    New(NewFiles),
    /// The segment's file cannot be opened.
    Unreadable(String),
}

struct NewFiles {
    is_sealed: bool,
    bytes: Map,
    index: Option<Result<Map, String>>,
    marked: Option<(Timestamp, Timestamp)>,
}

impl Mapped {
    /// `None` where the segment is gone.
    pub(crate) fn new(
        segment_cache: &SegmentCache,
        name: SegmentName,
        ordinal: u32,
        use_index: bool,
    ) -> Result<Option<Self>, ExtractError> {
        if use_index && let Some(opened) = segment_cache.get(&name) {
            return Ok(Some(Self { name, ordinal, files: SegmentFiles::Kept(opened) }));
        }
        let files = match open(segment_cache.store(), &name, use_index) {
            Ok(None) => return Ok(None),
            Ok(Some(files)) => SegmentFiles::New(files),
            Err(reason) => SegmentFiles::Unreadable(reason),
        };
        Ok(Some(Self { name, ordinal, files }))
    }

    /// Looks at the headers. What is whole stays in the cache.
    pub(crate) fn check(self, segment_cache: &SegmentCache) -> Opening {
        let Self { name, ordinal, files } = self;
        let NewFiles { is_sealed, bytes, index, marked } = match files {
            SegmentFiles::Kept(opened) => {
                return Opening::Ready(Box::new(Segment::of(name, ordinal, opened)), None);
            }
            SegmentFiles::Unreadable(reason) => {
                return Opening::Unreadable(Unreadable { segment: name, offset: 0, reason });
            }
            SegmentFiles::New(files) => files,
        };
        let rejected = |reason, is_unreadable| Some(RejectedIndex { segment: name, reason, is_unreadable });
        let mut indexed_bytes = 0;
        let (index, rejection) =
            match index.map(|index| index.map(|map| check_index(map, segment_cache.ports(), &bytes))) {
                None => (None, None),
                Some(Ok(Ok(index))) => (Some(index), None),
                Some(Ok(Err((error, segment_bytes)))) => {
                    indexed_bytes = segment_bytes;
                    (None, rejected(error.to_string(), false))
                }
                Some(Err(reason)) => (None, rejected(reason, true)),
            };
        if let Some(index) = index {
            if index.records() == 0 {
                return Opening::Nothing;
            }
            let opened = Opened { bytes: Arc::new(bytes), index: Arc::new(index), plain: Arc::default() };
            segment_cache.put(name, &opened);
            return Opening::Ready(Box::new(Segment::of(name, ordinal, opened)), None);
        }
        let Some(link_type) = bytes.first_chunk::<FILE_HEADER_BYTES>().and_then(link_type_of) else {
            return without_header(name, is_sealed, &bytes);
        };
        let segment = Segment {
            begin: 0,
            plain: Arc::default(),
            name,
            ordinal,
            link_type,
            bytes: Arc::new(bytes),
            index: None,
            bounds: marked,
            interface: 0,
            is_held: false,
            is_sealed,
            is_released: false,
            indexed_bytes,
        };
        Opening::Ready(Box::new(segment), rejection)
    }
}

/// Reason why a file of the store cannot be read, without its path: the segment's name is enough.
fn reason_of(error: StoreError) -> String {
    match error {
        StoreError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Opens and maps the files of a segment; `None` where it is gone.
fn open(store: &Store, name: &SegmentName, use_index: bool) -> Result<Option<NewFiles>, String> {
    let Some(opened) = store.open_segment(name).map_err(reason_of)? else { return Ok(None) };
    let bytes = opened.file.map(opened.readable_bytes).map_err(|error| error.to_string())?;
    bytes.read_as_told();
    let is_sealed = opened.state == SegmentState::Sealed;
    let index = if use_index && is_sealed { open_index(store, name).transpose() } else { None };
    if index.is_some() {
        bytes.will_need(0..FILE_HEADER_BYTES); // and what the index has a hash of: all in one page
    }
    let marked = marked_bounds(store, name, &opened).map_err(reason_of)?;
    Ok(Some(NewFiles { is_sealed, bytes, index, marked }))
}

fn open_index(store: &Store, name: &SegmentName) -> Result<Option<Map>, String> {
    let Some(file) = store.open_index(name).map_err(reason_of)? else { return Ok(None) };
    let map = file.status().and_then(|found| file.map(found.bytes)).map_err(|error| error.to_string())?;
    map.read_as_told(); // most often a page of it tells that nothing is there
    map.will_need(0..INDEX_FRONT_BYTES);
    Ok(Some(map))
}

/// Maps the readable part of a segment.
fn map(opened: &OpenedSegment, name: SegmentName) -> Result<Map, ExtractError> {
    let bytes = opened.file.map(opened.readable_bytes);
    let bytes = bytes.map_err(|source| ExtractError::Segment { segment: name, source })?;
    bytes.read_as_told();
    Ok(bytes)
}

/// The index, where it fits its segment; else why not, and how many bytes the segment had when it was built, if it is known to be of it.
fn check_index(index: Map, ports: &TunnelPorts, segment: &Map) -> Result<Index<Map>, (IndexError, u64)> {
    let index = Index::open(index).map_err(|error| (error, 0))?;
    let head = &segment[..index.head_bytes().min(segment.len())];
    let fits = index.matches_ports(ports).and_then(|()| index.matches(segment.len() as u64, head));
    // An index of another segment says nothing of this one.
    let is_of_it = head.len() < index.head_bytes() || index.matches(index.segment_bytes(), head).is_ok();
    fits.map_err(|error| (error, if is_of_it { index.segment_bytes() } else { 0 }))?;
    Ok(index)
}

/// Result for a file without a header: an open segment has only just been created; a sealed one is no segment.
fn without_header(name: SegmentName, is_sealed: bool, bytes: &Map) -> Opening {
    if !is_sealed && bytes.is_empty() {
        return Opening::Nothing;
    }
    let reason = netrewind_store::SegmentError::NotASegment.to_string();
    Opening::Unreadable(Unreadable { segment: name, offset: 0, reason })
}

/// Bounds of an open segment's timestamps by its mark. It may speak of more than was opened: then the bounds are wider.
fn marked_bounds(
    store: &Store,
    name: &SegmentName,
    opened: &OpenedSegment,
) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let mark = if opened.state == SegmentState::Open { store.mark(name)? } else { None };
    let tells =
        |mark: &netrewind_store::Mark| mark.records > 0 && mark.committed_bytes >= opened.readable_bytes;
    Ok(mark.filter(tells).map(|mark| (mark.first, mark.last)))
}

/// Walks over segments without an index, remembered within a bound. An open segment's walk goes on where it had ended.
#[derive(Debug, Default)]
pub(crate) struct ScanCache {
    known: Mutex<HashMap<SegmentName, Arc<Scan>>>,
    /// Segments that are being walked over.
    walked: Mutex<HashSet<SegmentName>>,
}

/// Interval at which a thread checks another's walk.
const WAIT_FOR_WALK: Duration = Duration::from_millis(2);

impl ScanCache {
    /// The walk over a segment as far as it was opened; `None` where `stop` said so.
    pub(crate) fn of(&self, segment: &Segment, stop: &dyn Fn() -> bool) -> Option<Arc<Scan>> {
        let end = segment.bytes.len() as u64;
        self.walk(segment, stop, &|walk| walk.end == end)
    }

    /// Likewise, or one that another query has made of more of it.
    pub(crate) fn covering(&self, segment: &Segment, stop: &dyn Fn() -> bool) -> Option<Arc<Scan>> {
        let end = segment.bytes.len() as u64;
        self.walk(segment, stop, &|walk| walk.end >= end)
    }

    fn walk(
        &self,
        segment: &Segment,
        stop: &dyn Fn() -> bool,
        is_enough: &dyn Fn(&Scan) -> bool,
    ) -> Option<Arc<Scan>> {
        // Several at once would take as many times as long.
        while !locked(&self.walked).insert(segment.name) {
            if let Some(walk) = self.known(segment).filter(|walk| is_enough(walk)) {
                return Some(walk);
            }
            if stop() {
                return None;
            }
            std::thread::sleep(WAIT_FOR_WALK);
        }
        let _turn = ScanTurn(self, segment.name);
        let known = self.known(segment);
        if let Some(walk) = known.as_ref().filter(|walk| is_enough(walk)) {
            return Some(Arc::clone(walk));
        }
        segment.bytes.read_in_order();
        let begun = known.filter(|walk| walk.end <= segment.bytes.len() as u64);
        let begun = begun.map(Arc::unwrap_or_clone).unwrap_or_default();
        let mut walk = begun.extended(&segment.bytes, stop)?;
        let is_lost = |walk: &Scan| segment.bytes.first_lost(0..offset_in(walk.end));
        while let Some(lost) = is_lost(&walk) {
            walk = Scan::default().extended(&segment.bytes[..lost], stop)?;
        }
        let walk = Arc::new(walk);
        segment.bytes.read_as_told();
        self.remember(segment.name, &walk);
        Some(walk)
    }

    fn known(&self, segment: &Segment) -> Option<Arc<Scan>> {
        locked(&self.known).get(&segment.name).cloned()
    }

    fn remember(&self, name: SegmentName, walk: &Arc<Scan>) {
        let mut scans = locked(&self.known);
        if scans.get(&name).is_some_and(|known| known.end > walk.end) {
            return; // of a query that sees more
        }
        scans.insert(name, Arc::clone(walk));
        let mut granules: usize = scans.values().map(|walk| walk.granules.len()).sum();
        while granules > REMEMBERED_GRANULES_MAX
            && let Some(other) = scans.keys().min().copied()
        {
            // The oldest goes: the newest are the ones that grow and are asked for.
            granules -= scans.remove(&other).map_or(0, |walk| walk.granules.len());
        }
    }
}

/// The right to walk over a segment.
struct ScanTurn<'w>(&'w ScanCache, SegmentName);

impl Drop for ScanTurn<'_> {
    fn drop(&mut self) {
        locked(&self.0.walked).remove(&self.1);
    }
}
