//! Indexes of segments that are being written, in memory. Who watches a network asks for its flows every few seconds: what a
//! segment held the last time is not counted again.
//!
//! **Invariant:** an index from here is the one that the segment would get if it were sealed where the query sees its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netrewind_indexer::{Builder, Index};
use netrewind_segment::{Records, SegmentName};

use crate::ExtractError;
use crate::segment::Segment;
use crate::sys::Map;

/// Flows of all of them together, some 200 bytes each. A segment with more is counted anew for each query.
const FLOWS_MAX: usize = 1 << 20;
/// Records after which is asked whether to go on.
const RECORDS_BETWEEN_QUESTIONS: u64 = 4096;

/// By lane, each of which writes one segment at a time.
#[derive(Debug, Default)]
pub(crate) struct Growing(Mutex<HashMap<u16, Named>>);

/// What is known of a lane's segment.
type Named = (SegmentName, Arc<Mutex<Grown>>);

#[derive(Debug)]
struct Grown {
    builder: Builder,
    /// Of all records that the builder has counted.
    index: Option<Arc<Index<Map>>>,
}

impl Growing {
    /// The index of an open segment, whose packets a `new_builder` counts. `None` where it has to be done without: the segment
    /// is damaged, or holds too many flows, or another query has already seen more of it.
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

    /// What is known of the segment that a lane writes, and how many flows it may hold. `None` where the lane has gone on to
    /// another segment since the query began.
    fn of_lane(
        &self,
        segment: &Segment,
        new_builder: impl FnOnce() -> Builder,
    ) -> Option<(Arc<Mutex<Grown>>, usize)> {
        let name = segment.name;
        let mut lanes = locked(&self.0);
        let known = lanes.get(&name.lane).filter(|(known, _)| *known >= name).cloned();
        let (known, grown) = known.unwrap_or_else(|| {
            let begun = Arc::new(Mutex::new(Grown { builder: new_builder(), index: None }));
            lanes.insert(name.lane, (name, Arc::clone(&begun)));
            (name, begun)
        });
        (known == name).then_some((grown, FLOWS_MAX / lanes.len()))
    }
}

impl Grown {
    /// Counts the records that have been written since. False where that cannot be, or is not worth it.
    fn count(
        &mut self,
        segment: &Segment,
        flows_max: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, ExtractError> {
        let end = segment.bytes.len() as u64;
        let begin = self.builder.segment_bytes();
        let rest = usize::try_from(begin).ok().and_then(|begin| segment.bytes.get(begin..));
        let Some(rest) = rest else { return Ok(false) };
        for record in Records::new(rest, begin) {
            if self.builder.records().is_multiple_of(RECORDS_BETWEEN_QUESTIONS) && stop() {
                return Err(ExtractError::Cancelled);
            }
            if self.builder.flows() > flows_max {
                return Ok(false);
            }
            self.index = None;
            self.builder.push(&record);
        }
        Ok(self.builder.segment_bytes() == end)
    }

    fn index(&mut self) -> Option<Arc<Index<Map>>> {
        if self.index.is_none() {
            let bytes = self.builder.finish_so_far().ok()?;
            self.index = Index::open(Map::held(bytes)).ok().map(Arc::new);
        }
        self.index.clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
