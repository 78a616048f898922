//! Clock of an answer that follows the recording, and the wait for more packets.

use std::os::fd::OwnedFd;
use std::time::Duration;

use netrewind_extractor::{FollowClock, SinkError};
use netrewind_store::clock::{Clock, Now, SystemClock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The system's clock; while it waits, it notices when the reader of the output goes.
#[derive(Debug)]
pub struct FollowingClock {
    clock: SystemClock,
    output: OwnedFd,
}

impl FollowingClock {
    /// Clock for an answer that is written to `output`.
    pub fn new(output: impl Into<OwnedFd>) -> Self {
        Self { clock: SystemClock::new(), output: output.into() }
    }
}

impl FollowClock for FollowingClock {
    fn now(&self) -> Now {
        self.clock.now()
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
