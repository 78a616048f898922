//! Hints for empty answers: another way to look at the packets in which the answer would not be empty, as far as the indexes
//! know.
//!
//! Only templates that look different in that way, and their flows, are examined: in a store without tunnels and VLAN tags
//! nothing more than its templates. The caller bounds the time that a hint takes: [`hint_time`].

use std::time::Duration;

use netrewind_store::LinkType;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::plan::likelihood::Likelihood;
use crate::plan::planner::{PlanError, Planner};
use crate::plan::query_filter::QueryFilter;
use crate::sink::Wants;
use crate::store::snapshot::Snapshot;
use crate::{Control, ExtractError, Extractor, Query, ViewMode};

/// The most that looking for a hint takes.
pub const HINT_TIME_MAX: Duration = Duration::from_millis(250);
/// Minimum time for a hint, however short the answer took: nobody notices.
const HINT_TIME_MIN: Duration = Duration::from_millis(25);
/// The part of the answer's time that it may take otherwise.
const HINT_TIME_PART: u32 = 4;

/// Time that may be spent on a hint after an answer that took so long: a small part of it.
pub fn hint_time(answer_took: Duration) -> Duration {
    (answer_took / HINT_TIME_PART).clamp(HINT_TIME_MIN, HINT_TIME_MAX)
}

/// Another way to look at packets, in which an answer that is empty would not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hint {
    /// Ask with this view: `inner`, `outer` or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false)]
    pub view: Option<ViewMode>,
    /// Ask as if packets had no VLAN tags.
    pub ignore_vlan: bool,
    /// There would be packets; else there may be some.
    pub certain: bool,
    /// Text for a person: `no packet matches on the innermost view; with view=outer there would be some`.
    pub text: String,
}

impl Hint {
    fn new(asked: &Query, other: &Query, certain: bool) -> Self {
        let view = (other.view != asked.view).then_some(other.view);
        let ignore_vlan = other.ignore_vlan && !asked.ignore_vlan;
        let mut hint = Self { view, ignore_vlan, certain, text: String::new() };
        let verb = if certain { "would be" } else { "may be" };
        let parameter = hint.parameter();
        hint.text = format!("no packet matches on {}; with {parameter} there {verb} some", words(asked.view));
        hint
    }

    /// Query parameter to ask with, as it stands in the text.
    pub fn parameter(&self) -> String {
        match self.view {
            Some(view) => format!("view={}", name(view)),
            None => "ignore_vlan=true".to_owned(),
        }
    }
}

fn name(view: ViewMode) -> &'static str {
    match view {
        ViewMode::Inner => "inner",
        ViewMode::Outer => "outer",
        ViewMode::Any => "any",
    }
}

fn words(view: ViewMode) -> &'static str {
    match view {
        ViewMode::Inner => "the innermost view",
        ViewMode::Outer => "the packets as received",
        ViewMode::Any => "any view",
    }
}

/// Control that cancels when the closure says so.
struct Stopping<'s>(&'s dyn Fn() -> bool);

impl Control for Stopping<'_> {
    fn cancelled(&self) -> bool {
        (self.0)()
    }
}

impl Extractor {
    /// Another way to look for packets that a query, which has found none, asks for. `None` if nothing is known, and if `stop`
    /// ended the search before anything was.
    pub fn hint(&self, query: &Query, stop: &dyn Fn() -> bool) -> Option<Hint> {
        let is_plain = query.filter.trim().is_empty() && query.tunnels.are_none();
        let is_for_all = !query.is_restricted() && !query.chooses_conversations();
        if !query.use_index || is_plain || !is_for_all || query.range().is_empty() {
            return None;
        }
        // A hint that cannot be found is none.
        self.look_for_hint(query, stop).ok().flatten()
    }

    fn look_for_hint(&self, query: &Query, stop: &dyn Fn() -> bool) -> Result<Option<Hint>, ExtractError> {
        let range = query.range();
        let mut snapshot = match query.interfaces.is_empty() {
            true => {
                Snapshot::take(self.segment_cache(), query, self.scans(), self.workers(), &Stopping(stop))?
            }
            // Which segments are of an interface the logbook tells.
            false => self.prepare(query, Wants::default(), &Stopping(stop))?.snapshot,
        };
        let link_types = snapshot.link_types();
        snapshot.keep_in(range, range);
        let filters = self.filters_for(query, &link_types, stop)?;
        let mut asked = Planner::new(range, &filters);
        for other in others(query) {
            // What has no meaning there finds nothing there.
            let Ok(other_filters) = self.filters_for(&other, &link_types, stop) else { continue };
            let mut planner = Planner::new(range, &other_filters);
            let mut found = Likelihood::No;
            for segment in &snapshot.segments {
                if stop() {
                    return Err(ExtractError::Cancelled);
                }
                let reopened = match segment.is_released() {
                    true => segment.reopen(self.segment_cache(), true)?,
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

    fn filters_for(
        &self,
        query: &Query,
        link_types: &[LinkType],
        stop: &dyn Fn() -> bool,
    ) -> Result<QueryFilter, ExtractError> {
        let filters = QueryFilter::compile(self.compiler(), query, link_types, &Stopping(stop))?;
        Ok(filters.with_ports(&self.tunnel_ports()?))
    }
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
