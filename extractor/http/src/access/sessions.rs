//! Sessions: a page cannot keep a token safe, so it exchanges it for a cookie that no script can read.
//!
//! A session's id is a number and a keyed hash of it: nobody else can make one up, and none has to be kept.

use std::collections::HashMap;
use std::time::Duration;

use ring::hmac;

use super::signed_in::SignedIn;
use super::token::hexadecimal;
use super::tokens::SecretHash;

/// The cookie. Browsers take one of such a name only from the host itself, encrypted, for all of its paths (RFC 6265bis).
pub const COOKIE: &str = "__Host-netrewind";
/// Longest time that a session lasts; its token may end it sooner.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(12 * 3600);
/// Sessions at a time; the oldest one makes room.
const SESSIONS_MAX: usize = 1024;
/// Sessions of one token or user; the oldest of them makes room, so that nobody pushes out others.
const SESSIONS_OF_TOKEN_MAX: usize = 16;
/// Domain separator of session hashes from all others made with the key.
const PURPOSE: &[u8] = b"session";
/// Hexadecimal digits of the mark by which ids of this process are known from those of an earlier one.
const LIFE_DIGITS: usize = 8;

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionOwner {
    /// The holder of the token that began it.
    Token {
        id: String,
        /// Hash of the token: another hash is another token.
        hash: SecretHash,
    },
    /// A user whom an issuer has signed in.
    User(SignedIn),
}

impl SessionOwner {
    /// True if the sessions of both count as one's.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Token { id, .. }, Self::Token { id: other, .. }) => id == other,
            (Self::User(user), Self::User(other)) => user.user == other.user,
            _ => false,
        }
    }
}

/// A session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) owner: SessionOwner,
    until: Duration,
}

/// Result of checking a cookie.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Nothing: there is none, or it is from before a restart of the service.
    Absent,
    /// Number of a session, which may be over.
    Genuine(u64),
    /// A forgery.
    Forged,
}

/// The sessions that have begun and not ended. Times are of a monotonic clock.
#[derive(Debug)]
pub(super) struct Sessions {
    key: hmac::Key,
    life: String,
    begun: u64,
    sessions: HashMap<u64, Session>,
}

impl Sessions {
    pub(super) fn new(key: hmac::Key) -> Self {
        let mut life = hexadecimal(hmac::sign(&key, b"life").as_ref());
        life.truncate(LIFE_DIGITS);
        Self { key, life, begun: 0, sessions: HashMap::new() }
    }

    /// Begins one, and gives the value of its cookie.
    pub(super) fn begin(&mut self, owner: SessionOwner, now: Duration, time: Duration) -> String {
        self.sessions.retain(|_, session| now < session.until);
        self.make_room(|session| session.owner.is_same(&owner), SESSIONS_OF_TOKEN_MAX);
        self.make_room(|_| true, SESSIONS_MAX);
        self.begun += 1;
        let until = now + time.min(SESSION_TIME_MAX);
        let session = Session { owner, until };
        self.sessions.insert(self.begun, session);
        let proof = hmac::sign(&self.key, &message(self.begun));
        format!("{}.{}.{}", self.life, self.begun, hexadecimal(proof.as_ref()))
    }

    fn make_room(&mut self, counts: impl Fn(&Session) -> bool, most: usize) {
        let mut numbers: Vec<_> =
            self.sessions.iter().filter(|(_, session)| counts(session)).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let too_many = (numbers.len() + 1).saturating_sub(most);
        numbers.iter().take(too_many).for_each(|number| self.end(*number));
    }

    /// Checks the value of a cookie, in constant time if it could be right.
    pub(super) fn read(&self, value: &str) -> Cookie {
        let mut parts = value.splitn(3, '.');
        if parts.next() != Some(&self.life) {
            return Cookie::Absent;
        }
        let number = parts.next().and_then(|number| number.parse::<u64>().ok());
        let proof = parts.next().and_then(bytes);
        match number.zip(proof) {
            Some((number, proof)) if hmac::verify(&self.key, &message(number), &proof).is_ok() => {
                Cookie::Genuine(number)
            }
            _ => Cookie::Forged,
        }
    }

