//! Checks of tokens and cookies against the file of tokens, which may change meanwhile.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::{Timestamp, locked};
use ring::hmac;

use super::caller::{Caller, Refusal};
use super::failures::Failures;
use super::oidc::{Oidc, Verification};
use super::sessions::{Cookie, SESSION_TIME_MAX, SessionOwner, Sessions, cookie_in};
use super::signed_in::SignedIn;
use super::token::Token;
use super::tokens::{SecretHash, TOKENS_MAX, TokenEntry, Tokens, TokensError};
use crate::files::Stamp;

/// Time for which a valid token is remembered after its last use.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Interval between two checks for a changed file of tokens.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the key that remembered tokens are hashed with.
pub const KEY_BYTES: usize = 32;
/// The scheme of RFC 6750, which is compared without regard to case (RFC 9110, section 11.1).
const SCHEME: &str = "bearer";

/// Result of a first check of a request.
#[derive(Debug)]
pub enum Authentication {
    /// The caller is known.
    Known(Caller),
    /// The request is refused.
    Refused(Refusal),
    /// Only the hash can decide, which takes time: see [`Authenticator::verify`].
    Unknown(Claim),
    /// Only the issuer can decide: see [`Authenticator::verify_foreign`].
    Foreign(ForeignClaim),
}

/// A token that is held against its hash.
#[derive(Debug)]
pub struct Claim {
    token: Token,
    peer: IpAddr,
}

/// A token of an issuer, whose keys have to be asked for.
pub struct ForeignClaim {
    token: String,
    peer: IpAddr,
}

/// Keeps the token out of every log.
impl std::fmt::Debug for ForeignClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForeignClaim({})", self.peer)
    }
}

/// Checks requests against a file of tokens, which may change meanwhile.
#[derive(Debug)]
pub struct Authenticator {
    path: PathBuf,
    key: hmac::Key,
    file: Mutex<Watched>,
    remembered: Mutex<HashMap<String, Remembered>>,
    failures: Mutex<Failures>,
    sessions: Mutex<Sessions>,
    oidc: Option<Arc<Oidc>>,
}

/// The file of tokens as it was read last.
#[derive(Debug)]
struct Watched {
    looked_at: Duration,
    stamp: Option<Stamp>,
    tokens: Option<Arc<Tokens>>,
}

/// A token that was right; by its id.
#[derive(Debug)]
struct Remembered {
    tag: hmac::Tag,
    /// Hash that verified it: another hash is another token.
    hash: SecretHash,
    until: Duration,
}

impl Authenticator {
    /// Opens a file of tokens. The key has to be random.
    pub fn open(path: &Path, key: &[u8; KEY_BYTES], now: Now) -> Result<Self, TokensError> {
        // The stamp first: a change in between is found at the next check.
        let stamp = Stamp::read(path);
        let tokens = Some(Arc::new(Tokens::load(path)?));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Ok(Self {
            path: path.to_owned(),
            sessions: Mutex::new(Sessions::new(key.clone())),
            key,
            file: Mutex::new(Watched { looked_at: now.monotonic(), stamp, tokens }),
            remembered: Mutex::default(),
            failures: Mutex::default(),
            oidc: None,
        })
    }

    /// Accepts tokens of an issuer as well, and signs its users in.
    #[must_use]
    pub fn with_oidc(self, oidc: Option<Oidc>) -> Self {
        Self { oidc: oidc.map(Arc::new), ..self }
    }

    /// The issuer, if there is one.
    pub fn oidc(&self) -> Option<Arc<Oidc>> {
        self.oidc.clone()
    }

    /// Checks the rights of a user whom a proxy or an issuer has signed in.
    pub fn check_user(&self, user: &SignedIn, now: Now) -> Result<Caller, Refusal> {
        let tokens = self.tokens(now).ok_or(Refusal::Unavailable)?;
        let rule = tokens.rule_for(user).ok_or_else(|| Refusal::NoRights(user.name()))?;
        Ok(Caller::from(&rule.grant(user.name())))
    }

    /// Verifies a token of an issuer after that was asked for its keys.
    pub fn verify_foreign(&self, claim: &ForeignClaim, now: Now) -> Result<Caller, Refusal> {
        let oidc = self.oidc.as_ref().ok_or(Refusal::WrongToken)?;
        if let Some(wait) = locked(&self.failures).wait(claim.peer, now.monotonic()) {
            return Err(Refusal::TooMany(wait));
        }
        self.settle(oidc.verify_anew(&claim.token, now), claim.peer, now)
    }

