//! The thread that does for a lane's disk whatever may take its time: creating, sealing and removing files, and, where
//! io_uring cannot be used, writing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use netrewind_segment::{Mark, SegmentName, Store, StoreError};
use rustix::fs::{FallocateFlags, OFlags};

use super::{DiskEvent, SegmentKey, Write};
use crate::pool::ALIGNMENT_BYTES;
use crate::retention::Keeper;

/// The files of an open segment.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub name: SegmentName,
    pub segment: Arc<File>,
    pub mark: Arc<File>,
}

pub(super) enum Job {
    Create { segment: SegmentKey, name: SegmentName, reserved_bytes: u64 },
    Write { write: Write, began_ns: u64, file: Arc<File> },
    Sync { segment: SegmentKey, file: Arc<File> },
    Seal { segment: SegmentKey, name: SegmentName, file: Arc<File>, bytes: u64 },
    Discard { name: SegmentName },
}

pub(super) enum Done {
    Created { segment: SegmentKey, result: io::Result<OpenFiles> },
    Written { write: Write, began_ns: u64, result: io::Result<()> },
    Event(DiskEvent),
}

/// The thread, as its lane sees it.
pub(super) struct Attendant {
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<Done>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Attendant {
    pub fn new(store: Store, keeper: Arc<Keeper>) -> io::Result<Self> {
        let (jobs, jobs_taken) = mpsc::channel();
        let (done_sender, done) = mpsc::channel();
        let work = move || {
            while let Ok(job) = jobs_taken.recv() {
                if let Some(answer) = carry_out(job, &store, &keeper)
                    && done_sender.send(answer).is_err()
                {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("disk".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, pending: 0, thread: Some(thread) })
    }

    pub fn ask(&mut self, job: Job) {
        if !matches!(job, Job::Discard { .. }) {
            self.pending += 1;
        }
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as this does.
            let _ = jobs.send(job);
        }
    }

    /// Whether an answer will come.
    pub fn is_pending(&self) -> bool {
        self.pending > 0
    }

    pub fn answer(&mut self, patience: Duration) -> Option<Done> {
        let done = match patience.is_zero() {
            true => self.done.try_recv().ok()?,
            false => self.done.recv_timeout(patience).ok()?,
        };
        self.pending = self.pending.saturating_sub(1);
        Some(done)
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry_out(job: Job, store: &Store, keeper: &Keeper) -> Option<Done> {
    Some(match job {
        Job::Create { segment, name, reserved_bytes } => {
            let result = keeper.create(reserved_bytes, || create(store, &name, reserved_bytes));
            Done::Created { segment, result }
        }
        Job::Write { write, began_ns, file } => {
            let bytes = write.buffer.get(..write.bytes).unwrap_or_default();
            let result = file.write_all_at(bytes, write.offset);
            Done::Written { write, began_ns, result }
        }
        Job::Sync { segment, file } => Done::Event(DiskEvent::Synced { segment, result: file.sync_data() }),
        Job::Seal { segment, name, file, bytes } => {
            Done::Event(DiskEvent::Sealed { segment, result: seal(store, &name, &file, bytes) })
        }
        Job::Discard { name } => {
            // Left behind, it is removed by the next recovery.
            let _ = store.remove(&name);
            return None;
        }
    })
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
    store.prepare_folder(name).map_err(plain_error)?;
    if store.sealed_path(name).exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("segment {name} is there already")));
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
    Ok(OpenFiles { name: *name, segment: Arc::new(segment), mark: Arc::new(mark) })
}

/// Creates a file past the page cache, where the file system can do that.
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

/// Reserves space; where the file system cannot, the file at least has its length, which the budget counts.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        reserved => Ok(reserved?),
    }
}

fn seal(store: &Store, name: &SegmentName, file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()?;
    if !store.open_path(name).exists() && store.sealed_path(name).exists() {
        return Ok(()); // renamed by a try that failed only afterwards
    }
    store.seal(name).map_err(plain_error)
}
