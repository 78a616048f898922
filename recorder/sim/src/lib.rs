//! A simulated world for tests: what the system does behind a seam of the recorder, with the faults that systems have.
//!
//! [`SimFiles`] stands in for the file system of a store. Time stands still in a
//! [`ManualClock`](netrewind_store::clock::ManualClock).

pub mod files;

pub use files::{EIO, ENOSPC, FileFault, FileOperation, SimFiles};
