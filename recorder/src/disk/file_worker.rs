//! The thread for operations of a lane's disk that may take time: creating, sealing and removing files, and, where io_uring is
//! not available, writing.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use netrewind_store::clock::Clock;
use netrewind_store::files::StoreFile;
use netrewind_store::store::FileLocation;
use netrewind_store::{Mark, SegmentName, Store, StoreError};
use rustix::fs::{FallocateFlags, OFlags};

use super::{DiskEvent, SegmentKey, Write};
use crate::buffer_pool::ALIGNMENT_BYTES;
use crate::retention::Keeper;

/// Interval between two checks of the names of open segments: somebody may rename or remove their folder.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// The files of an open segment.
#[derive(Clone, Debug)]
pub(super) struct OpenFiles {
    pub name: SegmentName,
    pub segment: Arc<File>,
    pub mark: Arc<File>,
    /// The folder in which it was created.
    folder: Arc<dyn StoreFile>,
    /// Bytes of space that it has.
    pub room_bytes: u64,
}

pub(super) enum Job {
    Create { segment: SegmentKey, name: SegmentName, wanted_bytes: u64 },
    Write { write: Write, began_ns: u64, file: Arc<File> },
    Sync { segment: SegmentKey, file: Arc<File> },
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
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<Done>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl FileWorker {
    pub fn new(store: Store, keeper: Arc<Keeper>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (jobs, jobs_taken) = mpsc::channel();
        let (done_sender, done) = mpsc::channel();
        let mut worker = Worker { store, keeper, open: HashMap::new(), clock, looked_ns: 0 };
        let work = move || {
            loop {
                let answer = match jobs_taken.recv_timeout(LOOK_INTERVAL) {
                    Ok(job) => worker.carry_out(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let answers = answer.into_iter().chain(worker.look_if_due());
                if !answers.map(|answer| done_sender.send(answer)).all(|sent| sent.is_ok()) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("disk".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, pending: 0, thread: Some(thread) })
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
        let done = match patience.is_zero() {
            true => self.done.try_recv().ok()?,
            false => self.done.recv_timeout(patience).ok()?,
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
            let _ = thread.join();
        }
    }
}

/// State of the thread.
struct Worker {
    store: Store,
    keeper: Arc<Keeper>,
    open: HashMap<SegmentKey, OpenFiles>,
    clock: Arc<dyn Clock>,
    looked_ns: u64,
}

impl Worker {
    fn carry_out(&mut self, job: Job) -> Option<Done> {
        Some(match job {
            Job::Create { segment, name, wanted_bytes } => {
                let store = &self.store;
                let made = self.keeper.create(name.lane, wanted_bytes, |bytes| create(store, &name, bytes));
                let result = made.map(|(files, _)| files);
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
            Job::Sync { segment, file } => {
                Done::Event(DiskEvent::Synced { segment, result: file.sync_data() })
            }
            Job::Seal { segment, bytes } => {
                Done::Event(DiskEvent::Sealed { segment, result: self.seal(segment, bytes) })
            }
            Job::Discard { segment, name } => {
                self.open.remove(&segment);
                // Left behind, it is removed by the next recovery.
                let _ = self.store.remove(&name);
                return None;
            }
            Job::Leave { segment } => {
                self.open.remove(&segment);
                return None;
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

    /// Checks, if due, that the names of open segments still lead to them.
    fn look_if_due(&mut self) -> Vec<Done> {
        let now_ns = self.clock.now().monotonic_ns;
        if u128::from(now_ns.saturating_sub(self.looked_ns)) < LOOK_INTERVAL.as_nanos() {
            return Vec::new();
        }
        self.looked_ns = now_ns;
        let mut found = Vec::new();
        let mut gone = Vec::new();
        for (&segment, files) in &self.open {
            let name = files.name;
            // A file that cannot be checked now is checked again later, and when it is sealed.
            match self.store.keep_open_segment(&name, &*files.segment, &*files.mark) {
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
        found.into_iter().map(Done::Unasked).collect()
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
    let segment = create_direct(&store.open_path(name))?;
    fill(store, name, segment, reserved_bytes).inspect_err(|_| {
        // Made by us just now: there is nothing in it.
        let _ = store.remove(name);
    })
}

fn fill(store: &Store, name: &SegmentName, segment: File, reserved_bytes: u64) -> io::Result<OpenFiles> {
    reserve(&segment, reserved_bytes.next_multiple_of(ALIGNMENT_BYTES as u64))?;
    let mark = OpenOptions::new().write(true).create(true).truncate(true).open(store.mark_path(name))?;
    mark.write_all_at(&Mark::default().to_bytes(), 0)?;
    Ok(OpenFiles {
        name: *name,
        segment: Arc::new(segment),
        mark: Arc::new(mark),
        folder: store.open_day_folder(name).map_err(plain_error)?.into(),
        room_bytes: reserved_bytes,
    })
}

/// Creates a file for direct I/O, where the file system supports it.
fn create_direct(path: &std::path::Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    match options.clone().custom_flags(direct).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            // The file may have been created before its flags were refused: open(2).
            let _ = std::fs::remove_file(path);
            options.open(path)
        }
        opened => opened,
    }
}

/// Reserves space; where the file system cannot, sets at least the file's length, which the budget counts.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        reserved => Ok(reserved?),
    }
}

fn seal(store: &Store, files: &OpenFiles, bytes: u64) -> io::Result<()> {
    let OpenFiles { name, segment, mark, folder, .. } = files;
    // A missing name does not mean that the file is gone: it may be moved back.
    let unfound = |error: StoreError| io::Error::other(plain_error(error));
    let place = store.keep_open_segment(name, &**segment, &**mark).map_err(unfound)?;
    if place == FileLocation::Gone {
        return Err(io::Error::new(io::ErrorKind::NotFound, removed(name)));
    }
    segment.set_len(bytes)?;
    segment.sync_all()?;
    if place == FileLocation::Moved {
        return store.seal_in(&**folder, name).map_err(unfound);
    }
    if !store.is_open(name) && store.is_sealed(name) {
        return Ok(()); // renamed by an earlier attempt that failed afterwards
    }
    store.seal(name).map_err(unfound)
}
