//! Uploads the segments of a store, behind a recording.
//!
//! **Invariant:** recording does not wait for it. What is done is what the bucket lists: a process that is killed at any moment
//! leaves nothing behind that the next one does not find or write again.

mod expiry;
mod hours;
mod logbook;
mod queue;
mod segment;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netrewind_store::catalog::Hour;
use netrewind_store::clock::{Clock, Now, Waker};
use netrewind_store::room::Room;
use netrewind_store::store::{ListedSegment, UploadFiles};
use netrewind_store::time::MINUTE_NS;
use netrewind_store::turns::{NextTurn, RunningWorker, Threads, Worker};
use netrewind_store::{Event, Logbook, SegmentName, Store, Timestamp, locked};

pub use expiry::expire;
pub use logbook::PIECE_BYTES_MAX;
pub use queue::{SETTLING_TIME, Waiting};
pub use segment::PART_BYTES;

use crate::bucket::{Bucket, BucketFault};
use crate::circuit::Circuit;
use crate::error::ArchiveError;
use crate::objects::{ArchiveObject, StoreKeys};
use hours::HourUpload;
use logbook::LogbookUpload;
use queue::{Look, UploadQueue};
use segment::{SegmentUpload, Uncommitted, Uploader};

/// Niceness of the thread: everything else goes first.
const UPLOAD_NICENESS: i32 = 19;
/// Interval between two looks for work.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the logbook is told what was archived, and what waits.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Interval between two looks for what has expired in the archive.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);
/// Interval after which a segment that could not be read is tried again.
pub const FAULT_INTERVAL: Duration = Duration::from_secs(600);
/// Time at the end of a recording for what was sealed last.
pub const FINAL_TIME_MAX: Duration = Duration::from_secs(30);
/// Segments whose files are sent before a piece of the logbook and their indexes are.
pub const UNCOMMITTED_MAX: usize = 32;
/// The least and the greatest rate that can be asked for, in bytes a second.
pub const RATE_MIN: u64 = 64 << 10;
/// See [`RATE_MIN`].
pub const RATE_MAX: u64 = 100 << 30;
/// The least age at which objects may expire: of a day that is over.
pub const AGE_MIN: Duration = Duration::from_secs(86_400);

/// State of an archive, for those who watch it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// Segments that went there since the beginning.
    pub segments: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Those that wait.
    pub waiting: Waiting,
    /// Segments that expired before they were archived.
    pub unarchived: u64,
    /// Objects that were removed there because of their age.
    pub removed: u64,
    /// Reason why nothing, or not everything, can be archived at the moment, in words.
    pub trouble: Option<String>,
}

/// Uploading that has not begun.
pub struct ArchiveUpload {
    bucket: Arc<Bucket>,
    age_max: Option<Duration>,
    status: Arc<Mutex<ArchiveStatus>>,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
}

impl ArchiveUpload {
    /// Uploads into this bucket, where days expire that ended so long ago.
    pub fn new(bucket: Bucket, age_max: Option<Duration>) -> Self {
        Self { bucket: Arc::new(bucket), age_max, status: Arc::default(), room: Arc::default() }
    }

    /// Its state, at any time.
    pub fn status(&self) -> Arc<Mutex<ArchiveStatus>> {
        Arc::clone(&self.status)
    }

    /// Starts the thread. It begins once there is somebody who makes room.
    pub fn start(
        self,
        store: &Store,
        logbook: Arc<Mutex<Logbook>>,
        clock: Arc<dyn Clock>,
        threads: &dyn Threads,
    ) -> Result<ArchiveThread, ArchiveError> {
        let (stop, waker) = (Arc::new(AtomicBool::new(false)), Waker::default());
        let mut worker = self.worker(store, logbook, Arc::clone(&clock), &stop)?;
        worker.needs_room = true;
        let (bucket, room) = (Arc::clone(&self.bucket), Arc::clone(&self.room));
        let (status, ending) = (Arc::clone(&self.status), Arc::clone(&worker.ending));
        let thread = threads.start("archive".into(), UPLOAD_NICENESS, &waker, Box::new(worker))?;
        Ok(ArchiveThread { stop, ending, waker, bucket, room, status, clock, thread })
    }

