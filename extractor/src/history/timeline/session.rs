//! A lane's recording, from its start to its end.

use netrewind_store::logbook::TOLD_WITHIN_NS;
use netrewind_store::time::{MILLISECOND_NS, SECOND_NS};
use netrewind_store::{Drops, Timestamp};

/// A lane's recording, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordingSession {
    pub(crate) lane: u16,
    pub(crate) interface: String,
    pub(crate) from: Timestamp,
    /// The last sign of life, or the stop.
    pub(crate) to: Timestamp,
    pub(crate) end: SessionEnd,
    /// Everything that arrived before is written, or told as dropped. Of one that goes on the next one tells; that one may be so far
    /// behind that this is before its start.
    pub(crate) written_to: Timestamp,
    is_behind: bool,
    /// Counts of the seconds since its start; absent if its start was not read.
    pub(crate) counted: Option<LaneCounts>,
}

/// A lane's account so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneCounts {
    pub(super) received: u64,
    pub(super) dropped: Drops,
    pub(super) until: Timestamp,
}

/// End of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// It has not, in the part that was read.
    Open,
    /// As it should.
    Stopped,
    /// Without a word: a crash, or a power cut.
    Silent,
    /// It goes on, with a clock that was set forward: the time between did not pass while it recorded.
    ClockSet,
}

impl RecordingSession {
    /// A session of which a sign of life was read.
    pub(super) fn open(lane: u16, interface: String, from: Timestamp, to: Timestamp) -> Self {
        Self {
            lane,
            interface,
            from,
            to,
            end: SessionEnd::Open,
            written_to: from,
            is_behind: false,
            counted: None,
        }
    }

    /// Divides it where the clock was set forward, from `before` to a later time; returns the part before, if there is one.
    pub(super) fn divide(&mut self, before: Timestamp, after: Timestamp) -> Option<Self> {
        let is_divided = self.from <= before;
        let earlier = Self { to: before, end: SessionEnd::ClockSet, ..self.clone() };
        if is_divided {
            (self.from, self.to) = (after, self.to.max(after));
        }
        is_divided.then_some(earlier)
    }

    /// Notes how far it had written what it received, when a lane was so far behind. One that is silent has written everything,
    /// if it had before.
    pub(super) fn written_by(&mut self, lane: u16, at: Timestamp, behind_ms: u32) {
        if self.lane == lane {
            self.is_behind = behind_ms > 0;
            let behind_ns = u64::from(behind_ms) * MILLISECOND_NS;
            self.written_to = Timestamp(at.ns().saturating_sub(behind_ns.max(TOLD_WITHIN_NS)));
        } else if !self.is_behind {
            // Its own line of the same second may follow.
            let written_to = Timestamp(at.ns().saturating_sub(SECOND_NS + TOLD_WITHIN_NS));
            self.written_to = self.written_to.max(written_to);
        }
    }
}
