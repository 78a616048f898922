//! Memory for the lists of all queries of a service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that lists share.
#[derive(Debug)]
pub struct ListMemory {
    left: AtomicU64,
}

/// A part of it, given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct ListRoom {
    _taken: Arc<TakenRoom>,
}

#[derive(Debug)]
struct TakenRoom {
    bytes: u64,
    of: Arc<ListMemory>,
}

impl ListMemory {
    /// Memory of so many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }

    /// Takes a part of it; `None` where there is not as much left.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<ListRoom> {
        let less = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(ListRoom { _taken: Arc::new(TakenRoom { bytes, of: Arc::clone(self) }) })
    }
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Room says nothing about what is asked.
impl PartialEq for ListRoom {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ListRoom {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_with_the_last_clone() {
        let memory = ListMemory::new(100);
        let room = memory.take(60).unwrap();
        let clone = room.clone();
        assert!(memory.take(60).is_none());
        drop(room);
        assert!(memory.take(41).is_none(), "the clone holds it");
        drop(clone);
        assert!(memory.take(100).is_some());
    }
}
