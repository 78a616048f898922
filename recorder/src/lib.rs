//! Records packets into a store without losing one.
//!
//! ```text
//! Source --packets--> Lane --4 MiB, aligned--> Disk --> segments of the store
//!  PacketRing           |                       \-- committed mark, at most half a second behind
//!  capture files        \--written blocks--> BlockSink (an index, on a thread of its own)
//! ```
//!
//! A [`Recorder`] runs a lane for each source, [`recorder::import`] runs lanes as fast as files can be
//! read, and [`recover`] puts in order what a crash left. The limits, as numbers, are in [`config`]; a lane has a ring
//! of 256 MiB and 24 buffers of 4 MiB.
//!
//! **Invariant:** the recorder never reads a segment back, except to recover it.

pub mod account;
pub mod buffer_pool;
pub mod clock;
pub mod config;
pub mod disk;
pub mod lane;
mod platform;
pub mod recorder;
pub mod recovery;
pub mod retention;
pub mod rotation;
pub mod sink_queue;
pub mod source;
mod sys;

pub use config::Config;
pub use lane::Lane;
pub use platform::Platform;
pub use recorder::{Recorder, RecorderError, RecordingDescription, RecordingSummary, Status};
pub use recovery::recover;
