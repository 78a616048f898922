//! Lists of conversations: sorted, and paged so that pages stay consistent while recording continues.

use std::fmt::{self, Write};

use netrewind_catalog::rollup::aggregate::TOP_KEPT;
use netrewind_flows::conversation::{Conversation, FlowId, RangeEnd};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::search::Search;
use netrewind_flows::top_flows::{FlowSort, TopFlows};
use netrewind_flows::totals::Totals;
use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};

use super::joining::GatherOutcome;
use crate::{Completeness, Hint, Query, RejectedIndex, Work};

/// The most conversations of one page.
pub const LIMIT_MAX: usize = 100_000;
/// Default size of a page.
const LIMIT_DEFAULT: usize = 100;

/// Selection and order of the conversations that a query lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Sort order.
    pub sort: FlowSort,
    /// True for the opposite order.
    pub reverse: bool,
    /// Maximum number of them; at most [`LIMIT_MAX`].
    pub limit: usize,
    /// Cursor of the page before: its [`FlowAnswer::next`], which fixes range and sorting.
    pub after: Option<PageCursor>,
    /// Only those that it finds.
    #[serde(skip)]
    pub search: Option<Search>,
}

impl Default for FlowQuery {
    fn default() -> Self {
        Self { sort: FlowSort::default(), reverse: false, limit: LIMIT_DEFAULT, after: None, search: None }
    }
}

impl FlowQuery {
    fn sort(&self) -> FlowSort {
        self.after.map_or(self.sort, |after| after.sort)
    }

    fn is_reversed(&self) -> bool {
        self.after.map_or(self.reverse, |after| after.is_reversed)
    }

    /// The first conversations of the page.
    pub(super) fn top<'q>(&self, encapsulations: &'q Encapsulations) -> TopFlows<'q> {
        let after = self.after.map(|after| (after.rank, after.id));
        TopFlows::new(self.sort(), self.limit.min(LIMIT_MAX), after, encapsulations)
            .reversed(self.is_reversed())
    }

    /// True if rollups of hours hold everything that is needed of them.
    pub(super) fn takes_rollups(&self) -> bool {
        self.limit <= TOP_KEPT && self.after.is_none() && !self.reverse && self.search.is_none()
    }

    /// The query with the range of the pages before.
    pub(super) fn continued(&self, query: &Query) -> Query {
        match self.after {
            None => query.clone(),
            Some(PageCursor { from, to, .. }) => {
                // A cursor comes from outside: it may narrow the query, but not widen it.
                let from = query.from.map_or(from, |asked| asked.max(from));
                let to = query.to.map_or(to, |asked| asked.min(to));
                Query { from: Some(from), to: Some(to), ..query.clone() }
            }
        }
    }
}

/// Position at which a page ended. As text without blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    sort: FlowSort,
    is_reversed: bool,
    rank: u64,
    id: FlowId,
    from: Timestamp,
    to: Timestamp,
}

/// Mark of the opposite order behind the name of an order.
const REVERSED: char = '~';

/// A text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: use the value of `next` from a page of flows")]
pub struct NotACursor(String);

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sort, is_reversed, rank, id, from, to } = self;
        f.write_str(sort.name())?;
        if *is_reversed {
            f.write_char(REVERSED)?;
        }
        write!(f, "-{rank:x}-{id}-{:x}-{:x}", from.ns(), to.ns())
    }
}

impl std::str::FromStr for PageCursor {
    type Err = NotACursor;
    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let number = |part: &str| u64::from_str_radix(part, 16).ok();
        let read = || {
            let mut parts = text.split('-');
            let order = parts.next()?;
            let sort = order.strip_suffix(REVERSED);
            let cursor = Self {
                is_reversed: sort.is_some(),
                sort: sort.unwrap_or(order).parse().ok()?,
                rank: number(parts.next()?)?,
                id: parts.next()?.parse().ok()?,
                from: Timestamp(number(parts.next()?)?),
                to: Timestamp(number(parts.next()?)?),
            };
            parts.next().is_none().then_some(cursor)
        };
        read().ok_or_else(|| NotACursor(text.to_owned()))
    }
}

netrewind_store::serde_as_text!(PageCursor);

/// A page of conversations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlowAnswer {
    /// In the order asked for.
    pub flows: Vec<Conversation>,
    /// Cursor of the next page; absent on the last page.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub next: Option<PageCursor>,
    /// Totals of all conversations of the range, including those of other pages.
    pub totals: Totals,
    /// True if conversations may have been split because too many were open at once.
    pub approximate: bool,
    /// Completeness of the packets that the conversations were made from.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// For an empty list: a changed query that would find conversations ([`crate::Extractor::hint`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub hint: Option<Hint>,
    /// Work done for it.
    pub work: Work,
}

impl FlowAnswer {
    /// Page of these conversations.
    pub(super) fn of(top: TopFlows<'_>, ending: RangeEnd, outcome: GatherOutcome) -> Self {
        let (sort, is_reversed, totals) = (top.sort(), top.is_reversed(), top.totals());
        let (flows, next) = top.describe(ending);
        let GatherOutcome { work, rejected, completeness, approximate, .. } = outcome;
        let next = next.zip(completeness.covered).map(|((rank, id), covered)| PageCursor {
            sort,
            is_reversed,
            rank,
            id,
            from: covered.from,
            to: covered.to,
        });
        Self { flows, next, totals, approximate, completeness, rejected_indexes: rejected, hint: None, work }
    }
}
