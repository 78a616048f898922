//! The heaviest keys of several tables together, read only as far as it takes to know them: the threshold algorithm (Fagin,
//! Lotem and Naor, 2001). All tables are read from their heaviest entry on, side by side; each key that shows up is looked up
//! in all of them. What has not shown up weighs at most what the last entries read weigh together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::table::{HEAVY_MAX, Table, TableKey, TableValue};
use crate::flows::kept::Writer;

/// Counts by key that are held in memory.
pub(in crate::flows) type Held<K, V> = HashMap<K, V, RandomState>;

/// The `count` heaviest keys of all tables and what is held beside them, the heaviest first, equals in the order of their keys.
/// `None` where too little of a table is listed by weight to tell.
pub(in crate::flows) fn heaviest<K: TableKey, V: TableValue>(
    tables: &[Table<'_, K, V>],
    held: &Held<K, V>,
    count: usize,
) -> Option<Vec<(K, V)>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let mut lists: Vec<List<'_, K, V>> = tables
        .iter()
        .map(|table| List {
            entries: Box::new(table.heavy()),
            is_whole: table.is_all_heavy(),
            weight: u64::MAX,
        })
        .collect();
    lists.push(heavy_of(held));
    let mut seen: HashMap<K, V, RandomState> = HashMap::default();
    let mut first: BTreeSet<(Reverse<u64>, K)> = BTreeSet::new();
    loop {
        let mut has_read = false;
        for list in &mut lists {
            let Some(key) = list.next() else { continue };
            has_read = true;
            if seen.contains_key(&key) {
                continue;
            }
            let sum = sum_of(&key, tables, held);
            first.insert((Reverse(sum.weight()), key));
            if first.len() > count {
                first.pop_last();
            }
            seen.insert(key, sum);
        }
        let unseen: u128 = lists.iter().map(|list| u128::from(list.weight)).sum();
        let is_known = first.len() == count
            && first.last().is_some_and(|(Reverse(weight), _)| u128::from(*weight) > unseen);
        if is_known || !has_read {
            let is_whole = is_known || lists.iter().all(|list| list.is_whole);
            let found = first.iter().filter_map(|(_, key)| Some((*key, *seen.get(key)?))).collect();
            return is_whole.then_some(found);
        }
    }
}

/// Entries by weight.
struct List<'l, K, V> {
    entries: Box<dyn Iterator<Item = (K, V)> + 'l>,
    /// Nothing is missing at its end.
    is_whole: bool,
    /// What comes next weighs at most so much.
    weight: u64,
}

impl<K, V: TableValue> List<'_, K, V> {
    fn next(&mut self) -> Option<K> {
        let entry = self.entries.next();
        match &entry {
            Some((_, value)) => self.weight = value.weight(),
            None if self.is_whole => self.weight = 0,
            None => {}
        }
        entry.map(|(key, _)| key)
    }
}

fn heavy_of<K: TableKey, V: TableValue>(held: &Held<K, V>) -> List<'_, K, V> {
    let mut entries: Vec<(K, V)> = held.iter().map(|(key, value)| (*key, *value)).collect();
    let is_whole = entries.len() <= HEAVY_MAX;
    if !is_whole {
        entries.select_nth_unstable_by_key(HEAVY_MAX, |(_, value)| Reverse(value.weight()));
        entries.truncate(HEAVY_MAX);
    }
    entries.sort_unstable_by_key(|(_, value)| Reverse(value.weight()));
    List { entries: Box::new(entries.into_iter()), is_whole, weight: u64::MAX }
}

fn sum_of<K: TableKey, V: TableValue>(key: &K, tables: &[Table<'_, K, V>], held: &Held<K, V>) -> V {
    let mut bytes = Writer::default();
    key.write(&mut bytes);
    let mut sum = held.get(key).copied().unwrap_or_default();
    tables.iter().filter_map(|table| table.find(&bytes.0)).for_each(|value| sum.add_all(&value));
    sum
}
