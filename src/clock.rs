//! The wall clock, for commands.

use netrewind_store::Timestamp;
use netrewind_store::clock::{Clock, SystemClock};

/// The wall clock's reading.
pub fn now() -> Timestamp {
    SystemClock::new().now().wall
}