    /// Uploads everything that there is, on this thread, until `stop` is set or something fails; `tell` is told of each segment.
    pub fn run(
        self,
        store: &Store,
        logbook: Arc<Mutex<Logbook>>,
        clock: Arc<dyn Clock>,
        stop: &Arc<AtomicBool>,
        tell: &mut dyn FnMut(&ArchiveStatus),
    ) -> Result<ArchiveStatus, ArchiveError> {
        let mut worker = self.worker(store, logbook, Arc::clone(&clock), stop)?;
        // A run that finds nothing to do leaves no line.
        worker.logged = Some(ArchiveStatus::default());
        let mut is_first = true;
        while !stop.load(Ordering::Relaxed) && (is_first || !worker.is_idle()) {
            worker.work(clock.now(), is_first)?;
            worker.bring_up_to_date();
            tell(&locked(&self.status));
            is_first = false;
        }
        worker.end(clock.now())?;
        let status = locked(&self.status).clone();
        Ok(status)
    }

    fn worker(
        &self,
        store: &Store,
        logbook: Arc<Mutex<Logbook>>,
        clock: Arc<dyn Clock>,
        stop: &Arc<AtomicBool>,
    ) -> Result<ArchiveWorker, ArchiveError> {
        let id = &store.identity().id;
        let keys = StoreKeys::new(id).ok_or_else(|| {
            ArchiveError::Part(format!(
                "the store's id {id:?} cannot be part of a key: restore store.toml from a copy"
            ))
        })?;
        Ok(ArchiveWorker {
            store: store.clone(),
            bucket: Arc::clone(&self.bucket),
            keys,
            stop: Arc::clone(stop),
            room: Arc::clone(&self.room),
            needs_room: false,
            ending: Arc::default(),
            clock,
            book: logbook,
            status: Arc::clone(&self.status),
            age_max: self.age_max,
            circuit: Circuit::default(),
            identity: None,
            queue: UploadQueue::default(),
            due: VecDeque::new(),
            uncommitted: VecDeque::new(),
            logbook: LogbookUpload::default(),
            hours: HourUpload::default(),
            hours_over: BTreeSet::new(),
            logged: None,
            look_at_ns: 0,
            log_at_ns: 0,
            expire_at_ns: 0,
            retry_at_ns: 0,
        })
    }
}

/// The thread that uploads.
pub struct ArchiveThread {
    stop: Arc<AtomicBool>,
    ending: Arc<Mutex<Ending>>,
    waker: Waker,
    bucket: Arc<Bucket>,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
    status: Arc<Mutex<ArchiveStatus>>,
    clock: Arc<dyn Clock>,
    thread: Box<dyn RunningWorker>,
}

/// The end of uploading, once the recording has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    #[default]
    NotYet,
    /// What there is at the moment is looked for and sent.
    Wanted,
    /// It is being sent.
    Begun,
    /// All of it was sent, or something failed.
    Done,
}

impl ArchiveThread {
    /// The URL of the archive.
    pub fn url(&self) -> String {
        self.bucket.url().to_string()
    }

    /// Sets what makes room in the store, for segments that are compressed on their way.
    pub fn set_room(&self, room: &Arc<dyn Room>) {
        *locked(&self.room) = Some(Arc::clone(room));
        self.waker.wake();
    }

    /// Sends what the recording has sealed by now, for [`FINAL_TIME_MAX`] at most and unless it is given up meanwhile, and ends.
    /// Returns the state that it leaves. Nothing is tried twice. `wait` is called while it goes on.
    pub fn finish_with_the_last(self, wait: &mut dyn FnMut() -> bool) -> ArchiveStatus {
        *locked(&self.ending) = Ending::Wanted;
        self.waker.wake();
        let began_ns = self.clock.now().monotonic_ns;
        let is_over = || self.clock.now().since(began_ns) >= FINAL_TIME_MAX;
        while *locked(&self.ending) != Ending::Done && !is_over() && wait() {}
        let (ending, status) = (Arc::clone(&self.ending), Arc::clone(&self.status));
        self.finish();
        let mut status = locked(&status).clone();
        if *locked(&ending) != Ending::Done && status.trouble.is_none() {
            let time = FINAL_TIME_MAX.as_secs();
            status.trouble = Some(format!("not everything could be sent within the {time} s at the end"));
        }
        status
    }

    /// Ends; what is under way is given up, and left to the next process.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bucket.stop();
        self.waker.wake();
        // A panic there has been printed; the next process does what is left.
        self.thread.join();
    }
}

