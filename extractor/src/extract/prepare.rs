//! Third stage of a query: reads the logbook, chooses segments by interface, and learns what the answer will lack.

use std::sync::Arc;

use netrewind_packet::INNER_LINK_TYPES;
use netrewind_store::time::DAY_NS;
use netrewind_store::time::Span;
use netrewind_store::{LinkType, SegmentName, Timestamp};

use super::compile::CompiledQuery;
use super::engine::Engine;
use super::interfaces::{AnswerInterfaces, choose_interfaces};
use super::open::OpenedQuery;
use crate::answer::completeness::{Asked, Completeness, RejectedIndex, Unreadable};
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::flows::CatalogHours;
use crate::fragments;
use crate::history::coverage::{self, CoverageQuery, KeptSegments};
use crate::history::reach::{KeptBounds, reach};
use crate::history::segment_origins::{origin_of, recorded_spans, replayed_spans};
use crate::history::timeline::{LogbookScope, RecordingTimeline};
use crate::plan::hour_judge::HourJudge;
use crate::plan::query_filter::{LinkTypeVerdict, QueryFilter};
use crate::query::{Query, TimeRange};
use crate::sink::Wants;
use crate::store::segment::Segment;
use crate::store::snapshot::Snapshot;

/// Query about to be carried out: everything is known of it but its packets.
pub(crate) struct PreparedQuery<'q> {
    pub(crate) engine: &'q Engine,
    pub(crate) query: &'q Query,
    pub(crate) range: TimeRange,
    pub(crate) filters: QueryFilter,
    pub(crate) segments: QuerySegments,
    pub(crate) rejected: Vec<RejectedIndex>,
    pub(crate) unreadable: Vec<Unreadable>,
    pub(crate) completeness: Completeness,
    /// Packets that were not written, by the second.
    pub(crate) drops: Vec<(Span, u64)>,
    pub(crate) interfaces: AnswerInterfaces,
}

/// Segments of a store, by their part in a query.
#[derive(Debug, Default)]
pub(crate) struct QuerySegments {
    /// Segments that can have packets of the range.
    pub(crate) in_range: Vec<Arc<Segment>>,
    /// Segments without packets of the range, but with packets that can decide about some in it.
    pub(crate) beside: Vec<Arc<Segment>>,
    /// Other segments.
    pub(crate) outside: Vec<Segment>,
    /// Names of all segments of the store, ascending.
    pub(crate) names: Vec<SegmentName>,
}

impl QuerySegments {
    /// All segments, each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Segment> {
        let shared = self.in_range.iter().chain(&self.beside).map(Arc::as_ref);
        shared.chain(&self.outside)
    }
}

/// Prepares a query for packets.
pub(crate) fn prepare<'q>(
    engine: &'q Engine,
    query: &'q Query,
    wants: Wants,
    control: &dyn Control,
) -> Result<PreparedQuery<'q>, ExtractError> {
    let opened = OpenedQuery::open(engine, query, control)?;
    let compiled = CompiledQuery::compile(opened, control)?;
    let (prepared, _) = PreparedQuery::read_history(compiled, wants, control)?;
    Ok(prepared)
}

/// Prepares a query for flows; see [`OpenedQuery::open_for_flows`].
pub(crate) fn prepare_flows<'q>(
    engine: &'q Engine,
    query: &'q Query,
    control: &dyn Control,
    adds_up: bool,
) -> Result<(PreparedQuery<'q>, CatalogHours), ExtractError> {
    let opened = OpenedQuery::open_for_flows(engine, query, control, adds_up)?;
    PreparedQuery::read_history(CompiledQuery::compile(opened, control)?, Wants::default(), control)
}

