//! Opening of a segment and its index: first all files are mapped, then their headers are looked at, so that the disk works on
//! several segments at once.

use std::sync::Arc;

use netrewind_index::{Index, IndexError};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::{FILE_HEADER_BYTES, link_type_of};
use netrewind_store::store::OpenedSegment;
use netrewind_store::{Map, Medium, SegmentName, SegmentState, Store, StoreError, Timestamp};

use super::segment::{Opened, Opening, Segment};
use crate::answer::completeness::{RejectedIndex, Unreadable};
use crate::answer::error::ExtractError;

/// Bytes at the front of an index that are fetched at once: its header, templates and directories.
const INDEX_FRONT_BYTES: usize = 128 << 10;

/// Mapped files of a segment, not yet examined. The disk fetches the parts needed first.
pub(crate) struct MappedSegment {
    name: SegmentName,
    ordinal: u32,
    /// Reason why the segment's file cannot be opened, if it cannot.
    files: Result<NewFiles, String>,
}

struct NewFiles {
    is_sealed: bool,
    medium: Medium,
    index: Option<Result<Map, String>>,
    marked: Option<(Timestamp, Timestamp)>,
}

impl MappedSegment {
    /// Maps the files of a segment; `None` where it is gone.
    pub(super) fn map(store: &Store, name: SegmentName, ordinal: u32, use_index: bool) -> Option<Self> {
        let files = open(store, &name, use_index).transpose()?;
        Some(Self { name, ordinal, files })
    }

    /// Looks at the headers.
    pub(super) fn check(self, ports: &TunnelPorts) -> Opening {
        let Self { name, ordinal, files } = self;
        let NewFiles { is_sealed, medium, index, marked } = match files {
            Ok(files) => files,
            Err(reason) => return Opening::Unreadable(Unreadable { segment: name, offset: 0, reason }),
        };
        let rejected = |reason, is_unreadable| Some(RejectedIndex { segment: name, reason, is_unreadable });
        let mut indexed_bytes = 0;
        let (index, rejection) = match index.map(|index| index.map(|map| check_index(map, ports, &medium))) {
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
            let opened = Opened { medium, index: Arc::new(index), plain: Arc::default() };
            return Opening::Ready(Box::new(Segment::indexed(name, ordinal, opened)), None);
        }
        let header = medium.read(0..FILE_HEADER_BYTES as u64);
        let Some(link_type) = header.first_chunk::<FILE_HEADER_BYTES>().and_then(link_type_of) else {
            return without_header(name, is_sealed, &medium);
        };
        let segment = Segment {
            bounds: marked,
            is_sealed,
            indexed_bytes,
            ..Segment::new(name, ordinal, link_type, medium)
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

/// Opens and maps the files of a segment; `None` if it is gone.
fn open(store: &Store, name: &SegmentName, use_index: bool) -> Result<Option<NewFiles>, String> {
    let Some(opened) = store.open_segment(name).map_err(reason_of)? else { return Ok(None) };
    let medium = opened.file.medium(opened.readable_bytes).map_err(|error| error.to_string())?;
    medium.read_as_told();
    let is_sealed = opened.state == SegmentState::Sealed;
    let index = if use_index && is_sealed { open_index(store, name).transpose() } else { None };
    if index.is_some() {
        medium.will_need(0..FILE_HEADER_BYTES as u64); // and what the index has a hash of: all in one page
    }
    let marked = marked_bounds(store, name, &opened).map_err(reason_of)?;
    Ok(Some(NewFiles { is_sealed, medium, index, marked }))
}

fn open_index(store: &Store, name: &SegmentName) -> Result<Option<Map>, String> {
    let Some(file) = store.open_index(name).map_err(reason_of)? else { return Ok(None) };
    let map = file.status().and_then(|found| file.map(found.bytes)).map_err(|error| error.to_string())?;
    map.read_as_told(); // most often a page of it tells that nothing is there
    map.will_need(0..INDEX_FRONT_BYTES);
    Ok(Some(map))
}

/// Opens the readable part of a sealed segment; `None` where it is gone.
pub(super) fn open_medium(store: &Store, name: SegmentName) -> Result<Option<Medium>, ExtractError> {
    let Some(opened) = store.open_segment(&name)? else { return Ok(None) };
    let medium = opened.file.medium(opened.readable_bytes);
    let medium = medium.map_err(|source| ExtractError::Segment { segment: name, source })?;
    medium.read_as_told();
    Ok(Some(medium))
}

/// The index, if it fits its segment; otherwise the reason, and the size of the segment when it was built, if it is known to
/// belong to it.
fn check_index(index: Map, ports: &TunnelPorts, segment: &Medium) -> Result<Index<Map>, (IndexError, u64)> {
    let index = Index::open(index).map_err(|error| (error, 0))?;
    let head = &segment.read(0..index.head_bytes() as u64);
    let fits = index.matches_ports(ports).and_then(|()| index.matches(segment.bytes(), head));
    // An index of another segment says nothing of this one.
    let is_of_it = head.len() < index.head_bytes() || index.matches(index.segment_bytes(), head).is_ok();
    fits.map_err(|error| (error, if is_of_it { index.segment_bytes() } else { 0 }))?;
    Ok(index)
}

/// Result for a file without a header: an open segment has only just been created; a sealed one is no segment.
fn without_header(name: SegmentName, is_sealed: bool, medium: &Medium) -> Opening {
    if !is_sealed && medium.bytes() == 0 {
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
