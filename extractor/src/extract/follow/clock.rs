//! Clock of an answer that is followed, and the intervals at which it looks for new packets.

use std::time::Duration;

use netrewind_store::clock::Now;

use crate::SinkError;

/// Interval between two looks at a store for new packets.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Age at which a packet is given out: longer than a recorder takes to commit it, and short enough that it comes within a
/// second of its arrival.
pub const HOLD_BACK: Duration = Duration::from_millis(750);
/// Time after the end of the range during which its packets are still waited for.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
/// Time after the end of the range within which a running recorder has covered it, even if it receives nothing: it writes a
/// logbook line every ten seconds.
pub(crate) const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(12);
/// Interval between two checks of the logbook for that.
pub(crate) const LOGBOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Clock of an answer that follows the recording, and its wait for more packets.
pub trait FollowClock {
    /// The time now: the wall clock's, to compare with the packets' timestamps, and that of a clock which never jumps.
    fn now(&self) -> Now;

    /// Waits at most this long. Fails with [`SinkError::ReaderGone`] if the reader has gone: while no packet arrives, nothing
    /// else would notice.
    fn wait(&self, at_most: Duration) -> Result<(), SinkError>;
}
