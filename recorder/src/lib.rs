//! Records packets into a store without losing one.

pub mod clock;
pub mod config;
pub mod pool;
pub mod sink;
pub mod source;

pub use clock::{Clock, Now};
pub use config::Config;
pub use sink::{BlockSink, SegmentEnd, SegmentStart};
