//! Chance for the tests: reproducible from a printed seed.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// Seeded by the environment variable `NETREWIND_TEST_SEED`, or else a fixed seed; printed either way.
    pub fn new(what: &str) -> Self {
        let seed = std::env::var("NETREWIND_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        println!("{what}: NETREWIND_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub fn word(&mut self) -> u32 {
        self.next() as u32
    }

    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
