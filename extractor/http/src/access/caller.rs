//! Callers and their rights, and reasons to refuse them.

use std::time::Duration;

use netrewind_extractor::JoinedFilter;

use super::tokens::{Grant, Scope};

/// A caller and their rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// A name for the audit.
    pub name: String,
    /// Scopes granted; `None`: everything is.
    scopes: Option<Vec<Scope>>,
    /// Filter joined to every query.
    pub joined: Option<JoinedFilter>,
}

impl Caller {
    /// Caller from a loopback address of this machine, if no tokens are asked for.
    pub fn local() -> Self {
        Self { name: "local".to_owned(), scopes: None, joined: None }
    }

    /// True if they have this scope.
    pub fn may(&self, scope: Scope) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        scopes.iter().any(|&granted| granted == scope || granted == Scope::Admin)
    }
}

impl From<&Grant> for Caller {
    fn from(grant: &Grant) -> Self {
        Self { name: grant.name.clone(), scopes: Some(grant.scopes.clone()), joined: grant.joined() }
    }
}

/// Reasons to refuse a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no token.
    #[error("a token is needed: send it as Authorization: Bearer nrw_...")]
    NoToken,
    /// It has one that is not valid: unknown, wrong, removed or expired, without distinction.
    #[error("the token is not valid")]
    WrongToken,
    /// It has one that is for something else.
    #[error("the token may not do this: it needs the scope {}", .0.name())]
    OutOfScope(Scope),
    /// It is of a user who has no rights here.
    #[error("{0} has no rights here: the tokens file has neither a user nor a group for them")]
    NoRights(String),
    /// A trusted proxy names nobody who could be one.
    #[error("the proxy's headers name no user: {0}")]
    BadUser(String),
    /// The issuer of tokens cannot be asked.
    #[error("{0}")]
    NoIssuer(String),
    /// It asks for a host of another name.
    #[error("{0:?} is not this machine: without tokens only requests to a loopback address are answered")]
    WrongHost(String),
    /// A page of another origin sent it.
    #[error("requests from pages of other origins are refused: see --allow-origin")]
    WrongOrigin,
    /// There were too many wrong ones.
    #[error("too many wrong tokens: wait {} s", .0.as_secs() + 1)]
    TooMany(Duration),
    /// The file of tokens cannot be used.
    #[error("the tokens cannot be read at the moment: see the log")]
    Unavailable,
}
