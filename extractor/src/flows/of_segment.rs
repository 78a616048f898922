//! Conversations of one sealed segment, each by itself: not joined with those of others.

use std::ops::ControlFlow;

use netrewind_flows::conversation::{Conversation, RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::label_lookup::Wanted;
use netrewind_store::{SegmentName, SegmentState};

use super::pipeline;
use super::request::Gathering;
use super::source::FlowSource;
use crate::answer::completeness::Unreadable;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::query::Query;
use crate::store::snapshot::Snapshot;

/// Gives the conversations of a sealed segment to `take`, without the first `skip`, in the same order each time, until it refuses
/// one. Returns the places that could not be read; `None` if the segment is not there (any more).
pub(crate) fn visit_segment(
    engine: &Engine,
    name: &SegmentName,
    skip: u64,
    control: &mut dyn Control,
    take: &mut dyn FnMut(&Conversation) -> bool,
) -> Result<Option<Vec<Unreadable>>, ExtractError> {
    let query = Query::default();
    let is_wanted =
        |listed: &SegmentName, state: SegmentState| state == SegmentState::Sealed && listed == name;
    let Engine { segment_cache, scans, workers, .. } = engine;
    let mut snapshot = Snapshot::take_those(segment_cache, &query, scans, *workers, control, &is_wanted)?;
    let mut unreadable = std::mem::take(&mut snapshot.unreadable);
    if snapshot.names.is_empty() && unreadable.is_empty() {
        return Ok(None);
    }
    let end =
        snapshot.segments.iter().filter_map(|segment| segment.bounds).map(|(_, last)| last.plus_ns(1)).max();
    let (ending, encapsulations) = (RangeEnd::at(end), Encapsulations::default());
    let filters = engine.compile(&query, &snapshot.link_types(), control)?;
    let gathering = Gathering::of(&encapsulations, Wanted::All);
    let source = FlowSource::new(engine, query.use_index, query.range(), &filters);
    let (mut seen, mut is_gone) = (0, false);
    pipeline::run(source, gathering, snapshot.into_segments(), control, &mut |gathered, _| {
        unreadable.extend(gathered.unreadable);
        is_gone |= gathered.gone.is_some();
        for part in &gathered.parts {
            seen += 1;
            if seen > skip && !take(&describe(&part.key, &part.body, &encapsulations, ending)) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok((!is_gone).then_some(unreadable))
}
