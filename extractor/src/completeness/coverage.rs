//! From the logbook and the segments kept to what an answer covers and what it lacks.

use std::collections::HashSet;

use netrewind_segment::time::SECOND_NS;
use netrewind_segment::{SegmentName, Store, Timestamp};

use super::chronicle::{Chronicle, End, Session};
use super::{Asked, Completeness, Gap, Span};
use crate::ExtractError;

/// What is kept, as [`lacks`] needs it.
#[derive(Clone, Debug)]
pub(crate) struct Kept<'a> {
    /// Names of all segments that were listed, ascending.
    pub(crate) names: &'a [SegmentName],
    /// Those in whose place the catalog stands.
    pub(crate) catalogued: &'a HashSet<SegmentName>,
    /// The times of those that hold packets, or held them.
    pub(crate) spans: Vec<Span>,
}

/// To whom not all packets may be known, gaps are told to the second, and none too short: packets may tell of their ends.
const GAPS_VEILED_NS: u64 = SECOND_NS;

/// What is told instead of why one of the interfaces received nothing: its name, and what the system said.
const OUTAGE: &str = "an interface received nothing";
/// What is told instead of which capture file was damaged.
const LOSS: &str = "a capture file that was imported is damaged";

/// How far behind the clock a recorder's last sign of life may be: it gives one a second.
const RECORDED_BEHIND_NS: u64 = 3 * SECOND_NS;

/// Fills in what the logbook knows about the range: gaps, drops, what has expired. Who `is_restricted` is told no more
/// than that ([`crate::Query::is_restricted`]).
pub(crate) fn fill(
    completeness: &mut Completeness,
    range: Span,
    chronicle: &Chronicle<'_>,
    kept: &Kept<'_>,
    store: &Store,
    is_restricted: bool,
) -> Result<(), ExtractError> {
    let range = as_far_as_recorded(range, chronicle, kept);
    completeness.covered = Some(range);
    let gone = no_longer_kept(completeness, range, chronicle, kept, store)?;
    gone.into_iter().for_each(|gone| completeness.add_gone(gone));
    let asked = completeness.asked;
    let found = gaps(range, chronicle, kept, is_restricted).into_iter();
    for gap in found.filter_map(|gap| if is_restricted { veiled(gap, range, asked) } else { Some(gap) }) {
        completeness.add_gap(gap);
    }
    for loss in chronicle.losses.iter().filter(|loss| loss.span.from < range.to && range.from < loss.span.to)
    {
        let reason = if is_restricted { LOSS.to_owned() } else { loss.reason.clone() };
        // How far it reaches is unknown, and no reason to end it with the range.
        completeness.add_gap(Gap { from: loss.span.from.max(range.from), to: loss.span.to, reason });
    }
    completeness.dropped = chronicle.dropped;
    if is_restricted {
        completeness.veil_times();
        return Ok(());
    }
    for note in &chronicle.notes {
        completeness.note(note.clone());
    }
    if chronicle.unreadable_lines > 0 {
        completeness.note(format!("{} lines of the logbook cannot be read", chronicle.unreadable_lines));
    }
    Ok(())
}

