//! Lists of conversations.

use std::cell::RefCell;
use std::ops::ControlFlow;

use netrewind_flows::conversation::RangeEnd;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::part::FlowCounters;

use super::attempt::retry_with_exact_membership;
use super::from_catalog::tell_faulty_sums;
use super::joining::{JoinRequest, RecordSource, find_keys, finds, join};
use super::list_answer::{FlowAnswer, FlowQuery};
use super::request::{Gathering, Membership};
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::extract::prepare::prepare_flows;
use crate::memory::MemoryAccount;
use crate::query::Query;

/// Memory in bytes of a listed conversation: as it is kept, with its labels, and as it is given out.
const ROW_BYTES: u64 = 2 << 10;
/// Rows for which memory is taken at a time.
const ROWS_STEP: usize = 256;

/// The conversations of a query's packets, sorted. Limits of the query do not count.
pub(crate) fn list_flows(
    engine: &Engine,
    query: &Query,
    flows: &FlowQuery,
    control: &mut dyn Control,
) -> Result<FlowAnswer, ExtractError> {
    let query = &flows.continued(query);
    retry_with_exact_membership(engine, query, control, |by, account, control| {
        list_flows_by(engine, by, account, query, flows, control)
    })
}

fn list_flows_by(
    engine: &Engine,
    by: Membership,
    account: &MemoryAccount,
    query: &Query,
    flows: &FlowQuery,
    control: &mut dyn Control,
) -> Result<(FlowAnswer, bool), ExtractError> {
    let encapsulations = Encapsulations::default();
    let (top, mut rows) = (RefCell::new(flows.top(&encapsulations)), account.holding());
    let takes_rollups = flows.takes_rollups();
    let adds_up = takes_rollups && by == Membership::Segments;
    let (prepared, hours) = prepare_flows(engine, query, control, adds_up)?;
    let ending = RangeEnd::at(prepared.completeness.covered_to());
    let sought = flows.search.as_ref().filter(|_| by != Membership::Answer);
    let keys = find_keys(&prepared, &hours, sought, (&encapsulations, account), control)?;
    let wanted = keys.as_ref().map_or(Wanted::All, |found| Wanted::Keys(&found.keys));
    let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
    let search = flows.search.as_ref();
    let is_found = |key: &FlowKey, body: &FlowCounters| {
        search.is_none_or(|search| finds(search, key, body, &encapsulations, ending))
    };
    let mut outcome = join(
        prepared,
        hours,
        JoinRequest { gathering, search, takes_rollups },
        control,
        &mut |seen| {
            if let RecordSource::Added(added) = seen {
                added.add_to(&mut top.borrow_mut(), &encapsulations);
            }
        },
        &mut |key, body| {
            if is_found(key, body) {
                let mut top = top.borrow_mut();
                top.take(key, body);
                // Without room the answer is short, or has its turn and goes on.
                rows.hold(top.kept().next_multiple_of(ROWS_STEP) as u64 * ROW_BYTES);
            }
            ControlFlow::Continue(())
        },
    )?;
    let (is_unsure, sums) = (outcome.is_unsure, std::mem::take(&mut outcome.sums));
    let mut answer = FlowAnswer::of(top.into_inner(), ending, outcome);
    tell_faulty_sums(engine.store(), &sums, &mut answer.completeness);
    Ok((answer, is_unsure))
}
