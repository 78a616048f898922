//! Sessions in which the clock was set forward.

use std::collections::BTreeMap;

use netrewind_store::Timestamp;
use netrewind_store::time::{SECOND_NS, Span};

use super::session::RecordingSession;

/// Clock steps forward up to this are no gap: the recorder was only slow, or its clock was put right.
const PASSED_OVER_MIN_NS: u64 = 12 * SECOND_NS;
/// Time within which a recorder notices that its clock was set.
const NOTICED_WITHIN_NS: u64 = 2 * SECOND_NS;

/// Divides the open sessions where the clock was set forward; returns the time that it passed over. What was lost in it, before this
/// recorder started or while it slept, is in no logbook.
pub(super) fn divide(
    open: &mut BTreeMap<u16, RecordingSession>,
    sessions: &mut Vec<RecordingSession>,
    at: Timestamp,
    by_ns: i64,
) -> Option<Span> {
    let by_ns = u64::try_from(by_ns).ok().filter(|by_ns| *by_ns >= PASSED_OVER_MIN_NS)?;
    let before = Timestamp(at.ns().saturating_sub(by_ns));
    let after = Timestamp(at.ns().saturating_sub(NOTICED_WITHIN_NS));
    let divided: Vec<_> = open.values_mut().filter_map(|session| session.divide(before, after)).collect();
    let is_divided = !divided.is_empty();
    sessions.extend(divided);
    is_divided.then_some(Span { from: before, to: after })
}
