//! Selection of conversations: one by its id, or those that a search finds.

use std::collections::HashSet;
use std::ops::ControlFlow;

use netrewind_flows::conversation::{Conversation, FlowId, RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::search::Search;
use netrewind_store::time::Span;
use netrewind_store::{SegmentName, Timestamp};

use super::attempt::retry_with_exact_membership;
use super::chosen::{Aim, Chosen, ChosenParts, PARTS_CHOSEN_MAX};
use super::from_catalog::CatalogHours;
use super::joining::{JoinRequest, find_keys, finds, join};
use super::request::{Gathering, Membership};
use crate::answer::Work;
use crate::answer::completeness::RejectedIndex;
use crate::answer::completeness::Unreadable;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::extract::prepare::{PreparedQuery, prepare_flows};
use crate::memory::MemoryAccount;
use crate::query::Query;

/// Packets chosen by a query for conversations.
#[derive(Debug)]
pub(crate) struct FlowSelection {
    /// Query that reads their packets.
    pub(crate) query: Query,
    pub(crate) chosen: Chosen,
    /// Their packets and bytes on the wire, those in hours of the catalog included.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// True if all of these packets are kept.
    pub(crate) are_kept: bool,
    /// Time span of the expired ones among them.
    pub(crate) expired: Option<Span>,
    /// Segments that hold them.
    pub(crate) segments: u64,
    /// The requested one, by its id.
    pub(crate) conversation: Option<Conversation>,
    pub(crate) work: Work,
    pub(crate) rejected: Vec<RejectedIndex>,
    /// Places where packets could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// The conversation of this id, from its first packet on to its end or the query's; `None` if it is not (any more) in the
/// query's packets.
pub(crate) fn find_flow(
    engine: &Engine,
    query: &Query,
    id: FlowId,
    control: &mut dyn Control,
) -> Result<Option<Conversation>, ExtractError> {
    if !query.range().contains(id.first) {
        return Ok(None);
    }
    let choice = retry_with_exact_membership(engine, query, control, |by, account, control| {
        choose_by_id(engine, by, account, query, id, Aim::Count, control)
    })?;
    Ok(choice.and_then(|choice| choice.conversation))
}

/// Packets that a query selects by a conversation's id, or by a search; `None` if it does neither.
pub(crate) fn choose(
    engine: &Engine,
    query: &Query,
    aim: Aim,
    control: &mut dyn Control,
) -> Result<Option<FlowSelection>, ExtractError> {
    let search = query.search.as_deref().map(str::parse::<Search>).transpose()?;
    let Some(id) = query.flow else {
        let Some(search) = search else { return Ok(None) };
        let choice = by_packets_if_unsure(engine, query, control, |by, account, control| {
            choose_by_search(engine, by, account, query, &search, aim, control)
        });
        return choice.map(Some);
    };
    let found = match query.range().contains(id.first) {
        true => by_packets_if_unsure(engine, query, control, |by, account, control| {
            choose_by_id(engine, by, account, query, id, aim, control)
        })?,
        false => None,
    };
    let mut choice = found.ok_or(ExtractError::NoSuchFlow(id))?;
    let is_found = |search: &Search| choice.conversation.as_ref().is_some_and(|found| search.accepts(found));
    if !search.as_ref().is_none_or(is_found) {
        (choice.chosen, choice.packets, choice.bytes, choice.segments) = (Chosen::default(), 0, 0, 0);
    }
    Ok(Some(choice))
}

/// Queries by segments, and by the answer itself if fragments or duplicates decide: selected packets are read anyway.
fn by_packets_if_unsure<T>(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
    mut ask: impl FnMut(Membership, &MemoryAccount, &mut dyn Control) -> Result<(T, bool), ExtractError>,
) -> Result<T, ExtractError> {
    engine.memory.answer(control, |account, control| {
        if query.dedup.is_none()
            && let (found, false) = ask(Membership::Segments, account, control)?
        {
            return Ok(found);
        }
        Ok(ask(Membership::Answer, account, control)?.0)
    })
}

fn choose_by_id(
    engine: &Engine,
    by: Membership,
    account: &MemoryAccount,
    query: &Query,
    id: FlowId,
    aim: Aim,
    control: &mut dyn Control,
) -> Result<(Option<FlowSelection>, bool), ExtractError> {
    let mut found = None;
    // First only its first instant, to see whether it exists.
    for to in [Some(id.first.plus_ns(1)), query.to] {
        // Whether a packet is a duplicate, those before it tell.
        let from = if query.dedup.is_some() { query.from } else { Some(id.first) };
        let query = Query { from, to, ..query.clone() };
        let encapsulations = Encapsulations::default();
        let gathering = Gathering::of(&encapsulations, Wanted::Hash(id.key_hash)).by(by).held_by(account);
        let gathering = Gathering { tracks: true, ..gathering };
        let (prepared, hours) = prepare_flows(engine, &query, control, false)?;
        let ending = RangeEnd::at(prepared.completeness.covered_to());
        let in_hours = kept_in_hours(&prepared, &hours);
        let are_kept = hours.is_empty();
        let expired = hours.expired(&prepared.segments.names);
        let mut one = None;
        let outcome = join(
            prepared,
            hours,
            JoinRequest { gathering, search: None, takes_rollups: false },
            control,
            &mut |_| {},
            &mut |key, body| {
                // Whole records of the catalog come before those that may continue.
                let is_it = body.first() == id.first.ns();
                if is_it {
                    let mut parts = ChosenParts::new(aim, in_hours.clone(), account);
                    let fits = parts.add(key, body);
                    one = Some((describe(key, body, &encapsulations, ending), parts, fits));
                }
                if is_it { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        if outcome.is_unsure {
            return Ok((None, true));
        }
        let Some((conversation, parts, fits)) = one else { return Ok((None, false)) };
        if !fits {
            return Err(ExtractError::TooManyChosen(PARTS_CHOSEN_MAX));
        }
        found = Some(FlowSelection {
            query: Query { to: Some(conversation.last.plus_ns(1)), flow: None, search: None, ..query },
            packets: conversation.packets(),
            bytes: conversation.bytes(),
            are_kept,
            expired: within(&expired, conversation.first.ns(), conversation.last.ns()),
            segments: parts.segments() as u64,
            chosen: Chosen { encapsulations, parts: parts.without_turn() },
            conversation: Some(conversation),
            work: outcome.work,
            rejected: outcome.rejected,
            unreadable: outcome.completeness.unreadable,
        });
    }
    Ok((found, false))
}

fn choose_by_search(
    engine: &Engine,
    by: Membership,
    account: &MemoryAccount,
    query: &Query,
    search: &Search,
    aim: Aim,
    control: &mut dyn Control,
) -> Result<(FlowSelection, bool), ExtractError> {
    let encapsulations = Encapsulations::default();
    let (prepared, hours) = prepare_flows(engine, query, control, false)?;
    let ending = RangeEnd::at(prepared.completeness.covered_to());
    // The search ignores packets recorded meanwhile.
    let to = query.to.or(prepared.completeness.covered_to());
    let are_kept = hours.is_empty();
    let expired = hours.expired(&prepared.segments.names);
    let mut parts = ChosenParts::new(aim, kept_in_hours(&prepared, &hours), account);
    let sought = Some(search).filter(|_| by != Membership::Answer);
    let keys = find_keys(&prepared, &hours, sought, (&encapsulations, account), control)?;
    let wanted = keys.as_ref().map_or(Wanted::All, |found| Wanted::Keys(&found.keys));
    let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
    let gathering = Gathering { tracks: true, ..gathering };
    let (mut packets, mut bytes, mut fits) = (0, 0, true);
    let (mut first, mut last) = (u64::MAX, 0);
    let outcome = join(
        prepared,
        hours,
        JoinRequest { gathering, search: Some(search), takes_rollups: false },
        control,
        &mut |_| {},
        &mut |key, body| {
            if finds(search, key, body, &encapsulations, ending) {
                (packets, bytes) = (packets + body.packets(), bytes + body.bytes());
                (first, last) = (first.min(body.first()), last.max(body.last()));
                fits = parts.add(key, body);
            }
            if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
    )?;
    if !fits {
        return Err(ExtractError::TooManyChosen(PARTS_CHOSEN_MAX));
    }
    let choice = FlowSelection {
        query: Query { to, flow: None, search: None, ..query.clone() },
        packets,
        bytes,
        are_kept,
        expired: within(&expired, first, last),
        segments: parts.segments() as u64,
        chosen: Chosen { encapsulations, parts: parts.without_turn() },
        conversation: None,
        work: outcome.work,
        rejected: outcome.rejected,
        unreadable: outcome.completeness.unreadable,
    };
    Ok((choice, outcome.is_unsure))
}

/// Segments that are kept although an hour of the catalog stands in for them.
fn kept_in_hours(prepared: &PreparedQuery<'_>, hours: &CatalogHours) -> HashSet<SegmentName> {
    let names = &prepared.segments.names;
    let is_kept = |name: &&SegmentName| names.binary_search(name).is_ok();
    hours.names().iter().filter(is_kept).copied().collect()
}

/// Part of these spans from the first to the last instant, both included.
fn within(spans: &[Span], first: u64, last: u64) -> Option<Span> {
    let meets = |span: &&Span| span.from.ns() <= last && first < span.to.ns();
    let cut = |span: &Span| Span {
        from: span.from.max(Timestamp(first)),
        to: span.to.min(Timestamp(last).plus_ns(1)),
    };
    let all = |one: Span, other: Span| Span { from: one.from.min(other.from), to: one.to.max(other.to) };
    spans.iter().filter(meets).map(cut).reduce(all)
}