struct ArchiveWorker {
    store: Store,
    bucket: Arc<Bucket>,
    keys: StoreKeys,
    stop: Arc<AtomicBool>,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
    /// True beside a recording: it waits for somebody who makes room, and for lines that are still to come.
    needs_room: bool,
    ending: Arc<Mutex<Ending>>,
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<Logbook>>,
    status: Arc<Mutex<ArchiveStatus>>,
    age_max: Option<Duration>,
    circuit: Circuit,
    /// The identity as it is in the archive.
    identity: Option<Vec<u8>>,
    queue: UploadQueue,
    /// Segments that were due at the last look, oldest first.
    due: VecDeque<ListedSegment>,
    /// Segments that are sent, but for their indexes.
    uncommitted: VecDeque<Uncommitted>,
    logbook: LogbookUpload,
    hours: HourUpload,
    hours_over: BTreeSet<Hour>,
    /// State that the logbook was told last, if it was.
    logged: Option<ArchiveStatus>,
    look_at_ns: u64,
    log_at_ns: u64,
    expire_at_ns: u64,
    retry_at_ns: u64,
}

impl Worker for ArchiveWorker {
    fn turn(&mut self, now: Now) -> NextTurn {
        if self.stop.load(Ordering::Relaxed) {
            self.log(now);
            return NextTurn::Never;
        }
        let ending = *locked(&self.ending);
        if ending != Ending::NotYet {
            return self.end_turn(now, ending);
        }
        if self.needs_room && locked(&self.room).is_none() {
            return NextTurn::WhenWoken;
        }
        let answers = self.bucket.answers();
        let worked = self.work(now, false);
        let now = self.clock.now();
        let next = match worked {
            Ok(()) => {
                // A look at the store alone says nothing of the bucket.
                if self.bucket.answers() > answers {
                    self.circuit.succeeded();
                }
                if self.circuit.failures() == 0 {
                    self.bring_up_to_date();
                }
                if self.is_idle() { self.look_at_ns } else { now.monotonic_ns }
            }
            Err(error) => self.step_back(now, &error),
        };
        self.tell(now);
        NextTurn::At(next)
    }
}