    /// The caller whom a verified token means.
    fn settle(&self, verification: Verification, peer: IpAddr, now: Now) -> Result<Caller, Refusal> {
        match verification {
            Verification::Valid(user) => self.check_user(&user, now),
            Verification::Unavailable(reason) => Err(Refusal::NoIssuer(reason)),
            Verification::UnknownKey => Err(Refusal::WrongToken),
            Verification::Wrong(reason) => {
                tracing::info!(%peer, reason, "a token of the issuer is not valid");
                locked(&self.failures).add(peer, now.monotonic());
                Err(Refusal::WrongToken)
            }
        }
    }

    fn check_foreign(&self, oidc: &Oidc, token: &str, peer: IpAddr, now: Now) -> Authentication {
        match oidc.verify(token, now) {
            Verification::UnknownKey => {
                Authentication::Foreign(ForeignClaim { token: token.to_owned(), peer })
            }
            verification => match self.settle(verification, peer, now) {
                Ok(caller) => Authentication::Known(caller),
                Err(refusal) => Authentication::Refused(refusal),
            },
        }
    }

    /// Checks a request's `Authorization`, without taking long.
    pub fn check_authorization(&self, authorization: Option<&str>, peer: IpAddr, now: Now) -> Authentication {
        let Some(authorization) = authorization else { return Authentication::Refused(Refusal::NoToken) };
        let Some(tokens) = self.tokens(now) else { return Authentication::Refused(Refusal::Unavailable) };
        let token = bearer(authorization).and_then(Token::parse);
        if let Some(token) = &token
            && let Some(caller) = self.remembered(token, &tokens, now)
        {
            return Authentication::Known(caller);
        }
        if let Some(wait) = locked(&self.failures).wait(peer, now.monotonic()) {
            return Authentication::Refused(Refusal::TooMany(wait));
        }
        let foreign = bearer(authorization).filter(|_| token.is_none());
        if let (Some(oidc), Some(foreign)) = (&self.oidc, foreign)
            && oidc.may_be_token(foreign)
        {
            return self.check_foreign(oidc, foreign, peer, now);
        }
        match token {
            Some(token) if tokens.find(&token.id).is_some() => Authentication::Unknown(Claim { token, peer }),
            _ => {
                locked(&self.failures).add(peer, now.monotonic());
                Authentication::Refused(Refusal::WrongToken)
            }
        }
    }

    /// Holds a token against its hash. Takes some 20 ms of a core.
    pub fn verify(&self, claim: &Claim, now: Now) -> Result<Caller, Refusal> {
        let tokens = self.tokens(now).ok_or(Refusal::Unavailable)?;
        // Simultaneous attempts may have used up the allowance.
        if let Some(wait) = locked(&self.failures).wait(claim.peer, now.monotonic()) {
            return Err(Refusal::TooMany(wait));
        }
        let entry = tokens.find(&claim.token.id);
        match entry.filter(|entry| entry.hash.is_of(&claim.token) && !entry.grant.has_expired(now.wall)) {
            Some(entry) => {
                self.remember(&claim.token, entry, now);
                Ok(Caller::from(&entry.grant))
            }
            None => {
                locked(&self.failures).add(claim.peer, now.monotonic());
                Err(Refusal::WrongToken)
            }
        }
    }

    /// Checks the `Cookie` of a request that has no `Authorization`.
    pub fn check_cookie(&self, cookies: Option<&str>, peer: IpAddr, now: Now) -> Authentication {
        let Some(value) = cookies.and_then(cookie_in) else {
            return Authentication::Refused(Refusal::NoToken);
        };
        let Some(tokens) = self.tokens(now) else { return Authentication::Refused(Refusal::Unavailable) };
        let cookie = locked(&self.sessions).read(value);
        let refusal = match cookie {
            Cookie::Absent => Refusal::NoToken,
            Cookie::Genuine(number) => match self.owner(number, &tokens, now) {
                Some(caller) => return Authentication::Known(caller),
                None => Refusal::NoToken,
            },
            Cookie::Forged => {
                let mut failures = locked(&self.failures);
                match failures.wait(peer, now.monotonic()) {
                    Some(wait) => Refusal::TooMany(wait),
                    None => {
                        failures.add(peer, now.monotonic());
                        Refusal::WrongToken
                    }
                }
            }
        };
        Authentication::Refused(refusal)
    }

