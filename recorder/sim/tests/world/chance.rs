//! Chance, as a seed decides it.

use std::ops::Range;

use fastrand::Rng;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(Rng);

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// Another stream, which does not depend on how often this one is used afterwards.
    pub fn split(&mut self) -> Self {
        Self(Rng::with_seed(self.0.u64(..)))
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.u64(..n.max(1))
    }

    /// A number in a range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        self.0.u64(range)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }
}
