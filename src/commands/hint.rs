//! Where an answer is empty: what to ask instead.

use netrewind_extractor::Hint;

/// The hint, with the option in the place of the parameter.
pub fn line(hint: &Hint) -> String {
    let parameter = hint.parameter();
    let option = match parameter.strip_prefix("view=") {
        Some(view) => format!("--view {view}"),
        None => "--ignore-vlan".to_owned(),
    };
    format!("note: {}", hint.text.replace(&parameter, &option))
}
