//! Conversations of several recorders: lists that are sorted together, and top lists that are added up.

use std::collections::HashMap;
use std::hash::Hash;

use netrewind_extractor::flows::{
    ApplicationCount, Conversation, FlowAnswer, FlowQuery, FlowSummary, HostCount, PortCount, SummaryQuery,
    Top, Totals,
};
use netrewind_extractor::{Completeness, RecorderCompleteness};
use serde_json::Value;

use crate::error::RemoteError;
use crate::question::{read, trouble_in};

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

/// Joins the lists of recorders. A conversation that several recorders have is listed for each.
pub(super) fn join_lists(
    found: Vec<(String, Value)>,
    asked: &FlowQuery,
) -> Result<RecorderFlows, RemoteError> {
    let is_single = found.len() == 1;
    let (mut joined, mut listed) = (None::<FlowAnswer>, Vec::new());
    let mut completeness = Completeness::default();
    for (name, found) in found {
        let completeness_of = |answer: &FlowAnswer| answer.completeness.clone();
        let Some(answer) = answer_of(&name, found, &mut completeness, completeness_of)? else { continue };
        listed.extend(answer.flows.iter().cloned().map(|flow| (name.clone(), flow)));
        joined = Some(match joined {
            None => answer,
            Some(before) => join(before, answer),
        });
    }
    let mut answer = joined.ok_or_else(|| nobody(&completeness))?;
    let has_more = answer.next.is_some() || listed.len() > asked.limit;
    if !is_single {
        listed.sort_by_key(|(_, flow): &(String, Conversation)| asked.sort.place_of(flow, asked.reverse));
        answer.next = None;
    }
    listed.truncate(asked.limit);
    let (recorders, flows) = listed.into_iter().unzip();
    let recorders = if is_single { Vec::new() } else { recorders };
    Ok(RecorderFlows { answer: FlowAnswer { flows, completeness, ..answer }, recorders, has_more })
}

/// The summary that each of so many recorders is asked for: the sum of two lists is exact only where both are whole.
pub(super) fn asked_of_each(summary: &SummaryQuery, recorders: usize) -> SummaryQuery {
    let top = if recorders == 1 { summary.top.min(TOP_ASKED_MAX) } else { TOP_ASKED_MAX };
    SummaryQuery { top, ..summary.clone() }
}

/// Adds up the summaries of recorders. What several recorders have is counted for each.
pub(super) fn add_summaries(
    found: Vec<(String, Value)>,
    asked: &SummaryQuery,
) -> Result<FlowSummary, RemoteError> {
    let is_single = found.len() == 1;
    let (mut joined, mut completeness) = (None::<FlowSummary>, Completeness::default());
    for (name, found) in found {
        let completeness_of = |answer: &FlowSummary| answer.completeness.clone();
        let Some(mut answer) = answer_of(&name, found, &mut completeness, completeness_of)? else { continue };
        let is_cut = |length: usize| length >= TOP_ASKED_MAX;
        let Top { hosts, ports, applications, .. } = &answer.top;
        answer.approximate |=
            !is_single && [hosts.len(), ports.len(), applications.len()].map(is_cut).contains(&true);
        joined = Some(match joined {
            None => answer,
            Some(before) => add(before, answer),
        });
    }
    let mut answer = joined.ok_or_else(|| nobody(&completeness))?;
    answer.top.hosts.truncate(asked.top);
    answer.top.ports.truncate(asked.top);
    answer.top.applications.truncate(asked.top);
    Ok(FlowSummary { completeness, ..answer })
}

/// The error where none of the recorders gave an answer.
fn nobody(completeness: &Completeness) -> RemoteError {
    RemoteError::Failed(completeness.lines().join("\n"))
}

/// The answer of a recorder, if it gave one; takes note of its completeness.
fn answer_of<T: serde::de::DeserializeOwned>(
    recorder: &str,
    found: Value,
    completeness: &mut Completeness,
    completeness_of: impl Fn(&T) -> Completeness,
) -> Result<Option<T>, RemoteError> {
    if let Some(trouble) = trouble_in(&found) {
        completeness.recorders.push(RecorderCompleteness::lacking(recorder.to_owned(), trouble));
        return Ok(None);
    }
    let answer: T = read(recorder, found)?;
    completeness.recorders.push(RecorderCompleteness::of(recorder.to_owned(), &completeness_of(&answer)));
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
