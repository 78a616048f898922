//! Sign-ins that have begun: each is one browser's, and is good for one callback.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};

/// Cookie of the browser that has begun to sign in.
pub const LOGIN_COOKIE: &str = "__Host-netrewind-login";
/// Sign-ins under way; the oldest makes room.
const LOGINS_MAX: usize = 1024;
/// Time that one may take.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(600);

/// Where to send a browser to sign in, and the cookie by which it is known again.
#[derive(Clone)]
pub struct LoginStart {
    /// URL at the issuer.
    pub url: String,
    /// Value of `Set-Cookie`.
    pub set_cookie: String,
}

/// What a sign-in consists of: all made of one number and a key that nobody else has.
pub(super) struct Login {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    browser: String,
    /// URL that the issuer was told to send the browser to.
    pub(super) redirect_url: String,
}

/// Sign-ins under way, by their state.
#[derive(Debug)]
pub(super) struct Logins {
    key: hmac::Key,
    begun: u64,
    pending: HashMap<String, Pending>,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    until: Duration,
    redirect_url: String,
}

/// Purpose of the secret that the browser has.
const BROWSER: &[u8] = b"browser";

/// What a secret of a sign-in is a keyed hash of.
fn message(purpose: &[u8], number: u64) -> Vec<u8> {
    [b"oidc ", purpose, &number.to_be_bytes()[..]].concat()
}

impl Logins {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self { key, begun: 0, pending: HashMap::new() }
    }

    fn login(&self, number: u64, redirect_url: String) -> Login {
        let secret =
            |purpose: &[u8]| URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, &message(purpose, number)));
        Login {
            state: secret(b"state"),
            nonce: secret(b"nonce"),
            verifier: secret(b"verifier"),
            browser: secret(BROWSER),
            redirect_url,
        }
    }

    /// Begins a sign-in, and gives the value of the browser's cookie.
    pub(super) fn begin(&mut self, redirect_url: String, now: Duration) -> (Login, String) {
        self.pending.retain(|_, pending| now < pending.until);
        while self.pending.len() >= LOGINS_MAX {
            let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.number);
            let Some(state) = oldest.map(|(state, _)| state.clone()) else { break };
            self.pending.remove(&state);
        }
        self.begun += 1;
        let login = self.login(self.begun, redirect_url.clone());
        let pending = Pending { number: self.begun, until: now + LOGIN_TIME_MAX, redirect_url };
        self.pending.insert(login.state.clone(), pending);
        let cookie = set_cookie(&login.browser, LOGIN_TIME_MAX);
        (login, cookie)
    }

    /// Ends the sign-in of this state, if it was begun by the browser with this cookie.
    pub(super) fn end(&mut self, state: &str, browser: Option<&str>, now: Duration) -> Option<Login> {
        let pending = self.pending.remove(state).filter(|pending| now < pending.until)?;
        let login = self.login(pending.number, pending.redirect_url);
        // In constant time.
        let shown = URL_SAFE_NO_PAD.decode(browser?).ok()?;
        hmac::verify(&self.key, &message(BROWSER, pending.number), &shown).is_ok().then_some(login)
    }
}

impl Login {
    /// The challenge of its verifier: RFC 7636, section 4.2.
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }
}

/// The header that gives a browser the cookie; with no time it removes it. The issuer sends the browser back from another site.
pub(super) fn set_cookie(value: &str, time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{LOGIN_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")
}

/// The value of the cookie among others.
pub(super) fn cookie_in(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|pair| pair.trim().strip_prefix(LOGIN_COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_once_in_the_browser_where_it_began() {
        let mut logins = Logins::new(hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]));
        let now = Duration::from_secs(5);
        let begin = |logins: &mut Logins| {
            let (login, cookie) = logins.begin("https://x/oidc/callback".into(), now);
            let value = cookie_in(cookie.split(';').next().unwrap()).unwrap().to_owned();
            (login, value)
        };
        let (one, browser) = begin(&mut logins);
        let (other, other_browser) = begin(&mut logins);
        assert!(one.state != other.state && one.nonce != other.nonce && browser != other_browser);
        assert!(one.state != one.nonce && one.verifier.len() == 43);
        assert!(logins.end(&one.state, Some(&other_browser), now).is_none(), "another's browser");
        assert!(logins.end(&one.state, Some(&browser), now).is_none(), "it has ended");
        assert!(logins.end("x", Some(&browser), now).is_none());
        let ended = logins.end(&other.state, Some(&other_browser), now).unwrap();
        assert_eq!((ended.nonce, ended.verifier), (other.nonce, other.verifier));
        let (late, browser) = begin(&mut logins);
        assert!(logins.end(&late.state, Some(&browser), now + LOGIN_TIME_MAX).is_none());
        (0..LOGINS_MAX + 5).for_each(|_| _ = begin(&mut logins));
        assert_eq!(logins.pending.len(), LOGINS_MAX);
    }
}
