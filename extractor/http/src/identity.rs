//! Identity of the caller.

use std::net::SocketAddr;

use netrewind_extractor::JoinedFilter;

use crate::peer_limiter::Peer;

/// Identity of a caller, with the filter joined to all their queries. The gate puts it into each request that it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name for the log.
    pub name: String,
    /// Joined to the filter of every query, if there is one.
    pub filter: Option<JoinedFilter>,
    /// Address of the client.
    pub peer: Option<SocketAddr>,
    /// No token was asked for.
    pub is_local: bool,
}

impl Identity {
    /// Holder of the share that its requests use: the token, or the address if there is none.
    pub fn share(&self) -> Peer {
        match self.peer {
            Some(address) if self.is_local => Peer::of_address(address.ip()),
            _ => Peer::Token(self.name.clone()),
        }
    }
}
