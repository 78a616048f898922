//! The thread for operations of a lane's disk that may take time: creating, sealing and removing files, and, where io_uring is
//! not available, writing.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use netrewind_store::clock::{Now, Waker};
use netrewind_store::files::{OpenMode, StoreFile};
use netrewind_store::layout::mark::SYNCED_AT;
use netrewind_store::store::FileLocation;
use netrewind_store::turns::{NextTurn, QueueSender, RunningWorker, Threads, Worker, queue};
use netrewind_store::{Mark, SegmentName, Store, StoreError};

use super::{DiskEvent, SegmentKey, Write};
use crate::buffer_pool::ALIGNMENT_BYTES;
use crate::retention::{Attempt, FREED_LOOK_INTERVAL, Keeper};

/// Interval between two checks of the names of open segments: somebody may rename or remove their folder.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// The files of an open segment.
#[derive(Clone, Debug)]
pub(super) struct OpenFiles {
    pub name: SegmentName,
    pub segment: Arc<dyn StoreFile>,
    pub mark: Arc<dyn StoreFile>,
    /// The folder in which it was created.
    folder: Arc<dyn StoreFile>,
    /// Bytes of space that it has.
    pub room_bytes: u64,
}

pub(super) enum Job {
    Create { segment: SegmentKey, name: SegmentName, wanted_bytes: u64 },
    Write { write: Write, began_ns: u64, file: Arc<dyn StoreFile> },
    Sync { segment: SegmentKey, file: Arc<dyn StoreFile>, mark: Mark, mark_file: Arc<dyn StoreFile> },
    Seal { segment: SegmentKey, bytes: u64 },
    Discard { segment: SegmentKey, name: SegmentName },
    Leave { segment: SegmentKey },
}

pub(super) enum Done {
    Created {
        segment: SegmentKey,
        result: io::Result<OpenFiles>,
    },
    Written {
        write: Write,
        began_ns: u64,
        result: io::Result<()>,
    },
    Event(DiskEvent),
    /// An event that completes no operation.
    Unasked(DiskEvent),
}

/// The thread, as its lane sees it.
pub(super) struct FileWorker {
    jobs: Option<QueueSender<Job>>,
    done: mpsc::Receiver<Done>,
    pending: usize,
    threads: Arc<dyn Threads>,
    thread: Option<Box<dyn RunningWorker>>,
}

impl FileWorker {
    pub fn new(store: Store, keeper: Arc<Keeper>, threads: Arc<dyn Threads>) -> io::Result<Self> {
        let waker = Waker::default();
        let (jobs, jobs_taken) = queue(&waker);
        let (done_sender, done) = mpsc::channel();
        let worker = FileJobs {
            store,
            keeper,
            open: HashMap::new(),
            jobs: jobs_taken,
            postponed: None,
            done: done_sender,
            looked_ns: 0,
        };
        let thread = threads.start("disk".into(), 0, &waker, Box::new(worker))?;
        Ok(Self { jobs: Some(jobs), done, pending: 0, threads, thread: Some(thread) })
    }

    pub fn ask(&mut self, job: Job) {
        if !matches!(job, Job::Discard { .. } | Job::Leave { .. }) {
            self.pending += 1;
        }
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as this does.
            let _ = jobs.send(job);
        }
    }

    /// True if a completion is outstanding.
    pub fn is_pending(&self) -> bool {
        self.pending > 0
    }

    pub fn answer(&mut self, patience: Duration) -> Option<Done> {
        let done = match self.done.try_recv() {
            Err(_) if patience.is_zero() => return None,
            Err(_) if self.threads.let_others() => self.done.try_recv().ok()?,
            Err(_) => self.done.recv_timeout(patience).ok()?,
            Ok(done) => done,
        };
        if !matches!(done, Done::Unasked(_)) {
            self.pending = self.pending.saturating_sub(1);
        }
        Some(done)
    }
}

impl Drop for FileWorker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// What has become of a job.
enum JobOutcome {
    Answered(Done),
    /// Nobody waits for an answer.
    Unanswered,
    /// To be tried again: expired space is not free yet.
    Postponed(Job),
}

/// State of the thread.
struct FileJobs {
    store: Store,
    keeper: Arc<Keeper>,
    open: HashMap<SegmentKey, OpenFiles>,
    jobs: mpsc::Receiver<Job>,
    /// Comes before all others.
    postponed: Option<Job>,
    done: mpsc::Sender<Done>,
    looked_ns: u64,
}

impl Worker for FileJobs {
    fn turn(&mut self, now: Now) -> NextTurn {
        self.work(now).unwrap_or(NextTurn::Never)
    }
}

impl FileJobs {
    /// Carries out the jobs that wait; `None` if there will be no more.
    fn work(&mut self, now: Now) -> Option<NextTurn> {
        loop {
            let job = match self.postponed.take().map_or_else(|| self.jobs.try_recv(), Ok) {
                Ok(job) => job,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return None,
            };
            match self.carry_out(job) {
                JobOutcome::Answered(done) => self.done.send(done).ok()?,
                JobOutcome::Unanswered => {}
                JobOutcome::Postponed(job) => {
                    self.postponed = Some(job);
                    return Some(NextTurn::At(now.after(FREED_LOOK_INTERVAL)));
                }
            }
        }
        if now.since(self.looked_ns) >= LOOK_INTERVAL {
            self.looked_ns = now.monotonic_ns;
            for event in self.look() {
                self.done.send(Done::Unasked(event)).ok()?;
            }
        }
        Some(NextTurn::At(now.after(LOOK_INTERVAL.saturating_sub(now.since(self.looked_ns)))))
    }

