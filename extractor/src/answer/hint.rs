//! Hint that comes with an empty answer: another way to ask.

use serde::{Deserialize, Serialize};

use crate::query::Query;
use crate::view_mode::ViewMode;

/// Another view of packets with which an empty answer would have packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Hint {
    /// Query with this view: `inner`, `outer` or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = String, nullable = false, required = false))]
    pub view: Option<ViewMode>,
    /// Query with `ignore_vlan`, as if packets had no VLAN tags.
    pub ignore_vlan: bool,
    /// True if the query would find packets; else it may.
    pub certain: bool,
    /// Text for a person: `no packet matches on the innermost view; with view=outer there would be some`.
    pub text: String,
}

impl Hint {
    /// Hint at `other` for whoever asked `asked`.
    pub(crate) fn new(asked: &Query, other: &Query, certain: bool) -> Self {
        let view = (other.view != asked.view).then_some(other.view);
        let ignore_vlan = other.ignore_vlan && !asked.ignore_vlan;
        let mut hint = Self { view, ignore_vlan, certain, text: String::new() };
        let verb = if certain { "would be" } else { "may be" };
        let parameter = hint.parameter();
        hint.text = format!("no packet matches on {}; with {parameter} there {verb} some", words(asked.view));
        hint
    }

    /// Query parameter to ask with, as it stands in the text.
    pub fn parameter(&self) -> String {
        match self.view {
            Some(view) => format!("view={}", name(view)),
            None => "ignore_vlan=true".to_owned(),
        }
    }
}

fn name(view: ViewMode) -> &'static str {
    match view {
        ViewMode::Inner => "inner",
        ViewMode::Outer => "outer",
        ViewMode::Any => "any",
    }
}

fn words(view: ViewMode) -> &'static str {
    match view {
        ViewMode::Inner => "the innermost view",
        ViewMode::Outer => "the packets as received",
        ViewMode::Any => "any view",
    }
}
