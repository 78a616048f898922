//! Who asks.

use std::net::SocketAddr;

use crate::JoinedFilter;

/// Who asks, and what is joined to everything they ask. The gate puts it into each request that it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name for the log.
    pub name: String,
    /// Joined to the filter of every query, if there is one.
    pub filter: Option<JoinedFilter>,
    /// From where.
    pub peer: Option<SocketAddr>,
}
