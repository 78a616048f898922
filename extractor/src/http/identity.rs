//! Who asks.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::JoinedFilter;

/// Who asks, and what is joined to everything they ask. A layer above the routes puts it into each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name for the log.
    pub name: String,
    /// Joined to the filter of every query, if there is one.
    pub filter: Option<JoinedFilter>,
}

impl Identity {
    /// Whoever reaches a loopback address of this machine.
    pub fn local() -> Self {
        Self { name: "local".to_owned(), filter: None }
    }
}

/// Gives every request the identity of this machine: right where only this machine can connect.
pub(super) async fn as_local(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Identity::local());
    next.run(request).await
}
