//! The buffers that packets are copied into: a fixed number, aligned for direct I/O, each owned by one holder at a time or shared
//! by readers only.

use netrewind_store::locked;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use memmap2::{MmapMut, MmapOptions};

/// Alignment of memory, file offsets and lengths for direct I/O: the page size; no block device has larger sectors.
pub const ALIGNMENT_BYTES: usize = 4096;

#[derive(Debug)]
struct PoolBuffer {
    memory: MmapMut,
    index: u16,
}

/// A fixed number of buffers of one size.
#[derive(Debug)]
pub struct BufferPool {
    free: Mutex<Vec<PoolBuffer>>,
    free_count: AtomicUsize,
    returned: Condvar,
    addresses: Vec<usize>,
    buffer_bytes: usize,
}

/// A buffer with one holder, who may write to it. Returns to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    slot: Option<PoolBuffer>,
    home: Arc<BufferPool>,
}

/// A buffer with several readers, the disk among them; nobody can write to it any more. Returns to its pool when the last of them
/// drops it.
pub type Lease = Arc<Buffer>;

impl BufferPool {
    /// Allocates `count` buffers of `buffer_bytes` each (rounded up to [`ALIGNMENT_BYTES`]), in memory that is populated at once.
    pub fn new(count: u16, buffer_bytes: usize) -> std::io::Result<Arc<Self>> {
        let buffer_bytes = buffer_bytes.next_multiple_of(ALIGNMENT_BYTES);
        let mut free = Vec::with_capacity(count.into());
        for index in (0..count).rev() {
            free.push(PoolBuffer {
                memory: MmapOptions::new().len(buffer_bytes).populate().map_anon()?,
                index,
            });
        }
        let addresses =
            free.iter_mut().rev().map(|slot| slot.memory.as_mut_ptr().expose_provenance()).collect();
        Ok(Arc::new(Self {
            free_count: AtomicUsize::new(free.len()),
            free: Mutex::new(free),
            returned: Condvar::new(),
            addresses,
            buffer_bytes,
        }))
    }

    /// Bytes of each buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Buffers in all.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Address of each buffer, by its index; buffers never move.
    pub(crate) fn addresses(&self) -> &[usize] {
        &self.addresses
    }

    /// Number of free buffers.
    pub fn free_count(&self) -> usize {
        self.free_count.load(Ordering::Acquire)
    }

    /// A free buffer, with the bytes of its last use still in it.
    pub fn take(self: &Arc<Self>) -> Option<Buffer> {
        let slot = self.lock().pop()?;
        self.free_count.fetch_sub(1, Ordering::AcqRel);
        Some(Buffer { slot: Some(slot), home: self.clone() })
    }

    /// Waits until a buffer is free, at most for `patience`.
    pub fn wait(&self, patience: Duration) {
        let free = self.lock();
        if free.is_empty() {
            drop(self.returned.wait_timeout(free, patience));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PoolBuffer>> {
        // The list is consistent at every moment, so a panic elsewhere does no harm.
        locked(&self.free)
    }
}

impl Buffer {
    /// Index of the buffer in the pool.
    pub(crate) fn index(&self) -> u16 {
        self.slot.as_ref().map_or(0, |slot| slot.index)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.slot.as_ref().map_or(&[], |slot| &slot.memory)
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.slot.as_mut().map_or(&mut [], |slot| &mut slot.memory)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.home.lock().push(slot);
            self.home.free_count.fetch_add(1, Ordering::AcqRel);
            self.home.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_the_last_reader_lets_go() {
        let pool = BufferPool::new(2, 5000).unwrap();
        assert_eq!((pool.buffer_bytes(), pool.free_count()), (8192, 2));
        let mut first = pool.take().unwrap();
        first[8191] = 7;
        let second = pool.take().unwrap();
        assert!(pool.take().is_none());
        let lease: Lease = Arc::new(first);
        let other = lease.clone();
        drop(lease);
        assert_eq!((pool.free_count(), other[8191]), (0, 7));
        assert_eq!(pool.addresses()[usize::from(other.index())], other.as_ptr().addr());
        drop(other);
        drop(second);
        assert_eq!(pool.free_count(), 2);
        pool.wait(Duration::from_secs(9));
    }
}
