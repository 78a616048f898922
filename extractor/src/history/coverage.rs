//! Coverage and gaps of an answer, from the logbook and the segments kept.

use std::collections::HashSet;

use netrewind_store::store::StoreWriter;
use netrewind_store::time::{SECOND_NS, Span};
use netrewind_store::{SegmentName, Store, Timestamp};

use super::segment_origins::{SEGMENT_NS_MAX, recorded_spans};
use super::timeline::{Outage, RecordingSession, RecordingTimeline, SessionEnd};
use crate::answer::completeness::{Asked, Completeness, Gap};

/// Segments kept in the store, as [`fill`] needs them.
#[derive(Clone, Debug)]
pub(crate) struct KeptSegments<'a> {
    /// Names of all segments that were listed, ascending.
    pub(crate) names: &'a [SegmentName],
    /// Segments that the catalog stands in for.
    pub(crate) catalogued: &'a HashSet<SegmentName>,
    /// The times of those that hold packets, or held them.
    pub(crate) spans: Vec<Span>,
    /// The times in which these show that recording went on: `spans`, but for those of wrong timestamps.
    pub(crate) recorded: Vec<Span>,
    /// The times of kept segments, in the order of their names.
    pub(crate) by_segment: Vec<(SegmentName, Span)>,
    /// Segments that are not sealed, and the time up to which they can be read. Of a recorder that has died there may be more in
    /// them, which comes with the recovery.
    pub(crate) unsealed: Vec<(SegmentName, Timestamp)>,
    /// True if some of it cannot be read, so that it is not known whether nothing is kept.
    pub(crate) is_damaged: bool,
}

/// The queried store, and the asker's rights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoverageQuery<'a> {
    pub(crate) store: &'a Store,
    /// See [`crate::Query::is_restricted`].
    pub(crate) is_restricted: bool,
}

/// Precision of gaps for restricted askers: a second, and no very short ones, because their ends may reveal packets.
const GAPS_VEILED_NS: u64 = SECOND_NS;

/// Text for restricted askers instead of the interface that received nothing and the system's error.
const OUTAGE: &str = "an interface received nothing";
/// Text for restricted askers instead of the reason why packets could not be written.
const UNWRITTEN: &str = "packets could not be written";
/// Note of an answer that lacks what might be kept without holds.
const EXPIRED_BESIDE_HOLDS: &str =
    "part of what is no longer kept made room while older segments were held: see netrewind hold list";
/// Text for restricted askers instead of the name of the damaged capture file.
const LOSS: &str = "a capture file that was imported is damaged";
/// Longest time without a logbook line of a running recorder: it writes a logbook line every ten seconds.
const SILENCE_NS: u64 = 12 * SECOND_NS;
/// Longest lag of a recorder's last logbook line behind the clock: it writes one a second.
const RECORDED_BEHIND_NS: u64 = 3 * SECOND_NS;

/// Fills in the facts from the logbook about the range: gaps, drops, expired segments. If `is_restricted`, the asker learns no
/// more than [`crate::Query::is_restricted`] allows.
pub(crate) fn fill(
    completeness: &mut Completeness,
    range: Span,
    timeline: &RecordingTimeline<'_>,
    kept: &KeptSegments<'_>,
    asking: CoverageQuery<'_>,
) {
    let CoverageQuery { store, is_restricted } = asking;
    let is_recording = is_recording(store);
    // What a recorder that has died did not write is not on its way.
    let range = if is_recording { as_far_as_recorded(range, timeline, kept) } else { range };
    completeness.covered = Some(range);
    let gone = no_longer_kept(completeness, range, timeline, kept, store);
    gone.into_iter().for_each(|gone| completeness.add_gone(gone));
    let asked = completeness.asked;
    let found = gaps(range, timeline, kept, is_restricted, is_recording).into_iter();
    for gap in found.filter_map(|gap| if is_restricted { veiled(gap, range, asked) } else { Some(gap) }) {
        completeness.add_gap(gap);
    }
    for loss in timeline.losses.iter().filter(|loss| loss.span.from < range.to && range.from < loss.span.to) {
        let reason = if is_restricted { LOSS.to_owned() } else { loss.reason.clone() };
        // Its end is unknown, so it does not end with the range.
        completeness.add_gap(Gap { from: loss.span.from.max(range.from), to: loss.span.to, reason });
    }
    completeness.dropped = timeline.dropped;
    timeline.damaged.iter().for_each(|damage| completeness.add_damage(damage.clone()));
    completeness.nothing_kept = nothing_kept(completeness, range, timeline, kept, is_restricted);
    if is_restricted {
        completeness.veil_times();
        return;
    }
    for note in &timeline.notes {
        completeness.note(note.clone());
    }
    if completeness.no_longer_kept.is_some() && timeline.expired_beside_holds {
        completeness.note(EXPIRED_BESIDE_HOLDS.to_owned());
    }
}

