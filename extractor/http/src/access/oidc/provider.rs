//! The issuer: what it says of itself, its keys, and tokens verified by them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use netrewind_store::clock::Now;
use netrewind_store::locked;
use ring::hmac;
use serde_json::Value;

use super::jwt::{Claims, Expected, Signed, is_jwt, verify};
use super::keys::{self, IssuerKey};
use super::login::{LoginStart, Logins, cookie_in, set_cookie};
use super::{IssuerRequest, IssuerWeb, OidcSettings};
use crate::access::signed_in::SignedIn;

/// Time between two looks at the issuer's keys, however many tokens name unknown ones.
const KEYS_INTERVAL: Duration = Duration::from_secs(30);
/// Age of keys at which they are asked for again: one that the issuer has withdrawn is of no use longer.
const KEYS_AGE_MAX: Duration = Duration::from_secs(3600);
/// Characters of a message of the issuer that are told.
const MESSAGE_CHARACTERS_MAX: usize = 200;
/// Path at which the issuer sends browsers back.
const CALLBACK: &str = "/oidc/callback";

/// Result of verifying a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Verification {
    /// It is the issuer's, and valid: whose it is.
    Valid(SignedIn),
    /// It is worth nothing, for this reason.
    Wrong(String),
    /// Its key is not known: the issuer has to be asked ([`Oidc::verify_anew`]).
    UnknownKey,
    /// The issuer cannot be asked, for this reason.
    Unavailable(String),
}

/// An issuer.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    web: Arc<dyn IssuerWeb>,
    known: Mutex<KnownIssuer>,
    /// Held while the issuer is asked.
    asking: Mutex<()>,
    logins: Mutex<Logins>,
}

/// What is known of the issuer.
#[derive(Debug, Default)]
struct KnownIssuer {
    endpoints: Option<Endpoints>,
    keys: Vec<IssuerKey>,
    /// Time at which the keys were read.
    read_at: Option<Duration>,
    /// Time at which the issuer was asked last.
    asked_at: Option<Duration>,
    trouble: Option<String>,
}

/// What the issuer says of itself: OpenID Connect Discovery, section 3.
#[derive(Clone, Debug)]
struct Endpoints {
    authorization: String,
    token: String,
    keys: String,
    /// The secret goes into the form, and not into the header.
    secret_in_form: bool,
}

impl Oidc {
    /// An issuer, of which nothing is asked yet. The key has to be random.
    pub fn new(settings: OidcSettings, web: Arc<dyn IssuerWeb>, key: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self {
            settings,
            web,
            known: Mutex::default(),
            asking: Mutex::default(),
            logins: Mutex::new(Logins::new(key)),
        }
    }

    /// True if a credential may be a token of the issuer.
    pub fn may_be_token(&self, credential: &str) -> bool {
        is_jwt(credential)
    }

    /// Verifies a token for the API by the keys that are known, without asking anybody.
    pub fn verify(&self, token: &str, now: Now) -> Verification {
        let known = locked(&self.known);
        let is_fresh = known.read_at.is_some_and(|at| now.monotonic().saturating_sub(at) < KEYS_AGE_MAX);
        match verify(token, &known.keys) {
            Signed::Wrong(reason) => Verification::Wrong(reason.to_owned()),
            Signed::Claims(claims) if is_fresh => self.judge(&claims, now),
            Signed::Claims(_) | Signed::UnknownKey => Verification::UnknownKey,
        }
    }

    /// Verifies a token after the issuer was asked for its keys, unless that was done just now. Takes as long as the issuer does.
    pub fn verify_anew(&self, token: &str, now: Now) -> Verification {
        let trouble = self.ask(now).err();
        let known = locked(&self.known);
        match (verify(token, &known.keys), trouble) {
            (Signed::Wrong(reason), _) => Verification::Wrong(reason.to_owned()),
            // Keys of before are better than none.
            (Signed::Claims(claims), _) => self.judge(&claims, now),
            (Signed::UnknownKey, Some(trouble)) => Verification::Unavailable(trouble),
            (Signed::UnknownKey, None) => {
                Verification::Wrong("its key is not one of the issuer's".to_owned())
            }
        }
    }

