//! The disk itself: direct writes through io_uring into files of a store.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::clock::Clock;
use netrewind_store::files::StoreFile;
use netrewind_store::layout::mark::PUBLISHED_AT;
use netrewind_store::turns::Threads;
use netrewind_store::{Mark, SegmentName, Store};

use super::file_worker::{Done, FileWorker, Job, OpenFiles, write_synced};
use super::{Disk, DiskEvent, Disks, LaneDisk, SegmentKey, Write};
use crate::buffer_pool::{ALIGNMENT_BYTES, BufferPool};
use crate::retention::Keeper;
use crate::sys::write_ring::WriteRing;

/// Time to wait for io_uring before the file worker is polled as well.
const ATTENDANT_LOOK_INTERVAL: Duration = Duration::from_millis(2);

enum Tag {
    Write {
        write: Write,
        done: usize,
        began_ns: u64,
    },
    /// Sync of the data that `mark` will promise.
    Sync {
        segment: SegmentKey,
        mark: Mark,
    },
    /// Sync of the synced mark, after the data.
    SyncMark {
        segment: SegmentKey,
    },
}

enum WriteBackend {
    /// Not set up before the first write: io_uring belongs to the thread that uses it.
    NotYet,
    Ring(Box<WriteRing<Tag>>),
    /// io_uring is not available: the file worker writes.
    FileWorker,
}

/// One lane's files in a store. Writes go through io_uring with registered buffers and direct I/O; where the system or the file
/// system does not allow that, they take the best other way, and a notice says so once.
pub struct FileDisk {
    open: HashMap<SegmentKey, OpenFiles>,
    file_worker: FileWorker,
    writer: WriteBackend,
    keeper: Arc<Keeper>,
    pool: Arc<BufferPool>,
    ready: VecDeque<DiskEvent>,
    has_noted_cache: bool,
    clock: Arc<dyn Clock>,
}

/// Opens a [`FileDisk`] for each lane.
pub struct FileDisks {
    /// Times the writes.
    pub clock: Arc<dyn Clock>,
    /// Starts a worker for each disk.
    pub threads: Arc<dyn Threads>,
}

impl Disks for FileDisks {
    fn open(&self, store: &Store, keeper: &Arc<Keeper>, pool: &Arc<BufferPool>) -> io::Result<LaneDisk> {
        let file_worker = FileWorker::new(store.clone(), keeper.clone(), self.threads.clone())?;
        Ok(Box::new(FileDisk::new(file_worker, keeper.clone(), pool.clone(), self.clock.clone())))
    }
}