/// True if a recorder writes to the store now.
pub(crate) fn is_recording(store: &Store) -> bool {
    let writer = StoreWriter::of(store).ok().flatten();
    writer.is_some_and(|writer| writer.holder.contains("record") || writer.holder.contains("run,"))
}

/// Reason why nothing in the range is kept; `None` if something is, or if that is not known.
fn nothing_kept(
    completeness: &Completeness,
    range: Span,
    timeline: &RecordingTimeline<'_>,
    kept: &KeptSegments<'_>,
    is_restricted: bool,
) -> Option<String> {
    // A restricted asker must not learn in this way when others' packets arrived.
    let is_kept =
        !is_restricted && kept.spans.iter().any(|span| span.from < range.to && range.from < span.to);
    let is_damaged = kept.is_damaged || completeness.damaged.iter().any(|damage| damage.is_needed);
    if is_kept || is_damaged || completeness.dropped.total() > 0 {
        return None;
    }
    let all = |spans: &[Span]| {
        let from = spans.iter().map(|span| span.from).min()?;
        Some(Span { from, to: spans.iter().map(|span| span.to).max()? })
    };
    if timeline.sessions.is_empty() && completeness.no_longer_kept.is_none() {
        return (!is_restricted).then(|| match all(&kept.spans) {
            None => "there are no packets in the store".to_owned(),
            Some(all) => {
                format!("the store has packets of {all}; for other times nothing is known")
            }
        });
    }
    let gaps = completeness.gaps.iter().map(Gap::span);
    let mut missing: Vec<Span> = gaps.chain(completeness.no_longer_kept).collect();
    missing.sort_unstable();
    let reach = |at: Timestamp, span: Span| if span.from <= at { span.to.max(at) } else { at };
    if missing.into_iter().fold(range.from, reach) < range.to {
        return None;
    }
    Some(match (&completeness.gaps[..], completeness.no_longer_kept) {
        ([only], None) => only.reason.clone(),
        ([], Some(_)) => "it has expired".to_owned(),
        _ => "nothing was recorded then, or it has expired".to_owned(),
    })
}

/// Range up to the progress of a running recorder: for a query up to now, the packets of the last moment are still on their
/// way.
fn as_far_as_recorded(range: Span, timeline: &RecordingTimeline, kept: &KeptSegments<'_>) -> Span {
    // Of a lane that is down nothing is on its way.
    let is_down = |lane: u16| {
        let mut of_lane = timeline.outages.iter().filter(|outage| outage.lane == lane);
        of_lane.any(|outage| outage.to.is_none() && !outage.is_of_disk)
    };
    let is_at_work = |session: &&RecordingSession| session.end == SessionEnd::Open && !is_down(session.lane);
    let Some(alive) = timeline.sessions.iter().filter(is_at_work).map(|session| session.to).max() else {
        return range;
    };
    let stored = kept.spans.iter().map(|span| span.to).filter(|to| *to <= range.to).max();
    let reached = stored.map_or(alive, |stored| stored.max(alive));
    if range.from < reached && reached < range.to && range.to.ns_since(reached) <= RECORDED_BEHIND_NS {
        Span { to: reached, ..range }
    } else {
        range
    }
}

