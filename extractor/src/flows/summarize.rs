//! Summaries of conversations.

use std::cell::RefCell;
use std::ops::ControlFlow;

use netrewind_flows::conversation::RangeEnd;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::series::Buckets;

use super::attempt::retry_with_exact_membership;
use super::from_catalog::tell_faulty_sums;
use super::joining::{JoinRequest, RecordSource, find_keys, finds, join};
use super::request::{Gathering, Membership};
use super::summary_answer::{FlowSummary, SummaryBuilder, SummaryQuery};
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::extract::prepare::prepare_flows;
use crate::memory::MemoryAccount;
use crate::query::Query;

/// Totals of a query's packets: over time, and by host, port, application and conversation.
pub(crate) fn summarize(
    engine: &Engine,
    query: &Query,
    summary: &SummaryQuery,
    control: &mut dyn Control,
) -> Result<FlowSummary, ExtractError> {
    retry_with_exact_membership(engine, query, control, |by, account, control| {
        summarize_by(engine, by, account, query, summary, control)
    })
}

fn summarize_by(
    engine: &Engine,
    by: Membership,
    account: &MemoryAccount,
    query: &Query,
    summary: &SummaryQuery,
    control: &mut dyn Control,
) -> Result<(FlowSummary, bool), ExtractError> {
    let takes_rollups = summary.takes_rollups();
    let adds_up = takes_rollups && by == Membership::Segments;
    let (prepared, hours) = prepare_flows(engine, query, control, adds_up)?;
    let encapsulations = Encapsulations::default();
    let ending = RangeEnd::at(prepared.completeness.covered_to());
    let buckets = Buckets::of(prepared.completeness.covered, summary.buckets);
    let tally = RefCell::new(SummaryBuilder::new(summary, &encapsulations, account));
    let mut series = buckets.series();
    let search = summary.search.as_ref();
    let sought = search.filter(|_| by != Membership::Answer);
    let keys = find_keys(&prepared, &hours, sought, (&encapsulations, account), control)?;
    let wanted = keys.as_ref().map_or(Wanted::All, |found| Wanted::Keys(&found.keys));
    let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
    let gathering = Gathering { buckets: Some(buckets), ..gathering };
    // A search selects whole conversations: their packets are spread over the series.
    let mut found = buckets.series();
    let mut outcome = join(
        prepared,
        hours,
        JoinRequest { gathering, search, takes_rollups },
        control,
        &mut |seen| match seen {
            RecordSource::Segment(gathered) => series.add_all(&gathered.series),
            RecordSource::Kept(body) => {
                series.spread(body.first(), body.last(), body.packets(), body.bytes());
            }
            RecordSource::Rollup(rollup) => rollup.add_to(&mut series),
            RecordSource::Added(added) => tally.borrow_mut().take_added(added),
        },
        &mut |key, body| {
            if let Some(search) = search {
                if !finds(search, key, body, &encapsulations, ending) {
                    return ControlFlow::Continue(());
                }
                found.spread(body.first(), body.last(), body.packets(), body.bytes());
            }
            tally.borrow_mut().take(key, body);
            ControlFlow::Continue(())
        },
    )?;
    if search.is_some() {
        series = found;
    }
    for (span, dropped) in &outcome.drops {
        series.add_dropped(*span, *dropped);
    }
    let (is_unsure, sums) = (outcome.is_unsure, std::mem::take(&mut outcome.sums));
    let mut answer = tally.into_inner().finish(series, ending, outcome);
    tell_faulty_sums(engine.store(), &sums, &mut answer.completeness);
    Ok((answer, is_unsure))
}
