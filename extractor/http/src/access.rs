//! Access control: bearer tokens (RFC 6750) with scopes, and filters that are joined to every query of a token; and sessions,
//! which a page begins with a token and which end with it.
//!
//! Computing a hash is slow on purpose, so it is done for a token that is not known yet, a few at a time, and not at all for
//! a source that has shown too many wrong ones; a token that was right is remembered for a while, by a keyed hash.
//!
//! **Invariant:** no secret is in a log, an error, the audit or what `Debug` prints.

mod authenticator;
mod caller;
mod failures;
mod gate;
mod sessions;
mod token;
mod tokens;

pub use authenticator::{Authenticator, KEY_BYTES};
pub use gate::{Admission, SESSION_ROUTE, Visit, cookies, guard, problem};
pub use sessions::set_cookie;
pub use token::Token;
pub use tokens::{CHANCE_BYTES, Grant, Scope, TokenEntry, Tokens, TokensError};
