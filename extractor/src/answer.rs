//! Results of an extraction: the answer with its completeness, and the estimate that precedes it.

pub(crate) mod completeness;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod header_names;
pub(crate) mod hint;

use netrewind_store::{Drops, LinkType, Timestamp};
use serde::{Deserialize, Serialize};

use crate::query::Query;
use completeness::{Asked, Completeness, ReachedLimit, RejectedIndex};
use hint::Hint;

/// Result of an extraction.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Answer {
    /// Packets in it.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets left out because the answer already has them ([`crate::Query::dedup`]).
    pub duplicates_dropped: u64,
    /// Outcome of fragment reassembly, if the answer is decapsulated.
    pub reassembly: ReassemblyAccount,
    /// Completeness of the answer for the range asked.
    pub completeness: Completeness,
    /// Indexes that could not be used, and why; their segments were read without an index.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// For an empty answer: a changed query that would find packets ([`crate::Extractor::hint`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub hint: Option<Hint>,
    /// Work done for it.
    pub work: Work,
    /// Packets received and dropped by each interface in the range, if the sink asks for them ([`crate::Wants::interfaces`]):
    /// in the order of [`crate::Preface::interfaces`].
    #[serde(skip)]
    #[cfg_attr(feature = "schema", schema(ignore))]
    pub interfaces: Vec<InterfaceAccount>,
}

impl Answer {
    /// One whose time passed before it could begin.
    pub(crate) fn out_of_time(query: &Query) -> Self {
        let completeness = Completeness {
            asked: Asked { from: query.from, to: query.to },
            limit_reached: Some(ReachedLimit::Time),
            ..Completeness::default()
        };
        Self { completeness, ..Self::default() }
    }
}

/// Outcome of reassembling tunnels' packets from fragments in a decapsulated answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReassemblyAccount {
    /// Packets reassembled from fragments.
    pub packets: u64,
    /// Packets with fragments missing in the answer. If they have their first fragment they are written truncated.
    pub incomplete: u64,
    /// Packets not written because their fragments overlap, or would be longer together than an IP packet.
    pub refused: u64,
    /// Fragments of refused packets, and of incomplete ones without a first fragment: not written.
    pub fragments_dropped: u64,
    /// Incomplete packets that were given up before a second had passed, because memory was full.
    pub given_up_early: u64,
}

impl ReassemblyAccount {
    /// Notes for the reader of the answer.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        let Self { packets, incomplete, refused, fragments_dropped, given_up_early } = *self;
        let notes = [
            (packets, format!("{packets} tunnel packets were reassembled from fragments")),
            (
                incomplete,
                format!(
                    "{incomplete} tunnel packets lack fragments (more than a second away, or outside the range): they are written truncated, or not at all if the first fragment is missing"
                ),
            ),
            (
                refused,
                format!(
                    "{refused} tunnel packets were not reassembled: their fragments overlap with different contents"
                ),
            ),
            (fragments_dropped, format!("{fragments_dropped} fragments were not written")),
            (
                given_up_early,
                format!(
                    "{given_up_early} of these were given up early: there are more fragments within a second than fit in memory"
                ),
            ),
        ];
        notes.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Work done for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Work {
    /// Segments in the store.
    pub segments: u64,
    /// Segments that were read from.
    pub segments_read: u64,
    /// Of these, segments that were read from an archive; absent if none was.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schema(required = false))]
    pub segments_from_archive: u64,
    /// Bytes of segments that were read.
    pub bytes_read: u64,
    /// Packets that went through the filter.
    pub packets_judged: u64,
}

/// Capture interface that packets of an answer come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// Interface name, or the imported file; empty if the logbook does not have it, or no longer has it.
    pub name: String,
    /// Its description, if an imported file gives one beside its name.
    pub description: Option<String>,
    /// Its link type.
    pub link_type: LinkType,
}

/// Packets received and dropped by an interface in the range of a query, from the logbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceAccount {
    /// Packets that arrived; absent where nothing counted them, as with an imported file.
    pub received: Option<u64>,
    /// Packets received but not written.
    pub dropped: Drops,
    /// The earliest second that was counted.
    pub first: Option<Timestamp>,
    /// The latest second that was counted.
    pub last: Option<Timestamp>,
}

/// Bounds of an answer's size, known before anything is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Estimate {
    /// Lower bound of the packets in the answer.
    pub packets_min: u64,
    /// Upper bound of the packets in the answer.
    pub packets_max: u64,
    /// Upper bound of the bytes on the wire of these packets.
    pub bytes_max: u64,
    /// Segments that may have any of them.
    pub segments: u64,
}

impl Estimate {
    /// Adds the bounds of another recorder's answer.
    pub fn add(&mut self, other: &Self) {
        self.packets_min += other.packets_min;
        self.packets_max += other.packets_max;
        self.bytes_max += other.bytes_max;
        self.segments += other.segments;
    }
}
