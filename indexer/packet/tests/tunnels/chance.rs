//! Numbers by chance, reproduced by their seeds.

/// Chance that is reproduced by its seeds: one for what makes a flow, one for what varies between its packets.
pub struct Chance {
    flow: u64,
    packet: u64,
}

/// The next number of splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Chance {
    pub fn new(flow: u64, packet: u64) -> Self {
        Self { flow, packet }
    }

    pub fn next(&mut self) -> u64 {
        next(&mut self.flow)
    }

    pub fn below(&mut self, bound: u64) -> usize {
        (self.next() % bound) as usize
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// A number that is another in every packet of a flow.
    pub fn varying(&mut self, bound: u64) -> usize {
        (next(&mut self.packet) % bound) as usize
    }

    /// Bytes that are others in every packet of a flow.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| next(&mut self.packet) as u8).collect()
    }
}
