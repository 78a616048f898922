//! Lists of conversations: sorted, and paged so that pages fit together while recording goes on.

use std::collections::BinaryHeap;
use std::fmt;

use netrewind_store::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::GatherOutcome;
use super::carrier::Encapsulations;
use super::key::FlowKey;
use super::part::{FlowCounters, FlowPart};

use super::record::{Conversation, FlowId, RangeEnd, describe, id_of};
use super::rollup::{Aggregate, TOP_KEPT};
use super::search::Search;
use super::summary::Totals;
use super::text::as_text;
use crate::{Completeness, Hint, Query, RejectedIndex, Work};

/// The most conversations of one page.
pub const LIMIT_MAX: usize = 100_000;
/// Default size of a page.
const LIMIT_DEFAULT: usize = 100;

/// Sort order of conversations. Equals stand in the order of their ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowSort {
    /// The most bytes both ways first.
    #[default]
    Bytes,
    /// The most packets first.
    Packets,
    /// The earliest first.
    Start,
    /// The longest first.
    Duration,
}

impl FlowSort {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Bytes, "bytes"),
        (Self::Packets, "packets"),
        (Self::Start, "start"),
        (Self::Duration, "duration"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, name)| name)
    }

    /// Lesser comes first.
    fn rank(self, body: &FlowCounters) -> u64 {
        match self {
            Self::Bytes => u64::MAX - body.bytes(),
            Self::Packets => u64::MAX - body.packets(),
            Self::Start => body.first(),
            Self::Duration => u64::MAX - body.last().saturating_sub(body.first()),
        }
    }
}

impl std::str::FromStr for FlowSort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known
            .map(|(sort, _)| *sort)
            .ok_or_else(|| format!("flows are not sorted by {text:?}: say bytes, packets, start or duration"))
    }
}

/// Selection and order of the conversations that a query lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Sort order.
    pub sort: FlowSort,
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
        Self { sort: FlowSort::default(), limit: LIMIT_DEFAULT, after: None, search: None }
    }
}

impl FlowQuery {
    fn sort(&self) -> FlowSort {
        self.after.map_or(self.sort, |after| after.sort)
    }

    /// The query with the range of the pages before.
    pub(super) fn continued(&self, query: &Query) -> Query {
        match self.after {
            None => query.clone(),
            Some(PageCursor { from, to, .. }) => {
                // A cursor comes from outside: it may narrow what is asked, and not widen it.
                let from = query.from.map_or(from, |asked| asked.max(from));
                let to = query.to.map_or(to, |asked| asked.min(to));
                Query { from: Some(from), to: Some(to), ..query.clone() }
            }
        }
    }
}

/// Position at which a page ended. As text without blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PageCursor {
    sort: FlowSort,
    rank: u64,
    id: FlowId,
    from: Timestamp,
    to: Timestamp,
}

/// A text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a cursor: pass on what a page of flows named as next")]
pub struct NotACursor(String);

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sort, rank, id, from, to } = self;
        write!(f, "{}-{rank:x}-{id}-{:x}-{:x}", sort.name(), from.ns(), to.ns())
    }
}

