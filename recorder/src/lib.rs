//! Records packets into a store without losing one.

pub mod clock;
pub mod config;
pub mod disk;
pub mod lane;
pub mod pool;
pub mod recovery;
pub mod retention;
pub mod rotation;
pub mod sink;
pub mod source;
mod sys;

pub use clock::{Clock, Now};
pub use config::Config;
pub use lane::Lane;
pub use recovery::recover;
pub use sink::{BlockSink, SegmentEnd, SegmentStart};
