//! Counting by key in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

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

/// Key of a count. Most keys have a short form, which takes less room in a table.
pub trait CountKey: Eq + Hash + Ord + Copy {
    /// The short form.
    type Short: Eq + Hash + Copy;
    /// The short form of this key, if it has one.
    fn short(&self) -> Option<Self::Short>;
    /// The key with this short form.
    fn of_short(short: Self::Short) -> Self;
}

impl CountKey for IpAddr {
    type Short = u32;

    fn short(&self) -> Option<u32> {
        match self {
            Self::V4(address) => Some(address.to_bits()),
            Self::V6(_) => None,
        }
    }

    fn of_short(short: u32) -> Self {
        Self::V4(Ipv4Addr::from_bits(short))
    }
}

impl CountKey for (IpAddr, IpAddr) {
    type Short = [u32; 2];

    fn short(&self) -> Option<[u32; 2]> {
        Some([self.0.short()?, self.1.short()?])
    }

    fn of_short([one, other]: [u32; 2]) -> Self {
        (IpAddr::of_short(one), IpAddr::of_short(other))
    }
}

/// Of a protocol and a port.
impl CountKey for (u8, u16) {
    type Short = Self;

    fn short(&self) -> Option<Self> {
        Some(*self)
    }

    fn of_short(short: Self) -> Self {
        short
    }
}

/// Counts by key. When twice the maximum is held, the lighter half is dropped: the counts of the top entries then lack at most
/// the dropped ones.
#[derive(Debug)]
pub struct HeavyHitters<K: CountKey, V> {
    short: HeldTable<K::Short, V>,
    long: HeldTable<K, V>,
    held_max: usize,
    forgotten: bool,
}

/// Counts of keys of one form.
#[derive(Debug)]
struct HeldTable<K, V> {
    counts: HeldCounts<K, V>,
    /// Memory that it may grow into, if it is limited.
    memory: Option<Box<dyn TableMemory>>,
}

impl<K: Eq + Hash, V> HeldTable<K, V> {
    fn new() -> Self {
        Self { counts: HeldCounts::default(), memory: None }
    }

    /// True if it has the key, or room for it; if it `is_full` it has no room.
    fn has_room_for(&mut self, key: &K, is_full: bool) -> bool {
        let is_to_grow = self.memory.is_some() && self.counts.len() == self.counts.capacity();
        if !is_full && !is_to_grow || self.counts.contains_key(key) {
            return true;
        }
        let (capacity, entry_bytes) = (self.counts.capacity(), size_of::<(K, V)>());
        let may_grow = !is_full
            && self.memory.as_mut().is_none_or(|memory| memory.may_grow(capacity.max(1), entry_bytes));
        if may_grow && is_to_grow {
            self.counts.reserve(1);
            let capacity = self.counts.capacity();
            self.memory.iter_mut().for_each(|memory| memory.has_grown(capacity, entry_bytes));
        }
        may_grow
    }
}

impl<K: CountKey, V: Weight> HeavyHitters<K, V> {
    /// Counts of which this many are certainly kept; twice as many are held.
    pub fn new(held_max: usize) -> Self {
        let (short, long) = (HeldTable::new(), HeldTable::new());
        Self { short, long, held_max: held_max.max(1), forgotten: false }
    }

    /// Limits its memory, of which `memory` gives that of a table; without room for more it forgets.
    pub fn within(mut self, memory: &dyn Fn() -> Box<dyn TableMemory>) -> Self {
        (self.short.memory, self.long.memory) = (Some(memory()), Some(memory()));
        self
    }

    /// The count of a key.
    pub fn of(&mut self, key: K) -> &mut V {
        let is_full = self.len() >= self.held_max * 2;
        let short = key.short();
        let has_room = match &short {
            Some(short) => self.short.has_room_for(short, is_full),
            None => self.long.has_room_for(&key, is_full),
        };
        if !has_room {
            self.forget_half();
        }
        match short {
            Some(short) => self.short.counts.entry(short).or_default(),
            None => self.long.counts.entry(key).or_default(),
        }
    }

    /// The count of a key, if it is held.
    pub fn get(&self, key: &K) -> Option<&V> {
        match key.short() {
            Some(short) => self.short.counts.get(&short),
            None => self.long.counts.get(key),
        }
    }

    /// Number of counts held.
    pub fn len(&self) -> usize {
        self.short.counts.len() + self.long.counts.len()
    }

    /// True if none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget_half(&mut self) {
        self.forgotten = true;
        let mut weights: Vec<u64> = self.iter().map(|(_, count)| count.weight()).collect();
        let middle = weights.len() / 2;
        if weights.is_empty() {
            return;
        }
        let (_, &mut median, _) = weights.select_nth_unstable(middle);
        self.short.counts.retain(|_, count| count.weight() > median);
        self.long.counts.retain(|_, count| count.weight() > median);
    }

    /// True if anything was forgotten.
    pub fn are_approximate(&self) -> bool {
        self.forgotten
    }

    /// All counts held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let short = self.short.counts.iter().map(|(short, count)| (K::of_short(*short), count));
        short.chain(self.long.counts.iter().map(|(key, count)| (*key, count)))
    }
}

impl<K: CountKey, V: Weight + Copy> HeavyHitters<K, V> {
    /// The heaviest, the heaviest first; equal ones by key.
    pub fn top(&self, count: usize) -> Vec<(K, V)> {
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
        for (key, value) in self.iter() {
            all.push((key, *value));
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

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Count(u64);

    /// Even numbers are short.
    impl CountKey for u64 {
        type Short = u32;

        fn short(&self) -> Option<u32> {
            if self.is_multiple_of(2) { u32::try_from(self / 2).ok() } else { None }
        }

        fn of_short(short: u32) -> Self {
            u64::from(short) * 2
        }
    }

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
            assert!(heavy_hitters.len() <= 20);
        }
        assert!(heavy_hitters.are_approximate());
        let top = heavy_hitters.top(3);
        assert_eq!(top, [(0, Count(1670)), (1, Count(1665)), (2, Count(1665))]);
    }
}
