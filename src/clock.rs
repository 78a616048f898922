//! The system's clocks, read here and passed on as arguments.

use std::time::{Duration, Instant, SystemTime};

use netrewind_recorder::source::replay::ReplayClock;
use netrewind_recorder::{Clock, Now};
use netrewind_store::Timestamp;

/// The wall clock's reading.
pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The clocks; the monotonic one begins now.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let monotonic_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { wall: now(), monotonic_ns }
    }
}

impl netrewind_extractor::http::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

impl ReplayClock for SystemClock {
    fn elapsed(&mut self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn wall(&mut self) -> Timestamp {
        now()
    }
}
