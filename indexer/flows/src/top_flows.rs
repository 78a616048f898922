//! The first conversations of a sorted list, kept while all are examined.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::conversation::{Conversation, FlowId, RangeEnd, describe, id_of};
use crate::encapsulation::Encapsulations;
use crate::key::FlowKey;
use crate::part::{FlowCounters, FlowPart};
use crate::totals::Totals;

/// Sort order of conversations. Equal ones are sorted by id.
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
    /// All orders with their names.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Bytes, "bytes"),
        (Self::Packets, "packets"),
        (Self::Start, "start"),
        (Self::Duration, "duration"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
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

    /// Place of a conversation in this order, or in the opposite one; lesser comes first.
    pub fn place_of(self, conversation: &Conversation, is_reversed: bool) -> (u64, FlowId) {
        let rank = match self {
            Self::Bytes => u64::MAX - conversation.bytes(),
            Self::Packets => u64::MAX - conversation.packets(),
            Self::Start => conversation.first.ns(),
            Self::Duration => u64::MAX - conversation.last.ns_since(conversation.first),
        };
        (if is_reversed { u64::MAX - rank } else { rank }, conversation.id)
    }
}

impl std::str::FromStr for FlowSort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(sort, _)| *sort).ok_or_else(|| {
            format!("flows cannot be sorted by {text:?}: use bytes, packets, start or duration")
        })
    }
}

/// The first conversations after a cursor, kept while all are examined.
pub struct TopFlows<'q> {
    sort: FlowSort,
    is_reversed: bool,
    limit: usize,
    after: Option<(u64, FlowId)>,
    /// One more than requested, to know whether there is a next page. The last one is on top.
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
    /// The first `limit` in this order, behind the place `after`.
    pub fn new(
        sort: FlowSort,
        limit: usize,
        after: Option<(u64, FlowId)>,
        encapsulations: &'q Encapsulations,
    ) -> Self {
        Self {
            sort,
            is_reversed: false,
            limit,
            after,
            kept: BinaryHeap::new(),
            totals: Totals::default(),
            encapsulations,
        }
    }

    /// The same in the opposite order, if `is_reversed`.
    #[must_use]
    pub fn reversed(self, is_reversed: bool) -> Self {
        Self { is_reversed, ..self }
    }

    /// True if the order is the opposite one.
    pub fn is_reversed(&self) -> bool {
        self.is_reversed
    }

    /// The conversations with the most bytes.
    pub fn by_bytes(limit: usize, encapsulations: &'q Encapsulations) -> Self {
        Self::new(FlowSort::Bytes, limit, None, encapsulations)
    }

    /// Sort order.
    pub fn sort(&self) -> FlowSort {
        self.sort
    }

    /// Maximum number of conversations.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Number of conversations kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Adds totals of conversations that are not taken one by one.
    pub fn add_totals(&mut self, totals: &Totals) {
        self.totals.add_all(totals);
    }

    /// Conversations kept, and the one after them, in order.
    pub fn into_parts(self) -> impl ExactSizeIterator<Item = FlowPart> {
        let kept = self.kept.into_sorted_vec().into_iter();
        kept.map(|Ranked { key, body, .. }| FlowPart { key, body })
    }

    /// Counts a conversation, and keeps it if it is among the first.
    pub fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.totals.add(body);
        self.keep(key, body);
    }

    /// Keeps a conversation if it is among the first, without counting it.
    pub fn keep(&mut self, key: &FlowKey, body: &FlowCounters) {
        let rank = self.sort.rank(body);
        let rank = if self.is_reversed { u64::MAX - rank } else { rank };
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

    /// Totals of all conversations.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Conversations kept, in order, and the position of the last one if there are more.
    pub fn describe(self, ending: RangeEnd) -> (Vec<Conversation>, Option<(u64, FlowId)>) {
        let mut kept = self.kept.into_sorted_vec();
        let has_more = kept.len() > self.limit;
        kept.truncate(self.limit);
        let next = kept.last().filter(|_| has_more).map(|last| last.place);
        let described = kept.iter().map(|kept| describe(&kept.key, &kept.body, self.encapsulations, ending));
        (described.collect(), next)
    }
}
