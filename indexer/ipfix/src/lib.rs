//! Flow records to an IPFIX collector: RFC 7011, both directions of a conversation in one record by RFC 5103.
//!
//! ```text
//! sealed segments -> SegmentQueue -> their conversations -> records -> messages -> CollectorSocket
//! ```
//!
//! `docs/ipfix.md` names the information elements; tests hold it to [`elements::FIELDS`].
//!
//! **Invariant:** recording does not wait for it. Segments that wait are names in a queue with an end; their flows stay in the store.
//!
//! Whoever makes conversations out of a segment is not known here: they come through the trait [`SegmentFlows`].

pub mod collector;
pub mod elements;
mod exporter;
mod flow_record;
mod hour_sender;
pub mod message;
mod segment_queue;
mod session;
mod status;

pub use exporter::{IpfixExporter, IpfixThread, SegmentFlows, SegmentVisit};
pub use flow_record::{FlowEndReason, FlowRecord};
pub use hour_sender::{HourSender, SendError, SentHour};
pub use segment_queue::SegmentQueue;
pub use status::IpfixStatus;
