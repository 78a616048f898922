//! Indexes of segments that are being written, in memory. Monitoring queries flows every few seconds, and the latest packets:
//! the part of a segment that was counted before is not counted again.
//!
//! **Invariant:** an index from here is the one that the segment would get if it were sealed where the index ends: for flows
//! that is where the query sees the segment's end, for packets some way before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use netrewind_index::{Builder, Index};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::{LinkType, Map, SegmentName, locked, random_seed};

use crate::ExtractError;
use crate::plan::query_filter::{LinkTypeVerdict, QueryFilter};
use crate::store::segment::Segment;

/// Flows of all of them together, some 200 bytes each. A segment with more is counted anew for each query.
const FLOWS_MAX: usize = 1 << 20;
/// Size below which an open segment is read rather than indexed. Its end is read, too, while it is shorter than that, or than
/// the [`TAIL_PART`]th part of the indexed front: finishing an index costs as much as reading that.
const WORTH_INDEXING_BYTES: u64 = 8 << 20;
const TAIL_PART: u64 = 4;
/// Indexes of a segment that are remembered for queries that began earlier, and see less of it.
const REMEMBERED_MAX: usize = 3;
/// Bytes requested from the disk at a time, and half of them before they are needed: data written past the page cache has to be
/// read back.
const AHEAD_BYTES: u64 = 8 << 20;
/// Number of records between two checks for cancellation.
const RECORDS_BETWEEN_QUESTIONS: u64 = 4096;

/// Index state of growing segments by lane: a lane writes one segment at a time.
#[derive(Debug, Default)]
pub(crate) struct LiveIndexes(Mutex<HashMap<u16, Named>>);

/// Name and index state of a lane's segment.
type Named = (SegmentName, Arc<Mutex<LiveIndex>>);

#[derive(Debug)]
struct LiveIndex {
    builder: Builder,
    /// Indexes of the records that the builder had counted at various times, ascending.
    indexes: Vec<Arc<Index<Map>>>,
    /// True if the builder has counted zeros read in place of lost pages.
    is_spoilt: bool,
}

impl LiveIndexes {
    /// The index of an open segment, whose packets a `new_builder` counts. `None` if there can be none: the segment is damaged,
    /// or holds too many flows, or another query has already seen more of it.
    pub(crate) fn index_of(
        &self,
        segment: &Segment,
        new_builder: impl FnOnce() -> Builder,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Index<Map>>>, ExtractError> {
        if segment.is_sealed() {
            return Ok(None);
        }
        let Some((grown, flows_max)) = self.of_lane(segment, new_builder) else { return Ok(None) };
        let mut grown = locked(&grown);
        let is_counted = grown.count(segment, flows_max, stop)?;
        Ok(if is_counted { grown.index() } else { None })
    }

    /// Segments to be read: open ones split in two, the front with an index, if that saves reading.
    pub(crate) fn divide(
        &self,
        segments: Vec<Arc<Segment>>,
        filters: &QueryFilter,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Arc<Segment>>, ExtractError> {
        let mut divided = Vec::with_capacity(segments.len());
        for segment in segments {
            let saves = segment.index.is_none()
                && filters.link_type_verdict(segment.link_type) == LinkTypeVerdict::Depends;
            let new_builder = || new_builder(segment.link_type, &filters.ports);
            match if saves { self.index_of_front(&segment, new_builder, stop)? } else { None } {
                Some(index) => divided.extend(segment.divided(index).map(Arc::new)),
                None => divided.push(segment),
            }
        }
        Ok(divided)
    }

    /// Index of the front of an open segment whose rest is read quickly. `None` if all of it should be read.
    fn index_of_front(
        &self,
        segment: &Segment,
        new_builder: impl FnOnce() -> Builder,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Index<Map>>>, ExtractError> {
        let end = segment.medium.bytes();
        if segment.is_sealed() || end < WORTH_INDEXING_BYTES {
            return Ok(None);
        }
        let Some((grown, flows_max)) = self.of_lane(segment, new_builder) else { return Ok(None) };
        // A query that comes while another one counts waits for it: reading instead would take longer.
        let mut grown = locked(&grown);
        if let Some(index) = grown.fitting(end) {
            return Ok(Some(index));
        }
        let is_counted = grown.count(segment, flows_max, stop)?;
        Ok(if is_counted { grown.index() } else { None })
    }

    /// Index state of the segment that a lane writes, and the number of flows it may hold. `None` if the lane has gone on to
    /// another segment since the query began.
    fn of_lane(
        &self,
        segment: &Segment,
        new_builder: impl FnOnce() -> Builder,
    ) -> Option<(Arc<Mutex<LiveIndex>>, usize)> {
        let name = segment.name;
        let mut lanes = locked(&self.0);
        let known = lanes.get(&name.lane).filter(|(known, _)| *known >= name).cloned();
        let (known, grown) = known.unwrap_or_else(|| {
            let begun = Arc::new(Mutex::new(LiveIndex {
                builder: new_builder(),
                indexes: Vec::new(),
                is_spoilt: false,
            }));
            lanes.insert(name.lane, (name, Arc::clone(&begun)));
            (name, begun)
        });
        (known == name).then_some((grown, FLOWS_MAX / lanes.len()))
    }
}

impl LiveIndex {
    /// Counts the records written since. False if that is not possible, or not worth it.
    fn count(
        &mut self,
        segment: &Segment,
        flows_max: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, ExtractError> {
        if self.is_spoilt {
            return Ok(false);
        }
        let end = segment.medium.bytes();
        let begin = self.builder.segment_bytes();
        if begin > end {
            return Ok(false);
        }
        let mut asked_for = begin;
        for record in segment.medium.read(begin..end).records() {
            while record.offset + AHEAD_BYTES / 2 >= asked_for && asked_for < end {
                segment.medium.will_need(asked_for..asked_for + AHEAD_BYTES);
                asked_for += AHEAD_BYTES;
            }
            if self.builder.records().is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && stop() {
                return Err(ExtractError::Cancelled);
            }
            if self.builder.flows() > flows_max {
                return Ok(false);
            }
            self.builder.push(&record);
        }
        if segment.medium.has_lost() {
            self.is_spoilt = true;
            return Ok(false);
        }
        Ok(self.builder.segment_bytes() == end)
    }

    /// The last index that ends at `end` or not far before.
    fn fitting(&self, end: u64) -> Option<Arc<Index<Map>>> {
        let last = self.indexes.iter().rev().find(|index| index.segment_bytes() <= end)?;
        let tail = end - last.segment_bytes();
        let is_short = tail <= WORTH_INDEXING_BYTES.max(last.segment_bytes() / TAIL_PART);
        is_short.then(|| Arc::clone(last))
    }

    fn index(&mut self) -> Option<Arc<Index<Map>>> {
        let end = self.builder.segment_bytes();
        if self.indexes.last().is_none_or(|last| last.segment_bytes() < end) {
            let bytes = self.builder.finish_so_far().ok()?;
            if self.indexes.len() == REMEMBERED_MAX {
                self.indexes.remove(0);
            }
            self.indexes.push(Arc::new(Index::open(Map::from_bytes(bytes)).ok()?));
        }
        self.indexes.last().cloned()
    }
}

/// Builder of a segment's index.
pub(crate) fn new_builder(link_type: LinkType, ports: &TunnelPorts) -> Builder {
    Builder::new(link_type, random_seed()).with_ports(ports).without_checksums()
}