    /// Holder of this session, if neither it nor its token has ended.
    fn owner(&self, number: u64, tokens: &Tokens, now: Now) -> Option<Caller> {
        let session = locked(&self.sessions).find(number, now.monotonic())?;
        let caller = match &session.owner {
            SessionOwner::Token { id, hash } => {
                let entry = tokens.find(id).filter(|entry| entry.hash == *hash);
                entry
                    .filter(|entry| !entry.grant.has_expired(now.wall))
                    .map(|entry| Caller::from(&entry.grant))
            }
            SessionOwner::User(user) => {
                tokens.rule_for(user).map(|rule| Caller::from(&rule.grant(user.name())))
            }
        };
        match caller {
            Some(caller) => Some(caller),
            None => {
                locked(&self.sessions).end(number);
                None
            }
        }
    }

    /// Begins a session in the name of a token that has just been let in: the value of its cookie, and how long it lasts.
    pub fn begin_session(&self, authorization: &str, now: Now) -> Result<(String, Duration), Refusal> {
        let tokens = self.tokens(now).ok_or(Refusal::Unavailable)?;
        let token = bearer(authorization).and_then(Token::parse).ok_or(Refusal::WrongToken)?;
        self.remembered(&token, &tokens, now).ok_or(Refusal::WrongToken)?;
        let entry = tokens.find(&token.id).ok_or(Refusal::WrongToken)?;
        let left = |expires: Timestamp| Duration::from_nanos(expires.ns_since(now.wall));
        let time = entry.grant.expires.map_or(SESSION_TIME_MAX, left).min(SESSION_TIME_MAX);
        let owner = SessionOwner::Token { id: token.id.clone(), hash: entry.hash.clone() };
        let value = locked(&self.sessions).begin(owner, now.monotonic(), time);
        Ok((value, time))
    }

    /// Begins a session of a user whom the issuer has just signed in.
    pub fn begin_session_of(&self, user: &SignedIn, now: Now) -> Result<(String, Duration), Refusal> {
        self.check_user(user, now)?;
        let owner = SessionOwner::User(user.clone());
        let value = locked(&self.sessions).begin(owner, now.monotonic(), SESSION_TIME_MAX);
        Ok((value, SESSION_TIME_MAX))
    }

    /// Ends the session of this `Cookie`, if it is one.
    pub fn end_session(&self, cookies: &str) {
        let mut sessions = locked(&self.sessions);
        if let Some(Cookie::Genuine(number)) = cookie_in(cookies).map(|value| sessions.read(value)) {
            sessions.end(number);
        }
    }

    /// The tokens, reloaded if the file has changed; `None` if it cannot be used: then nobody is admitted, because the change
    /// may have removed a token.
    fn tokens(&self, now: Now) -> Option<Arc<Tokens>> {
        let mut file = locked(&self.file);
        if now.monotonic().saturating_sub(file.looked_at) >= LOOK_INTERVAL {
            file.looked_at = now.monotonic();
            let stamp = Stamp::read(&self.path);
            if stamp != file.stamp || stamp.is_none() {
                file.stamp = stamp;
                file.tokens = match Tokens::load(&self.path) {
                    Ok(tokens) => Some(Arc::new(tokens)),
                    Err(error) => {
                        tracing::error!(%error, "nobody gets in until the tokens can be read");
                        None
                    }
                };
            }
        }
        file.tokens.clone()
    }

    fn remembered(&self, token: &Token, tokens: &Tokens, now: Now) -> Option<Caller> {
        let mut remembered = locked(&self.remembered);
        let known = remembered.get_mut(&token.id).filter(|known| now.monotonic() < known.until)?;
        // In constant time.
        hmac::verify(&self.key, &token.secret, known.tag.as_ref()).ok()?;
        let entry = tokens.find(&token.id).filter(|entry| entry.hash == known.hash)?;
        if entry.grant.has_expired(now.wall) {
            return None;
        }
        known.until = now.monotonic() + REMEMBERED_FOR;
        Some(Caller::from(&entry.grant))
    }

    fn remember(&self, token: &Token, entry: &TokenEntry, now: Now) {
        let mut remembered = locked(&self.remembered);
        remembered.retain(|_, known| now.monotonic() < known.until);
        // A file has no more, but it may be another one by now.
        if remembered.len() < TOKENS_MAX {
            let tag = hmac::sign(&self.key, &token.secret);
            let until = now.monotonic() + REMEMBERED_FOR;
            remembered.insert(token.id.clone(), Remembered { tag, hash: entry.hash.clone(), until });
        }
    }
}

/// Credentials behind the scheme.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_start_matches(' '))
}