/// Part of the range whose packets have expired with their segments.
fn no_longer_kept(
    completeness: &Completeness,
    range: Span,
    timeline: &RecordingTimeline<'_>,
    kept: &KeptSegments<'_>,
    store: &Store,
) -> Option<Span> {
    let mut gone: Option<Span> = None;
    let mut add = |span: Span| {
        let (from, to) = (span.from.max(range.from), span.to.min(range.to));
        if from < to {
            let all = gone.get_or_insert(Span { from, to });
            *all = Span { from: all.from.min(from), to: all.to.max(to) };
        }
    };
    let is_gone = |name: &SegmentName| !kept.catalogued.contains(name);
    for (name, span) in timeline.expired.iter().filter(|(name, _)| is_gone(name)) {
        let sealed = timeline.sealed.get(name).copied();
        add(span.or(sealed).unwrap_or_else(|| likely_span(name, kept.names)));
    }
    for (name, span) in timeline.sealed.iter().filter(|(name, _)| is_gone(name)) {
        let was_listed = kept.names.binary_search(name).is_ok() || timeline.expired.contains_key(name);
        // Segments sealed since the listing exist.
        if !was_listed && matches!(store.open_segment(name), Ok(None)) {
            add(*span);
        }
    }
    for name in timeline.origins.keys().filter(|name| is_gone(name) && is_untold(name, timeline)) {
        let is_there =
            kept.names.binary_search(name).is_ok() || !matches!(store.open_segment(name), Ok(None));
        if !is_there {
            add(likely_span(name, kept.names));
        }
    }
    // An open start is the oldest packet kept: earlier expired packets do not count as missing.
    let oldest = kept.spans.iter().map(|span| span.from).min();
    let asks_before = |oldest: &Timestamp| completeness.asked.from.is_some_and(|from| from < *oldest);
    if timeline.expired.keys().any(is_gone)
        && let Some(oldest) = oldest.filter(asks_before)
        && gone.is_none()
        && timeline.sessions.iter().any(|session| session.from < oldest && range.from < session.to)
    {
        gone = Some(Span { from: range.from, to: oldest.min(range.to) });
    }
    gone.filter(|span| span.from < span.to)
}

/// True for a segment whose end the logbook does not tell, because its recorder ended without a word.
fn is_untold(name: &SegmentName, timeline: &RecordingTimeline<'_>) -> bool {
    if timeline.sealed_bytes.contains_key(name) || timeline.expired.contains_key(name) {
        return false;
    }
    let is_of = |session: &&RecordingSession| session.lane == name.lane && session.from <= name.opened;
    let own = timeline.sessions.iter().filter(is_of).max_by_key(|session| session.from);
    own.is_some_and(|session| session.end != SessionEnd::Stopped)
}

/// Likely time span of a segment of which only the name is known: until the next segment of its lane was opened.
fn likely_span(name: &SegmentName, kept: &[SegmentName]) -> Span {
    let last = name.opened.plus_ns(SEGMENT_NS_MAX);
    let of_lane = kept.iter().filter(|other| other.lane == name.lane && other.opened > name.opened);
    Span {
        from: name.opened,
        to: of_lane.map(|other| other.opened).min().map_or(last, |next| next.min(last)),
    }
}

/// Gap rounded so that it does not reveal times of packets; `None` if it lies at an open end of the range that is rounded itself.
fn veiled(gap: Gap, range: Span, asked: Asked) -> Option<Gap> {
    let is_of_open_end =
        asked.from.is_none() && gap.from == range.from || asked.to.is_none() && gap.to == range.to;
    (!is_of_open_end || [OUTAGE, UNWRITTEN].contains(&&*gap.reason)).then(|| Gap {
        from: gap.from.rounded_down(GAPS_VEILED_NS).max(range.from),
        to: gap.to.rounded_up(GAPS_VEILED_NS).min(range.to),
        reason: gap.reason,
    })
}

/// Times of the range in which nothing was recorded. A store that only ever imported has none.
fn gaps(
    range: Span,
    timeline: &RecordingTimeline<'_>,
    kept: &KeptSegments<'_>,
    is_restricted: bool,
    is_recording: bool,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if timeline.sessions.is_empty() || range.from >= range.to {
        return gaps;
    }
    let broken_off = BrokenOff::find(&timeline.sessions, kept, is_recording);
    let mut sessions = timeline.sessions.clone();
    for (session, broken_off) in sessions.iter_mut().zip(&broken_off) {
        session.to = broken_off.as_ref().map_or(session.to, |it| it.written_to);
    }
    let sessions = &sessions;
    let alive_to = |session: &RecordingSession| match session.end {
        // Packets received since its last logbook line are being written.
        SessionEnd::Open if is_recording => session.to.plus_ns(SILENCE_NS),
        _ => session.to,
    };
    let recorded = sessions.iter().map(|session| Span { from: session.from, to: alive_to(session) });
    let gone = timeline.sealed.iter().flat_map(|(name, span)| recorded_spans(timeline, name, *span));
    let mut covered: Vec<Span> = recorded.chain(kept.recorded.iter().copied()).chain(gone).collect();
    covered.sort_unstable();
    let mut at = range.from;
    let end = Span { from: range.to, to: range.to };
    for span in covered.into_iter().filter(|span| span.to > range.from && span.from < range.to).chain([end]) {
        if at < span.from {
            gaps.push(Gap { from: at, to: span.from, reason: why(at, span.from, sessions, is_recording) });
        }
        at = at.max(span.to);
    }
    for gap in broken_off.iter().flatten().filter_map(|it| it.gap(range, is_restricted)) {
        // The gap at an open end of the range is veiled, and this one is not.
        let is_apart = |other: &Gap| is_restricted && other.to == range.to;
        add_joined(&mut gaps, gap, is_apart);
    }
    gaps.extend(outages(range, timeline, is_restricted, is_recording));
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    gaps
}

