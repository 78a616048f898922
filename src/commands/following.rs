//! Clocks of an answer that follows the recording, and the wait for more packets.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netrewind_extractor::{FollowClock, SinkError};
use netrewind_store::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;

/// The system's clocks; while it waits, it notices when the reader of the output goes.
#[derive(Debug)]
pub struct FollowingClock {
    started: Instant,
    output: OwnedFd,
}

impl FollowingClock {
    /// Clocks for an answer that is written to `output`.
    pub fn new(output: impl Into<OwnedFd>) -> Self {
        Self { started: Instant::now(), output: output.into() }
    }
}

impl FollowClock for FollowingClock {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn wait(&self, at_most: Duration) -> Result<(), SinkError> {
        // No event is asked for: those that tell of a pipe or a socket without a reader come unasked (poll(2)).
        let mut output = [PollFd::new(&self.output, PollFlags::empty())];
        let timeout = Timespec::try_from(at_most).ok();
        // A signal ends the wait early; the caller checks then.
        let _ = poll(&mut output, timeout.as_ref());
        match output[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            true => Err(SinkError::ReaderGone),
            false => Ok(()),
        }
    }
}
