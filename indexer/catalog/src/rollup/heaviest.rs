//! Heaviest keys of several tables together, read only as far as needed to determine them.
//!
//! All tables are read from their heaviest entry on, to the same depth. What a key weighs is then at least what was read of it,
//! and at most that and what the last entries read weigh together: what was not read of it stands below them. Once that bound
//! leaves few keys, these are looked up in all tables; else the depth is doubled. (After the threshold algorithm of Fagin, Lotem
//! and Naor, 2001, which looks up every key that it reads.)

use std::cmp::Reverse;

use netrewind_flows::heavy_hitters::{HeavyHitters, HeldCounts};

use super::count_table::{HEAVY_MAX, Table, TableKey, TableValue};
use crate::document::DocumentWriter;

/// The `count` heaviest keys of all tables and what is held beside them, the heaviest first, equal ones by key. `None` if too
/// little of a table is listed by weight to decide.
pub fn heaviest<K: TableKey, V: TableValue>(
    tables: &[Table<'_, K, V>],
    held: &HeavyHitters<K, V>,
    count: usize,
) -> Option<Vec<(K, V)>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let mut lists: Vec<WeightedList<'_, K, V>> = tables
        .iter()
        .map(|table| WeightedList {
            entries: Box::new(table.heavy()),
            is_whole: table.is_all_heavy(),
            depth: 0,
            weight: u64::MAX,
        })
        .collect();
    lists.push(heavy_of(held));
    let mut seen: HeldCounts<K, u64> = HeldCounts::default();
    let mut depth = FIRST_DEPTH;
    loop {
        let mut has_more = false;
        for list in &mut lists {
            has_more |= list.read(depth, &mut |key, weight| {
                let seen = seen.entry(key).or_default();
                *seen = seen.saturating_add(weight);
            });
        }
        let unread: u64 = lists.iter().fold(0, |sum, list| sum.saturating_add(list.weight));
        let least = least_of(&seen, count);
        // Keys that were not read at all must weigh less than any of those wanted.
        let is_known = unread < least || lists.iter().all(|list| list.is_whole && list.weight == 0);
        if is_known {
            let can_be = |&(_, weight): &(&K, &u64)| weight.saturating_add(unread) >= least;
            let found = seen.iter().filter(can_be).count();
            if found <= LOOKED_UP_EACH * count || !has_more {
                let keys = seen.iter().filter(can_be).map(|(key, _)| *key);
                return Some(first(keys.map(|key| (key, sum_of(&key, tables, held))).collect(), count));
            }
        }
        if !has_more {
            return None;
        }
        depth *= 2;
    }
}

/// Entries of each list that are read first.
const FIRST_DEPTH: usize = 64;
/// Maximum number of keys looked up for each key wanted.
const LOOKED_UP_EACH: usize = 4;

/// Smallest weight among the `count` heaviest; zero if there are fewer.
fn least_of<K>(seen: &HeldCounts<K, u64>, count: usize) -> u64 {
    let mut weights: Vec<u64> = seen.values().copied().collect();
    match count.checked_sub(1).filter(|&number| number < weights.len()) {
        Some(number) => *weights.select_nth_unstable_by_key(number, |&weight| Reverse(weight)).1,
        None => 0,
    }
}

fn first<K: TableKey, V: TableValue>(mut all: Vec<(K, V)>, count: usize) -> Vec<(K, V)> {
    all.sort_unstable_by_key(|(key, value)| (Reverse(value.weight()), *key));
    all.truncate(count);
    all
}

/// Entries by weight.
struct WeightedList<'l, K, V> {
    entries: Box<dyn Iterator<Item = (K, V)> + 'l>,
    /// True if nothing is missing at its end.
    is_whole: bool,
    /// Entries that were read.
    depth: usize,
    /// Upper bound of the next entry's weight.
    weight: u64,
}

impl<K, V: TableValue> WeightedList<'_, K, V> {
    /// Reads on to this depth; whether there is more.
    fn read(&mut self, depth: usize, take: &mut impl FnMut(K, u64)) -> bool {
        for (key, value) in self.entries.by_ref().take(depth - self.depth) {
            self.weight = value.weight();
            take(key, self.weight);
            self.depth += 1;
        }
        let has_more = self.depth == depth;
        if !has_more && self.is_whole {
            self.weight = 0;
        }
        has_more
    }
}

fn heavy_of<'l, K: TableKey + 'l, V: TableValue + 'l>(held: &HeavyHitters<K, V>) -> WeightedList<'l, K, V> {
    let is_whole = held.len() <= HEAVY_MAX;
    WeightedList { entries: Box::new(held.top(HEAVY_MAX).into_iter()), is_whole, depth: 0, weight: u64::MAX }
}

fn sum_of<K: TableKey, V: TableValue>(key: &K, tables: &[Table<'_, K, V>], held: &HeavyHitters<K, V>) -> V {
    let mut bytes = DocumentWriter::default();
    key.write(&mut bytes);
    let mut sum = held.get(key).copied().unwrap_or_default();
    tables.iter().filter_map(|table| table.find(&bytes.0)).for_each(|value| sum.add_all(&value));
    sum
}

#[cfg(test)]
mod tests;
