//! Visits every conversation of a query's packets that a search finds.

use std::ops::ControlFlow;

use netrewind_flows::conversation::RangeEnd;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::Wanted;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;

use super::from_catalog::tell_faulty_sums;
use super::joining::{GatherOutcome, JoinRequest, find_keys, finds, join};
use super::request::{Gathering, Membership};
use crate::answer::completeness::Completeness;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::extract::engine::Engine;
use crate::extract::prepare::prepare_flows;
use crate::memory::MemoryAccount;
use crate::query::Query;

/// Conversations to visit.
#[derive(Clone, Copy)]
pub(super) struct Visit<'q> {
    pub(super) engine: &'q Engine,
    pub(super) query: &'q Query,
    /// Only those that it finds.
    pub(super) search: Option<&'q Search>,
    pub(super) by: Membership,
    pub(super) account: &'q MemoryAccount,
}

/// Visitor of conversations.
pub(super) trait FlowVisitor {
    /// Called once, with what is known before the first.
    fn begin(&mut self, _completeness: &Completeness) {}

    /// The next conversation, in no order.
    fn take(&mut self, key: &FlowKey, body: &FlowCounters);
}

impl Visit<'_> {
    /// Gives each conversation to the visitor.
    pub(super) fn run(
        self,
        visitor: &mut dyn FlowVisitor,
        control: &mut dyn Control,
    ) -> Result<GatherOutcome, ExtractError> {
        let Self { engine, query, search, by, account } = self;
        let encapsulations = Encapsulations::default();
        let (prepared, hours) = prepare_flows(engine, query, control, false)?;
        let ending = RangeEnd::at(prepared.completeness.covered_to());
        visitor.begin(&prepared.completeness);
        let sought = search.filter(|_| by != Membership::Answer);
        let keys = find_keys(&prepared, &hours, sought, (&encapsulations, account), control)?;
        let wanted = keys.as_ref().map_or(Wanted::All, |found| Wanted::Keys(&found.keys));
        let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
        let is_found = |key: &FlowKey, body: &FlowCounters| {
            search.is_none_or(|search| finds(search, key, body, &encapsulations, ending))
        };
        let request = JoinRequest { gathering, search, takes_rollups: false };
        let mut outcome = join(prepared, hours, request, control, &mut |_| {}, &mut |key, body| {
            if is_found(key, body) {
                visitor.take(key, body);
            }
            ControlFlow::Continue(())
        })?;
        let sums = std::mem::take(&mut outcome.sums);
        tell_faulty_sums(engine.store(), &sums, &mut outcome.completeness);
        Ok(outcome)
    }
}