impl<'q> PreparedQuery<'q> {
    /// Reads the logbook about the range of a compiled query. The hours of the catalog are handed on.
    pub(crate) fn read_history(
        compiled: CompiledQuery<'q>,
        wants: Wants,
        control: &dyn Control,
    ) -> Result<(Self, CatalogHours), ExtractError> {
        let CompiledQuery { engine, query, mut snapshot, hours, filters } = compiled;
        let range = query.range();
        let mut completeness = Completeness::of_question(query);
        filters.note_refused(query, &mut completeness);
        completeness.covered = covered(engine, query, &snapshot, &hours);
        snapshot.damaged.drain(..).for_each(|damage| completeness.add_damage(damage));
        hours.tell(&mut completeness, snapshot.oldest(), query.is_restricted());
        let (spans, unsealed) = (spans_of(&snapshot), unsealed_in(&snapshot));
        let foreign = opened_on_other_days(&snapshot);
        let reached = if filters.link_fragments() { fragments::reach(range) } else { range };
        snapshot.beside = snapshot.keep_in(range, reached);
        let (mut drops, mut interfaces) = (Vec::new(), AnswerInterfaces::default());
        if let Some(span) = completeness.covered {
            let mut timeline = read_timeline(engine, query, wants, span, foreign, &snapshot);
            choose_interfaces(&mut snapshot, &mut completeness, query, &mut timeline, span)?;
            drops.clone_from(&timeline.drops);
            snapshot.find_shortened(&timeline);
            let by_segment = spans.clone();
            let (spans, recorded) = kept_spans(query, &timeline, &hours, spans);
            let kept = KeptSegments {
                names: &snapshot.names,
                catalogued: hours.names(),
                by_segment,
                recorded,
                spans,
                unsealed,
                is_damaged: !snapshot.unreadable.is_empty(),
            };
            let asking = CoverageQuery { store: engine.store(), is_restricted: query.is_restricted() };
            coverage::fill(&mut completeness, span, &timeline, &kept, asking);
            clear_empty_range(&mut completeness);
            if wants.interfaces {
                interfaces = AnswerInterfaces::of(&mut snapshot, &timeline, query);
            }
        } else if snapshot.unreadable.is_empty() && completeness.is_complete() {
            completeness.nothing_kept = Some("there are no packets in the store".to_owned());
        }
        snapshot.open_possible(
            &engine.segment_cache,
            HourJudge::new(&filters),
            engine.workers.held_max,
            control,
        )?;
        let Snapshot { segments, beside, outside, names, rejected, unreadable, .. } = snapshot;
        let share = |segments: Vec<Segment>| segments.into_iter().map(Arc::new).collect();
        let segments = QuerySegments { in_range: share(segments), beside: share(beside), outside, names };
        let prepared = Self {
            engine,
            query,
            range,
            filters,
            segments,
            rejected,
            unreadable,
            completeness,
            drops,
            interfaces,
        };
        Ok((prepared, hours))
    }

    /// Leaves out what stands before `start`: it is neither read nor given. What the answer lacks is still told of the whole range.
    pub(super) fn begin_at(&mut self, start: Timestamp) {
        let range = self.range.starting_at(start);
        let reached = if self.filters.link_fragments() { fragments::reach(range) } else { range };
        let meets = |segment: &Arc<Segment>, range: TimeRange| {
            segment.bounds.is_some_and(|(first, last)| range.meets(first, last))
        };
        let QuerySegments { in_range, beside, .. } = &mut self.segments;
        beside.extend(in_range.extract_if(.., |segment| !meets(segment, range)));
        beside.retain(|segment| meets(segment, reached));
        self.range = range;
    }

    /// Link types that the answer can have.
    pub(super) fn possible_link_types(&self) -> Vec<LinkType> {
        let mut link_types: Vec<_> = self.segments.in_range.iter().map(|segment| segment.link_type).collect();
        link_types.retain(|&link_type| self.filters.link_type_verdict(link_type) != LinkTypeVerdict::Nothing);
        if self.query.decapsulate && !link_types.is_empty() {
            link_types.extend(INNER_LINK_TYPES);
        }
        link_types.sort_unstable();
        link_types.dedup();
        link_types
    }
}

