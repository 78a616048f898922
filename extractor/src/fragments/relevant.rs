//! Fragments that can matter to an answer, according to the indexes: address pairs and times.

use std::collections::HashMap;
use std::net::IpAddr;

use netrewind_index::{Flow, Template};
use netrewind_store::Timestamp;

use super::limits::REACH_NS;

/// Maximum number of distinct address pairs; beyond, all fragments of their time are relevant.
const PAIRS_MAX: usize = 1 << 16;
/// Maximum number of distinct time spans of one pair; beyond, they are merged.
const SPANS_MAX: usize = 32;

/// Addresses of an IP header, and the number of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) view: u8,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

impl Pair {
    /// Addresses of the innermost header of a flow's packets.
    pub(crate) fn innermost(template: &Template, flow: &Flow) -> Option<Self> {
        Some(Self { view: template.innermost_view(), source: flow.source?, destination: flow.destination? })
    }

    /// Addresses of the headers that carry the tunnels of a template.
    pub(crate) fn outer(template: &Template) -> impl Iterator<Item = Self> {
        template.outer_addresses().map(|(view, source, destination)| Self { view, source, destination })
    }
}

/// First and last instant, both included.
pub(crate) type Times = (Timestamp, Timestamp);

/// Bounded set of time spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Spans(Vec<Times>);

impl Spans {
    fn add(&mut self, (first, last): Times) {
        match self.0.iter().position(|(from, to)| *from <= last && first <= *to) {
            Some(place) => self.0[place] = (self.0[place].0.min(first), self.0[place].1.max(last)),
            None if self.0.len() < SPANS_MAX => self.0.push((first, last)),
            None => {
                let from = self.0.iter().map(|(from, _)| *from).min().map_or(first, |from| from.min(first));
                let to = self.0.iter().map(|(_, to)| *to).max().map_or(last, |to| to.max(last));
                self.0 = vec![(from, to)];
            }
        }
    }

    fn reach(&self, first: Timestamp, last: Timestamp) -> bool {
        self.0.iter().any(|(from, to)| {
            from.ns().saturating_sub(REACH_NS) <= last.ns() && first.ns() <= to.ns().saturating_add(REACH_NS)
        })
    }
}

/// Fragments that can be in an answer, or decide about one that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relevant {
    pairs: HashMap<Pair, Spans>,
    /// Times at which all fragments are relevant.
    all: Spans,
}

impl Relevant {
    /// True if no fragment is relevant.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.all.0.is_empty()
    }

    /// Adds the fragments between a pair.
    pub(crate) fn add(&mut self, pair: Pair, first: Timestamp, last: Timestamp) {
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&pair) {
            return self.add_all(first, last);
        }
        self.pairs.entry(pair).or_default().add((first, last));
    }

    /// Adds all fragments of a time.
    pub(crate) fn add_all(&mut self, first: Timestamp, last: Timestamp) {
        self.all.add((first, last));
    }

    /// Adds the fragments that are relevant to `other`.
    pub(crate) fn join(&mut self, other: &Self) {
        for (pair, spans) in &other.pairs {
            spans.0.iter().for_each(|(first, last)| self.add(*pair, *first, *last));
        }
        other.all.0.iter().for_each(|(first, last)| self.add_all(*first, *last));
    }

    /// Only those in views in which there are later fragments, by the bits of `views`.
    pub(crate) fn keep_views(&mut self, views: u8) {
        self.pairs.retain(|pair, _| views >> pair.view & 1 == 1);
    }

    /// True if fragments between a pair in this time are relevant.
    pub(crate) fn has(&self, pair: &Pair, first: Timestamp, last: Timestamp) -> bool {
        self.has_all(first, last) || self.pairs.get(pair).is_some_and(|spans| spans.reach(first, last))
    }

    /// True if all fragments of this time are relevant.
    pub(crate) fn has_all(&self, first: Timestamp, last: Timestamp) -> bool {
        self.all.reach(first, last)
    }

    /// True if any fragment of this time is relevant.
    pub(crate) fn has_any(&self, first: Timestamp, last: Timestamp) -> bool {
        self.has_all(first, last) || self.pairs.values().any(|spans| spans.reach(first, last))
    }

    /// Pairs whose fragments in this time are relevant.
    pub(crate) fn pairs(&self, first: Timestamp, last: Timestamp) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(move |(_, spans)| spans.reach(first, last)).map(|(pair, _)| pair)
    }

    /// Times at which fragments are relevant: `from..=to`, overlapping.
    pub(crate) fn times(&self) -> impl Iterator<Item = Times> {
        let spans = self.pairs.values().chain([&self.all]).flat_map(|spans| &spans.0);
        spans.map(|(from, to)| {
            (Timestamp(from.ns().saturating_sub(REACH_NS)), Timestamp(to.ns().saturating_add(REACH_NS)))
        })
    }
}

/// Packets that are fragments outside and later fragments inside: if they are accepted because of their contents, they decide
/// about the other outer fragments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nested {
    /// Times by the pair inside and the one outside.
    pairs: HashMap<(Pair, Pair), Spans>,
    /// Any packet of the segment can be one.
    are_unknown: bool,
}

impl Nested {
    /// Nesting that is not known.
    pub(crate) fn unknown() -> Self {
        Self { are_unknown: true, ..Self::default() }
    }

    pub(crate) fn add(&mut self, inside: Pair, outside: Pair, first: Timestamp, last: Timestamp) {
        self.are_unknown |= self.pairs.len() >= PAIRS_MAX;
        if !self.are_unknown {
            self.pairs.entry((inside, outside)).or_default().add((first, last));
        }
    }

    /// Fragments that become relevant outside, given those relevant inside; `span` is that of the segment.
    pub(crate) fn outside(&self, relevant: &Relevant, span: Times) -> Relevant {
        let mut outside = Relevant::default();
        if self.are_unknown && relevant.has_any(span.0, span.1) {
            outside.add_all(span.0, span.1);
            return outside;
        }
        for ((inside, pair), spans) in &self.pairs {
            for (first, last) in &spans.0 {
                if relevant.has(inside, *first, *last) {
                    outside.add(*pair, *first, *last);
                }
            }
        }
        outside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_reach_as_far_as_a_chain_of_fragments() {
        let mut spans = Spans::default();
        let at = |n: u64| Timestamp(n * REACH_NS);
        spans.add((at(10), at(11)));
        spans.add((at(11), at(12)));
        spans.add((at(20), at(20)));
        assert_eq!(spans.0, [(at(10), at(12)), (at(20), at(20))]);
        assert!(spans.reach(at(13), at(14)) && spans.reach(at(21), at(21)) && !spans.reach(at(14), at(18)));
        (0..100).for_each(|n| spans.add((at(100 + 2 * n), at(100 + 2 * n))));
        assert!(spans.0.len() <= SPANS_MAX && spans.reach(at(105), at(105)));
    }
}
