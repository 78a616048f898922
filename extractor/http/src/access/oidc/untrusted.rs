//! What an issuer sends, read as a sign-in reads it, for those who try it with any bytes.

use netrewind_store::Timestamp;

use super::jwt::{Claims, Expected, Signed, verify};
use super::keys;
use crate::access::signed_in::SignedIn;

/// Issuer, client and nonce that are expected.
const ISSUER: &str = "https://login.example";
const CLIENT: &str = "netrewind";
const NONCE: &str = "n0nce";

/// The user whom a token names that a key of this set has signed; the error says what is wrong.
pub(crate) fn user_of_token(token: &str, key_set: &str, now: Timestamp) -> Result<SignedIn, String> {
    let set = serde_json::from_str(key_set).map_err(|error| error.to_string())?;
    let keys = keys::read(&set).ok_or("it is no set of keys")?;
    match verify(token, &keys) {
        Signed::Claims(claims) => user_of(&claims, now),
        Signed::UnknownKey => Err("its key is not in the set".to_owned()),
        Signed::Wrong(reason) => Err(reason.to_owned()),
    }
}

/// The user whom claims name, as if their signature were right.
pub(crate) fn user_of_claims(claims: &str, now: Timestamp) -> Result<SignedIn, String> {
    user_of(&Claims::read(claims.as_bytes()).ok_or("it is no object")?, now)
}

fn user_of(claims: &Claims, now: Timestamp) -> Result<SignedIn, String> {
    claims.check(&Expected { issuer: ISSUER, audiences: &[CLIENT.to_owned()], now })?;
    claims.check_login(CLIENT, NONCE)?;
    claims.user("email", "groups")
}
