//! Who asks.

use std::net::SocketAddr;

use super::share::Peer;
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
    /// No token was asked for.
    pub is_local: bool,
}

impl Identity {
    /// Whose share of what the service can do it takes: the token's, or the address's where there is none.
    pub fn share(&self) -> Peer {
        match self.peer {
            Some(address) if self.is_local => Peer::of_address(address.ip()),
            _ => Peer::Token(self.name.clone()),
        }
    }
}
