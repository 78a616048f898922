//! Hints for empty answers: another view with which the answer would not be empty, according to the indexes.
//!
//! Only templates that look different in that way, and their flows, are examined: in a store without tunnels and VLAN tags
//! nothing more than its templates. The caller bounds the time that a hint takes: [`hint_time`].

use std::sync::Arc;
use std::time::Duration;

use netrewind_index::Template;
use netrewind_store::LinkType;

use super::engine::Engine;
use super::open::OpenedQuery;
use super::prepare::prepare;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::answer::hint::Hint;
use crate::plan::flow_judge::PlanError;
use crate::plan::hour_judge::HourJudge;
use crate::plan::likelihood::{Likelihood, looks_different};
use crate::plan::planner::Planner;
use crate::query::Query;
use crate::sink::Wants;
use crate::store::segment::Segment;
use crate::view_mode::ViewMode;

/// The most that looking for a hint takes.
pub const HINT_TIME_MAX: Duration = Duration::from_millis(250);
/// Minimum time for a hint, however short the answer took: too short to notice.
const HINT_TIME_MIN: Duration = Duration::from_millis(25);
/// The part of the answer's time that it may take otherwise.
const HINT_TIME_PART: u32 = 4;

/// Time that may be spent on a hint after an answer that took this long: a small part of it.
pub fn hint_time(answer_took: Duration) -> Duration {
    (answer_took / HINT_TIME_PART).clamp(HINT_TIME_MIN, HINT_TIME_MAX)
}

/// Control that cancels when the closure says so.
struct Stopping<'s>(&'s dyn Fn() -> bool);

impl Control for Stopping<'_> {
    fn cancelled(&self) -> bool {
        (self.0)()
    }
}

/// Changed query for a query that has found no packets. `None` if nothing is known, or if `stop` ended the search first.
pub(super) fn find_hint(engine: &Engine, query: &Query, stop: &dyn Fn() -> bool) -> Option<Hint> {
    let is_plain = query.filter.trim().is_empty() && query.tunnels.are_none() && query.lists.are_none();
    let is_for_all = !query.is_restricted() && !query.chooses_conversations();
    if !query.use_index || is_plain || !is_for_all || query.range().is_empty() {
        return None;
    }
    // If finding a hint fails, there is none.
    look_for_hint(engine, query, stop).ok().flatten()
}

fn look_for_hint(
    engine: &Engine,
    query: &Query,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Hint>, ExtractError> {
    let control = Stopping(stop);
    let range = query.range();
    let (link_types, segments) = segments_of(engine, query, &control)?;
    let filters = engine.compile(query, &link_types, &control)?;
    let mut asked = Planner::new(range, &filters);
    for other in others(query) {
        // A filter without meaning there finds nothing there.
        let Ok(other_filters) = engine.compile(&other, &link_types, &control) else { continue };
        let mut planner = Planner::new(range, &other_filters);
        let mut found = Likelihood::No;
        let looks_different = |template: &Template| looks_different(template, &other_filters, &filters);
        let mut hours = HourJudge::of_templates(&other_filters, &looks_different);
        for segment in &segments {
            if stop() {
                return Err(ExtractError::Cancelled);
            }
            if !hours.may_have_packets(segment) {
                continue;
            }
            let reopened = match segment.is_released() {
                true => engine.segment_cache.reopen(segment, true),
                false => None,
            };
            let Some(index) = &reopened.as_ref().unwrap_or(segment).index else { continue };
            match planner.likelihood(&mut asked, index, stop) {
                Ok(likelihood) => found = found.max(likelihood),
                Err(PlanError::Index(_)) => {}
                Err(PlanError::Cancelled) => return Err(ExtractError::Cancelled),
            }
            if found == Likelihood::Sure {
                break;
            }
        }
        if found != Likelihood::No {
            return Ok(Some(Hint::new(query, &other, found == Likelihood::Sure)));
        }
    }
    Ok(None)
}

/// Segments with packets of the range, and the link types to compile filters for.
fn segments_of(
    engine: &Engine,
    query: &Query,
    control: &dyn Control,
) -> Result<(Vec<LinkType>, Vec<Arc<Segment>>), ExtractError> {
    if query.interfaces.is_empty() {
        let OpenedQuery { mut snapshot, .. } = OpenedQuery::open(engine, query, control)?;
        let link_types = snapshot.link_types();
        snapshot.keep_in(query.range(), query.range());
        return Ok((link_types, snapshot.into_segments()));
    }
    // The logbook knows the interface of each segment.
    let segments = prepare(engine, query, Wants::default(), control)?.segments.in_range;
    let mut link_types: Vec<_> = segments.iter().map(|segment| segment.link_type).collect();
    link_types.sort_unstable();
    link_types.dedup();
    Ok((link_types, segments))
}

/// Other ways to ask.
fn others(query: &Query) -> Vec<Query> {
    let views: &[ViewMode] = match query.view {
        ViewMode::Inner => &[ViewMode::Outer, ViewMode::Any],
        ViewMode::Outer => &[ViewMode::Inner, ViewMode::Any],
        ViewMode::Any => &[],
    };
    let of_views = views.iter().map(|&view| Query { view, ..query.clone() });
    let of_tags = (!query.ignore_vlan).then(|| Query { ignore_vlan: true, ..query.clone() });
    of_views.chain(of_tags).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_takes_a_small_part_of_what_the_answer_took() {
        let ms = Duration::from_millis;
        assert_eq!([0, 400, 60_000].map(|took| hint_time(ms(took))), [HINT_TIME_MIN, ms(100), HINT_TIME_MAX]);
    }
}
