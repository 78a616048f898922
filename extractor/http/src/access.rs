//! Access control: bearer tokens (RFC 6750) with scopes, and filters that are joined to every query of a token; and sessions,
//! which a page begins with a token and which end with it. Users whom a proxy or an issuer of OpenID Connect has signed in have the
//! rights that the file of tokens gives to them or to a group of theirs.
//!
//! Computing a hash is slow on purpose, so it is done for a token that is not known yet, a few at a time, and not at all for
//! a source that has shown too many wrong ones; a token that was right is remembered for a while, by a keyed hash.
//!
//! **Invariant:** no secret is in a log, an error, the audit or what `Debug` prints.

mod authenticator;
mod caller;
mod failures;
mod gate;
mod oidc;
mod proxy;
mod sessions;
mod signed_in;
mod token;
mod tokens;

pub use authenticator::{Authenticator, KEY_BYTES};
pub(crate) use gate::authority;
pub use gate::{
    Admission, AskedPath, BELOW_RECORDER_ROUTE, CALLBACK_ROUTE, Gate, LOGIN_ROUTE, RECORDER_PAGE_ROUTE,
    RECORDER_ROUTE, SESSION_ROUTE, Visit, cookies, guard, problem,
};
pub use oidc::{
    IssuerRequest, IssuerWeb, LOGIN_COOKIE, LoginError, LoginStart, Oidc, OidcSettings, Verification,
};
pub(crate) use oidc::{user_of_claims, user_of_token};
pub use proxy::{Network, TRUSTED_PROXIES_MAX, TrustedProxies};
pub use sessions::set_cookie;
pub use signed_in::SignedIn;
pub use token::Token;
pub use tokens::{CHANCE_BYTES, Grant, RuleKind, Scope, SignInRule, TokenEntry, Tokens, TokensError};

/// True for a URL over which secrets may go: encrypted, or to this machine.
pub fn is_safe_url(url: &str) -> bool {
    oidc::is_safe(url)
}
