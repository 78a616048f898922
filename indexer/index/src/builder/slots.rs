//! A hash table of numbers, in which a lookup can be announced: [`Slots::touch`] begins to fetch what [`Slots::find`] will
//! need, so that the waits of a batch of lookups overlap.
//!
//! Open addressing with linear probing. A slot keeps the hash beside the number, so that growing looks at nothing else.

/// Slots of an empty table.
const SLOTS_MIN: usize = 1024;
/// A number that is never stored.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct HashSlot {
    hash: u32,
    number: u32,
}

const EMPTY_SLOT: HashSlot = HashSlot { hash: 0, number: EMPTY };

/// Numbers by a 32-bit hash of what they stand for.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// A power of two of slots, at most half of them used.
    slots: Vec<HashSlot>,
    used: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { slots: vec![EMPTY_SLOT; SLOTS_MIN], used: 0 }
    }

    /// Forgets all numbers; keeps memory for `kept` of them.
    pub(super) fn clear(&mut self, kept: usize) {
        if self.slots.len() > 2 * kept.next_power_of_two().max(SLOTS_MIN) {
            *self = Self::new();
        }
        self.slots.fill(EMPTY_SLOT);
        self.used = 0;
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The first number that a lookup of `hash` will consider, which is most often the one; without any, one that is never
    /// stored.
    #[inline]
    pub(super) fn touch(&self, hash: u32) -> u32 {
        self.slots[self.home(hash)].number
    }

    /// The number of which `is_wanted` is true, among those of this hash.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.number == EMPTY {
                return None;
            }
            if slot.hash == hash && is_wanted(slot.number) {
                return Some(slot.number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a number that is not in the table.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        debug_assert_ne!(number, EMPTY);
        if 2 * (self.used + 1) > self.slots.len() {
            self.grow();
        }
        self.used += 1;
        self.place(HashSlot { hash, number });
    }

    fn place(&mut self, slot: HashSlot) {
        let mut at = self.home(slot.hash);
        while self.slots[at].number != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        let grown = vec![EMPTY_SLOT; 2 * self.slots.len()];
        for slot in std::mem::replace(&mut self.slots, grown) {
            if slot.number != EMPTY {
                self.place(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn finds_what_was_inserted(values in proptest::collection::vec(0u32..5000, 0..4000), mask: u32) {
            let mut slots = Slots::new();
            let mut known: Vec<u32> = Vec::new();
            for value in values {
                let hash = value.wrapping_mul(0x9e37_79b9) & mask & 0xff00_00ff;
                let expected = known.iter().position(|&other| other == value).map(|number| number as u32);
                prop_assert_eq!(slots.find(hash, |number| known[number as usize] == value), expected);
                if expected.is_none() {
                    slots.insert(hash, known.len() as u32);
                    known.push(value);
                }
            }
        }
    }
}
