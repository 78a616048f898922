//! Division of a segment's flows: those that the index accounts for completely, and those whose packets have to be read.

use std::ops::ControlFlow;

use netrewind_index::{Flow, Index};

use super::flow_judge::{FlowJudge, PlanError};
use super::runs::{GranuleSet, PlannedRun, runs_of};
use netrewind_filter::Verdict;
use netrewind_store::Map;

/// Maximum number of flows whose packets are read flow by flow: with more, the whole segment is read.
const UNTOLD_MAX: usize = 1 << 18;

/// Runs left to be read once a segment's flows are divided.
pub(crate) enum Division {
    /// Nothing.
    Told,
    /// These runs hold all packets of the flows that are not told.
    Partly(Vec<PlannedRun>),
    /// Too many flows are uncounted: discard the counted ones, and read these runs, which are the whole segment.
    Untold(Vec<PlannedRun>),
}

/// Gives the flows of a segment that lies wholly in the range to `told` where all of their packets are in the answer,
/// and to `untold` where some may be, with their numbers.
pub(crate) fn divide(
    judge: &mut FlowJudge<'_>,
    index: &Index<Map>,
    stop: &dyn Fn() -> bool,
    told: &mut dyn FnMut(u32, &Flow),
    untold: &mut dyn FnMut(u32, &Flow),
) -> Result<Division, PlanError> {
    let mut templates = judge.judge_templates(index)?;
    let mut found = GranuleSet::none(index.granule_count());
    let mut numbers = Vec::new();
    let mut untold_count = 0;
    let is_whole =
        judge.for_each_flow(&mut templates, stop, u64::MAX, &mut |cursor, id, flow, verdicts| {
            match verdicts.all {
                Verdict::Never => {}
                Verdict::Always => told(id, flow),
                Verdict::Maybe => {
                    untold(id, flow);
                    untold_count += 1;
                    numbers.clear();
                    cursor.granules_of(id, &mut numbers)?;
                    numbers.iter().for_each(|&number| found.insert(number));
                }
            }
            Ok(if untold_count > UNTOLD_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    match (is_whole, untold_count) {
        (false, _) => Ok(Division::Untold(runs_of(index, None, None)?)),
        (true, 0) => Ok(Division::Told),
        (true, _) => Ok(Division::Partly(runs_of(index, None, Some(&found))?)),
    }
}
