//! io_uring for writing: buffers and files that the kernel is using cannot be touched, closed or freed.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use netrewind_store::files::StoreFile;

use crate::buffer_pool::{BufferPool, Lease};

/// Entries of the queue beyond one for each buffer: syncs.
const SPARE_ENTRIES: usize = 16;

/// Resources that the kernel uses for one outstanding operation.
struct Flying<T> {
    /// Keeps the descriptor open.
    _file: Arc<dyn StoreFile>,
    /// Keeps the memory in place; nobody can write to a lease.
    _buffer: Option<Lease>,
    tag: T,
}

/// Outstanding writes and syncs, each with a `tag` by which the caller knows it.
pub(crate) struct WriteRing<T> {
    ring: IoUring,
    flying: Vec<Option<Flying<T>>>,
    pool: Arc<BufferPool>,
    is_registered: bool,
}

impl<T> WriteRing<T> {
    /// A ring with room for every buffer of `pool`, without any of the modes that io_uring has: at one write for some 5,000
    /// packets, COOP_TASKRUN and DEFER_TASKRUN made no measurable difference, and SQPOLL, on the core that the lane runs on, made
    /// a packet cost ten times as much. IOPOLL needs a device that can be polled. Without a sufficient memory-lock limit, buffers
    /// are not registered, which costs the kernel a little more for each write.
    pub fn new(pool: &Arc<BufferPool>) -> io::Result<Self> {
        let entries = (pool.count() + SPARE_ENTRIES).next_power_of_two();
        let ring = IoUring::new(u32::try_from(entries).map_err(io::Error::other)?)?;
        let vectors: Vec<libc::iovec> = pool
            .addresses()
            .iter()
            .map(|&address| libc::iovec {
                iov_base: std::ptr::with_exposed_provenance_mut(address),
                iov_len: pool.buffer_bytes(),
            })
            .collect();
        // SAFETY: the memory belongs to `pool`, which this ring keeps, and whose buffers never move; the kernel only
        // reads it, on behalf of writes whose lease keeps everybody else from changing it.
        let is_registered = unsafe { ring.submitter().register_buffers(&vectors) }.is_ok();
        let flying = (0..entries).map(|_| None).collect();
        Ok(Self { ring, flying, pool: pool.clone(), is_registered })
    }

    /// True if the pool's buffers are registered with the kernel.
    pub fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Outstanding operations.
    pub fn flying(&self) -> usize {
        self.flying.iter().flatten().count()
    }

    /// Submits a write of `range` of `buffer`, one of the pool's, to `offset` of `file`. Returns the tag if that fails.
    pub fn write(
        &mut self,
        file: &Arc<dyn StoreFile>,
        buffer: &Lease,
        range: std::ops::Range<usize>,
        offset: u64,
        tag: T,
    ) -> Result<(), (T, io::Error)> {
        let Some(bytes) = buffer.get(range) else {
            return Err((tag, io::Error::other("a write beyond its buffer")));
        };
        let Ok(len) = u32::try_from(bytes.len()) else {
            return Err((tag, io::Error::other("a write of more than 4 GiB")));
        };
        let Some(fd) = descriptor(file) else { return Err((tag, in_memory())) };
        let is_ours = self.pool.addresses().get(usize::from(buffer.index())) == Some(&buffer.as_ptr().addr());
        let entry = match self.is_registered && is_ours {
            true => opcode::WriteFixed::new(fd, bytes.as_ptr(), len, buffer.index()).offset(offset).build(),
            false => opcode::Write::new(fd, bytes.as_ptr(), len).offset(offset).build(),
        };
        self.fly(entry, Flying { _file: file.clone(), _buffer: Some(buffer.clone()), tag })
    }

    /// Submits a sync of the data of `file`.
    pub fn sync(&mut self, file: &Arc<dyn StoreFile>, tag: T) -> Result<(), (T, io::Error)> {
        let Some(fd) = descriptor(file) else { return Err((tag, in_memory())) };
        let entry = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
        self.fly(entry, Flying { _file: file.clone(), _buffer: None, tag })
    }

    fn fly(&mut self, entry: squeue::Entry, flying: Flying<T>) -> Result<(), (T, io::Error)> {
        let Some(at) = self.flying.iter().position(Option::is_none) else {
            return Err((flying.tag, io::Error::other("too many writes under way")));
        };
        let entry = entry.user_data(at as u64);
        // SAFETY: the descriptor and the memory that the entry names are kept by `flying`, which stays in its place
        // until the kernel's answer has been taken (or for ever, see `drop`).
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            return Err((flying.tag, io::Error::other("the submission queue is full")));
        }
        self.flying[at] = Some(flying);
        // Where the kernel takes nothing now (EBUSY, EAGAIN), the entry stays in the queue for the next call.
        let _ = self.ring.submit();
        Ok(())
    }

    /// The next completion, if any: bytes written, or 0 for a sync.
    pub fn answer(&mut self) -> Option<(T, io::Result<usize>)> {
        loop {
            let entry = self.ring.completion().next()?;
            let at = usize::try_from(entry.user_data()).ok()?;
            let Some(flying) = self.flying.get_mut(at).and_then(Option::take) else { continue };
            let result = match usize::try_from(entry.result()) {
                Ok(bytes) => Ok(bytes),
                Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
            };
            return Some((flying.tag, result));
        }
    }

    /// Waits for a completion, at most for `patience`.
    pub fn wait(&mut self, patience: Duration) {
        let timespec = Timespec::new().sec(patience.as_secs()).nsec(patience.subsec_nanos());
        let args = SubmitArgs::new().timespec(&timespec);
        // An error means no answer yet: the time is over (ETIME), or a signal came.
        let _ = self.ring.submitter().submit_with_args(1, &args);
    }
}

fn descriptor(file: &Arc<dyn StoreFile>) -> Option<Fd> {
    file.descriptor().map(|descriptor| Fd(descriptor.as_raw_fd()))
}

fn in_memory() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the file is in memory: the kernel cannot write it")
}

/// Waits for the last completions before the memory is left to the kernel.
const DROP_WAITS_MAX: usize = 64;

impl<T> Drop for WriteRing<T> {
    fn drop(&mut self) {
        for _ in 0..DROP_WAITS_MAX {
            if self.flying() == 0 {
                return;
            }
            self.wait(Duration::from_secs(1));
            while self.answer().is_some() {}
        }
        // The kernel still holds them: they must outlive us.
        for flying in self.flying.drain(..).flatten() {
            std::mem::forget(flying._buffer);
            std::mem::forget(flying._file);
        }
    }
}
