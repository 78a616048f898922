//! A page that follows the recording sends the same query every few seconds: it is recorded at intervals, and counted in between.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;

use super::record::Extraction;

/// The time within which the same query is written once.
const SAME_WITHIN_NS: u64 = 600 * SECOND_NS;
/// Resolution at which lengths of ranges that move with the clock are compared.
const LENGTH_UNIT_NS: u64 = 60 * SECOND_NS;
/// Queries that are remembered; beyond them each is written.
const REMEMBERED_MAX: usize = 4096;

/// Queries that have been written lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    seen: HashMap<u64, Seen>,
}

#[derive(Debug)]
struct Seen {
    written_at: Timestamp,
    since: u64,
}

impl Repeats {
    /// Number of repetitions since it was last written, if it is to be written now.
    pub(super) fn before(&mut self, asked: &Extraction) -> Option<u64> {
        let (now, key) = (asked.asked, self.hasher.hash_one(likeness(asked)));
        match self.seen.get_mut(&key) {
            Some(seen) if now.ns_since(seen.written_at) < SAME_WITHIN_NS => {
                seen.since += 1;
                None
            }
            Some(seen) => {
                seen.written_at = now;
                Some(std::mem::take(&mut seen.since))
            }
            None => {
                if self.seen.len() >= REMEMBERED_MAX {
                    self.seen.retain(|_, seen| now.ns_since(seen.written_at) < SAME_WITHIN_NS);
                }
                if self.seen.len() < REMEMBERED_MAX {
                    self.seen.insert(key, Seen { written_at: now, since: 0 });
                }
                Some(0)
            }
        }
    }
}

/// Key under which queries count as the same: everything but the time, if the range moves with the clock.
fn likeness(asked: &Extraction) -> String {
    let Extraction { asked: at, who, peer, recorder, what, flow, query, ending, .. } = asked;
    let mut query = query.clone();
    query.asked_at = None;
    let length = match (query.from, query.to) {
        (Some(from), None) => Some((at.ns_since(from) + LENGTH_UNIT_NS / 2) / LENGTH_UNIT_NS),
        _ => None,
    };
    if length.is_some() {
        query.from = None;
    }
    let address = peer.map(|peer| peer.ip());
    format!("{who} {address:?} {recorder:?} {what} {flow:?} {ending:?} {length:?} {query:?}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::extraction;
    use super::*;
    use netrewind_extractor::Query;

    #[test]
    fn what_a_page_repeats_is_written_once_in_a_while() {
        let mut repeats = Repeats::default();
        let start = Timestamp::new(1_795_339_860, 0);
        let live = |second: u64, length: u64| {
            let asked = start.plus_ns(second * SECOND_NS);
            let from = Some(Timestamp(asked.ns() - length * SECOND_NS));
            let plain = extraction("soc", "port 53");
            Extraction { asked, query: Query { from, to: None, ..plain.query }, ..plain }
        };
        assert_eq!(repeats.before(&live(0, 3600)), Some(0));
        (1..120).for_each(|n| assert_eq!(repeats.before(&live(5 * n, 3600)), None));
        assert_eq!(repeats.before(&live(300, 7200)), Some(0), "a longer range is another query");
        assert_eq!(repeats.before(&Extraction { who: "noc".into(), ..live(300, 3600) }), Some(0));
        assert_eq!(repeats.before(&Extraction { what: "summary", ..live(300, 3600) }), Some(0));
        assert_eq!(repeats.before(&live(600, 3600)), Some(119));
        let fixed = |from: u64| {
            let asked = live(0, 0);
            let from = Some(start.plus_ns(from));
            Extraction { query: Query { from, to: Some(start), ..asked.query }, ..asked }
        };
        assert_eq!((repeats.before(&fixed(0)), repeats.before(&fixed(1))), (Some(0), Some(0)));
    }
}
