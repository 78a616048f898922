//! The extractor as a service.
//!
//! ```text
//! request -> fields -> Selection -> Query (joined with the asker's filter) -> Pool -> PacketAnswer, on a thread -> BodyWriter -> body
//! ```
//!
//! **Invariant:** handlers are thin: parameters to query to pool to stream. Nothing here reads a packet.
//!
//! **Invariant:** a body that ends well is a whole answer, or says inside that it is not. What fails after the head has gone
//! breaks the body off.
//!
//! **Invariant:** an idle or slow client costs no thread, and a client that is slow to take an answer keeps no other from
//! reading: see [`slots`].
//!
//! **Invariant:** of a store, only the audit and the folder of cases are written.

pub mod access;
mod alert;
pub mod audit;
mod audited;
mod blocking;
mod body_channel;
mod breakdown;
mod client_docs;
mod compression;
mod connection;
mod dissection;
pub mod dissector;
mod drain;
mod fields;
mod files;
mod flows;
mod front;
pub mod geoip;
mod headers;
mod hits;
mod holds;
mod identity;
mod json;
mod limits;
mod log;
mod manifest_answer;
mod manifest_name;
mod manifests;
mod mcp;
pub mod metrics;
mod operations;
mod packet_answer;
mod packet_list;
mod packets;
mod page;
mod parameters;
mod peer_limiter;
mod problem;
mod problem_docs;
mod recorder_list;
mod recorders;
mod request;
mod resume;
mod routes;
mod rows;
mod server;
mod service;
mod session;
mod sign_in;
pub mod slots;
mod source;
pub mod tls;
#[doc(hidden)]
pub mod untrusted;

pub use identity::Identity;
pub use limits::ServiceLimits;
pub use page::is_built_in as has_page;
pub use problem::{Kind, Problem};
pub use recorders::{FoundRecorder, RecorderFinder};
pub use routes::{openapi, router};
pub use server::Server;
pub use service::{Phase, Service};
