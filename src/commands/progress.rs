//! Progress display and Ctrl-C while an answer is on its way.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use netrewind_extractor::time_text::in_zone;
use netrewind_extractor::{Control, Progress};
use netrewind_store::Timestamp;

use crate::terminal;

/// Delay before progress is shown.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);

/// Shows progress, and listens for Ctrl-C.
pub struct ProgressDisplay {
    stop: Arc<AtomicBool>,
    begun: Instant,
    bar: ProgressBar,
    is_quiet: bool,
    zone: TimeZone,
}

impl ProgressDisplay {
    /// Starts now, with times in a zone. `is_quiet` shows nothing.
    pub fn new(stop: Arc<AtomicBool>, is_quiet: bool, zone: TimeZone) -> Self {
        Self { stop, begun: Instant::now(), bar: ProgressBar::hidden(), is_quiet, zone }
    }

    /// Removes the progress display.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Control for ProgressDisplay {
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn progress(&mut self, progress: &Progress) {
        if self.is_quiet || self.begun.elapsed() < PROGRESS_AFTER {
            return;
        }
        if self.bar.is_hidden() && io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} segments  {msg}");
            self.bar = ProgressBar::new(progress.segments);
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        let shown = |at: Timestamp| format!(", at {}", in_zone(&at.to_string(), &self.zone));
        let reached = progress.reached.map_or_else(String::new, shown);
        self.bar.set_message(format!(
            "{} packets, {}{reached}",
            progress.packets,
            terminal::bytes(progress.bytes)
        ));
        self.bar.set_position(progress.segments_done);
    }
}
