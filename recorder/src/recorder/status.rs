//! Status of a recorder and its lanes, which all of its threads share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use netrewind_store::{Account, LaneLoad, Timestamp, locked};

use crate::retention::Usage;
use crate::source::SourceCounters;

/// Notices kept at most.
const NOTICES_MAX: usize = 64;

/// Current status of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its number.
    pub lane: u16,
    /// Index of the source that it takes packets from, counted from 0; a source has a lane for each of its link types.
    pub source_number: usize,
    /// Its source's name.
    pub interface: String,
    /// Packets received, written and dropped, including the kernel's drops.
    pub account: Account,
    /// The source's own counters; only in its first lane.
    pub source: SourceCounters,
    /// Packets cut because they were longer than any record may be.
    pub cut_packets: u64,
    /// Reason that nothing can be received at the moment, or ever, if so.
    pub down: Option<String>,
    /// True while the disk takes no packets.
    pub is_disk_failing: bool,
    /// The disk's error, while it takes none.
    pub disk_trouble: Option<String>,
    /// Measures of how well it kept up in the last whole second.
    pub pace: LaneLoad,
    /// The same for the second under way.
    pub(super) pace_now: LaneLoad,
    /// Status reports of its thread so far: several a second, unless the thread is stuck.
    pub turns: u64,
    /// True if the source, which cannot come back, has ended by an error, or one of its files has.
    pub is_broken: bool,
    /// Its start.
    pub(super) began: Timestamp,
    /// Arrival up to which packets count in its thread's last status report: later ones may wait in the source.
    pub told_at: Timestamp,
    /// Arrival of the earliest packet dropped since the last line in the logbook, where packets were dropped later than they
    /// arrived.
    pub(super) lost_since: Option<Timestamp>,
    /// Lower bound of the arrival of the earliest packet that is not written yet, at that time.
    pub(super) unwritten_since: Option<Timestamp>,
    /// The source has ended, and everything is sealed.
    pub has_ended: bool,
}

/// Current status of a recorder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
    /// Totals of all lanes.
    pub account: Account,
    /// Packets received in the last whole second.
    pub packets_per_second: f64,
    /// Bits of packets written in the last whole second.
    pub bits_per_second: f64,
    /// Disk usage of the store: updated every few seconds.
    pub usage: Usage,
    /// Notices for the user, each given once.
    pub notices: Vec<String>,
    /// Reason that packets cannot be written at the moment, if they cannot.
    pub trouble: Option<String>,
    /// The last such reason, also of a time that is over.
    pub last_trouble: Option<String>,
    /// Reason that there is no room for any segment, found before one was needed.
    pub(super) no_room: Option<String>,
    /// Reason that the recording has ended by itself: the store is gone.
    pub failure: Option<String>,
}

/// State shared by all threads of a recorder.
pub(super) struct RecorderState {
    pub(super) stop: AtomicBool,
    pub(super) lanes_ended: AtomicBool,
    pub(super) status: Mutex<Status>,
    /// Lines that the logbook still had not taken at the end.
    pub(super) unlogged: AtomicUsize,
}

impl RecorderState {
    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        // Consistent at every moment: a panic elsewhere does no harm.
        locked(&self.status)
    }

    /// Ends the recording.
    pub(super) fn fail(&self, reason: String) {
        self.status().failure.get_or_insert(reason);
        self.stop.store(true, Ordering::Release);
    }

    /// Updates the reason that packets cannot be written, and returns it.
    pub(super) fn update_trouble(&self) -> Option<String> {
        let mut status = self.status();
        let of_lane = |lane: &LaneStatus| {
            let reason = lane.disk_trouble.as_ref()?;
            Some(format!("{}: {reason}", lane.interface))
        };
        let trouble = status.lanes.iter().find_map(of_lane).or_else(|| status.no_room.clone());
        if trouble.is_some() {
            status.last_trouble.clone_from(&trouble);
        }
        status.trouble.clone_from(&trouble);
        trouble
    }

    /// Sets the number of lines that the logbook did not take.
    pub(super) fn set_unlogged(&self, lines: usize) {
        self.unlogged.store(lines, Ordering::Release);
    }

    /// Adds a notice for the user, once.
    pub(super) fn notice(&self, text: String) {
        let mut status = self.status();
        if status.notices.len() < NOTICES_MAX && !status.notices.contains(&text) {
            status.notices.push(text);
        }
    }
}