    fn judge(&self, claims: &Claims, now: Now) -> Verification {
        let OidcSettings { issuer, audiences, user_claim, groups_claim, .. } = &self.settings;
        if let Err(reason) = claims.check(&Expected { issuer, audiences, now: now.wall }) {
            return Verification::Wrong(reason.to_owned());
        }
        match claims.user(user_claim, groups_claim) {
            Ok(user) => Verification::Valid(user),
            Err(reason) => Verification::Wrong(reason),
        }
    }

    /// Reads what the issuer says of itself, and its keys, at a bounded rate.
    fn ask(&self, now: Now) -> Result<(), String> {
        let _asking = locked(&self.asking);
        {
            let known = locked(&self.known);
            let since = known.asked_at.map(|at| now.monotonic().saturating_sub(at));
            if since.is_some_and(|since| since < KEYS_INTERVAL) {
                return known.trouble.clone().map_or(Ok(()), Err);
            }
        }
        // What is known stays in use meanwhile.
        let read = self.read();
        let mut known = locked(&self.known);
        known.asked_at = Some(now.monotonic());
        match read {
            Ok((endpoints, keys)) => {
                (known.endpoints, known.keys) = (Some(endpoints), keys);
                (known.read_at, known.trouble) = (Some(now.monotonic()), None);
                Ok(())
            }
            Err(reason) => {
                let trouble = format!("the issuer {}: {reason}", self.settings.issuer);
                tracing::warn!("{trouble}; nobody can sign in there at the moment, and tokens go on working");
                known.trouble = Some(trouble.clone());
                Err(trouble)
            }
        }
    }

