//! Facts that the audit records of a request: an answer and how it ended, or a refusal.

use std::net::SocketAddr;

use netrewind_extractor::flows::FlowId;
use netrewind_extractor::{Completeness, Query, ReachedLimit};
use netrewind_store::Timestamp;
use netrewind_store::hold::CaseName;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::identity::Identity;

/// Ending of an extraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything asked for was given.
    Complete,
    /// Everything that is kept was given, but the answer is incomplete.
    Incomplete,
    /// A limit of packets or bytes was reached.
    Limit,
    /// The limit of time was reached.
    OutOfTime,
    /// The client went away.
    ClientGone,
    /// It failed.
    Error,
    /// The service ended.
    Shutdown,
}

impl Ending {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Limit => "limit",
            Self::OutOfTime => "out-of-time",
            Self::ClientGone => "client-gone",
            Self::Error => "error",
            Self::Shutdown => "shutdown",
        }
    }
}

impl From<&Completeness> for Ending {
    /// Ending of an answer that came to its end.
    fn from(completeness: &Completeness) -> Self {
        match completeness.limit_reached {
            Some(ReachedLimit::Time) => Self::OutOfTime,
            Some(ReachedLimit::Shutdown) => Self::Shutdown,
            Some(_) => Self::Limit,
            None if completeness.is_complete() => Self::Complete,
            None => Self::Incomplete,
        }
    }
}

/// An answer that somebody was given.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// Time of the request.
    pub asked: Timestamp,
    /// Name of the caller's token, or `local`.
    pub who: String,
    /// Address of the client.
    pub peer: Option<SocketAddr>,
    /// The recorder, where several are served and one was asked.
    pub recorder: Option<String>,
    /// Kind of answer: `packets`, `stream`; of queries `count`, `flows`...
    pub what: &'static str,
    /// Conversation asked for, if it was one.
    pub flow: Option<FlowId>,
    /// Packets asked for.
    pub query: Query,
    /// Number of packets given.
    pub packets: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Ending of the answer.
    pub ending: Ending,
    /// Error, if it failed.
    pub error: Option<String>,
    /// Duration of the answer.
    pub seconds: f64,
}

/// A hold that somebody made, or released; or a look at all of them.
#[derive(Clone, Debug, Serialize)]
pub struct AuditedHold {
    /// Time of the request.
    pub at: Timestamp,
    /// Name of the caller's token, or `local`.
    pub who: String,
    /// Address of the client.
    pub peer: Option<SocketAddr>,
    /// The recorder, where several are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<String>,
    /// What was done: `add`, `list`, `release`.
    pub what: &'static str,
    /// The case, if it was about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseName>,
    /// Packets that were to be held.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_short_of")]
    pub query: Option<Query>,
    /// Segments held, or released.
    pub segments: u64,
    /// Packets in a file of their own.
    pub packets: u64,
    /// Disk space of these.
    pub bytes: u64,
    /// Error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Time that it took.
    pub seconds: f64,
}

/// Entries of a list that are written one by one; of a longer one its length and checksum are.
const LISTED_MAX: usize = 64;

/// A query, with long lists in short.
pub(super) fn serialize_short<S: Serializer>(query: &Query, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(query).map_err(S::Error::custom)?;
    for list in
        value.get_mut("lists").and_then(Value::as_object_mut).into_iter().flat_map(|it| it.values_mut())
    {
        if let Some(entries) = list.as_array().filter(|entries| entries.len() > LISTED_MAX) {
            let text: Vec<&str> = entries.iter().filter_map(Value::as_str).collect();
            let checksum = format!("{:016x}", xxh3_64(text.join("\n").as_bytes()));
            *list = json!({"entries": text.len(), "xxh3": checksum});
        }
    }
    value.serialize(serializer)
}

fn serialize_short_of<S: Serializer>(query: &Option<Query>, serializer: S) -> Result<S::Ok, S::Error> {
    match query {
        Some(query) => serialize_short(query, serializer),
        None => serializer.serialize_none(),
    }
}

impl AuditedHold {
    /// By this caller; the rest is filled in later.
    pub fn by(identity: &Identity, what: &'static str) -> Self {
        Self {
            at: Timestamp::MIN,
            who: identity.name.clone(),
            peer: identity.peer,
            recorder: None,
            what,
            case: None,
            query: None,
            segments: 0,
            packets: 0,
            bytes: 0,
            error: None,
            seconds: 0.0,
        }
    }

    /// About a case.
    pub fn of(self, case: &CaseName) -> Self {
        Self { case: Some(case.clone()), ..self }
    }
}

/// A request that was refused for lack of a right.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Time of the request.
    pub at: Timestamp,
    /// Name of the token, if it is known.
    pub who: Option<String>,
    /// Address of the client.
    pub peer: Option<SocketAddr>,
    /// The status that it was answered with.
    pub status: u16,
    /// Path asked for, without the query.
    pub path: String,
    /// Reason for the refusal.
    pub reason: String,
}
