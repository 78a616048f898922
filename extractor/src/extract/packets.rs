//! Queries for packets: extraction, counts, and the stream of a conversation.

use netrewind_store::Timestamp;

use super::begin::begin;
use super::engine::Engine;
use super::estimate::{bounded, estimate_packets};
use super::output::AnswerForm;
use super::plan::PlannedQuery;
use super::prepare::prepare;
use super::run::WrittenQuery;
use super::secrets::give_secrets;
use crate::answer::completeness::{Asked, Completeness, ReachedLimit};
use crate::answer::control::{CancelledWhenCut, Control, NoControl};
use crate::answer::error::ExtractError;
use crate::answer::{Answer, Estimate};
use crate::flows::choose::{FlowSelection, choose};
use crate::flows::{Aim, FlowId};
use crate::packet_list::{LISTED_PACKETS_MAX, ListSink, PacketList, PacketListQuery};
use crate::query::{AnswerLimits, Query};
use crate::sink::{CountSink, Sink, Wants};
use crate::stream::{Ends, Stream, read_stream};

/// Gives the packets of the answer to the sink, in order.
pub(super) fn extract(
    engine: &Engine,
    query: &Query,
    sink: &mut dyn Sink,
    control: &mut dyn Control,
) -> Result<Answer, ExtractError> {
    match choose(engine, query, Aim::Packets, &mut CancelledWhenCut(control)) {
        Err(ExtractError::Cancelled) if !control.cancelled() && control.cut() == Some(ReachedLimit::Time) => {
            Ok(Answer::out_of_time(query))
        }
        choice => extract_chosen(engine, choice?, query, None, sink, control),
    }
}

/// A page of the answer's packets.
pub(super) fn list(
    engine: &Engine,
    query: &Query,
    page: PacketListQuery,
    control: &mut dyn Control,
) -> Result<PacketList, ExtractError> {
    let page = PacketListQuery { limit: page.limit.clamp(1, LISTED_PACKETS_MAX), ..page };
    let range = page.start.map(|start| (Some(start.range.from), Some(start.range.to)));
    let (from, to) = range.unwrap_or((query.from, query.to));
    // Whether a packet is a duplicate, those before it tell.
    let start = page.start.filter(|_| query.dedup.is_none());
    let skipped = start.map_or(page.start.map_or(0, |start| start.before), |start| start.before_at);
    let packets_max = skipped.saturating_add(page.limit as u64 + 1);
    let limits = AnswerLimits { packets: Some(packets_max), bytes: None };
    let query = Query { from, to, limits, ..query.clone() };
    let choice = choose(engine, &query, Aim::Packets, control)?;
    let mut sink = ListSink::new(page, query.view);
    let answer = extract_chosen(engine, choice, &query, start.map(|start| start.at), &mut sink, control)?;
    let Answer { mut completeness, rejected_indexes, work, .. } = answer;
    // The end of a page is no limit of the list.
    completeness.limit_reached = completeness.limit_reached.filter(|limit| *limit != ReachedLimit::Packets);
    let ListSink { packets, next, .. } = sink;
    Ok(PacketList { packets, next, completeness, rejected_indexes, hint: None, work })
}

/// Gives the packets of the answer to the sink, from `start` on: if conversations are selected, only theirs.
fn extract_chosen(
    engine: &Engine,
    choice: Option<FlowSelection>,
    query: &Query,
    start: Option<Timestamp>,
    sink: &mut dyn Sink,
    control: &mut dyn Control,
) -> Result<Answer, ExtractError> {
    let (chosen_query, chosen, expired) = match choice {
        Some(FlowSelection { query, chosen, expired, .. }) => (Some(query), Some(chosen), expired),
        None => (None, None, None),
    };
    let read = chosen_query.as_ref().unwrap_or(query);
    let wants = sink.wants();
    let mut prepared = prepare(engine, read, wants, control)?;
    prepared.completeness.asked = Asked { from: query.from, to: query.to };
    expired.into_iter().for_each(|span| prepared.completeness.add_gone(span));
    start.into_iter().for_each(|start| prepared.begin_at(start));
    begin(&prepared, chosen.is_some(), sink, control)?;
    give_secrets(engine.store(), query, sink)?.add_to(&mut prepared.completeness);
    let planned = PlannedQuery::plan(prepared, AnswerForm::of(read, wants), chosen, control);
    let answer = WrittenQuery::run(planned, sink, control)?.into_answer();
    sink.finish(&answer)?;
    Ok(answer)
}

/// Counts the packets of the answer. Segments whose index gives the count are not read.
pub(super) fn count(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
) -> Result<Answer, ExtractError> {
    if query.chooses_conversations() && !query.limits.are_set() && !query.decapsulate {
        let choice = choose(engine, query, Aim::Count, control)?;
        if let Some(choice) = choice.filter(|choice| choice.are_kept) {
            return count_chosen(engine, choice, query);
        }
    }
    extract(engine, query, &mut CountSink, control)
}

/// Answers a count from the records of the conversations.
fn count_chosen(engine: &Engine, choice: FlowSelection, query: &Query) -> Result<Answer, ExtractError> {
    let mut completeness = completeness_of(engine, &choice.query)?;
    completeness.asked = Asked { from: query.from, to: query.to };
    let mut rejected_indexes = choice.rejected;
    completeness.tell_of_segments(&mut rejected_indexes, query.is_restricted());
    for place in choice.unreadable {
        completeness.add_unreadable(place);
    }
    Ok(Answer {
        packets: choice.packets,
        bytes: choice.bytes,
        completeness,
        rejected_indexes,
        work: choice.work,
        ..Answer::default()
    })
}

/// Bounds of the answer's size: see [`estimate_packets`]. Of chosen conversations their records tell it: an upper bound unless
/// all of their packets are kept.
pub(super) fn estimate(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
) -> Result<Estimate, ExtractError> {
    let Some(choice) = choose(engine, query, Aim::Count, control)? else {
        return estimate_packets(engine, query, control);
    };
    let total = Estimate {
        packets_min: if choice.are_kept { choice.packets } else { 0 },
        packets_max: choice.packets,
        bytes_max: choice.bytes,
        segments: choice.segments,
    };
    Ok(bounded(total, query))
}

/// Completeness of an answer, as far as it is known before reading.
pub(super) fn completeness_of(engine: &Engine, query: &Query) -> Result<Completeness, ExtractError> {
    Ok(prepare(engine, query, Wants::default(), &NoControl)?.completeness)
}

/// Stream of a conversation, at most `bytes_max` bytes of it; `None` if the query's packets do not hold the conversation.
pub(super) fn stream_of(
    engine: &Engine,
    query: &Query,
    id: FlowId,
    bytes_max: usize,
    control: &mut dyn Control,
) -> Result<Option<Stream>, ExtractError> {
    let asked = Query { flow: Some(id), ..query.clone() };
    let choice = match choose(engine, &asked, Aim::Packets, control) {
        Err(ExtractError::NoSuchFlow(_)) => return Ok(None),
        choice => choice?,
    };
    let Some(ends) = choice.as_ref().and_then(|choice| choice.conversation.as_ref()).map(Ends::of) else {
        return Ok(None);
    };
    read_stream(ends, bytes_max, |sink| extract_chosen(engine, choice, query, None, sink, control)).map(Some)
}