/// Adds a gap, and joins it with those that begin in it or at its end.
fn add_joined(gaps: &mut Vec<Gap>, mut gap: Gap, is_apart: impl Fn(&Gap) -> bool) {
    let touches = |other: &Gap| gap.from <= other.from && other.from <= gap.to && !is_apart(other);
    let (touching, others) = std::mem::take(gaps).into_iter().partition::<Vec<_>, _>(touches);
    *gaps = others;
    for other in touching {
        let (from, to) = (gap.from.min(other.from), gap.to.max(other.to));
        let reason = if gap.reason == UNWRITTEN { gap.reason } else { other.reason };
        gap = Gap { from, to, reason };
    }
    gaps.push(gap);
}

/// A session that ended without a word. What happened after its last line in the logbook is not known: packets may have been
/// dropped, and what had arrived was perhaps not written.
struct BrokenOff {
    lane: u16,
    /// Everything that arrived before is kept, has expired, or is told as lost.
    written_to: Timestamp,
    /// Its last sign of life in the logbook.
    to: Timestamp,
    /// End of the time in which it may have gone on without a logbook, as far as its packets tell.
    alive_to: Timestamp,
    /// Start of the next session; `None` if there is none.
    next: Option<Timestamp>,
}

/// Sessions of a lane from a start to an end, between which the clock was set forward.
struct LaneRun {
    from: Timestamp,
    to: Timestamp,
    /// Starts of its parts, but for the first.
    parts: Vec<Timestamp>,
    end: SessionEnd,
    /// Everything that arrived before is kept, has expired, or is told as lost.
    written_to: Timestamp,
}

impl LaneRun {
    /// The one that a session belongs to. The sessions are in the order of their starts.
    fn of(session: &RecordingSession, sessions: &[RecordingSession]) -> Self {
        let of_lane: Vec<_> = sessions.iter().filter(|other| other.lane == session.lane).collect();
        let mut runs = of_lane.split_inclusive(|other| other.end != SessionEnd::ClockSet);
        let own = runs.find(|run| run.iter().any(|other| other.from == session.from)).unwrap_or_default();
        let (first, last) = (own.first().copied().unwrap_or(session), own.last().copied().unwrap_or(session));
        let parts = own.iter().skip(1).map(|part| part.from).collect();
        Self { from: first.from, to: last.to, parts, end: last.end, written_to: last.written_to }
    }

    /// True if a part of it begins then.
    fn goes_on_at(&self, at: Timestamp) -> bool {
        self.parts.contains(&at)
    }
}

impl BrokenOff {
    /// Of each session, if it is one.
    fn find(sessions: &[RecordingSession], kept: &KeptSegments<'_>, is_recording: bool) -> Vec<Option<Self>> {
        let one = |session| Self::of(session, sessions, kept, is_recording);
        let mut found: Vec<Option<Self>> = sessions.iter().map(one).collect();
        // The lanes of a process end together.
        let ends: Vec<_> = found.iter().flatten().map(|it| (it.next, it.alive_to)).collect();
        for it in found.iter_mut().flatten() {
            let together = ends.iter().filter(|(next, _)| *next == it.next).map(|(_, alive_to)| *alive_to);
            it.alive_to = together.max().unwrap_or(it.alive_to);
        }
        found
    }

