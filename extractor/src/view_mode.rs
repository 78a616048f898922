//! Views of a packet: itself, and what its tunnels carry.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Views of a packet that the filter sees. A packet's views are itself and every inner packet that peeling known tunnels
/// exposes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewMode {
    /// The innermost one, as if every tunnel had ended before the recorder.
    #[default]
    Inner,
    /// Packet as received: the view that tcpdump has.
    Outer,
    /// Any of them: a packet is accepted if one of its views is.
    Any,
}

impl std::str::FromStr for ViewMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "inner" => Ok(Self::Inner),
            "outer" => Ok(Self::Outer),
            "any" => Ok(Self::Any),
            _ => Err(format!("{text:?} is not a view: use inner, outer or any")),
        }
    }
}

impl ViewMode {
    /// Numbers of the selected views out of this many, counted from the outermost.
    pub(crate) fn numbers(self, views: usize) -> Range<usize> {
        match self {
            Self::Outer => 0..views.min(1),
            Self::Inner => views.saturating_sub(1)..views,
            Self::Any => 0..views,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_numbered_from_the_outermost() {
        let numbers = |view: ViewMode, count| view.numbers(count);
        assert_eq!(
            [ViewMode::Outer, ViewMode::Inner, ViewMode::Any].map(|view| numbers(view, 3)),
            [0..1, 2..3, 0..3]
        );
        assert_eq!(
            [ViewMode::Outer, ViewMode::Inner, ViewMode::Any].map(|view| numbers(view, 1)),
            [0..1, 0..1, 0..1]
        );
    }
}
