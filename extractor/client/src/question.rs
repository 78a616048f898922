//! Questions that one object answers.

use netrewind_extractor::flows::{FlowQuery, SummaryQuery};
use serde_json::{Map, Value, json};

use crate::error::RemoteError;

/// Member by which a recorder that did not answer is known: none of an answer has this name.
pub(super) const TROUBLE: &str = "no answer because";

/// A question that one object answers.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// The number of packets.
    Count,
    /// Bounds of it.
    Estimate,
    /// A list of conversations.
    Flows(FlowQuery),
    /// Totals, and top lists.
    Summary(SummaryQuery),
    /// The state of the store.
    Status,
}

impl Question {
    /// Where it is asked, behind the version of the API.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Count => "packets/count",
            Self::Estimate => "packets/estimate",
            Self::Flows(_) => "flows",
            Self::Summary(_) => "summary",
            Self::Status => "status",
        }
    }

    /// True if its parameters may be in a body.
    pub(super) fn takes_body(&self) -> bool {
        matches!(self, Self::Count | Self::Estimate)
    }

    /// Adds its own parameters to those of the query.
    pub(super) fn add_to(&self, fields: &mut Map<String, Value>) {
        let own = match self {
            Self::Count | Self::Estimate | Self::Status => return,
            // The number of them is said page by page.
            Self::Flows(FlowQuery { sort, reverse, after, .. }) => json!({
                "sort": sort,
                "reverse": reverse.then_some(true),
                "cursor": after.map(|after| after.to_string()),
            }),
            Self::Summary(SummaryQuery { buckets, top, edges, .. }) => json!({
                "buckets": buckets,
                "top": top,
                // A recorder gives at least one.
                "edges": edges.map(|edges| edges.max(1)),
            }),
        };
        if let Value::Object(own) = own {
            fields.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
}

/// The reason why a recorder did not answer.
pub(super) fn trouble_in(found: &Value) -> Option<&str> {
    found.get(TROUBLE).and_then(Value::as_str)
}

/// Reads a recorder's object.
pub(super) fn read<T: serde::de::DeserializeOwned>(recorder: &str, object: Value) -> Result<T, RemoteError> {
    serde_json::from_value(object).map_err(|error| {
        RemoteError::Failed(format!(
            "{recorder}: its reply is from another version of netrewind, or from another program: {error}"
        ))
    })
}
