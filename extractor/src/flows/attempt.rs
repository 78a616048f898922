//! Attempts to answer a query for flows: by segments where that is exact, else by the packets that extraction gives out.

use super::request::Membership;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::extract::estimate::estimate_packets;
use crate::memory::MemoryAccount;
use crate::query::Query;

/// Queries flows with one way of deciding which packets belong to the answer; true if it is not sure of them.
type FlowAttempt<'a, T> = dyn FnMut(Membership, &mut dyn Control) -> Result<(T, bool), ExtractError> + 'a;

/// Queries by segments if possible, and again by the answer if that turns out not to suffice.
pub(super) fn retry_with_exact_membership<T>(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
    mut ask: impl FnMut(Membership, &MemoryAccount, &mut dyn Control) -> Result<(T, bool), ExtractError>,
) -> Result<T, ExtractError> {
    engine.memory.answer(control, |account, control| {
        ask_until_exact(engine, query, control, &mut |by, control| ask(by, account, control))
    })
}

fn ask_until_exact<T>(
    engine: &Engine,
    query: &Query,
    control: &mut dyn Control,
    ask: &mut FlowAttempt<'_, T>,
) -> Result<T, ExtractError> {
    if query.dedup.is_none() {
        let (found, is_unsure) = ask(Membership::Segments, control)?;
        if !is_unsure {
            return Ok(found);
        }
        // Without indexes everything is read anyway.
        if query.use_index
            && estimate_packets(engine, query, control)?.bytes_max > engine.fragmented_bytes_max
        {
            return Ok(ask(Membership::SegmentsAlone, control)?.0);
        }
    }
    Ok(ask(Membership::Answer, control)?.0)
}