/// The range that the answer speaks of.
fn covered(engine: &Engine, query: &Query, snapshot: &Snapshot, hours: &CatalogHours) -> Option<Span> {
    let ((first, last), names) = (hours.bounds().unzip(), &snapshot.names[..]);
    let (oldest, newest) = (first.into_iter().chain(snapshot.oldest()).min(), last.max(snapshot.newest()));
    reach(query, engine.store(), &engine.logbook_cache, KeptBounds { oldest, newest, names })
}

/// Logbook entries about the range.
fn read_timeline<'q>(
    engine: &'q Engine,
    query: &'q Query,
    wants: Wants,
    range: Span,
    foreign: Vec<SegmentName>,
    snapshot: &Snapshot,
) -> RecordingTimeline<'q> {
    let scope = LogbookScope { range, interfaces: told_interfaces(query), accounts: wants.interfaces };
    let mut also = foreign;
    if wants.interfaces || !query.interfaces.is_empty() {
        also.extend(snapshot.segments.iter().map(|segment| segment.name));
    }
    let mut timeline = RecordingTimeline::read(engine.store(), &engine.logbook_cache, scope, &also);
    timeline.tell_unlogged(snapshot.segments.iter().map(|segment| segment.name));
    timeline
}

/// Interfaces of whose recording the answer tells. If the asker may not know the interfaces, gaps and drops are those of all
/// interfaces.
fn told_interfaces(query: &Query) -> &[String] {
    if query.is_restricted() { &[] } else { &query.interfaces }
}

/// The times of which packets are kept, or were, and [`KeptSegments::recorded`].
fn kept_spans(
    query: &Query,
    timeline: &RecordingTimeline<'_>,
    hours: &CatalogHours,
    mut spans: Vec<(SegmentName, Span)>,
) -> (Vec<Span>, Vec<Span>) {
    spans.retain(|(name, _)| is_of_told_interface(query, timeline, name));
    let mut kept = replayed_spans(timeline, &spans);
    kept.extend(hours.spans());
    let mut recorded = kept.clone();
    recorded.extend(spans.iter().flat_map(|(name, span)| recorded_spans(timeline, name, *span)));
    kept.extend(spans.iter().map(|(_, span)| *span));
    (kept, recorded)
}

fn is_of_told_interface(query: &Query, timeline: &RecordingTimeline<'_>, name: &SegmentName) -> bool {
    let interfaces = told_interfaces(query);
    interfaces.is_empty() || origin_of(timeline, name).is_none_or(|origin| origin.is_of(interfaces))
}

/// Clears the covered range if nothing is kept and an end of the range was left open.
fn clear_empty_range(completeness: &mut Completeness) {
    let Asked { from, to } = completeness.asked;
    if completeness.nothing_kept.is_some() && (from.is_none() || to.is_none()) {
        completeness.covered = None;
    }
}

/// The times of all segments that hold packets.
fn spans_of(snapshot: &Snapshot) -> Vec<(SegmentName, Span)> {
    let span = |segment: &Segment| {
        let (from, last) = segment.bounds?;
        Some((segment.name, Span { from, to: last.plus_ns(1) }))
    };
    snapshot.segments.iter().filter_map(span).collect()
}

/// See [`KeptSegments::unsealed`].
fn unsealed_in(snapshot: &Snapshot) -> Vec<(SegmentName, Timestamp)> {
    let reached = |name: &SegmentName| {
        let found = snapshot.segments.iter().find(|segment| segment.name == *name);
        found.and_then(|segment| segment.bounds).map_or(Timestamp::MIN, |(_, last)| last.plus_ns(1))
    };
    snapshot.unsealed.iter().map(|name| (*name, reached(name))).collect()
}

/// Segments that were opened on other days than those of their packets, such as imported ones: their logbook entries are on
/// these days. So are those of segments with packets of several days.
fn opened_on_other_days(snapshot: &Snapshot) -> Vec<SegmentName> {
    let day = |at: Timestamp| at.ns() / DAY_NS;
    let is_foreign = |segment: &&Segment| {
        let opened = day(segment.name.opened);
        segment.bounds.is_some_and(|(first, last)| day(first) != opened || day(last) != opened)
    };
    snapshot.segments.iter().filter(is_foreign).map(|segment| segment.name).collect()
}
