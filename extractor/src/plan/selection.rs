//! The views of a packet that a filter sees.

use std::ops::Range;

use crate::query::{JoinedFilter, Query, ViewMode};

/// Selection among a packet's views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewSelection {
    pub(crate) view: ViewMode,
    pub(crate) ignore_vlan: bool,
}

impl From<&Query> for ViewSelection {
    fn from(query: &Query) -> Self {
        Self { view: query.view, ignore_vlan: query.ignore_vlan }
    }
}

impl From<&JoinedFilter> for ViewSelection {
    fn from(joined: &JoinedFilter) -> Self {
        Self { view: joined.view, ignore_vlan: joined.ignore_vlan }
    }
}

impl ViewSelection {
    /// Numbers of the selected views out of this many, counted from the outermost.
    pub(crate) fn numbers(self, views: usize) -> Range<usize> {
        match self.view {
            ViewMode::Outer => 0..views.min(1),
            ViewMode::Inner => views.saturating_sub(1)..views,
            ViewMode::Any => 0..views,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_numbered_from_the_outermost() {
        let numbers = |view, count| ViewSelection { view, ignore_vlan: false }.numbers(count);
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
