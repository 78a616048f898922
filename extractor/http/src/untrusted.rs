//! What reads bytes from outside here, for those who try it with any: `fuzz/`, and the tests over its inputs.

use netrewind_extractor::{AnswerLimits, Query};
use netrewind_store::Timestamp;

use crate::access::Tokens;
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

/// Reads a file of tokens, and returns it as it would be written; `None` where it is refused.
pub fn tokens(text: &str) -> Option<String> {
    Tokens::parse(text).ok()?.text().ok()
}
