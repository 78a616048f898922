//! Compresses sealed segments of a certain age, behind a recording.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::cold::Compression;
use netrewind_store::room::Room;
use netrewind_store::store::{ColdFiles, ListedSegment};
use netrewind_store::turns::{NextTurn, Worker};
use netrewind_store::{Event, SegmentName, SegmentState, Timestamp};

use crate::background::{Background, BackgroundThread, LOOK_INTERVAL, LOOKS_AFTER_FAILURE};
use crate::error::IndexerError;
use crate::workplace::Workplace;

/// True for a segment that is to be compressed now: complete, indexed, and opened so long ago.
pub fn is_due(segment: &ListedSegment, after: Duration, now: Timestamp) -> bool {
    let since = i128::from(now.ns()) - i128::from(segment.name.opened.ns());
    segment.state == SegmentState::Sealed
        && !segment.is_cold
        && segment.has_index
        && since >= i128::try_from(after.as_nanos()).unwrap_or(i128::MAX)
}

/// Compresses a segment, after making room for the time in which it is there twice, and logs it.
pub fn compress(
    place: &Workplace,
    segment: &ListedSegment,
    room: Option<&dyn Room>,
    stop: &AtomicBool,
) -> Result<Compression, IndexerError> {
    // One that has expired since it was listed needs no room.
    if !place.store.is_sealed(&segment.name) {
        return Ok(Compression::Stopped);
    }
    room.map_or(Ok(()), |room| room.make_room(segment.file_bytes))?;
    let mut goes_on = || !stop.load(Ordering::Relaxed);
    let done = ColdFiles::of(&place.store).compress(&segment.name, &mut goes_on)?;
    if let Compression::Written(file_bytes) = done {
        place.log(Event::Compressed { segment: segment.name, bytes: segment.file_bytes, file_bytes });
    }
    Ok(done)
}

/// Starts the thread that compresses. It begins once there is somebody who makes room.
pub(crate) fn start(place: &Workplace, after: Duration) -> Result<BackgroundThread, IndexerError> {
    BackgroundThread::start(place, "compress", |shared| {
        let (due, not_worth_it) = (VecDeque::new(), BTreeSet::new());
        Box::new(Compressor { place: place.clone(), after, shared, due, not_worth_it, rests: 0 })
    })
}

struct Compressor {
    place: Workplace,
    after: Duration,
    shared: Background,
    /// Segments that were due at the last look, oldest first.
    due: VecDeque<ListedSegment>,
    /// Segments that would not become small enough.
    not_worth_it: BTreeSet<SegmentName>,
    /// Looks to skip.
    rests: u32,
}

impl Worker for Compressor {
    fn turn(&mut self, now: Now) -> NextTurn {
        if self.shared.is_over() {
            return NextTurn::Never;
        }
        if self.rests > 0 {
            self.rests -= 1;
        } else if let Err(error) = self.compress_next(now.wall) {
            self.rests = LOOKS_AFTER_FAILURE;
            self.due.clear();
            self.place.log(Event::CompressionBehind { reason: error.to_string() });
        }
        let now = self.place.clock.now();
        NextTurn::At(if self.due.is_empty() { now.after(LOOK_INTERVAL) } else { now.monotonic_ns })
    }
}

impl Compressor {
    /// Compresses the oldest segment that is due; looks for more where none is known.
    fn compress_next(&mut self, now: Timestamp) -> Result<(), IndexerError> {
        let Some(room) = self.shared.room() else { return Ok(()) };
        if self.due.is_empty() {
            let segments = ListedSegment::all(&self.place.store)?;
            self.not_worth_it
                .retain(|name| segments.binary_search_by_key(name, |segment| segment.name).is_ok());
            let is_next =
                |it: &ListedSegment| is_due(it, self.after, now) && !self.not_worth_it.contains(&it.name);
            self.due = segments.into_iter().filter(is_next).collect();
        }
        let Some(segment) = self.due.pop_front() else { return Ok(()) };
        if compress(&self.place, &segment, Some(&*room), &self.shared.stop)? == Compression::NotWorthIt {
            self.not_worth_it.insert(segment.name);
        }
        Ok(())
    }
}
