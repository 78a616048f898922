//! The views of a packet that a filter sees.

use std::ops::Range;

use crate::query::{JoinedFilter, Query};
use crate::view_mode::ViewMode;

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
        self.view.numbers(views)
    }
}
