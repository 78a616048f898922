//! Links from later fragments to their first fragment.

use std::collections::BTreeMap;

use netrewind_packet::Series;
use netrewind_store::Timestamp;

use super::limits::{CHAIN_MAX, FIRSTS_AT_ONCE_MAX, FIRSTS_MAX, FRAGMENT_WINDOW_NS, REACH_NS};

/// A first fragment, as the filter sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstFragment {
    pub(crate) at: Timestamp,
    pub(crate) series: Series,
    pub(crate) verdict: FirstVerdict,
}

/// Verdict on a first fragment, and its circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstVerdict {
    /// The filter accepts it.
    pub(crate) is_accepted: bool,
    /// True if it shows views that the later ones cannot, and the query uses these: the verdicts on the later ones do not count.
    pub(crate) is_deeper: bool,
    /// Series of which it is itself a later fragment.
    pub(crate) within: Option<Box<Series>>,
}

/// A later fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) at: Timestamp,
    pub(crate) series: Series,
    /// The filter accepts it as it is.
    pub(crate) is_accepted: bool,
}

/// First fragments by series and time.
#[derive(Debug)]
pub(crate) struct Links {
    firsts: BTreeMap<(Series, Timestamp), Vec<FirstVerdict>>,
    /// Number of entries from which those no longer needed are pruned.
    pruned_from: usize,
    pruned_at: Timestamp,
    /// First fragments without room, or packets that could not wait for theirs.
    pub(crate) forgotten: u64,
}

/// First fragments that are kept whether they are needed or not.
const PRUNED_FROM: usize = 1 << 14;
/// Minimum time between two searches of a full table.
const PRUNED_EVERY_NS: u64 = REACH_NS / 8;

impl Default for Links {
    fn default() -> Self {
        Self { firsts: BTreeMap::new(), pruned_from: PRUNED_FROM, pruned_at: Timestamp::MIN, forgotten: 0 }
    }
}

impl Links {
    /// Adds first fragments. No packet before `needed_from` needs a verdict any more.
    pub(crate) fn add(&mut self, firsts: Vec<FirstFragment>, needed_from: Timestamp) {
        let is_due = needed_from.ns() >= self.pruned_at.ns().saturating_add(PRUNED_EVERY_NS);
        if is_due && self.firsts.len() + firsts.len() >= self.pruned_from.max(PRUNED_FROM) {
            self.prune(needed_from);
        }
        for FirstFragment { at, series, verdict } in firsts {
            let is_full = self.firsts.len() >= FIRSTS_MAX;
            match self.firsts.get_mut(&(series, at)) {
                Some(same) if same.contains(&verdict) => {}
                Some(same) if same.len() < FIRSTS_AT_ONCE_MAX => same.push(verdict),
                None if !is_full => _ = self.firsts.insert((series, at), vec![verdict]),
                _ => self.forgotten += 1,
            }
        }
    }

    fn prune(&mut self, needed_from: Timestamp) {
        let from = needed_from.ns().saturating_sub(REACH_NS);
        self.firsts.retain(|(_, at), _| at.ns() >= from);
        self.pruned_from = (self.firsts.len() * 2).min(FIRSTS_MAX);
        self.pruned_at = needed_from;
    }

    /// True if a first fragment is known that the later one can belong to.
    pub(crate) fn knows(&self, later: &Later) -> bool {
        self.nearest(later.series, later.at).next().is_some()
    }

    /// True if the filter accepts the fragment together with the packet that it belongs to.
    pub(crate) fn accept(&self, later: &Later) -> bool {
        self.accept_within(later, CHAIN_MAX)
    }

    fn accept_within(&self, later: &Later, chain: u32) -> bool {
        if chain == 0 {
            return later.is_accepted;
        }
        let mut nearest = self.nearest(later.series, later.at).peekable();
        if nearest.peek().is_none() {
            return later.is_accepted;
        }
        nearest.any(|(at, first)| {
            let first_is_accepted = match &first.within {
                None => first.is_accepted,
                Some(within) => {
                    let first = Later { at, series: **within, is_accepted: first.is_accepted };
                    self.accept_within(&first, chain - 1)
                }
            };
            first_is_accepted || (later.is_accepted && !first.is_deeper)
        })
    }

