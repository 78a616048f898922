//! Flow engine: the conversations of a query's packets, from the indexes where possible, otherwise from the packets.
//!
//! ```text
//! segment -> parts (a conversation within one segment), piece by piece -> conversations (parts joined over segments and lanes)
//!         -> a list, sorted and paged; or a summary: series, totals, top lists
//! ```
//!
//! `netrewind_flows` says what a conversation is, and joins, counts and searches them. Of which packets these are, each segment
//! tells by itself, unless duplicates are left out, or fragments may be among them that are judged with the first of their
//! packet: then they are those that extraction gives out (`from_answer`), and so is what is known of them. Labels, round trips and
//! the like are of each segment's whole conversation: of what a filter or the ends of a range leave out too.
//!
//! **Invariant:** each packet of the answer is in exactly one record: their packets and bytes add up to what
//! [`crate::Extractor::count`] counts for the same query.
//!
//! **Invariant:** an index only skips work: the records are the same without it.

mod attempt;
pub(crate) mod choose;
pub(crate) mod chosen;
mod from_answer;
mod from_catalog;
mod from_rollups;
mod gather;
mod gathered;
pub(crate) mod hour_source;
mod joining;
pub(crate) mod list;
pub(crate) mod list_answer;
mod manifests;
pub(crate) mod of_segment;
mod pieces;
mod pipeline;
mod range_fragments;
mod record_filter;
mod request;
mod rows;
mod source;
pub(crate) mod split_series;
pub(crate) mod summarize;
mod summary_answer;
pub(crate) mod values;
mod visit;

pub use chosen::PARTS_CHOSEN_MAX;
pub(crate) use chosen::{Aim, Chosen, ChosenPackets};
pub(crate) use from_catalog::CatalogHours;
pub use list_answer::{FlowAnswer, FlowQuery, LIMIT_MAX, NotACursor, PageCursor};
pub(crate) use manifests::Manifests;
pub use netrewind_flows::conversation::{
    Conversation, FlowEnd, FlowId, Icmp, NotAFlowId, TcpRecord, TcpState,
};
pub use netrewind_flows::labels::{FlowLabels, LabelValue};
pub use netrewind_flows::search::{FIELDS, Search, SearchError, of_community_id};
pub use netrewind_flows::series::{BUCKETS_MAX, Point};
pub use netrewind_flows::top_flows::FlowSort;
pub use netrewind_flows::totals::Totals;
pub use netrewind_flows::tunnel_record::TunnelRecord;
pub(crate) use pieces::{COUNTED_FLOWS, PIECE_PARTS};
pub use rows::{
    CsvRow, SplitRow, ValueRow, split_rows, value_rows, write_csv, write_eve, write_json_lines, write_zeek,
};
pub use split_series::{SPLIT_PARTS_MAX, SeriesPart, SplitBy, SplitQuery, SplitSeries};
pub use summary_answer::{
    ApplicationCount, Edge, FlowSummary, HostCount, PortCount, SummaryQuery, TOP_MAX, Top,
};
pub use values::{LISTED_VALUES_MAX, Property, PropertyList, PropertyValue, ValuesQuery};
