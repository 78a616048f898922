//! Answers queries over a store with exactly the packets asked for.
//!
//! ```text
//! Query -> plan (pure: query x index -> granules to read) -> read (every packet through the real filter and the exact
//!          time check) -> merge (time, lane, segment, position) -> Sink, and an Answer with its Completeness
//! ```
//!
//! **Invariant:** an index only skips work. Deleting every index changes no answer, only the time it takes.
//!
//! **Invariant:** no async outside [`http`], no wall clock, nothing printed. Of a store only the service's audit is written.

mod answer;
mod completeness;
mod decapsulate;
mod dedup;
mod error;
mod extractor;
mod filters;
pub mod flows;
mod follow;
mod fragments;
mod growing;
mod hint;
pub mod http;
mod memory;
mod merge;
mod overview;
mod plan;
mod pool;
mod query;
mod read;
mod reassembly;
mod segment;
mod shelf;
mod sink;
mod snapshot;
mod stream;
mod sys;
pub mod time_text;
mod tunnels;
mod upcoming;
mod walk;

pub use answer::{
    ANSWER_HEADER, Answer, Aside, COMPLETENESS_HEADER, Control, Estimate, Interface, InterfaceAccount,
    NoControl, Progress, RejectedIndex, Work,
};
pub use completeness::{
    Asked, Completeness, Damage, Gap, LISTED_MAX, ReachedLimit, RecorderCompleteness, Span, Unreadable,
};
pub use dedup::{DEDUP_PACKETS_MAX, DEDUP_WINDOW_MAX, Dedup, DedupWindow};
pub use error::ExtractError;
pub use extractor::{Extractor, HELPERS_MAX, Options};
pub use follow::{FollowClock, HOLD_BACK, POLL_INTERVAL};
pub use hint::{HINT_TIME_MAX, Hint, hint_time};
pub use memory::ANSWERS_BYTES_MAX;
pub use overview::{CatalogOverview, Overview, SegmentOverview};
pub use query::{AnswerLimits, JoinedFilter, Query, TimeRange, ViewMode};
pub use reassembly::ReassemblyAccount;
pub use sink::{AnswerPacket, CountSink, PcapSink, PcapngSink, Preface, Sink, SinkError, Wants};
pub use stream::{Chunk, Ends, Speaker, Stream, StreamEnd};
pub use tunnels::TunnelDemands;