    /// The first fragments of a series that are nearest to `at` in the window, with their time.
    fn nearest(&self, series: Series, at: Timestamp) -> impl Iterator<Item = (Timestamp, &FirstVerdict)> {
        let before = self.firsts.range((series, Timestamp::MIN)..=(series, at)).next_back();
        let behind = self.firsts.range((series, at)..=(series, Timestamp::MAX)).find(|(key, _)| key.1 > at);
        let found = [before, behind].into_iter().flatten();
        let found = found.map(move |(key, same)| (key.1, same, key.1.ns().abs_diff(at.ns())));
        let least = found.clone().map(|(.., distance)| distance).min();
        let nearest =
            found.filter(move |(.., distance)| Some(*distance) == least && *distance <= FRAGMENT_WINDOW_NS);
        nearest.flat_map(|(at, same, _)| same.iter().map(move |first| (at, first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { view: 0, is_ipv6: false, protocol: 17, id: 7, source: 1, destination: 2 };

    fn first(at: u64, is_accepted: bool, is_deeper: bool) -> FirstFragment {
        let verdict = FirstVerdict { is_accepted, is_deeper, within: None };
        FirstFragment { at: Timestamp(at), series: SERIES, verdict }
    }

    fn accept(firsts: &[FirstFragment], at: u64, is_accepted: bool) -> bool {
        let mut links = Links::default();
        links.add(firsts.to_vec(), Timestamp(0));
        links.accept(&Later { at: Timestamp(at), series: SERIES, is_accepted })
    }

    #[test]
    fn the_nearest_first_fragment_counts() {
        let firsts = [first(1000, true, true), first(2000, false, true)];
        assert!(accept(&firsts, 1400, false), "the one before");
        assert!(!accept(&firsts, 1600, true), "the one behind");
        assert!(accept(&firsts, 1500, false), "either");
        assert!(!accept(&firsts, 2000, true), "the one at the same time");
        assert!(accept(&[first(2000, false, false)], 1000, true), "of the same level");
    }

    #[test]
    fn a_first_fragment_outside_of_the_window_does_not_count() {
        let firsts = [first(0, true, false)];
        assert!(accept(&firsts, FRAGMENT_WINDOW_NS, false));
        assert!(!accept(&firsts, FRAGMENT_WINDOW_NS + 1, false));
        assert!(accept(&[first(0, false, true)], FRAGMENT_WINDOW_NS + 1, true));
    }

    #[test]
    fn a_first_fragment_is_judged_as_the_packet_inside() {
        let inside = Series { view: 1, ..SERIES };
        let within = Some(Box::new(inside));
        let outer = FirstVerdict { is_accepted: false, is_deeper: true, within };
        let firsts = [
            FirstFragment { at: Timestamp(5), series: SERIES, verdict: outer },
            FirstFragment { series: inside, ..first(3, true, false) },
        ];
        assert!(accept(&firsts, 9, false));
        assert!(!accept(&firsts[..1], 9, false));
    }

    #[test]
    fn a_flood_of_first_fragments_is_bounded_and_told() {
        let flood = |id| FirstFragment { series: Series { id, ..SERIES }, ..first(1, true, false) };
        let mut links = Links::default();
        links.add((0..FIRSTS_MAX as u32 + 10).map(flood).collect(), Timestamp(0));
        assert_eq!((links.firsts.len(), links.forgotten), (FIRSTS_MAX, 10));
        let late = Timestamp(REACH_NS + 2);
        links.add(vec![first(late.ns(), true, false)], late);
        assert_eq!((links.firsts.len(), links.forgotten), (1, 10));
    }
}
