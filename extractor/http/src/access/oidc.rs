//! OpenID Connect: an issuer signs people in, and its tokens are accepted.
//!
//! ```text
//! page: /oidc/login -> issuer -> /oidc/callback?code&state -> code for an ID token (PKCE, nonce) -> session
//! API:  Authorization: Bearer JWT -> the issuer's keys -> claims -> rule
//! ```
//!
//! Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 7517 to 7519 (keys, algorithms, tokens), RFC 9207.
//!
//! **Invariant:** no code, token or secret is in a log, an error or the audit.

mod jwt;
mod keys;
mod login;
mod provider;
#[cfg(test)]
mod tests;
mod untrusted;

use std::fmt;

pub use login::{LOGIN_COOKIE, LoginStart};
pub(crate) use provider::is_safe;
pub use provider::{LoginError, Oidc, Verification};
pub(crate) use untrusted::{user_of_claims, user_of_token};

/// Settings of OpenID Connect.
#[derive(Clone)]
pub struct OidcSettings {
    /// URL of the issuer, as its tokens name it.
    pub issuer: String,
    /// Id of this service at the issuer.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// URL at which browsers reach this service, if its requests do not tell.
    pub public_url: Option<String>,
    /// Scopes that are asked for, with spaces between.
    pub scopes: String,
    /// Claim that names the user.
    pub user_claim: String,
    /// Claim with the user's groups.
    pub groups_claim: String,
    /// Audiences, of which tokens for the API must have one.
    pub audiences: Vec<String>,
}

/// Keeps the secret out of every log.
impl fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Asks the issuer over HTTP. Its calls take as long as that takes.
pub trait IssuerWeb: fmt::Debug + Send + Sync {
    /// Gets a document, or posts a form: the status and the body, or in words why there is none.
    fn fetch(&self, request: &IssuerRequest<'_>) -> Result<(u16, Vec<u8>), String>;
}

/// A request to the issuer.
#[derive(Clone, Copy)]
pub struct IssuerRequest<'r> {
    /// Its URL.
    pub url: &'r str,
    /// Value of `Authorization`, if there is one.
    pub authorization: Option<&'r str>,
    /// A form (`application/x-www-form-urlencoded`) to be posted; `None` to get a document.
    pub form: Option<&'r str>,
}