    fn carry_out(&mut self, job: Job) -> JobOutcome {
        JobOutcome::Answered(match job {
            Job::Create { segment, name, wanted_bytes } => {
                let store = &self.store;
                let made = self.keeper.create(name.lane, wanted_bytes, |bytes| create(store, &name, bytes));
                let result = match made {
                    Ok(Attempt::Wait) => return JobOutcome::Postponed(job),
                    Ok(Attempt::Done(files, _)) => Ok(files),
                    Err(error) => Err(error),
                };
                if let Ok(files) = &result {
                    self.open.insert(segment, files.clone());
                }
                Done::Created { segment, result }
            }
            Job::Write { write, began_ns, file } => {
                let bytes = write.buffer.get(..write.bytes).unwrap_or_default();
                let result = file.write_all_at(bytes, write.offset);
                Done::Written { write, began_ns, result }
            }
            Job::Sync { segment, file, mark, mark_file } => {
                let synced = file.sync_data().and_then(|()| write_synced(&*mark_file, &mark));
                let result = synced.and_then(|()| mark_file.sync_data());
                Done::Event(DiskEvent::Synced { segment, result })
            }
            Job::Seal { segment, bytes } => {
                Done::Event(DiskEvent::Sealed { segment, result: self.seal(segment, bytes) })
            }
            Job::Discard { segment, name } => {
                self.open.remove(&segment);
                // Left behind, it is removed by the next recovery.
                let _ = self.store.remove(&name);
                return JobOutcome::Unanswered;
            }
            Job::Leave { segment } => {
                self.open.remove(&segment);
                return JobOutcome::Unanswered;
            }
        })
    }

    fn seal(&mut self, segment: SegmentKey, bytes: u64) -> io::Result<()> {
        let not_open = || io::Error::other("the segment is not open");
        let files = self.open.get(&segment).ok_or_else(not_open)?;
        seal(&self.store, files, bytes)?;
        self.keeper.sealed(files.name.lane, bytes, files.room_bytes);
        self.open.remove(&segment);
        Ok(())
    }

    /// Checks that the names of open segments still lead to them.
    fn look(&mut self) -> Vec<DiskEvent> {
        let mut found = Vec::new();
        let mut gone = Vec::new();
        for (&segment, files) in &self.open {
            let name = files.name;
            // A file that cannot be checked now is checked again later, and when it is sealed.
            match FileLocation::keep(&self.store, &name, &*files.segment, &*files.mark) {
                Ok(FileLocation::NamedAgain) => {
                    found.push(DiskEvent::Mended(format!(
                        "segment {name} was moved away while it was being written"
                    )));
                }
                Ok(FileLocation::Gone) => {
                    gone.push(segment);
                    found.push(DiskEvent::Gone { segment, reason: removed(&name) });
                }
                Ok(FileLocation::AsNamed | FileLocation::Moved) | Err(_) => {}
            }
        }
        gone.iter().for_each(|segment| drop(self.open.remove(segment)));
        found
    }
}

fn removed(name: &SegmentName) -> String {
    format!("the file of segment {name} was removed while it was being written")
}

pub(super) fn plain_error(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { path, source } => {
            io::Error::new(source.kind(), format!("{}: {source}", path.display()))
        }
        other => io::Error::other(other),
    }
}

fn create(store: &Store, name: &SegmentName, reserved_bytes: u64) -> io::Result<OpenFiles> {
    store.is_in_place().map_err(plain_error)?;
    store.prepare_folder(name).map_err(plain_error)?;
    if store.is_sealed(name) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("segment {name} already exists")));
    }
    let segment = store.files().create_direct(&store.open_path(name))?;
    fill(store, name, segment.into(), reserved_bytes).inspect_err(|_| {
        // Made by us just now: there is nothing in it.
        let _ = store.remove(name);
    })
}

fn fill(
    store: &Store,
    name: &SegmentName,
    segment: Arc<dyn StoreFile>,
    reserved_bytes: u64,
) -> io::Result<OpenFiles> {
    segment.reserve(reserved_bytes.next_multiple_of(ALIGNMENT_BYTES as u64))?;
    let mark = store.files().open(&store.mark_path(name), OpenMode::Create)?;
    mark.write_all_at(&Mark::default().to_file(), 0)?;
    let folder = store.open_day_folder(name).map_err(plain_error)?;
    // A file system need not keep a file whose name was not synced, however often its contents were.
    folder.sync_all()?;
    Ok(OpenFiles {
        name: *name,
        segment,
        mark: mark.into(),
        folder: folder.into(),
        room_bytes: reserved_bytes,
    })
}

/// Writes the mark that recovery believes, once what it promises is durable.
pub(super) fn write_synced(file: &dyn StoreFile, mark: &Mark) -> io::Result<()> {
    file.write_all_at(&mark.to_bytes(), SYNCED_AT)
}

fn seal(store: &Store, files: &OpenFiles, bytes: u64) -> io::Result<()> {
    let OpenFiles { name, segment, mark, folder, .. } = files;
    // A missing name does not mean that the file is gone: it may be moved back.
    let unfound = |error: StoreError| io::Error::other(plain_error(error));
    let place = FileLocation::keep(store, name, &**segment, &**mark).map_err(unfound)?;
    if place == FileLocation::Gone {
        return Err(io::Error::new(io::ErrorKind::NotFound, removed(name)));
    }
    segment.set_bytes(bytes)?;
    segment.sync_all()?;
    if place == FileLocation::Moved {
        return store.seal_in(&**folder, name).map_err(unfound);
    }
    if !store.is_open(name) && store.is_sealed(name) {
        return Ok(()); // renamed by an earlier attempt that failed afterwards
    }
    store.seal(name).map_err(unfound)
}
