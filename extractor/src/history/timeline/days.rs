//! Days of the logbook that matter to an answer.

use std::collections::BTreeSet;

use netrewind_store::logbook::DayExcerpt;
use netrewind_store::time::Span;
use netrewind_store::{SegmentName, Store};

/// Size up to which a logbook is read whole, whatever the range: entries of other days may matter, such as the expiry of an
/// imported segment.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// The days to read, in order, and how much of each.
pub(super) fn days_to_read(
    store: &Store,
    dates: &[String],
    range: Span,
    also: &[SegmentName],
) -> Vec<(String, DayExcerpt)> {
    let bytes = |date: &String| store.logbook_bytes(date).unwrap_or(0);
    if dates.iter().map(bytes).sum::<u64>() <= WHOLE_BYTES_MAX {
        return dates.iter().map(|date| (date.clone(), DayExcerpt::Whole)).collect();
    }
    let (first, last) = (range.from.date(), range.to.date());
    let also: BTreeSet<String> = also.iter().map(SegmentName::date).collect();
    let before = dates.iter().rev().find(|date| **date < first).cloned();
    let after = dates.iter().find(|date| **date > last).cloned();
    let latest = dates.last().cloned();
    let part = |date: &String| {
        let date = date.clone();
        if (first <= date && date <= last) || also.contains(&date) {
            Some((date, DayExcerpt::Whole))
        } else if before.as_ref() == Some(&date) {
            // Whether a lane was recording when the first day began.
            Some((date, DayExcerpt::Tail))
        } else if after.as_ref() == Some(&date) {
            // Whether it still was when the last day ended.
            Some((date, DayExcerpt::Head))
        } else if latest.as_ref() == Some(&date) {
            // Recently expired parts.
            Some((date, DayExcerpt::Tail))
        } else {
            None
        }
    };
    dates.iter().filter_map(part).collect()
}
