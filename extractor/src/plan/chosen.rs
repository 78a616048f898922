//! The runs that hold packets of chosen conversations.

use netrewind_index::Index;
use netrewind_store::{Map, SegmentName};

use super::flow_judge::PlanError;
use super::runs::{GranuleSet, PlannedRun, granules_in_time, runs_of};
use crate::flows::Chosen;
use crate::query::TimeRange;

/// Runs of the selected flows of a segment in a range of time, by its index. The filter judges their packets as they are read.
pub(crate) fn runs_of_chosen(
    range: TimeRange,
    index: &Index<Map>,
    segment: &SegmentName,
    chosen: &Chosen,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<PlannedRun>, PlanError> {
    let flows = chosen.flows_in(segment, index, stop)?;
    if flows.is_empty() {
        return Ok(Vec::new());
    }
    let in_time = granules_in_time(index, range)?;
    let mut found = GranuleSet::none(index.granule_count());
    let (mut cursor, mut numbers) = (index.cursor(), Vec::new());
    for flow in flows {
        numbers.clear();
        cursor.granules_of(flow, &mut numbers)?;
        numbers.iter().for_each(|&number| found.insert(number));
    }
    runs_of(index, in_time.as_ref(), Some(&found))
}
