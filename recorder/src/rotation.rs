//! Rotation: decides that a segment is full, old, or of the wrong kind. Pure.

use std::time::Duration;

use netrewind_store::catalog::Hour;
use netrewind_store::time::SECOND_NS;
use netrewind_store::{LinkType, Timestamp};

/// Greatest lead of the packets' clock over ours.
const CLOCKS_APART_NS: u64 = SECOND_NS;

/// The limits of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationLimits {
    /// Bytes that it never passes.
    pub bytes: u64,
    /// Age at which it ends.
    pub age: Duration,
}

/// The segment being written, as far as its end depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentSegment {
    /// Its bytes so far, file header included.
    pub bytes: u64,
    /// Its link type.
    pub link_type: LinkType,
    /// Time at which it was opened, by the monotonic clock.
    pub opened_ns: u64,
}

/// Reason that a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The next record would pass its size.
    Size,
    /// It has reached its age.
    Age,
    /// The next packet is of another hour: queries of full hours then read whole segments.
    Hour,
    /// The next packet has another link type, and a segment has only one.
    LinkType,
}

/// Reason to end the segment before a record of `record_bytes` with this link type, if any.
pub fn before_record(
    extent: &CurrentSegment,
    limits: &RotationLimits,
    record_bytes: usize,
    link_type: LinkType,
) -> Option<Reason> {
    if extent.link_type != link_type {
        return Some(Reason::LinkType);
    }
    (extent.bytes + record_bytes as u64 > limits.bytes).then_some(Reason::Size)
}

/// Reason to end the segment by its age, whatever comes next, if any.
pub fn by_age(extent: &CurrentSegment, limits: &RotationLimits, now_ns: u64) -> Option<Reason> {
    let age_ns = now_ns.saturating_sub(extent.opened_ns);
    (u128::from(age_ns) >= limits.age.as_nanos()).then_some(Reason::Age)
}

/// Reason to end the segment before a packet of this time, by the hour in which it was opened, if any. A packet far ahead of our
/// own clock is none: its clock is wrong.
pub fn by_hour(opened: Hour, packet: Timestamp, now: Timestamp) -> Option<Reason> {
    let is_over = packet >= opened.end() && now.plus_ns(CLOCKS_APART_NS) >= opened.end();
    is_over.then_some(Reason::Hour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_ends_at_its_limits_and_not_before() {
        let limits = RotationLimits { bytes: 1000, age: Duration::from_nanos(50) };
        let extent = CurrentSegment { bytes: 900, link_type: LinkType::ETHERNET, opened_ns: 7 };
        assert_eq!(before_record(&extent, &limits, 100, LinkType::ETHERNET), None);
        assert_eq!(before_record(&extent, &limits, 101, LinkType::ETHERNET), Some(Reason::Size));
        assert_eq!(before_record(&extent, &limits, 1, LinkType::RAW), Some(Reason::LinkType));
        assert_eq!(by_age(&extent, &limits, 56), None);
        assert_eq!(by_age(&extent, &limits, 57), Some(Reason::Age));
        assert_eq!(by_age(&extent, &limits, 0), None);
        let full = Timestamp::new(7200, 0);
        let opened = Hour::of(Timestamp::new(3600, 0));
        assert_eq!(by_hour(opened, full, full), Some(Reason::Hour));
        assert_eq!(by_hour(opened, Timestamp(full.ns() - 1), full), None);
        assert_eq!(by_hour(opened, full, Timestamp(full.ns() - CLOCKS_APART_NS)), Some(Reason::Hour));
        assert_eq!(by_hour(opened, full, Timestamp(full.ns() - CLOCKS_APART_NS - 1)), None);
    }
}