impl ArchiveWorker {
    fn uploader(&self) -> Uploader<'_> {
        Uploader { store: &self.store, bucket: &self.bucket, keys: &self.keys, stop: &self.stop }
    }

    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.uncommitted.is_empty()
    }

    /// Does one thing of what remains at the end of a recording.
    fn end_turn(&mut self, now: Now, ending: Ending) -> NextTurn {
        let worked = match ending {
            Ending::NotYet | Ending::Done => return NextTurn::Never,
            Ending::Wanted => {
                *locked(&self.ending) = Ending::Begun;
                // Nobody writes lines about segments any more.
                self.needs_room = false;
                self.work_until_looked(now)
            }
            Ending::Begun if self.is_idle() => self.end(now).map(|()| true),
            Ending::Begun => self.work(now, false).map(|()| false),
        };
        match worked {
            Ok(false) => return NextTurn::At(now.monotonic_ns),
            Ok(true) => {}
            Err(error) => {
                self.step_back(now, &error);
            }
        }
        self.log(self.clock.now());
        *locked(&self.ending) = Ending::Done;
        NextTurn::Never
    }

    /// Looks for what is due anew; what was due before is found again.
    fn work_until_looked(&mut self, now: Now) -> Result<bool, ArchiveError> {
        self.due.clear();
        self.look(now).map(|()| false)
    }

    /// Does one thing: sends a segment, or commits those that were sent, or looks for more.
    fn work(&mut self, now: Now, is_forced: bool) -> Result<(), ArchiveError> {
        let is_full = self.uncommitted.len() >= UNCOMMITTED_MAX;
        if is_full || (self.due.is_empty() && !self.uncommitted.is_empty()) {
            return self.commit();
        }
        if let Some(segment) = self.due.pop_front() {
            return self.send(&segment);
        }
        if is_forced || now.monotonic_ns >= self.look_at_ns {
            self.look(now)?;
        }
        Ok(())
    }

    fn look(&mut self, now: Now) -> Result<(), ArchiveError> {
        self.look_at_ns = now.after(LOOK_INTERVAL);
        if now.monotonic_ns >= self.retry_at_ns {
            self.queue.forget_faults();
            self.retry_at_ns = now.after(FAULT_INTERVAL);
        }
        self.send_identity()?;
        let look = self.queue.look(&self.store, &self.bucket, &self.keys, now.wall, self.age_max)?;
        let Look { due, expired, hours, .. } = look;
        for segment in expired {
            self.expired(segment, now.wall);
        }
        self.due = due.into_iter().filter(|segment| self.is_settled(segment, now.wall)).collect();
        self.hours_over = hours;
        self.send_hours(now.wall)?;
        self.expire(now)
    }

    /// True if the lines about a segment are in the logbook by now.
    fn is_settled(&self, segment: &ListedSegment, now: Timestamp) -> bool {
        if !self.needs_room {
            return true; // nobody writes
        }
        let files = UploadFiles::of(&self.store);
        let modified =
            files.open_segment(&segment.name).ok().flatten().and_then(|(file, _)| file.status().ok());
        // A clock that was set back would keep it for ever.
        modified.is_none_or(|found| queue::is_settled(found.modified(), now) || found.modified() > now)
    }

    /// A segment is gone that had waited.
    fn expired(&mut self, segment: SegmentName, at: Timestamp) {
        if self.uncommitted.iter().any(|sent| sent.name == segment) {
            return; // its index is held open
        }
        locked(&self.status).unarchived += 1;
        // A logbook that cannot be written is the recorder's to report.
        let _ = locked(&self.book).append(at, Event::Unarchived { segment });
    }

    fn send_identity(&mut self) -> Result<(), ArchiveError> {
        let identity = UploadFiles::of(&self.store).identity()?;
        if self.identity.as_ref() != Some(&identity) {
            let key = self.keys.key(&ArchiveObject::Identity);
            let there = match self.bucket.get(&key) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.fault == BucketFault::NoObject => None,
                Err(error) => return Err(error.into()),
            };
            if there.as_deref() != Some(&identity[..]) {
                self.bucket.replace(&key, vec![Bytes::from(identity.clone())])?;
            }
            self.identity = Some(identity);
        }
        Ok(())
    }

    /// Sends a segment's file; one that cannot be read here is named, and the others go on.
    fn send(&mut self, segment: &ListedSegment) -> Result<(), ArchiveError> {
        let room = locked(&self.room).clone();
        match self.uploader().segment(segment, room.as_deref()) {
            Ok(SegmentUpload::Sent(sent)) => self.uncommitted.push_back(sent),
            Ok(SegmentUpload::Gone | SegmentUpload::Stopped) => {}
            Err(error) => return self.skip_or_fail(segment.name, error),
        }
        Ok(())
    }

    /// Passes over a segment whose fault is its own.
    fn skip_or_fail(&mut self, name: SegmentName, error: ArchiveError) -> Result<(), ArchiveError> {
        match error {
            ArchiveError::Bucket(error) if error.fault.is_of_bucket() => Err(error.into()),
            error => {
                self.queue.failed(name, format!("segment {name}: {error}"));
                Ok(())
            }
        }
    }

    /// Sends the logbook, then the indexes of the segments that are there.
    fn commit(&mut self) -> Result<(), ArchiveError> {
        let now = self.clock.now().wall;
        self.send_logbook(now)?;
        while let Some(sent) = self.uncommitted.pop_front() {
            let mut hours = std::mem::take(&mut self.hours);
            let uploader = self.uploader();
            let committed =
                hours.reopen(&uploader, Hour::of(sent.name.opened)).and_then(|()| uploader.commit(&sent));
            self.hours = hours;
            match committed {
                Ok(()) => {
                    let mut status = locked(&self.status);
                    status.segments += 1;
                    status.bytes += sent.bytes;
                    drop(status);
                    self.queue.archived(sent.name);
                }
                Err(ArchiveError::Bucket(error)) if error.fault.is_of_bucket() => {
                    self.uncommitted.push_front(sent);
                    return Err(error.into());
                }
                Err(error) => self.skip_or_fail(sent.name, error)?,
            }
        }
        Ok(())
    }

    fn send_logbook(&mut self, now: Timestamp) -> Result<(), ArchiveError> {
        // What is written has to be durable before others rely on it.
        locked(&self.book).sync()?;
        let mut logbook = std::mem::take(&mut self.logbook);
        let sent = logbook.send(&self.uploader(), now);
        self.logbook = logbook;
        sent
    }

    /// Sends the indexes of hours that are over, after the logbook up to their end.
    fn send_hours(&mut self, now: Timestamp) -> Result<(), ArchiveError> {
        let current = Hour::of(now).start();
        // A minute for lines of the hour that come late.
        let has_settled = now.ns_since(current) >= MINUTE_NS;
        let is_sent = self.logbook.sent_at.is_some_and(|sent| sent.ns_since(current) >= MINUTE_NS);
        if has_settled && !is_sent {
            self.send_logbook(now)?;
        }
        if !has_settled && self.logbook.sent_at.is_none_or(|sent| sent < current) {
            return Ok(());
        }
        let due = self.hours_over.iter().filter(|hour| !self.hours.is_done(**hour)).copied().collect();
        let mut hours = std::mem::take(&mut self.hours);
        let sent = hours.send(&self.uploader(), &due);
        self.hours = hours;
        sent
    }

    fn expire(&mut self, now: Now) -> Result<(), ArchiveError> {
        if let Some(age_max) = self.age_max.filter(|_| now.monotonic_ns >= self.expire_at_ns) {
            let removed = expire(&self.uploader(), age_max, now.wall)?;
            locked(&self.status).removed += removed;
            self.expire_at_ns = now.after(EXPIRY_INTERVAL);
        }
        Ok(())
    }

    /// What remains at the end of a single run: the logbook as it is, and the hours.
    fn end(&mut self, now: Now) -> Result<(), ArchiveError> {
        if !self.stop.load(Ordering::Relaxed) {
            self.bring_up_to_date();
            self.log(now);
            self.send_logbook(now.wall)?;
            let look = self.queue.look(&self.store, &self.bucket, &self.keys, now.wall, self.age_max)?;
            self.hours_over = look.hours;
            self.send_hours(now.wall)?;
            self.bring_up_to_date();
        }
        Ok(())
    }

    /// Waits for a bucket that fails.
    fn step_back(&mut self, now: Now, error: &ArchiveError) -> u64 {
        let fault = match error {
            ArchiveError::Bucket(error) if error.fault == BucketFault::Stopped => return now.monotonic_ns,
            ArchiveError::Bucket(error) => error.fault,
            _ => BucketFault::Local,
        };
        // What is due is looked for again: it is tried before what comes later.
        self.look_at_ns = 0;
        self.due.clear();
        let wait = self.circuit.failed(fault);
        let mut status = locked(&self.status);
        status.waiting = self.queue.waiting();
        status.trouble = Some(error.to_string());
        drop(status);
        now.after(wait)
    }

    fn bring_up_to_date(&mut self) {
        let fault = self.queue.fault().map(|(reason, others)| match others {
            1 => reason.to_owned(),
            all => format!("{reason} (and {} others)", all - 1),
        });
        let mut status = locked(&self.status);
        status.waiting = self.queue.waiting();
        status.trouble = fault;
    }

    /// Tells the logbook at intervals, and at once where trouble begins or ends.
    fn tell(&mut self, now: Now) {
        let current = locked(&self.status).clone();
        let has_turned =
            self.logged.as_ref().is_none_or(|last| last.trouble.is_some() != current.trouble.is_some());
        if has_turned || now.monotonic_ns >= self.log_at_ns {
            self.log(now);
        }
    }

    fn log(&mut self, now: Now) {
        let current = locked(&self.status).clone();
        if self.logged.as_ref() == Some(&current) {
            return;
        }
        let last = self.logged.take().unwrap_or_default();
        let event = Event::Archive {
            archive: self.bucket.url().to_string(),
            segments: current.segments - last.segments,
            bytes: current.bytes - last.bytes,
            waiting_segments: current.waiting.segments,
            waiting_bytes: current.waiting.bytes,
            oldest: current.waiting.oldest,
            removed: current.removed - last.removed,
            trouble: current.trouble.clone(),
        };
        // A logbook that cannot be written is the recorder's to report.
        let _: Result<(), io::Error> = locked(&self.book).append(now.wall, event).map_err(io::Error::other);
        self.logged = Some(current);
        self.log_at_ns = now.after(LOG_INTERVAL);
    }
}

/// Segments of a store that are not in its archive, as a look from outside shows them.
pub fn look(
    store: &Store,
    bucket: &Bucket,
    now: Timestamp,
) -> Result<(Waiting, Vec<ListedSegment>), ArchiveError> {
    let id = &store.identity().id;
    let keys = StoreKeys::new(id)
        .ok_or_else(|| ArchiveError::Part(format!("the store's id {id:?} cannot be part of a key")))?;
    let look = UploadQueue::default().look(store, bucket, &keys, now, None)?;
    Ok((look.waiting, look.due))
}
