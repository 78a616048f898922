//! Completeness of an answer, short enough for a header.

use http::HeaderValue;
use netrewind_extractor::{Answer, Completeness, Hint, ReachedLimit, Span};
use netrewind_store::{Drops, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::parameters::Format;

/// A completeness in a few numbers. `/api/v1/packets/count` has all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Summary {
    /// True if nothing is known to be missing.
    complete: bool,
    /// Start of the range that the answer covers.
    #[schema(value_type = Option<String>, format = "date-time")]
    from: Option<Timestamp>,
    /// End of that range.
    #[schema(value_type = Option<String>, format = "date-time")]
    to: Option<Timestamp>,
    /// Times in it in which nothing was recorded.
    gaps: u64,
    /// Packets dropped in it while recording.
    dropped: Drops,
    /// Part of the range whose packets have expired.
    no_longer_kept: Option<Span>,
    /// Parts of segments that could not be read.
    unreadable: u64,
    /// Limit at which the answer ended although there was more.
    limit_reached: Option<ReachedLimit>,
    /// Recorders that were asked together; absent of one.
    #[serde(skip_serializing_if = "is_none_of_several")]
    recorders: u64,
    /// Those of them whose part is not complete: their ids, as far as there is room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete_recorders: Vec<String>,
}

/// Recorders that a header names.
const NAMED_MAX: usize = 32;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none_of_several(recorders: &u64) -> bool {
    *recorders == 0
}

/// Account of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AnswerAccount {
    /// Packets in it.
    packets: u64,
    /// Their bytes on the wire.
    bytes: u64,
    /// Its completeness.
    #[serde(flatten)]
    summary: Summary,
    /// Changed query that would find packets, if this one found none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<Hint>,
}

impl From<&Completeness> for Summary {
    fn from(completeness: &Completeness) -> Self {
        Self {
            complete: completeness.is_complete(),
            from: completeness.covered.map(|span| span.from),
            to: completeness.covered_to(),
            gaps: completeness.gaps.len() as u64,
            dropped: completeness.dropped,
            no_longer_kept: completeness.no_longer_kept,
            unreadable: completeness.unreadable.len() as u64,
            limit_reached: completeness.limit_reached,
            recorders: completeness.recorders.len() as u64,
            incomplete_recorders: {
                let lacking = completeness.recorders.iter().filter(|recorder| !recorder.is_complete);
                lacking.take(NAMED_MAX).map(|recorder| recorder.recorder.clone()).collect()
            },
        }
    }
}

impl From<&Answer> for AnswerAccount {
    fn from(answer: &Answer) -> Self {
        let Answer { packets, bytes, .. } = *answer;
        Self { packets, bytes, summary: (&answer.completeness).into(), hint: answer.hint.clone() }
    }
}

/// Encodes an object as the value of a header.
pub fn header_value(object: &impl Serialize) -> HeaderValue {
    let text = serde_json::to_string(object).unwrap_or_default();
    // Numbers, times and fixed words: all of it is ASCII.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("{}"))
}

/// `netrewind-2026-11-22T093101Z.pcap`, by where the answer begins.
pub fn file_name(completeness: &Completeness, format: Format) -> String {
    let from = completeness.covered.map(|span| {
        let time = span.from.time_of_day();
        format!("-{}T{}Z", span.from.date(), time.get(..6).unwrap_or_default())
    });
    format!("netrewind{}.{}", from.unwrap_or_default(), format.extension())
}
