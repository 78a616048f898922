//! The machine under a recorder, as an argument: its clocks, its threads, its disks.

use std::sync::Arc;

use netrewind_store::clock::{Clock, SystemClock};
use netrewind_store::turns::{SystemThreads, Threads};

use crate::disk::{Disks, FileDisks};

/// What a recorder runs on.
#[derive(Clone)]
pub struct Platform {
    /// Gives the time.
    pub clock: Arc<dyn Clock>,
    /// Starts the workers.
    pub threads: Arc<dyn Threads>,
    /// Opens the disks that lanes write to.
    pub disks: Arc<dyn Disks>,
}

impl Platform {
    /// This machine.
    pub fn system() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let threads: Arc<dyn Threads> = Arc::new(SystemThreads::new(clock.clone()));
        let disks = Arc::new(FileDisks { clock: clock.clone(), threads: threads.clone() });
        Self { clock, threads, disks }
    }
}
