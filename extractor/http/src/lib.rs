//! The extractor as a service.
//!
//! ```text
//! request -> fields -> Selection -> Query (joined with the asker's filter) -> Pool -> Reading, on a thread -> Outlet -> body
//! ```
//!
//! **Invariant:** handlers are thin: parameters to query to pool to stream. Nothing here reads a packet.
//!
//! **Invariant:** a body that ends well is a whole answer, or says inside that it is not. What fails after the head has gone
//! breaks the body off.
//!
//! **Invariant:** an idle or slow client costs no thread, and a client that is slow to take an answer keeps no other from
//! reading: see [`pool`].

pub mod access;
mod api;
pub mod audit;
mod capture;
mod connection;
mod fields;
mod flows;
mod identity;
mod inquiry;
mod log;
mod lookups;
pub mod metrics;
mod operations;
mod outlet;
mod parameters;
pub mod places;
pub mod pool;
mod problem;
mod problems_in_api;
mod reading;
mod request;
mod schema;
mod server;
mod service;
mod session;
mod share;
mod summary;
pub mod tls;
mod unread;
mod view;

pub use api::{openapi, router};
pub use identity::Identity;
pub use problem::{Kind, Problem};
pub(crate) use schema::DropsSchema;
pub use server::Server;
pub use service::{Clock, Phase, Service, ServiceLimits};
