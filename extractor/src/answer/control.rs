//! Control of the caller over an extraction: progress, cancellation, and an early end.

use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_store::Timestamp;

use super::completeness::ReachedLimit;

/// Progress of an extraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets given to the sink, or counted.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Segments whose part has been planned.
    pub segments_done: u64,
    /// Segments that the range touches.
    pub segments: u64,
    /// The time that the answer has reached.
    pub reached: Option<Timestamp>,
}

/// Callbacks with which the caller follows an extraction and can end it.
pub trait Control {
    /// Asked at least every few milliseconds: whether to give up.
    fn cancelled(&self) -> bool {
        false
    }

    /// Checked as often: `Some` if the answer has to end here, as at a limit. Packets given so far remain a valid answer.
    fn cut(&self) -> Option<ReachedLimit> {
        None
    }

    /// Runs work that may take seconds and reads nothing, while other answers read. Does not run it if the answer is cancelled
    /// before its turn, or if too many are waiting.
    fn aside(&self, _what: Aside, work: &mut dyn FnMut()) {
        work();
    }

    /// Told now and then how far it has come.
    fn progress(&mut self, _progress: &Progress) {}
}

/// Activity of an extraction other than reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Compiling, in a process of its own.
    Compiling,
    /// Waiting for memory that other answers have.
    WaitingForMemory,
}

/// Waits to the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoControl;

impl Control for NoControl {}

/// Gives up once the flag is set.
impl Control for &AtomicBool {
    fn cancelled(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

/// True if reading has to end, for whatever reason.
pub(crate) fn is_over(control: &dyn Control) -> bool {
    control.cancelled() || control.cut().is_some()
}

/// Control that gives up where an answer has to end: of one whose conversations are not chosen yet there is no beginning.
pub(crate) struct CancelledWhenCut<'c>(pub(crate) &'c mut dyn Control);

impl Control for CancelledWhenCut<'_> {
    fn cancelled(&self) -> bool {
        is_over(self.0)
    }

    fn progress(&mut self, progress: &Progress) {
        self.0.progress(progress);
    }
}
