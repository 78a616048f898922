//! Compresses sealed segments of a certain age, behind a recording.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::clock::{Now, Waker};
use netrewind_store::cold::Compression;
use netrewind_store::room::Room;
use netrewind_store::store::{ColdFiles, ListedSegment};
use netrewind_store::turns::{NextTurn, RunningWorker, Worker};
use netrewind_store::{Event, SegmentName, SegmentState, Timestamp, locked};

use crate::error::IndexerError;
use crate::workplace::{CATCH_UP_NICENESS, Workplace};

/// Interval between two looks for segments that are old enough.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Looks after which compressing is tried again, if it failed.
const LOOKS_AFTER_FAILURE: u32 = 60;

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
    room.map_or(Ok(()), |room| room.make_room(segment.file_bytes))?;
    let mut goes_on = || !stop.load(Ordering::Relaxed);
    let done = ColdFiles::of(&place.store).compress(&segment.name, &mut goes_on)?;
    if let Compression::Written(file_bytes) = done {
        place.log(Event::Compressed { segment: segment.name, bytes: segment.file_bytes, file_bytes });
    }
    Ok(done)
}

/// Compresses at the lowest priority.
pub(crate) struct CompressorThread {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Box<dyn RunningWorker>,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
}

impl CompressorThread {
    /// Starts the thread. It begins once there is somebody who makes room.
    pub(crate) fn start(place: &Workplace, after: Duration) -> Result<Self, IndexerError> {
        let (stop, room) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let worker = Compressor {
            place: place.clone(),
            after,
            room: Arc::clone(&room),
            stop: Arc::clone(&stop),
            not_worth_it: BTreeSet::new(),
            rests: 0,
        };
        let waker = Waker::default();
        let thread = place.threads.start("compress".into(), CATCH_UP_NICENESS, &waker, Box::new(worker))?;
        Ok(Self { stop, waker, thread, room })
    }

    /// Sets what makes room in the store.
    pub(crate) fn set_room(&self, room: &Arc<dyn Room>) {
        *locked(&self.room) = Some(Arc::clone(room));
    }

    /// Ends; a segment that is being compressed stays as it is.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        // A panic there has been printed; every segment is whole.
        self.thread.join();
    }
}

struct Compressor {
    place: Workplace,
    after: Duration,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
    stop: Arc<AtomicBool>,
    /// Segments that would not become small enough.
    not_worth_it: BTreeSet<SegmentName>,
    /// Looks to skip.
    rests: u32,
}

impl Worker for Compressor {
    fn turn(&mut self, now: Now) -> NextTurn {
        if self.stop.load(Ordering::Relaxed) {
            return NextTurn::Never;
        }
        let mut goes_on = false;
        if self.rests > 0 {
            self.rests -= 1;
        } else {
            match self.compress_one(now.wall) {
                Ok(is_done) => goes_on = is_done,
                Err(error) => {
                    self.rests = LOOKS_AFTER_FAILURE;
                    self.place.log(Event::CompressionBehind { reason: error.to_string() });
                }
            }
        }
        let now = self.place.clock.now();
        NextTurn::At(if goes_on { now.monotonic_ns } else { now.after(LOOK_INTERVAL) })
    }
}

impl Compressor {
    /// Compresses the oldest segment that is due; false if there is none.
    fn compress_one(&mut self, now: Timestamp) -> Result<bool, IndexerError> {
        let Some(room) = locked(&self.room).clone() else { return Ok(false) };
        let segments = ListedSegment::all(&self.place.store)?;
        self.not_worth_it.retain(|name| segments.iter().any(|segment| segment.name == *name));
        let is_next =
            |it: &&ListedSegment| is_due(it, self.after, now) && !self.not_worth_it.contains(&it.name);
        let Some(segment) = segments.iter().find(is_next) else { return Ok(false) };
        if compress(&self.place, segment, Some(&*room), &self.stop)? == Compression::NotWorthIt {
            self.not_worth_it.insert(segment.name);
        }
        Ok(true)
    }
}
