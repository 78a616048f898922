//! Hints for empty answers: another query to try.

use netrewind_extractor::Hint;

/// The hint, with the command's option in place of the HTTP parameter.
pub fn line(hint: &Hint) -> String {
    let parameter = hint.parameter();
    let option = match parameter.strip_prefix("view=") {
        Some(view) => format!("--view {view}"),
        None => "--ignore-vlan".to_owned(),
    };
    format!("note: {}", hint.text.replace(&parameter, &option))
}
