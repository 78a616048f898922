//! A simulated world for tests: what the system does behind a seam of the recorder, with the faults that systems have.
//!
//! [`SimFiles`] stands in for the file system of a store, and [`SimThreads`] for the threads of a process. Time stands still in a
//! [`ManualClock`](netrewind_store::clock::ManualClock) until all of them wait.

pub mod files;
mod threads;

pub use files::{EIO, ENOSPC, FileFault, FileOperation, SimFiles};
pub use threads::SimThreads;
