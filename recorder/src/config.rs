//! Settings of a recorder. Every bound of the pipeline is a number here.

use std::time::Duration;

use netrewind_store::hold::HoldLimits;
use netrewind_store::layout::CAPLEN_MAX;

/// Bytes of a segment at which the next one begins.
pub const SEGMENT_BYTES: u64 = 1 << 30;
/// The smallest segment: holds a few packets of any length.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The largest segment: offsets in an index have room for it.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 30;
/// Age of a segment at which the next one begins.
pub const SEGMENT_AGE: Duration = Duration::from_secs(60);
/// Greatest age of packets that have not been submitted to the disk.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of one write to the disk. Several of the longest records fit in.
pub const BUFFER_BYTES: usize = 4 << 20;
/// Buffers of one lane.
pub const BUFFERS: u16 = 24;
/// Buffers that a sink leaves to the lane: when fewer are free, written blocks are no longer passed to the sink.
pub const BUFFERS_RESERVED: usize = 8;
/// Segments that a budget must have room for, for each lane: one being written, and one to read.
pub const BUDGET_SEGMENTS_MIN: u64 = 2;
/// Divisor of a new segment's size that gives the space reserved for its index.
pub const INDEX_RESERVE_DIVISOR: u64 = 8;

const _: () = assert!(BUFFER_BYTES > 2 * CAPLEN_MAX as usize);
const _: () = assert!(BUFFERS_RESERVED + 2 < BUFFERS as usize);

/// Settings for writing and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a segment, reserved when it is opened and never passed; between [`SEGMENT_BYTES_MIN`] and
    /// [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// Greatest age of a segment being written.
    pub segment_age: Duration,
    /// Bytes kept of each packet at most; [`CAPLEN_MAX`] keeps all.
    pub snaplen: u32,
    /// Greatest age of packets that have not been submitted to the disk.
    pub flush_interval: Duration,
    /// Bytes of one write.
    pub buffer_bytes: usize,
    /// Buffers of each lane.
    pub buffers: u16,
    /// Disk space that everything in the store may take together; `None` for no limit.
    pub budget_bytes: Option<u64>,
    /// Part of it that holds may take; `None` for half of it.
    pub hold_budget_bytes: Option<u64>,
    /// Age at which a segment expires, counted from its opening; `None` for no limit.
    pub age_max: Option<Duration>,
    /// Waits for the sink instead of leaving holes: right for capture files, never for live interfaces.
    pub wait_for_sink: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            segment_age: SEGMENT_AGE,
            snaplen: CAPLEN_MAX,
            flush_interval: FLUSH_INTERVAL,
            buffer_bytes: BUFFER_BYTES,
            buffers: BUFFERS,
            budget_bytes: None,
            hold_budget_bytes: None,
            age_max: None,
            wait_for_sink: false,
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Segments too small or too large.
    #[error(
        "segments of {0} bytes are not possible: choose a size between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes(u64),
    /// A budget without room for a segment being written and one to read.
    #[error(
        "a budget of {budget_bytes} bytes is too small for {lanes} lane(s): {BUDGET_SEGMENTS_MIN} segments for each lane need {needed_bytes} bytes; raise the budget, or make segments smaller"
    )]
    Budget {
        /// The budget.
        budget_bytes: u64,
        /// Number of lanes that share it.
        lanes: u64,
        /// The smallest possible budget.
        needed_bytes: u64,
    },
    /// A budget whose holds would leave no room to record.
    #[error(
        "holds may take {hold_budget_bytes} bytes of the budget of {budget_bytes}, and {lanes} lane(s) need {needed_bytes} to record: let holds take less, or raise the budget"
    )]
    HoldBudget {
        /// What holds may take.
        hold_budget_bytes: u64,
        /// The budget.
        budget_bytes: u64,
        /// Number of lanes that share it.
        lanes: u64,
        /// The least that is needed for recording.
        needed_bytes: u64,
    },
}

impl Config {
    /// Bytes reserved for a new segment: the segment, and room for its index.
    pub fn reserved_bytes(&self) -> u64 {
        self.segment_bytes + self.segment_bytes / INDEX_RESERVE_DIVISOR
    }

    /// Its limits, as far as those need them who make holds.
    pub fn hold_limits(&self) -> HoldLimits {
        HoldLimits { budget_bytes: self.budget_bytes, hold_budget_bytes: self.hold_budget_bytes }
    }

    /// The configuration as it will be used by this many lanes. A budget that is too small for segments of this size
    /// makes them smaller, down to [`SEGMENT_BYTES_MIN`].
    pub fn fitted(mut self, lanes: usize) -> Result<Self, ConfigError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(ConfigError::SegmentBytes(self.segment_bytes));
        }
        self.snaplen = self.snaplen.clamp(1, CAPLEN_MAX);
        let Some(budget_bytes) = self.budget_bytes else { return Ok(self) };
        let segments = BUDGET_SEGMENTS_MIN * lanes.max(1) as u64;
        let room = budget_bytes / segments / (INDEX_RESERVE_DIVISOR + 1) * INDEX_RESERVE_DIVISOR;
        let needed_bytes =
            segments * SEGMENT_BYTES_MIN.div_ceil(INDEX_RESERVE_DIVISOR) * (INDEX_RESERVE_DIVISOR + 1);
        if room < SEGMENT_BYTES_MIN {
            return Err(ConfigError::Budget { budget_bytes, lanes: lanes as u64, needed_bytes });
        }
        if let Some(hold_budget_bytes) = self.hold_budget_bytes
            && hold_budget_bytes.saturating_add(needed_bytes) > budget_bytes
        {
            let lanes = lanes as u64;
            return Err(ConfigError::HoldBudget { hold_budget_bytes, budget_bytes, lanes, needed_bytes });
        }
        self.segment_bytes = self.segment_bytes.min(room);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_budget_makes_segments_smaller_or_is_refused() {
        let with = |budget: u64| Config { budget_bytes: Some(budget), ..Config::default() };
        assert_eq!(with(100 << 30).fitted(2).unwrap().segment_bytes, SEGMENT_BYTES);
        let fitted = with(90 << 20).fitted(2).unwrap();
        assert_eq!(fitted.segment_bytes, 20 << 20);
        assert!(fitted.reserved_bytes() * 4 <= 90 << 20);
        let Err(ConfigError::Budget { needed_bytes, .. }) = with(4 << 20).fitted(2) else { panic!() };
        assert!(with(needed_bytes).fitted(2).is_ok());
        let held = |hold_budget_bytes| Config { hold_budget_bytes, ..with(needed_bytes + 100) }.fitted(2);
        assert!(held(Some(100)).is_ok());
        assert!(matches!(held(Some(101)), Err(ConfigError::HoldBudget { .. })));
        assert!(Config { segment_bytes: 5, ..Config::default() }.fitted(1).is_err());
    }
}