/// The range as far as a recorder that is at work has come: of what is asked for up to now, the last moment is still on its
/// way.
fn as_far_as_recorded(range: Span, chronicle: &Chronicle, kept: &Kept<'_>) -> Span {
    let is_at_work = |session: &&Session| session.end == End::Open;
    let Some(alive) = chronicle.sessions.iter().filter(is_at_work).map(|session| session.to).max() else {
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

/// The part of the range of which packets have gone with their segments.
fn no_longer_kept(
    completeness: &Completeness,
    range: Span,
    chronicle: &Chronicle<'_>,
    kept: &Kept<'_>,
    store: &Store,
) -> Result<Option<Span>, ExtractError> {
    let mut gone: Option<Span> = None;
    let mut add = |span: Span| {
        let (from, to) = (span.from.max(range.from), span.to.min(range.to));
        if from < to {
            let all = gone.get_or_insert(Span { from, to });
            *all = Span { from: all.from.min(from), to: all.to.max(to) };
        }
    };
    let is_gone = |name: &SegmentName| !kept.catalogued.contains(name);
    for (name, span) in chronicle.expired.iter().filter(|(name, _)| is_gone(name)) {
        let sealed = chronicle.sealed.get(name).copied();
        add(span.or(sealed).unwrap_or(Span { from: name.opened, to: name.opened.plus_ns(1) }));
    }
    for (name, span) in chronicle.sealed.iter().filter(|(name, _)| is_gone(name)) {
        let was_listed = kept.names.binary_search(name).is_ok() || chronicle.expired.contains_key(name);
        // What was sealed since the listing is there.
        if !was_listed && store.open_segment(name)?.is_none() {
            add(*span);
        }
    }
    // An open start is the oldest packet kept: whatever went before that was not asked for.
    let oldest = kept.spans.iter().map(|span| span.from).min();
    let asks_before = |oldest: &Timestamp| completeness.asked.from.is_some_and(|from| from < *oldest);
    if chronicle.expired.keys().any(is_gone)
        && let Some(oldest) = oldest.filter(asks_before)
        && gone.is_none()
        && chronicle.sessions.iter().any(|session| session.from < oldest && range.from < session.to)
    {
        gone = Some(Span { from: range.from, to: oldest.min(range.to) });
    }
    Ok(gone.filter(|span| span.from < span.to))
}

/// A gap that does not tell when packets were: none where an open end of the range reaches beyond what was recorded, as far as it
/// is veiled itself.
fn veiled(gap: Gap, range: Span, asked: Asked) -> Option<Gap> {
    let is_of_open_end =
        asked.from.is_none() && gap.from == range.from || asked.to.is_none() && gap.to == range.to;
    (!is_of_open_end || gap.reason == OUTAGE).then(|| Gap {
        from: gap.from.rounded_down(GAPS_VEILED_NS).max(range.from),
        to: gap.to.rounded_up(GAPS_VEILED_NS).min(range.to),
        reason: gap.reason,
    })
}

/// When nothing was recorded. A store that only ever imported has no such time.
fn gaps(range: Span, chronicle: &Chronicle<'_>, kept: &Kept<'_>, is_restricted: bool) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if chronicle.sessions.is_empty() || range.from >= range.to {
        return gaps;
    }
    let recorded = chronicle.sessions.iter().map(|session| Span { from: session.from, to: session.to });
    let gone = chronicle.sealed.values().copied();
    let mut covered: Vec<Span> = recorded.chain(kept.spans.iter().copied()).chain(gone).collect();
    covered.sort_unstable();
    let mut at = range.from;
    let end = Span { from: range.to, to: range.to };
    for span in covered.into_iter().filter(|span| span.to > range.from && span.from < range.to).chain([end]) {
        if at < span.from {
            gaps.push(Gap { from: at, to: span.from, reason: why(at, span.from, &chronicle.sessions) });
        }
        at = at.max(span.to);
    }
    gaps.extend(outages(range, chronicle, is_restricted));
    gaps.sort_by_key(|gap| (gap.from, gap.to));
    gaps
}

/// Times in which one lane was recording and received nothing.
fn outages(range: Span, chronicle: &Chronicle<'_>, is_restricted: bool) -> impl Iterator<Item = Gap> {
    chronicle.outages.iter().filter_map(move |outage| {
        let ended = chronicle
            .sessions
            .iter()
            .filter(|session| session.lane == outage.lane && session.to >= outage.from)
            .map(|session| session.to)
            .min();
        let from = outage.from.max(range.from);
        let to = outage.to.or(ended).unwrap_or(range.to).min(range.to);
        let reason = match is_restricted {
            true => OUTAGE.to_owned(),
            false => format!("lane {} received nothing: {}", outage.lane, outage.reason),
        };
        (from < to).then_some(Gap { from, to, reason })
    })
}

/// Why nothing was recorded from `from` to `to`.
fn why(from: Timestamp, to: Timestamp, sessions: &[Session]) -> String {
    let before = sessions.iter().filter(|session| session.to <= from).max_by_key(|session| session.to);
    let after = sessions.iter().any(|session| session.from >= to);
    match (before, after) {
        (None, _) if sessions.iter().all(|session| session.counted.is_some()) => {
            "recording had not begun".to_owned()
        }
        (None, _) => "nothing is known of this time: the logbook begins later".to_owned(),
        (Some(Session { end: End::Stopped, .. }), true) => {
            "recording was stopped, and started again later".to_owned()
        }
        (Some(Session { end: End::Stopped, .. }), false) => "recording was stopped".to_owned(),
        (Some(Session { end: End::Silent, .. }), _) => {
            "the recorder had ended without stopping: a crash, or a power cut".to_owned()
        }
        (Some(Session { end: End::Open, .. }), _) => {
            "recording has not reached this time, or has ended without stopping".to_owned()
        }
    }
}
