//! Top lists over counts in memory and counts in files.

use netrewind_flows::heavy_hitters::HeavyHitters;

use super::count_table::{Table, TableKey, TableValue};
use super::heaviest::heaviest;

/// Heaviest entries of the counts here and in tables, and a flag: entries were dropped.
pub fn top_of<K: TableKey, V: TableValue>(
    mut heavy_hitters: HeavyHitters<K, V>,
    tables: &[Table<'_, K, V>],
    count: usize,
) -> (Vec<(K, V)>, bool) {
    if let Some(found) = heaviest(tables, &heavy_hitters, count).filter(|_| !tables.is_empty()) {
        return (found, heavy_hitters.are_approximate());
    }
    for table in tables {
        // One that cannot be read has been ruled out by its checksum.
        let _ = table.for_each(|key, value| heavy_hitters.of(key).add_all(&value));
    }
    let is_approximate = heavy_hitters.are_approximate();
    (heavy_hitters.top(count), is_approximate)
}