    fn read(&self) -> Result<(Endpoints, Vec<IssuerKey>), String> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let document = self.document(&format!("{issuer}/.well-known/openid-configuration"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        if text("issuer").as_deref() != Some(&self.settings.issuer) {
            let named = text("issuer").unwrap_or_default();
            let named: String = named.chars().take(MESSAGE_CHARACTERS_MAX).collect();
            return Err(format!("it calls itself {named:?}: give --oidc-issuer exactly so"));
        }
        let endpoint = |name: &str| {
            let url = text(name).ok_or_else(|| format!("its configuration has no {name}"))?;
            if is_safe(&url) { Ok(url) } else { Err(format!("its {name} is not an https URL")) }
        };
        let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let supports = |method: &str| methods.is_some_and(|all| all.iter().any(|one| one == method));
        let endpoints = Endpoints {
            authorization: endpoint("authorization_endpoint")?,
            token: endpoint("token_endpoint")?,
            keys: endpoint("jwks_uri")?,
            secret_in_form: !supports("client_secret_basic") && supports("client_secret_post"),
        };
        let set = self.document(&endpoints.keys)?;
        let keys = keys::read(&set).ok_or("its set of keys cannot be read")?;
        if keys.is_empty() {
            return Err("it has no key for RS256, ES256 or EdDSA".to_owned());
        }
        Ok((endpoints, keys))
    }

    fn document(&self, url: &str) -> Result<Value, String> {
        let request = IssuerRequest { url, authorization: None, form: None };
        let (status, body) = self.web.fetch(&request)?;
        if status != 200 {
            return Err(format!("{url} answers {status}"));
        }
        serde_json::from_slice(&body).map_err(|_| format!("{url} is not a JSON document"))
    }

    fn endpoints(&self, now: Now) -> Result<Endpoints, String> {
        let known = locked(&self.known).endpoints.clone();
        if let Some(endpoints) = known {
            return Ok(endpoints);
        }
        self.ask(now)?;
        locked(&self.known)
            .endpoints
            .clone()
            .ok_or_else(|| "the issuer has not told its endpoints".to_owned())
    }

    /// Begins a sign-in for a browser that reaches the service at this origin. May ask the issuer.
    pub fn begin_login(&self, origin: &str, now: Now) -> Result<LoginStart, String> {
        let endpoints = self.endpoints(now)?;
        let origin = self.settings.public_url.as_deref().unwrap_or(origin).trim_end_matches('/');
        let redirect_url = format!("{origin}{CALLBACK}");
        let (login, set_cookie) = locked(&self.logins).begin(redirect_url, now.monotonic());
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &login.redirect_url),
            ("scope", &self.settings.scopes),
            ("state", &login.state),
            ("nonce", &login.nonce),
            ("code_challenge", &login.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        let separator = if endpoints.authorization.contains('?') { '&' } else { '?' };
        Ok(LoginStart { url: format!("{}{separator}{query}", endpoints.authorization), set_cookie })
    }

    /// Ends a sign-in with what the issuer sent the browser back with. Asks the issuer.
    pub fn end_login(
        &self,
        parameters: &[(String, String)],
        cookies: Option<&str>,
        now: Now,
    ) -> Result<SignedIn, LoginError> {
        let parameter =
            |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let refused = |reason: &str| LoginError::Refused(reason.to_owned());
        let state = parameter("state").ok_or_else(|| refused("the issuer has sent no state"))?;
        let browser = cookies.and_then(cookie_in);
        let login = locked(&self.logins).end(state, browser, now.monotonic());
        let login = login.ok_or_else(|| {
            refused("this sign-in was not begun in this browser, or took too long: begin it again")
        })?;
        if parameter("iss").is_some_and(|issuer| issuer != self.settings.issuer) {
            return Err(refused("the answer is of another issuer"));
        }
        if let Some(error) = parameter("error") {
            let detail = parameter("error_description").unwrap_or_default();
            let told: String = format!("{error} {detail}")
                .chars()
                .filter(|c| !c.is_control())
                .take(MESSAGE_CHARACTERS_MAX)
                .collect();
            return Err(LoginError::Refused(format!("the issuer refuses: {}", told.trim_end())));
        }
        let code = parameter("code").ok_or_else(|| refused("the issuer has sent no code"))?;
        let token = self.exchange(code, &login.verifier, &login.redirect_url, now)?;
        let signed = match verify(&token, &locked(&self.known).keys) {
            // Of a new key.
            Signed::UnknownKey => None,
            signed => Some(signed),
        };
        let signed = match signed {
            Some(signed) => signed,
            None => {
                self.ask(now).map_err(LoginError::Unavailable)?;
                verify(&token, &locked(&self.known).keys)
            }
        };
        let claims = match signed {
            Signed::Claims(claims) => claims,
            Signed::UnknownKey => return Err(refused("the ID token's key is not one of the issuer's")),
            Signed::Wrong(reason) => return Err(LoginError::Refused(format!("the ID token: {reason}"))),
        };
        let OidcSettings { issuer, client_id, user_claim, groups_claim, .. } = &self.settings;
        let audiences = [client_id.clone()];
        let checked = claims.check(&Expected { issuer, audiences: &audiences, now: now.wall });
        let checked = checked.and_then(|()| claims.check_login(client_id, &login.nonce));
        checked.map_err(|reason| LoginError::Refused(format!("the ID token: {reason}")))?;
        claims
            .user(user_claim, groups_claim)
            .map_err(|reason| LoginError::Refused(format!("the ID token: {reason}")))
    }

    /// Exchanges a code for an ID token.
    fn exchange(
        &self,
        code: &str,
        verifier: &str,
        redirect_url: &str,
        now: Now,
    ) -> Result<String, LoginError> {
        let endpoints = self.endpoints(now).map_err(LoginError::Unavailable)?;
        let OidcSettings { client_id, client_secret, .. } = &self.settings;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_url),
            ("code_verifier", verifier),
        ];
        // RFC 6749, section 2.3.1.
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(client_secret)))
        );
        if endpoints.secret_in_form {
            fields.extend([("client_id", client_id.as_str()), ("client_secret", client_secret)]);
        }
        let form = form(&fields);
        let authorization = (!endpoints.secret_in_form).then_some(basic.as_str());
        let request = IssuerRequest { url: &endpoints.token, authorization, form: Some(&form) };
        let unavailable = |reason: String| {
            LoginError::Unavailable(format!("the issuer {}: {reason}", self.settings.issuer))
        };
        let (status, body) = self.web.fetch(&request).map_err(unavailable)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != 200 {
            let error = answer.get("error").and_then(Value::as_str).unwrap_or_default();
            let error: String =
                error.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARACTERS_MAX).collect();
            return Err(LoginError::Refused(format!(
                "the issuer does not take its code back: {status} {error}"
            )));
        }
        let token = answer.get("id_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .ok_or_else(|| LoginError::Refused("the issuer has sent no ID token".to_owned()))
    }

    /// The header that removes the cookie of a sign-in.
    pub fn forget_login() -> String {
        set_cookie("", Duration::ZERO)
    }
}

/// Reasons why a sign-in has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It is not the issuer's word.
    #[error("{0}")]
    Refused(String),
    /// The issuer cannot be asked.
    #[error("{0}")]
    Unavailable(String),
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// True for a URL over which secrets may go: encrypted, or to this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback,
        _ => false,
    }
}
