//! A hash under keys that nobody outside knows, so that no sender can choose packets that collide.
//!
//! Both factors of each product are keyed. Were one of them known, whoever sends the number that makes it zero would choose the
//! product, and so all hashes of an address with that half.

/// Constants of SplitMix64, which makes the keys of a seed.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX_1: u64 = 0xbf58_476d_1ce4_e5b9;
const MIX_2: u64 = 0x94d0_49bb_1331_11eb;

#[derive(Clone, Copy, Debug)]
pub(super) struct KeyedHash {
    keys: [u64; 4],
}

impl KeyedHash {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self { keys: [(); 4].map(|()| next_key(&mut state)) }
    }

    /// Hash of two words.
    #[inline]
    pub(super) fn of_words(&self, one: u64, other: u64) -> u64 {
        spread(fold(one ^ self.keys[0], other ^ self.keys[1]))
    }

    /// Hash of two addresses.
    #[inline]
    pub(super) fn of_addresses(&self, [one, other]: [u128; 2]) -> u64 {
        let one = fold(one as u64 ^ self.keys[0], (one >> 64) as u64 ^ self.keys[1]);
        let other = fold(other as u64 ^ self.keys[2], (other >> 64) as u64 ^ self.keys[3]);
        spread(fold(one ^ self.keys[3], other.rotate_left(32) ^ self.keys[2]))
    }
}

fn next_key(state: &mut u64) -> u64 {
    *state = state.wrapping_add(INCREMENT);
    let mixed = (*state ^ *state >> 30).wrapping_mul(MIX_1);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(MIX_2);
    mixed ^ mixed >> 31
}

#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// One more product, and its halves exchanged: numbers at equal distances are still at equal distances in the lower bits of a fold.
#[inline]
fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(MIX_1).rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most numbers that share one of 2^16 slots, of 2^16: a random function has 8 or 9.
    fn crowd(hashes: impl Iterator<Item = u64>) -> u32 {
        let mut slots = vec![0; 1 << 16];
        hashes.take(1 << 16).for_each(|hash| slots[hash as usize % (1 << 16)] += 1);
        slots.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn what_differs_in_a_few_bits_is_spread() {
        for seed in 0..32 {
            let hash = KeyedHash::new(seed);
            for shift in [0, 8, 16, 32, 40, 48] {
                assert!(
                    crowd((0..).map(|number: u64| hash.of_words(number << shift, 80))) < 20,
                    "{seed} {shift}"
                );
                assert!(
                    crowd((0..).map(|number: u64| hash.of_words(80, number << shift))) < 20,
                    "{seed} {shift}"
                );
                let addresses = |number: u128| [number << shift, number << 64];
                assert!(
                    crowd((0..).map(|number| hash.of_addresses(addresses(number)))) < 20,
                    "{seed} {shift}"
                );
            }
        }
    }

    #[test]
    fn no_half_of_an_address_makes_the_other_half_vanish() {
        let hash = KeyedHash::new(7);
        // The word that a well-known hash multiplies with.
        for half in [0, u64::MAX, 0x243f_6a88_85a3_08d3, 0x082e_fa98_ec4e_6c89] {
            let address = |low: u64| u128::from(half) << 64 | u128::from(low);
            assert!(crowd((0..).map(|low| hash.of_addresses([address(low), 1]))) < 20);
        }
    }
}
