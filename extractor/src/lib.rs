//! Answers queries over a store with exactly the packets asked for.
//!
//! ```text
//! Query -> plan (pure: query x index -> granules to read) -> read (every packet through the real filter and the exact
//!          time check) -> merge (time, lane, segment, position) -> Sink, and an Answer with its Completeness
//! ```
//!
//! **Invariant:** an index only skips work. Deleting every index changes no answer, only the time it takes.
//!
//! **Invariant:** no async, no wall clock, nothing printed, nothing of a store written.

mod answer;
pub mod events;
mod extract;
pub mod flows;
mod fragments;
mod history;
pub mod lists;
mod memory;
mod packet_context;
pub mod packet_list;
mod plan;
mod query;
mod read;
mod sink;
mod store;
mod stream;
mod sys;
pub mod time_text;
mod transform;
mod view_mode;

pub use answer::completeness::{
    Asked, Completeness, Damage, Gap, LISTED_MAX, ReachedLimit, RecorderCompleteness, RejectedIndex,
    Unreadable,
};
pub use answer::control::{Aside, Control, NoControl, Progress};
pub use answer::error::{ExtractError, SinkError};
pub use answer::header_names::{ANSWER_HEADER, COMPLETENESS_HEADER};
pub use answer::hint::Hint;
pub use answer::{Answer, Estimate, Interface, InterfaceAccount, ReassemblyAccount, Work};
pub use extract::Extractor;
pub use extract::engine::{HELPERS_MAX, Options};
pub use extract::follow::clock::{FollowClock, HOLD_BACK, POLL_INTERVAL};
pub use extract::hint::{HINT_TIME_MAX, hint_time};
pub use history::archive_overview::ArchiveOverview;
pub use history::overview::{CatalogOverview, HeldOverview, InterfaceOverview, Overview, SegmentOverview};
pub use history::overview_cache::OverviewCache;
pub use memory::{ANSWERS_BYTES_MAX, Memory};
pub use netrewind_store::time::Span;
pub use packet_context::{CONTEXT_BYTES_MAX, CONTEXT_PACKETS_MAX, PacketContext, packet_context};
pub use plan::tunnel_terms::TunnelDemands;
pub use query::{AnswerLimits, DEDUP_WINDOW_MAX, DedupWindow, JoinedFilter, Query, TimeRange};
pub use sink::{
    AnswerPacket, AnswerRecords, CountSink, PcapSink, PcapngSink, Preface, SECRETS_BYTES_MAX,
    SECRETS_PIECE_BYTES, Sink, TruncatingSink, Wants,
};
pub use stream::{Chunk, Ends, Speaker, Stream, StreamEnd};
pub use transform::dedup::{DEDUP_PACKETS_MAX, Dedup};
pub use view_mode::ViewMode;