    /// The session of this number, if it is not over.
    pub(super) fn find(&self, number: u64, now: Duration) -> Option<Session> {
        self.sessions.get(&number).filter(|session| now < session.until).cloned()
    }

    pub(super) fn end(&mut self, number: u64) {
        self.sessions.remove(&number);
    }
}

fn message(number: u64) -> Vec<u8> {
    [PURPOSE, &number.to_be_bytes()].concat()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * ring::digest::SHA256_OUTPUT_LEN {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(byte).collect()
}

/// The value of the cookie among others (RFC 6265, section 5.4).
pub(super) fn cookie_in(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The header that gives a browser the cookie; with no time it removes the cookie.
pub fn set_cookie(value: &str, time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(key: u8) -> Sessions {
        Sessions::new(hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]))
    }

    fn owner(id: &str) -> SessionOwner {
        let hash = SecretHash::new(&[1; 32], &[2; 16]).expect("a hash");
        SessionOwner::Token { id: id.to_owned(), hash }
    }

    fn user(name: &str) -> SessionOwner {
        SessionOwner::User(SignedIn { user: name.to_owned(), groups: Vec::new() })
    }

    #[test]
    fn nobody_makes_up_a_session() {
        let (mut ours, now) = (sessions(1), Duration::from_secs(9));
        let value = ours.begin(owner("id"), now, SESSION_TIME_MAX);
        assert_eq!(ours.read(&value), Cookie::Genuine(1));
        let (life, rest) = value.split_once('.').expect("parts");
        let proof = rest.split_once('.').expect("a proof").1;
        assert_eq!(ours.read(&format!("{life}.2.{proof}")), Cookie::Forged);
        let turned = proof.replace(&proof[..1], if proof.starts_with('0') { "1" } else { "0" });
        assert_eq!(ours.read(&format!("{life}.1.{turned}")), Cookie::Forged);
        assert_eq!(ours.read(&format!("{life}.1.{}", "é".repeat(32))), Cookie::Forged);
        assert_eq!(ours.read(life), Cookie::Forged);
        assert_eq!(sessions(2).read(&value), Cookie::Absent, "of an earlier life: no attempt at guessing");
        assert!(ours.find(1, now).is_some() && ours.find(2, now).is_none());
        assert!(ours.find(1, now + SESSION_TIME_MAX).is_none(), "it has ended");
        ours.end(1);
        assert!(ours.find(1, now).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_no_token_pushes_out_others() {
        let (mut sessions, now, other) = (sessions(1), Duration::ZERO, owner("other"));
        sessions.begin(owner("one"), now, SESSION_TIME_MAX);
        sessions.begin(user("other"), now, SESSION_TIME_MAX);
        (0..100).for_each(|_| _ = sessions.begin(other.clone(), now, SESSION_TIME_MAX));
        assert_eq!(sessions.sessions.len(), 2 + SESSIONS_OF_TOKEN_MAX);
        assert!(sessions.find(1, now).is_some() && sessions.find(2, now).is_some());
        (0..2 * SESSIONS_MAX).for_each(|n| _ = sessions.begin(user(&n.to_string()), now, SESSION_TIME_MAX));
        assert_eq!(sessions.sessions.len(), SESSIONS_MAX);
        sessions.begin(other, now + SESSION_TIME_MAX, SESSION_TIME_MAX);
        assert_eq!(sessions.sessions.len(), 1, "those that are over go");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        assert_eq!(cookie_in("a=b; __Host-netrewind=x.1.y;c=d"), Some("x.1.y"));
        assert_eq!(cookie_in("__Host-netrewinder=x; other__Host-netrewind=y"), None);
    }
}
