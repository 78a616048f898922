//! Last stage of a query: adds the findings of reading to the answer.

use netrewind_store::time::SECOND_NS;

use crate::answer::Answer;
use crate::answer::completeness::{ReachedLimit, Unreadable};
use crate::fragments::FRAGMENT_WINDOW_NS;
use crate::query::Query;
use crate::read::run_queue::PlanReport;

/// Adds the findings of reading to the answer.
pub(super) fn conclude(
    answer: &mut Answer,
    query: &Query,
    report: PlanReport,
    unreadable: Vec<Unreadable>,
    limit_reached: Option<ReachedLimit>,
) {
    answer.rejected_indexes.extend(report.rejected);
    answer.reassembly.notes().for_each(|note| answer.completeness.note(note));
    let completeness = &mut answer.completeness;
    completeness.limit_reached = limit_reached;
    report.gone.into_iter().for_each(|gone| completeness.add_gone(gone));
    for place in unreadable.into_iter().chain(report.unreadable) {
        completeness.add_unreadable(place);
    }
    // Others' fragments are among them.
    if report.unlinked > 0 && !query.is_restricted() {
        completeness.note(format!(
            "{} fragments were filtered without the first fragment of their packet, or are missing: there are more fragments within {} s than fit in memory; use a shorter range or a narrower filter",
            report.unlinked,
            FRAGMENT_WINDOW_NS / SECOND_NS
        ));
    }
    completeness.tell_of_segments(&mut answer.rejected_indexes, query.is_restricted());
}
