//! The runs that hold packets of chosen conversations.

use netrewind_index::Index;
use netrewind_store::{Map, SegmentName};

use super::planner::{PlanError, Planner, granules_in_time, runs_of};
use super::runs::{GranuleSet, PlannedRun};
use crate::flows::Chosen;

impl Planner<'_> {
    /// Runs of the selected flows of a segment, by its index. The filter judges their packets as they are read.
    pub(crate) fn runs_of_chosen(
        &self,
        index: &Index<Map>,
        segment: &SegmentName,
        chosen: &Chosen,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<PlannedRun>, PlanError> {
        let flows = chosen.flows_in(segment, index, stop)?;
        if flows.is_empty() {
            return Ok(Vec::new());
        }
        let in_time = granules_in_time(index, self.range)?;
        let mut found = GranuleSet::none(index.granule_count());
        let (mut cursor, mut numbers) = (index.cursor(), Vec::new());
        for flow in flows {
            numbers.clear();
            cursor.granules_of(flow, &mut numbers)?;
            numbers.iter().for_each(|&number| found.insert(number));
        }
        runs_of(index, in_time.as_ref(), Some(&found))
    }
}
