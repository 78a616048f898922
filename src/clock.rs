//! The clocks, read here and handed on as arguments.

use std::time::{Instant, SystemTime};

use netrewind_recorder::{Clock, Now};
use netrewind_segment::Timestamp;

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
