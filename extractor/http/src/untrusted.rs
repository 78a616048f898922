//! What reads bytes from outside here, for those who try it with any: `fuzz/`, and the tests over its inputs.

use netrewind_extractor::{AnswerLimits, Query};
use netrewind_store::Timestamp;

use crate::access::{SignedIn, Tokens};
use crate::dissector::Dissection;
use crate::fields::Fields;
use crate::parameters::{Bounds, Form, Selection};
use crate::problem::Problem;

/// The time of the requests.
const NOW: Timestamp = Timestamp(1_795_339_861_000_000_000);

/// Reads the parameters of a request for packets: a JSON object, or else a query string.
pub fn parameters(bytes: &[u8]) -> Result<(Query, AnswerLimits), Problem> {
    let mut fields = Fields::from_json(bytes).or_else(|_| Fields::from_form(bytes))?;
    let selection = Selection::from_fields(&mut fields)?;
    let bounds = Bounds::from_fields(&mut fields)?;
    let form = Form::from_fields(&mut fields)?;
    fields.end()?;
    Ok((selection.following(form.follow.unwrap_or_default()).query(NOW)?, bounds.limits()))
}

/// The user whom a token names that a key of this set has signed, as at a sign-in by OpenID Connect; the error says what is wrong.
pub fn user_of_token(token: &str, key_set: &str) -> Result<SignedIn, String> {
    crate::access::user_of_token(token, key_set, NOW)
}

/// The user whom the claims of such a token name, as if its signature were right.
pub fn user_of_claims(claims: &str) -> Result<SignedIn, String> {
    crate::access::user_of_claims(claims, NOW)
}

/// Reads the replies of the program that takes packets apart.
pub fn dissection(replies: &[u8]) -> Result<Dissection, String> {
    crate::dissector::read_reply(replies)
}

/// Reads a file of tokens, and returns it as it would be written; `None` where it is refused.
pub fn tokens(text: &str) -> Option<String> {
    Tokens::parse(text).ok()?.text().ok()
}