    fn of(
        session: &RecordingSession,
        sessions: &[RecordingSession],
        kept: &KeptSegments<'_>,
        is_recording: bool,
    ) -> Option<Self> {
        // Most sessions of a long logbook: nothing is looked up for them.
        if session.end == SessionEnd::Stopped {
            return None;
        }
        let run = LaneRun::of(session, sessions);
        let is_broken_off = match run.end {
            SessionEnd::Silent => true,
            SessionEnd::Open => !is_recording,
            SessionEnd::Stopped | SessionEnd::ClockSet => false,
        };
        if !is_broken_off {
            return None;
        }
        let lane = session.lane;
        let next = sessions.iter().map(|other| other.from).filter(|from| *from > session.to).min();
        let is_own = |name: &SegmentName| {
            let is_before_next = |next: Timestamp| name.opened < next || run.goes_on_at(next);
            name.lane == lane && run.from <= name.opened && next.is_none_or(is_before_next)
        };
        // Times that no clock gave the packets tell nothing: what is left of such a segment may end anywhere in it.
        let readable = kept.unsealed.iter().filter(|(name, _)| is_own(name)).map(|(name, to)| {
            let is_plausible = to.ns_since(run.to) <= SEGMENT_NS_MAX;
            if is_plausible { *to } else { name.opened }
        });
        let readable = readable.min().filter(|_| next.is_none_or(|next| run.goes_on_at(next)));
        let written_to = run.written_to.min(session.to);
        let written_to = readable.map_or(written_to, |to| written_to.min(to));
        let mut alive_to = session.to;
        let first = kept.by_segment.partition_point(|(name, _)| name.opened < session.from);
        let of_time = kept.by_segment[first..].iter();
        let of_time = of_time.take_while(|(name, _)| next.is_none_or(|next| name.opened < next));
        for (name, span) in of_time.filter(|(name, _)| name.lane == lane) {
            if name.opened <= alive_to.plus_ns(SILENCE_NS) {
                // Times that no clock gave the packets tell nothing.
                let is_plausible = span.to.ns_since(name.opened) <= SEGMENT_NS_MAX;
                alive_to = alive_to.max(if is_plausible { span.to } else { name.opened });
            }
        }
        Some(Self { lane, written_to: written_to.max(session.from), to: session.to, alive_to, next })
    }

    fn gap(&self, range: Span, is_restricted: bool) -> Option<Gap> {
        let (from, to) = (self.written_to.max(range.from), self.alive_to.min(range.to));
        let Self { lane, to: ended, .. } = self;
        let reason = match is_restricted {
            true => UNWRITTEN.to_owned(),
            false => format!(
                "recording ended without stopping: a crash, or a power cut; the last logbook entry is of {ended}: what lane {lane} dropped, or did not write, since then is not known"
            ),
        };
        (from < to).then_some(Gap { from, to, reason })
    }
}

/// Times in which one lane was recording and received nothing.
fn outages(
    range: Span,
    timeline: &RecordingTimeline<'_>,
    is_restricted: bool,
    is_recording: bool,
) -> impl Iterator<Item = Gap> {
    timeline.outages.iter().filter_map(move |outage| {
        let ended = timeline
            .sessions
            .iter()
            .filter(|session| session.lane == outage.lane && session.to >= outage.from)
            .filter(|session| match session.end {
                SessionEnd::Open => !is_recording,
                SessionEnd::ClockSet => false,
                SessionEnd::Stopped | SessionEnd::Silent => true,
            })
            .map(|session| session.to)
            .min();
        let from = outage.from.max(range.from);
        let to = outage.to.or(ended).unwrap_or(range.to).min(range.to);
        let Outage { lane, reason, .. } = outage;
        let reason = match (is_restricted, outage.is_of_disk) {
            (true, false) => OUTAGE.to_owned(),
            (true, true) => UNWRITTEN.to_owned(),
            (false, false) => format!("lane {lane} received nothing: {reason}"),
            (false, true) => {
                format!("lane {lane} cannot write: {reason}; packets wait in memory, or are dropped")
            }
        };
        (from < to).then_some(Gap { from, to, reason })
    })
}

/// Reason why nothing was recorded from `from` to `to`.
fn why(from: Timestamp, to: Timestamp, sessions: &[RecordingSession], is_recording: bool) -> String {
    let before = sessions.iter().filter(|session| session.to <= from).max_by_key(|session| session.to);
    let after = sessions.iter().map(|session| session.from).filter(|&from| from >= to).min();
    let Some(RecordingSession { to: stopped, end, .. }) = before else {
        return match sessions.iter().all(|session| session.counted.is_some()) {
            true => match after {
                Some(began) => format!("recording had not begun: it began at {began}"),
                None => "recording had not begun".to_owned(),
            },
            false => "nothing is known of this time: the logbook begins later".to_owned(),
        };
    };
    let ended = match end {
        SessionEnd::Stopped => format!("recording stopped at {stopped}"),
        SessionEnd::ClockSet => {
            return format!(
                "the clock was set forward from {stopped} to {to}: what was not recorded in the time between is not known"
            );
        }
        SessionEnd::Open if is_recording => {
            return format!("recording has not reached this time: its last logbook entry is of {stopped}");
        }
        SessionEnd::Open | SessionEnd::Silent => {
            format!("recording ended at {stopped} without stopping: a crash, or a power cut")
        }
    };
    match after {
        Some(again) => format!("{ended}, and started again at {again}"),
        None => ended,
    }
}
