//! What the workers of the indexer have in common.

use std::sync::{Arc, Mutex};

use netrewind_store::clock::Clock;
use netrewind_store::turns::Threads;
use netrewind_store::{Event, Logbook, SegmentName, Store, locked};

/// Niceness of the thread that catches up: everything else goes first.
pub(crate) const CATCH_UP_NICENESS: i32 = 19;

/// Is told of each segment that has got its index.
pub trait IndexWatcher: Send + Sync {
    /// A sealed segment has its index. Does not wait.
    fn indexed(&self, segment: &SegmentName);
}

/// What the indexer works with.
#[derive(Clone)]
pub struct Workplace {
    /// The store.
    pub store: Store,
    /// Its logbook.
    pub logbook: Arc<Mutex<Logbook>>,
    /// Gives the time.
    pub clock: Arc<dyn Clock>,
    /// Starts the workers.
    pub threads: Arc<dyn Threads>,
    /// Is told of what has been indexed, if anybody wants to know.
    pub watcher: Option<Arc<dyn IndexWatcher>>,
}

impl Workplace {
    /// Logs an event of this moment.
    pub(crate) fn log(&self, event: Event) {
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = locked(&self.logbook).append(self.clock.now().wall, event);
    }
}
