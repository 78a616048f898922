//! Seeds that nobody outside can guess.

use std::hash::{BuildHasher, RandomState};

/// A random seed, so that nobody can send packets whose hashes collide. Results must not depend on it.
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}