impl FileDisk {
    fn new(
        file_worker: FileWorker,
        keeper: Arc<Keeper>,
        pool: Arc<BufferPool>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            open: HashMap::new(),
            file_worker,
            keeper,
            writer: WriteBackend::NotYet,
            pool,
            ready: VecDeque::new(),
            has_noted_cache: false,
            clock,
        }
    }

    fn notice(&mut self, text: String) {
        self.ready.push_back(DiskEvent::Notice(text));
    }

    /// The ring, if the kernel can write this file through it.
    fn ring(&mut self, file: &dyn StoreFile) -> Option<&mut WriteRing<Tag>> {
        file.descriptor()?;
        if matches!(self.writer, WriteBackend::NotYet) {
            self.writer = match WriteRing::new(&self.pool) {
                Ok(ring) => {
                    if !ring.is_registered() {
                        self.notice("io_uring: buffers are not registered, at a higher cost: raise the limit of locked memory (ulimit -l)".into());
                    }
                    WriteBackend::Ring(Box::new(ring))
                }
                Err(error) => {
                    self.notice(format!(
                        "io_uring is not available ({error}): writing without it, at a higher cost"
                    ));
                    WriteBackend::FileWorker
                }
            };
        }
        match &mut self.writer {
            WriteBackend::Ring(ring) => Some(ring),
            _ => None,
        }
    }

    fn files(&self, segment: SegmentKey) -> io::Result<OpenFiles> {
        self.open.get(&segment).cloned().ok_or_else(|| io::Error::other("the segment is not open"))
    }

    fn file(&self, segment: SegmentKey) -> io::Result<Arc<dyn StoreFile>> {
        let files = self.open.get(&segment).ok_or_else(|| io::Error::other("the segment is not open"))?;
        Ok(files.segment.clone())
    }

    /// Submits the rest of `write`, which began at `began_ns`, after its first `done` bytes.
    fn write_from(&mut self, write: Write, done: usize, began_ns: u64) {
        let file = match self.file(write.segment) {
            Ok(file) => file,
            Err(error) => return self.answer_write(write, began_ns, Err(error)),
        };
        let Some(ring) = self.ring(&*file) else {
            return self.file_worker.ask(Job::Write { write, began_ns, file });
        };
        let (buffer, offset) = (write.buffer.clone(), write.offset + done as u64);
        let range = done..write.bytes;
        let tag = Tag::Write { write, done, began_ns };
        if let Err((tag, error)) = ring.write(&file, &buffer, range, offset, tag) {
            self.take_ring_answer(tag, Err(error));
        }
    }

    fn answer_write(&mut self, write: Write, began_ns: u64, result: io::Result<()>) {
        let took_ns = self.clock.now().monotonic_ns.saturating_sub(began_ns);
        self.ready.push_back(DiskEvent::Written { write, took_ns, result });
    }

    fn take_ring_answer(&mut self, tag: Tag, result: io::Result<usize>) {
        match tag {
            Tag::Sync { segment, mark } => match result {
                Ok(_) => self.sync_mark(segment, &mark),
                Err(error) => self.answer_sync(segment, Err(error)),
            },
            Tag::SyncMark { segment } => self.answer_sync(segment, result.map(|_| ())),
            Tag::Write { write, done, began_ns } => self.take_write_answer(write, done, began_ns, result),
        }
    }

    fn answer_sync(&mut self, segment: SegmentKey, result: io::Result<()>) {
        self.ready.push_back(DiskEvent::Synced { segment, result });
    }

    /// Makes the mark durable: what it promises is.
    fn sync_mark(&mut self, segment: SegmentKey, mark: &Mark) {
        let written =
            self.files(segment).and_then(|files| write_synced(&*files.mark, mark).map(|()| files.mark));
        let file = match written {
            Ok(file) => file,
            Err(error) => return self.answer_sync(segment, Err(error)),
        };
        let tag = Tag::SyncMark { segment };
        let asked = match self.ring(&*file) {
            Some(ring) => ring.sync(&file, tag),
            None => Err((tag, io::Error::other("io_uring has ended"))),
        };
        if let Err((tag, error)) = asked {
            self.take_ring_answer(tag, Err(error));
        }
    }

    fn take_write_answer(&mut self, write: Write, done: usize, began_ns: u64, result: io::Result<usize>) {
        match result {
            Ok(bytes) if done + bytes >= write.bytes => self.answer_write(write, began_ns, Ok(())),
            Ok(bytes) => {
                // A direct write goes on at a whole sector.
                let whole = (done + bytes) / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
                match whole > done {
                    true => self.write_from(write, whole, began_ns),
                    false => self.answer_write(write, began_ns, Err(io::ErrorKind::WriteZero.into())),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.write_from(write, done, began_ns)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && self.use_cache(write.segment) => {
                self.write_from(write, done, began_ns);
            }
            Err(error) => self.answer_write(write, began_ns, Err(error)),
        }
    }

    /// Switches the segment to writes through the page cache; false if it already uses it.
    fn use_cache(&mut self, segment: SegmentKey) -> bool {
        let Ok(file) = self.file(segment) else { return false };
        let is_changed = file.use_cache();
        if is_changed {
            self.note_cache();
        }
        is_changed
    }

    fn note_cache(&mut self) {
        if !self.has_noted_cache {
            self.has_noted_cache = true;
            self.notice(
                "this file system does not support direct writes: writing through the page cache, at a higher cost"
                    .into(),
            );
        }
    }

    fn take_done(&mut self, done: Done) {
        let event = match done {
            Done::Written { write, began_ns, result } => return self.answer_write(write, began_ns, result),
            Done::Event(event) | Done::Unasked(event) => event,
            Done::Created { segment, result } => {
                let result = result.map(|files| {
                    if !files.segment.is_direct() {
                        self.note_cache();
                    }
                    let room_bytes = files.room_bytes;
                    self.open.insert(segment, files);
                    room_bytes
                });
                DiskEvent::Created { segment, result }
            }
        };
        if let DiskEvent::Sealed { segment, result: Ok(()) } = &event {
            self.open.remove(segment);
        }
        self.ready.push_back(event);
    }

    fn take_what_is_there(&mut self) {
        while let Some(done) = self.file_worker.answer(Duration::ZERO) {
            self.take_done(done);
        }
        while let WriteBackend::Ring(ring) = &mut self.writer {
            let Some((tag, result)) = ring.answer() else { break };
            self.take_ring_answer(tag, result);
        }
    }

    fn wait(&mut self, patience: Duration) {
        let is_attended = self.file_worker.is_pending();
        match &mut self.writer {
            WriteBackend::Ring(ring) if ring.flying() > 0 => {
                let limit = if is_attended { ATTENDANT_LOOK_INTERVAL } else { patience };
                ring.wait(patience.min(limit));
            }
            _ if is_attended => {
                if let Some(done) = self.file_worker.answer(patience) {
                    self.take_done(done);
                }
            }
            _ => {}
        }
    }
}

impl Disk for FileDisk {
    fn room_bytes(&self, wanted_bytes: u64) -> u64 {
        self.keeper.room_bytes(wanted_bytes)
    }

    fn create(&mut self, segment: SegmentKey, name: SegmentName, wanted_bytes: u64) {
        self.file_worker.ask(Job::Create { segment, name, wanted_bytes });
    }

    fn write(&mut self, write: Write) {
        let began_ns = self.clock.now().monotonic_ns;
        self.write_from(write, 0, began_ns);
    }

    fn sync(&mut self, segment: SegmentKey, mark: &Mark) {
        let files = match self.files(segment) {
            Ok(files) => files,
            Err(error) => return self.answer_sync(segment, Err(error)),
        };
        let OpenFiles { segment: file, mark: mark_file, .. } = files;
        match self.ring(&*file) {
            Some(ring) => {
                if let Err((tag, error)) = ring.sync(&file, Tag::Sync { segment, mark: *mark }) {
                    self.take_ring_answer(tag, Err(error));
                }
            }
            None => self.file_worker.ask(Job::Sync { segment, file, mark: *mark, mark_file }),
        }
    }

    fn publish(&mut self, segment: SegmentKey, mark: &Mark) -> io::Result<()> {
        self.files(segment)?.mark.write_all_at(&mark.to_bytes(), PUBLISHED_AT)
    }

    fn seal(&mut self, segment: SegmentKey, bytes: u64) {
        self.file_worker.ask(Job::Seal { segment, bytes });
    }

    fn discard(&mut self, segment: SegmentKey) {
        if let Some(files) = self.open.remove(&segment) {
            self.file_worker.ask(Job::Discard { segment, name: files.name });
        }
    }

    fn leave(&mut self, segment: SegmentKey) {
        if self.open.remove(&segment).is_some() {
            self.file_worker.ask(Job::Leave { segment });
        }
    }

    fn next_event(&mut self, patience: Duration) -> Option<DiskEvent> {
        if self.ready.is_empty() {
            self.take_what_is_there();
        }
        if self.ready.is_empty() && !patience.is_zero() {
            self.wait(patience);
            self.take_what_is_there();
        }
        self.ready.pop_front()
    }
}