impl std::str::FromStr for PageCursor {
    type Err = NotACursor;
    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let number = |part: &str| u64::from_str_radix(part, 16).ok();
        let read = || {
            let mut parts = text.split('-');
            let cursor = Self {
                sort: parts.next()?.parse().ok()?,
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

as_text!(PageCursor, NotACursor);

/// A page of conversations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FlowAnswer {
    /// In the order asked for.
    pub flows: Vec<Conversation>,
    /// Asks for the next page; absent where this is the last one.
    #[schema(value_type = Option<String>)]
    pub next: Option<PageCursor>,
    /// Totals of all conversations of the range, including those of other pages.
    pub totals: Totals,
    /// True if conversations may have been divided because too many were open at once.
    pub approximate: bool,
    /// Completeness of the packets that the conversations were made from.
    pub completeness: Completeness,
    /// Indexes that could not be used.
    pub rejected_indexes: Vec<RejectedIndex>,
    /// For an empty list: another way to ask that would find conversations ([`crate::Extractor::hint`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub hint: Option<Hint>,
    /// Work done for it.
    pub work: Work,
}

/// The first conversations after a cursor, kept while all are looked at.
pub(super) struct TopFlows<'q> {
    sort: FlowSort,
    limit: usize,
    after: Option<(u64, FlowId)>,
    /// One more than are wanted, to know whether there is a next page. The last one is on top.
    kept: BinaryHeap<Ranked>,
    totals: Totals,
    encapsulations: &'q Encapsulations,
}

struct Ranked {
    place: (u64, FlowId),
    key: FlowKey,
    body: FlowCounters,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}
impl Eq for Ranked {}
impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

impl<'q> TopFlows<'q> {
    pub(super) fn new(query: &FlowQuery, encapsulations: &'q Encapsulations) -> Self {
        Self {
            sort: query.sort(),
            limit: query.limit.min(LIMIT_MAX),
            after: query.after.map(|after| (after.rank, after.id)),
            kept: BinaryHeap::new(),
            totals: Totals::default(),
            encapsulations,
        }
    }

    /// The conversations with the most bytes.
    pub(super) fn by_bytes(limit: usize, encapsulations: &'q Encapsulations) -> Self {
        Self::new(&FlowQuery { limit, ..FlowQuery::default() }, encapsulations)
    }

    /// True if rollups of hours hold everything that is needed of them.
    pub(super) fn takes_rollups(&self) -> bool {
        self.limit <= TOP_KEPT && self.after.is_none()
    }

    /// Takes records that are added up.
    pub(super) fn take_added(&mut self, added: &Aggregate) {
        let Some(sums) = added.sums() else { return };
        self.totals.add_all(&sums.totals);
        // One more than are wanted tells whether there is a next page.
        let top = added.top(self.sort, self.limit.saturating_add(1), self.encapsulations);
        top.iter().for_each(|part| self.rank(&part.key, &part.body));
    }

    /// Conversations kept, and the one after them, in order.
    pub(super) fn into_parts(self) -> impl ExactSizeIterator<Item = FlowPart> {
        let kept = self.kept.into_sorted_vec().into_iter();
        kept.map(|Ranked { key, body, .. }| FlowPart { key, body })
    }

    pub(super) fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.totals.add(body);
        self.rank(key, body);
    }

    fn rank(&mut self, key: &FlowKey, body: &FlowCounters) {
        let rank = self.sort.rank(body);
        let is_full = self.kept.len() > self.limit;
        if is_full && self.kept.peek().is_some_and(|last| last.place.0 < rank) {
            return;
        }
        let place = (rank, id_of(key, body, self.encapsulations));
        if self.after.is_some_and(|after| place <= after) {
            return;
        }
        self.kept.push(Ranked { place, key: *key, body: body.clone() });
        if self.kept.len() > self.limit + 1 {
            self.kept.pop();
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Conversations kept, in order, and the position of the last one if there are more.
    pub(super) fn describe(self, ending: RangeEnd) -> (Vec<Conversation>, Option<(u64, FlowId)>) {
        let mut kept = self.kept.into_sorted_vec();
        let has_more = kept.len() > self.limit;
        kept.truncate(self.limit);
        let next = kept.last().filter(|_| has_more).map(|last| last.place);
        let described = kept.iter().map(|kept| describe(&kept.key, &kept.body, self.encapsulations, ending));
        (described.collect(), next)
    }

    pub(super) fn answer(
        self,
        ending: RangeEnd,
        completeness: Completeness,
        outcome: GatherOutcome,
    ) -> FlowAnswer {
        let (sort, totals) = (self.sort, self.totals);
        let (flows, next) = self.describe(ending);
        let next = next.zip(completeness.covered).map(|((rank, id), covered)| PageCursor {
            sort,
            rank,
            id,
            from: covered.from,
            to: covered.to,
        });
        let GatherOutcome { work, rejected, approximate, .. } = outcome;
        FlowAnswer {
            flows,
            next,
            totals,
            approximate,
            completeness,
            rejected_indexes: rejected,
            hint: None,
            work,
        }
    }
}
