//! JSON Web Tokens (RFC 7519): signature first, then claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;
use serde_json::{Map, Value};

use super::keys::{Algorithm, IssuerKey};
use crate::access::signed_in::SignedIn;

/// Characters of a token.
pub(super) const JWT_BYTES_MAX: usize = 16 << 10;
/// Difference between the issuer's clock and ours that is allowed.
pub(super) const SKEW_SECONDS: f64 = 60.0;

/// Result of looking at a token's signature.
#[derive(Debug)]
pub(super) enum Signed {
    /// It is the issuer's; what it claims has still to be looked at.
    Claims(Claims),
    /// It is of a key that is not known, perhaps of a new one.
    UnknownKey,
    /// It is no token of the issuer.
    Wrong(&'static str),
}

/// What a token of the issuer says.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

/// What a token has to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    /// Audiences, of which it must have one.
    pub(super) audiences: &'e [String],
    pub(super) now: Timestamp,
}

/// True if a credential looks like a token: three parts, the first of which begins as a JSON object does.
pub(super) fn is_jwt(text: &str) -> bool {
    text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(text).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Verifies a token's signature.
pub(super) fn verify(token: &str, keys: &[IssuerKey]) -> Signed {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts[..] else { return Signed::Wrong("it has not three parts") };
    if token.len() > JWT_BYTES_MAX {
        return Signed::Wrong("it is too long");
    }
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let (Some(header), Some(signature)) = (decoded(head).and_then(|text| object(&text)), decoded(signature))
    else {
        return Signed::Wrong("it cannot be read");
    };
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let Some(algorithm) = text("alg").and_then(Algorithm::named) else {
        return Signed::Wrong("its algorithm is not RS256, ES256 or EdDSA");
    };
    // RFC 7515, section 4.1.11: what must be understood, and is not.
    if header.contains_key("crit") {
        return Signed::Wrong("it demands an extension");
    }
    let mut named = keys.iter().filter(|key| key.is_named(text("kid"), algorithm)).peekable();
    if named.peek().is_none() {
        return Signed::UnknownKey;
    }
    let message = token.get(..head.len() + 1 + body.len()).unwrap_or_default().as_bytes();
    if !named.any(|key| key.verifies(message, &signature)) {
        return Signed::Wrong("its signature is wrong");
    }
    match decoded(body).and_then(|text| Claims::read(&text)) {
        Some(claims) => Signed::Claims(claims),
        None => Signed::Wrong("its claims cannot be read"),
    }
}

impl Claims {
    /// Reads the middle part of a token; `None` for what is no object.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        object(text).map(Self)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn audiences(&self) -> Vec<&str> {
        match self.0.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Checks issuer, audience and times.
    pub(super) fn check(&self, expected: &Expected<'_>) -> Result<(), &'static str> {
        if self.text("iss") != Some(expected.issuer) {
            return Err("it is of another issuer");
        }
        if !self.audiences().iter().any(|one| expected.audiences.iter().any(|audience| audience == one)) {
            return Err("it is for another audience");
        }
        let time = |name: &str| self.0.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let now = expected.now.ns() as f64 / SECOND_NS as f64;
        match time("exp") {
            None => return Err("it has no end (exp)"),
            Some(end) if end + SKEW_SECONDS > now => {}
            Some(_) => return Err("it has expired"),
        }
        let is_begun = |begin: f64| begin - SKEW_SECONDS <= now;
        if ["nbf", "iat"].into_iter().filter_map(time).all(is_begun) {
            Ok(())
        } else {
            Err("it is not valid yet")
        }
    }

    /// Checks what an ID token has besides: section 3.1.3.7 of OpenID Connect Core.
    pub(super) fn check_login(&self, client_id: &str, nonce: &str) -> Result<(), &'static str> {
        if self.text("nonce") != Some(nonce) {
            return Err("its nonce is of another sign-in");
        }
        let party = self.text("azp");
        let is_ours = party.map_or(self.audiences().len() == 1, |party| party == client_id);
        if is_ours { Ok(()) } else { Err("it was issued to another party (azp)") }
    }

    /// The user that it names, and their groups.
    pub(super) fn user(&self, user_claim: &str, groups_claim: &str) -> Result<SignedIn, String> {
        let user = self.text(user_claim);
        let user =
            user.ok_or_else(|| format!("it does not name the user: there is no claim {user_claim}"))?;
        if user_claim == "email" && self.0.get("email_verified") == Some(&Value::Bool(false)) {
            return Err("the issuer has not verified the user's address".to_owned());
        }
        let groups = match self.0.get(groups_claim) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        SignedIn::new(user, groups)
    }
}
