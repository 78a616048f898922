//! Counting by key in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::memory::TableMemory;

/// Minimum number of counts that are searched together for the heaviest.
const TOP_GATHERED_MIN: usize = 1024;

/// Counts by key that are held in memory.
pub type HeldCounts<K, V> = HashMap<K, V, RandomState>;

/// Counted value with the weight by which the greatest are chosen.
pub trait Weight: Default {
    /// The weight.
    fn weight(&self) -> u64;
}

/// Counts by key. When twice the maximum is held, the lighter half is dropped: the counts of the top entries then lack at most
/// the dropped ones.
#[derive(Debug)]
pub struct HeavyHitters<K, V> {
    counts: HeldCounts<K, V>,
    held_max: usize,
    forgotten: bool,
    /// Memory that it may grow into, if it is limited.
    memory: Option<Box<dyn TableMemory>>,
}

impl<K: Eq + Hash + Ord + Copy, V: Weight> HeavyHitters<K, V> {
    /// Counts of which this many are certainly kept; twice as many are held.
    pub fn new(held_max: usize) -> Self {
        Self { counts: HeldCounts::default(), held_max: held_max.max(1), forgotten: false, memory: None }
    }

    /// Limits its memory; without room for more it forgets.
    pub fn within(self, memory: Box<dyn TableMemory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// The count of a key.
    pub fn of(&mut self, key: K) -> &mut V {
        let is_full = self.counts.len() >= self.held_max * 2;
        let is_to_grow = self.memory.is_some() && self.counts.len() == self.counts.capacity();
        if (is_full || is_to_grow) && !self.counts.contains_key(&key) {
            if is_full || !self.may_grow() {
                self.forget_half();
            } else {
                self.counts.reserve(1);
                let (capacity, entry_bytes) = (self.counts.capacity(), size_of::<(K, V)>());
                self.memory.iter_mut().for_each(|memory| memory.has_grown(capacity, entry_bytes));
            }
        }
        self.counts.entry(key).or_default()
    }

    fn may_grow(&mut self) -> bool {
        let capacity = self.counts.capacity();
        self.memory.as_mut().is_none_or(|memory| memory.may_grow(capacity.max(1), size_of::<(K, V)>()))
    }

    fn forget_half(&mut self) {
        self.forgotten = true;
        let mut weights: Vec<u64> = self.counts.values().map(Weight::weight).collect();
        let middle = weights.len() / 2;
        let (_, &mut median, _) = weights.select_nth_unstable(middle);
        self.counts.retain(|_, count| count.weight() > median);
    }

    /// Counts held, by key.
    pub fn held(&self) -> &HeldCounts<K, V> {
        &self.counts
    }

    /// True if anything was forgotten.
    pub fn are_approximate(&self) -> bool {
        self.forgotten
    }

    /// All counts held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.counts.iter()
    }

    /// The heaviest, the heaviest first; equal ones by key.
    pub fn top(self, count: usize) -> Vec<(K, V)> {
        let order = |one: &(K, V), other: &(K, V)| {
            other.1.weight().cmp(&one.1.weight()).then_with(|| one.0.cmp(&other.0))
        };
        let mut all: Vec<(K, V)> = Vec::new();
        let keep_heaviest = |all: &mut Vec<(K, V)>| {
            if count < all.len() {
                all.select_nth_unstable_by(count, order);
                all.truncate(count);
            }
        };
        for counted in self.counts {
            all.push(counted);
            // Not all at once: that would be as much again.
            if all.len() >= count.saturating_mul(2).max(TOP_GATHERED_MIN) {
                keep_heaviest(&mut all);
            }
        }
        keep_heaviest(&mut all);
        all.sort_unstable_by(order);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Count(u64);

    impl Weight for Count {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn what_is_heavy_stays_in_bounded_memory() {
        let mut heavy_hitters = HeavyHitters::<u64, Count>::new(10);
        for n in 0..1000u64 {
            heavy_hitters.of(n % 3).0 += 5;
            heavy_hitters.of(1000 + n).0 += 1;
            assert!(heavy_hitters.counts.len() <= 20);
        }
        assert!(heavy_hitters.are_approximate());
        let top = heavy_hitters.top(3);
        assert_eq!(top, [(0, Count(1670)), (1, Count(1665)), (2, Count(1665))]);
    }
}
