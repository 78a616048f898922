//! Origins of segments by the logbook, and the choice of segments by interface.

use std::collections::BTreeSet;

use netrewind_store::SegmentName;
use netrewind_store::time::{HOUR_NS, SECOND_NS, Span};

use super::origin::{Origin, can_be_of};
use super::timeline::{RecordingSession, RecordingTimeline};
use crate::answer::error::ExtractError;

/// Longest time after a lane's last logbook line at which a segment may have been opened and still belong to that lane.
const SIGN_OF_LIFE_SLACK_NS: u64 = 2 * SECOND_NS;

/// Longest duration of a segment: it ends with its hour.
pub(super) const SEGMENT_NS_MAX: u64 = HOUR_NS;

/// Origin of a segment: from the line written when it was opened, else from its lane's session.
pub(crate) fn origin_of(timeline: &RecordingTimeline<'_>, name: &SegmentName) -> Option<Origin> {
    let is_of_lane = |session: &&RecordingSession| {
        session.lane == name.lane
            && !session.interface.is_empty()
            && session.from <= name.opened
            && name.opened <= session.to.plus_ns(SIGN_OF_LIFE_SLACK_NS)
    };
    let of_lane = || {
        let session = timeline.sessions.iter().rev().find(is_of_lane)?;
        Some(Origin { interface: session.interface.clone(), ..Origin::default() })
    };
    timeline.origins.get(name).cloned().or_else(of_lane)
}

/// The times of captures that were recorded from a stream later than they were made, each as one span: separate segments of
/// its interfaces make no gaps.
pub(crate) fn replayed_spans(
    timeline: &RecordingTimeline<'_>,
    segments: &[(SegmentName, Span)],
) -> Vec<Span> {
    let mut spans = Vec::new();
    let earlier = |(name, span): &&(SegmentName, Span)| span.to < name.opened;
    let earlier: Vec<_> = segments.iter().filter(earlier).collect();
    for session in
        timeline.sessions.iter().filter(|session| !session.interface.is_empty() && !earlier.is_empty())
    {
        let until = session.to.plus_ns(SIGN_OF_LIFE_SLACK_NS);
        let is_of = |name: &SegmentName| {
            let named = std::slice::from_ref(&session.interface);
            (session.from..=until).contains(&name.opened)
                && origin_of(timeline, name).is_some_and(|origin| origin.is_of(named))
        };
        let of_session = earlier.iter().filter(|(name, span)| span.to <= session.from && is_of(name));
        let spans_of = of_session.map(|(_, span)| *span);
        spans.extend(
            spans_of.reduce(|all, span| Span { from: all.from.min(span.from), to: all.to.max(span.to) }),
        );
    }
    spans
}

/// The times in which the packets of a segment show that recording went on: their span, unless some of their timestamps are wrong.
/// Those of an imported file are believed.
pub(crate) fn recorded_spans(timeline: &RecordingTimeline<'_>, name: &SegmentName, span: Span) -> Vec<Span> {
    let is_too_long = |span: &Span| span.to.ns_since(span.from) > SEGMENT_NS_MAX;
    let meets = |passed_over: &Span| passed_over.from < span.to && span.from < passed_over.to;
    // Most segments have nothing to be looked up.
    if !is_too_long(&span) && !timeline.passed_over.iter().any(meets)
        || origin_of(timeline, name).is_some_and(|origin| origin.file.is_some())
    {
        return vec![span];
    }
    // A segment ends after a minute, and with its hour. One that seems to last longer, and has packets of the time in which it was
    // written, has others of times in which it was not; one of other times altogether is an earlier capture.
    let written = Span { from: name.opened, to: name.opened.plus_ns(SEGMENT_NS_MAX) };
    // Packets may have waited before the segment was opened: one that ends a little before that is no earlier capture.
    let is_earlier_capture = span.to.plus_ns(SEGMENT_NS_MAX) < written.from || written.to < span.from;
    let mut spans = vec![span];
    for passed_over in &timeline.passed_over {
        spans = spans.into_iter().flat_map(|span| without(span, *passed_over)).collect();
    }
    // With a wrong time at one end, the other pieces begin or end at a time that is wrong as well.
    if !is_earlier_capture && spans.iter().any(is_too_long) {
        spans.clear();
    }
    spans
}

/// A span without the part that it shares with another.
fn without(span: Span, other: Span) -> impl Iterator<Item = Span> {
    let before = Span { to: span.to.min(other.from), ..span };
    let after = Span { from: span.from.max(other.to), ..span };
    [before, after].into_iter().filter(|part| part.from < part.to)
}

/// Refuses names that the logbook does not have, in the part that was read. `in_range` are the interfaces of the range's
/// segments, listed in the error.
pub(crate) fn check_interface_names(
    timeline: &RecordingTimeline<'_>,
    chosen: &[String],
    in_range: impl Iterator<Item = String>,
    range: Span,
) -> Result<(), ExtractError> {
    let is_known = |name: &String| {
        let names = std::slice::from_ref(name);
        timeline.sessions.iter().any(|session| session.interface == *name)
            || timeline.origins.values().any(|origin| origin.is_of(names))
    };
    let Some(unknown) = chosen.iter().find(|name| !is_known(name)) else { return Ok(()) };
    let recorded =
        timeline.sessions.iter().filter(|session| session.from < range.to && range.from <= session.to);
    let recorded = recorded.map(|session| session.interface.clone()).filter(|name| !name.is_empty());
    let known: BTreeSet<String> = in_range.chain(recorded).collect();
    Err(ExtractError::UnknownInterface { name: unknown.clone(), known: known.into_iter().collect() })
}

/// Drops entries that do not concern the chosen interfaces.
pub(crate) fn keep_chosen_interfaces(timeline: &mut RecordingTimeline<'_>, chosen: &[String]) {
    let other_lanes: BTreeSet<u16> = timeline
        .sessions
        .iter()
        .filter(|session| !can_be_of(&session.interface, chosen))
        .map(|session| session.lane)
        .collect();
    timeline.sessions.retain(|session| can_be_of(&session.interface, chosen));
    let own_lanes: BTreeSet<u16> = timeline.sessions.iter().map(|session| session.lane).collect();
    timeline.outages.retain(|outage| own_lanes.contains(&outage.lane) || !other_lanes.contains(&outage.lane));
    let origins = &timeline.origins;
    let is_other = |name: &SegmentName| origins.get(name).is_some_and(|origin| !origin.is_of(chosen));
    timeline.sealed.retain(|name, _| !is_other(name));
    timeline.expired.retain(|name, _| !is_other(name));
    let is_of_chosen = |file: &str| {
        let mut of_file = origins.values().filter(|origin| origin.file.as_deref() == Some(file)).peekable();
        of_file.peek().is_none() || of_file.any(|origin| origin.is_of(chosen))
    };
    timeline.losses.retain(|loss| is_of_chosen(&loss.file));
}
