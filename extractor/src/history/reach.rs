//! The range that an answer covers if an end of the query's range is open: up to where packets are kept, and further if the
//! recorder lost some, or ran without receiving any.

use netrewind_store::time::Span;
use netrewind_store::{SegmentName, Store, Timestamp};

use super::logbook_cache::Days;
use super::timeline::{LogbookScope, RecordingTimeline};
use crate::Query;
use crate::answer::completeness::VEILED_NS;

/// Bounds of the packets kept: the earliest and the latest, and the names of all segments, ascending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptBounds<'a> {
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) newest: Option<Timestamp>,
    pub(crate) names: &'a [SegmentName],
}

/// The range that an answer covers; `None` if nothing can stand for an open end.
pub(crate) fn reach(query: &Query, store: &Store, days: &Days, bounds: KeptBounds<'_>) -> Option<Span> {
    if let (Some(from), Some(to)) = (query.from, query.to) {
        return Some(Span { from, to: to.max(from) });
    }
    if query.is_restricted() {
        return veiled_reach(query, bounds);
    }
    // Of earlier days only the queried range matters, and not losses whose packets have expired.
    let day_of = |at: Timestamp| Timestamp::from_date_and_time(&at.date(), "000000.000000000Z").unwrap_or(at);
    let read_from = query.from.or(bounds.oldest).map_or(Timestamp::MIN, day_of);
    let range = Span { from: read_from, to: query.to.unwrap_or(Timestamp::MAX) };
    let timeline =
        RecordingTimeline::read(store, days, LogbookScope { range, interfaces: &[], accounts: false }, &[]);
    let from = query.from.or_else(|| earliest(&timeline, bounds))?;
    let to = query.to.unwrap_or_else(|| latest(&timeline, bounds, from));
    Some(Span { from, to: to.max(from) })
}

/// Range for a restricted asker, who must not learn when the first and the last packet arrived: an open start is the beginning
/// of an hour, an open end is the time of the query.
fn veiled_reach(query: &Query, bounds: KeptBounds<'_>) -> Option<Span> {
    let from = query.from.or(bounds.oldest.map(|oldest| oldest.rounded_down(VEILED_NS)))?;
    let newest = || bounds.newest.map(|newest| newest.rounded_up(VEILED_NS));
    let to = query.to.or(query.asked_at).or_else(newest).unwrap_or(from);
    Some(Span { from, to: to.max(from) })
}

/// Instant for an open start: the oldest packet, or an earlier loss that lies after the expired packets; if nothing is kept at
/// all, the beginning of the recording.
fn earliest(timeline: &RecordingTimeline<'_>, bounds: KeptBounds<'_>) -> Option<Timestamp> {
    let Some(oldest) = bounds.oldest else {
        return timeline.sessions.iter().map(|session| session.from).min();
    };
    let expired = timeline.expired.iter().map(|(name, span)| match span {
        Some(span) => span.to,
        None => timeline.sealed.get(name).map_or(name.opened, |span| span.to),
    });
    let is_gone = |name: &SegmentName| bounds.names.binary_search(name).is_err();
    let removed = timeline.sealed.iter().filter(|(name, _)| is_gone(name)).map(|(_, span)| span.to);
    let floor = expired.chain(removed).filter(|&to| to <= oldest).max().unwrap_or(Timestamp::MIN);
    let lost = timeline.drops.iter().map(|(span, _)| *span);
    let before = lost.filter(|span| floor <= span.from && span.from < oldest).map(|span| span.from).min();
    Some(before.unwrap_or(oldest))
}

/// Instant for an open end: after the newest packet, or the last one lost after it; if none in the range is kept, the last
/// logbook line.
fn latest(timeline: &RecordingTimeline<'_>, bounds: KeptBounds<'_>, from: Timestamp) -> Timestamp {
    let newest = bounds.newest.filter(|&newest| newest >= from).map(|newest| newest.plus_ns(1));
    let lost = timeline.drops.iter().map(|(span, _)| span.to).max();
    let alive = || timeline.sessions.iter().map(|session| session.to).max();
    // Packets that a failing disk did not take are later than everything that is kept.
    let is_failing = timeline.outages.iter().any(|outage| outage.is_of_disk && outage.to.is_none());
    let unwritten = if is_failing { alive() } else { None };
    let reached = newest.or_else(alive).into_iter().chain(lost).chain(unwritten).max();
    reached.unwrap_or(from).max(from.plus_ns(1))
}
