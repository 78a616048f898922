//! A thread that looks for work behind a recording at the lowest priority, in the room that a lane brings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::clock::Waker;
use netrewind_store::locked;
use netrewind_store::room::Room;
use netrewind_store::turns::{RunningWorker, Worker};

use crate::error::IndexerError;
use crate::workplace::{CATCH_UP_NICENESS, Workplace};

/// Interval between two looks for work.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Looks after which what failed is tried again.
pub(crate) const LOOKS_AFTER_FAILURE: u32 = 60;

/// What such a thread shares with whoever started it.
#[derive(Clone, Default)]
pub(crate) struct Background {
    /// Set once it is to end.
    pub stop: Arc<AtomicBool>,
    room: Arc<Mutex<Option<Arc<dyn Room>>>>,
}

impl Background {
    /// True once it is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What makes room in the store, once a lane has brought it.
    pub(crate) fn room(&self) -> Option<Arc<dyn Room>> {
        locked(&self.room).clone()
    }
}

/// The thread, as whoever started it sees it.
pub(crate) struct BackgroundThread {
    shared: Background,
    waker: Waker,
    thread: Box<dyn RunningWorker>,
}

impl BackgroundThread {
    /// Starts the worker that `make` makes.
    pub(crate) fn start(
        place: &Workplace,
        name: &str,
        make: impl FnOnce(Background) -> Box<dyn Worker>,
    ) -> Result<Self, IndexerError> {
        let (shared, waker) = (Background::default(), Waker::default());
        let worker = make(shared.clone());
        let thread = place.threads.start(name.into(), CATCH_UP_NICENESS, &waker, worker)?;
        Ok(Self { shared, waker, thread })
    }

    /// Sets what makes room in the store.
    pub(crate) fn set_room(&self, room: &Arc<dyn Room>) {
        *locked(&self.shared.room) = Some(Arc::clone(room));
    }

    /// Ends; what is under way is given up, and left to the next process.
    pub(crate) fn finish(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        // A panic there has been printed; the next process does what is left.
        self.thread.join();
    }
}
