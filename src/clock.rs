//! The wall clock, read here and handed on as an argument.

use netrewind_segment::Timestamp;

/// The wall clock's reading.
pub fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}
