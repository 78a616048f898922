//! Conversations of several recorders: lists that are sorted together, and top lists that are added up.

use std::collections::HashMap;
use std::hash::Hash;

use netrewind_extractor::flows::{
    ApplicationCount, Conversation, FlowAnswer, FlowQuery, FlowSummary, HostCount, PortCount, SummaryQuery,
    Top, Totals,
};
use netrewind_extractor::{Completeness, Control, Query, RecorderCompleteness};
use serde_json::Value;

use crate::error::RemoteError;
use crate::question::Question;
use crate::remote::{Remote, read, trouble_in};

/// Entries of a top list that a recorder gives at most.
const TOP_ASKED_MAX: usize = 1_000;

/// Conversations of recorders.
#[derive(Clone, Debug)]
pub struct RecorderFlows {
    /// The answer. Of several recorders it has no cursor: each has its own.
    pub answer: FlowAnswer,
    /// The recorder of each conversation; empty where only one was asked.
    pub recorders: Vec<String>,
    /// True if there are more conversations than those in the answer.
    pub has_more: bool,
}

impl Remote {
    /// Lists conversations. The search is that of the query. A conversation that several recorders have is listed for each.
    pub fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<RecorderFlows, RemoteError> {
        let is_single = self.count_recorders() == 1;
        if flows.after.is_some() && !is_single {
            return Err(RemoteError::Usage(
                "--after continues the list of one recorder: ask each one alone, or raise --limit".to_owned(),
            ));
        }
        let found = self.look_up(&Question::Flows(flows.clone()), query, control)?;
        let (mut joined, mut listed) = (None::<FlowAnswer>, Vec::new());
        let mut completeness = Completeness::default();
        for (name, found) in found {
            let Some(answer) =
                answer_of::<FlowAnswer>(&name, found, &mut completeness, |answer| &answer.completeness)?
            else {
                continue;
            };
            listed.extend(answer.flows.iter().cloned().map(|flow| (name.clone(), flow)));
            joined = Some(match joined {
                None => answer,
                Some(before) => join(before, answer),
            });
        }
        let mut answer = joined.ok_or_else(nobody)?;
        let has_more = answer.next.is_some() || listed.len() > flows.limit;
        if !is_single {
            listed.sort_by_key(|(_, flow): &(String, Conversation)| flows.sort.place_of(flow, flows.reverse));
            answer.next = None;
        }
        listed.truncate(flows.limit);
        let (recorders, flows) = listed.into_iter().unzip();
        let recorders = if is_single { Vec::new() } else { recorders };
        Ok(RecorderFlows { answer: FlowAnswer { flows, completeness, ..answer }, recorders, has_more })
    }

    /// Totals and top lists of hosts, ports and applications, added up. What several recorders have is counted for each.
    pub fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, RemoteError> {
        let is_single = self.count_recorders() == 1;
        // The sum of two lists is exact only where both are whole.
        let top = if is_single { summary.top.min(TOP_ASKED_MAX) } else { TOP_ASKED_MAX };
        let asked = SummaryQuery { top, ..summary.clone() };
        let found = self.look_up(&Question::Summary(asked), query, control)?;
        let (mut joined, mut completeness) = (None::<FlowSummary>, Completeness::default());
        for (name, found) in found {
            let answer =
                answer_of::<FlowSummary>(&name, found, &mut completeness, |answer| &answer.completeness)?;
            let Some(mut answer) = answer else { continue };
            let is_cut = |length: usize| length >= top;
            let Top { hosts, ports, applications, .. } = &answer.top;
            answer.approximate |=
                !is_single && [hosts.len(), ports.len(), applications.len()].map(is_cut).contains(&true);
            joined = Some(match joined {
                None => answer,
                Some(before) => add(before, answer),
            });
        }
        let mut answer = joined.ok_or_else(nobody)?;
        answer.top.hosts.truncate(summary.top);
        answer.top.ports.truncate(summary.top);
        answer.top.applications.truncate(summary.top);
        Ok(FlowSummary { completeness, ..answer })
    }
}

fn nobody() -> RemoteError {
    RemoteError::Failed("no recorder has anything of this time".to_owned())
}

/// The answer of a recorder, if it gave one; takes note of its completeness.
fn answer_of<T: serde::de::DeserializeOwned>(
    recorder: &str,
    found: Value,
    completeness: &mut Completeness,
    completeness_of: impl Fn(&T) -> &Completeness,
) -> Result<Option<T>, RemoteError> {
    if let Some(trouble) = trouble_in(&found) {
        completeness.recorders.push(RecorderCompleteness::lacking(recorder.to_owned(), trouble));
        return Ok(None);
    }
    let answer: T = read(recorder, found)?;
    completeness.recorders.push(RecorderCompleteness::of(recorder.to_owned(), completeness_of(&answer)));
    Ok(Some(answer))
}

fn join(one: FlowAnswer, other: FlowAnswer) -> FlowAnswer {
    let mut totals = one.totals;
    totals.add_all(&other.totals);
    FlowAnswer {
        totals,
        approximate: one.approximate || other.approximate,
        next: one.next.or(other.next),
        hint: one.hint.or(other.hint),
        ..one
    }
}

fn add(one: FlowSummary, other: FlowSummary) -> FlowSummary {
    let mut totals = one.totals;
    totals.add_all(&other.totals);
    let hosts = sum(
        one.top.hosts,
        other.top.hosts,
        |host| host.address,
        |host, more: &HostCount| {
            host.packets = host.packets.saturating_add(more.packets);
            host.bytes = host.bytes.saturating_add(more.bytes);
            host.sent_bytes = host.sent_bytes.saturating_add(more.sent_bytes);
            host.received_bytes = host.received_bytes.saturating_add(more.received_bytes);
            host.conversations = host.conversations.saturating_add(more.conversations);
        },
    );
    let key = |port: &PortCount| (port.protocol.clone(), port.port);
    let ports = sum(one.top.ports, other.top.ports, key, |port, more| port.totals.add_all(&more.totals));
    let key = |application: &ApplicationCount| (application.name.clone(), application.guessed);
    let applications = sum(one.top.applications, other.top.applications, key, |application, more| {
        application.totals.add_all(&more.totals);
    });
    let mut top = Top { hosts, ports, applications, conversations: Vec::new() };
    top.hosts.sort_by_key(|host| (u64::MAX - host.bytes, host.address));
    let bytes = |totals: &Totals| u64::MAX - totals.bytes;
    top.ports.sort_by_key(|port| (bytes(&port.totals), port.protocol.clone(), port.port));
    top.applications.sort_by_key(|application| (bytes(&application.totals), application.name.clone()));
    FlowSummary { totals, top, approximate: one.approximate || other.approximate, ..one }
}

/// Adds up entries of the same key.
fn sum<T, K: Eq + Hash>(
    one: Vec<T>,
    other: Vec<T>,
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, &T),
) -> Vec<T> {
    let mut all = one;
    let mut places: HashMap<K, usize> = all.iter().enumerate().map(|(at, entry)| (key(entry), at)).collect();
    for entry in other {
        match places.get(&key(&entry)) {
            Some(&at) => add(&mut all[at], &entry),
            None => {
                places.insert(key(&entry), all.len());
                all.push(entry);
            }
        }
    }
    all
}
