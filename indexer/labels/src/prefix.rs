//! The first bytes of one direction of a stream, whatever order they come in.

use crate::BYTES_MAX;

const WORDS: usize = BYTES_MAX / 64;

/// Prefix of a stream: at most [`BYTES_MAX`] bytes, and a bit for each of them once one came out of order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefix {
    bytes: Vec<u8>,
    known: Option<Box<[u64; WORDS]>>,
    contiguous: usize,
}

impl Prefix {
    /// Takes the bytes that stand at `offset`. Of bytes that come twice the first count.
    pub fn insert(&mut self, offset: usize, payload: &[u8]) {
        let payload = &payload[..payload.len().min(BYTES_MAX.saturating_sub(offset))];
        if self.known.is_none() && offset <= self.contiguous {
            self.bytes.extend_from_slice(payload.get(self.contiguous - offset..).unwrap_or_default());
            self.contiguous = self.bytes.len();
        } else if !payload.is_empty() {
            self.insert_apart(offset, payload);
        }
    }

    fn insert_apart(&mut self, offset: usize, payload: &[u8]) {
        let contiguous = self.contiguous;
        let known = self.known.get_or_insert_with(|| {
            let mut known = Box::new([0; WORDS]);
            (0..contiguous).for_each(|at| known[at / 64] |= 1 << (at % 64));
            known
        });
        self.bytes.resize(self.bytes.len().max(offset + payload.len()), 0);
        for (at, &byte) in (offset..).zip(payload) {
            let (word, bit) = (&mut known[at / 64], 1 << (at % 64));
            if *word & bit == 0 {
                *word |= bit;
                self.bytes[at] = byte;
            }
        }
        let is_known = |at: &usize| known[at / 64] & 1 << (at % 64) != 0;
        self.contiguous =
            (contiguous..self.bytes.len()).take_while(is_known).last().map_or(contiguous, |at| at + 1);
    }

    /// The bytes up to the first that is missing.
    pub fn contiguous(&self) -> &[u8] {
        &self.bytes[..self.contiguous]
    }

    /// Bytes used on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.known.as_ref().map_or(0, |known| size_of_val(&**known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_of_any_pieces_gives_the_same_bytes() {
        let bytes: Vec<u8> = (0..BYTES_MAX + 500).map(|at| (at * 31 % 251) as u8).collect();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut pieces = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let end = (at + random.usize(1..900)).min(bytes.len());
                pieces.push((at.saturating_sub(random.usize(0..50)), end));
                at = end;
            }
            random.shuffle(&mut pieces);
            let mut prefix = Prefix::default();
            for (from, to) in pieces {
                prefix.insert(from, &bytes[from..to]);
            }
            assert_eq!(prefix.contiguous(), &bytes[..BYTES_MAX]);
            assert!(prefix.heap_bytes() <= 2 * BYTES_MAX + WORDS * 8);
        }
    }

    #[test]
    fn a_hole_ends_what_is_known_and_first_bytes_count() {
        let mut prefix = Prefix::default();
        prefix.insert(4, b"efg");
        assert_eq!(prefix.contiguous(), b"");
        prefix.insert(0, b"abc");
        assert_eq!(prefix.contiguous(), b"abc");
        prefix.insert(1, b"XXdX");
        assert_eq!(prefix.contiguous(), b"abcdefg");
        prefix.insert(BYTES_MAX + 7, b"far");
        prefix.insert(usize::MAX, b"far");
        assert_eq!(prefix.contiguous(), b"abcdefg");
    }
}
