//! Ascending numbers between a known first and last, in as few bits as their density allows: binary interpolative coding
//! (Moffat and Stuiver 2000). A flow that is in every granule takes no bits at all.

/// Writes bits, lowest first.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    pub(crate) bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl BitWriter {
    fn put(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= 32 && value >> bits == 0);
        self.pending |= value << self.pending_bits;
        self.pending_bits += bits;
        if self.pending_bits >= u32::BITS {
            self.bytes.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= u32::BITS;
            self.pending_bits -= u32::BITS;
        }
    }

    /// Bits written since [`Self::clear`].
    pub(crate) fn bits(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.pending_bits)
    }

    /// Pads with zeros to a byte.
    pub(crate) fn finish(&mut self) {
        let bytes = self.pending.to_le_bytes();
        self.bytes.extend_from_slice(&bytes[..self.pending_bits.div_ceil(8) as usize]);
        self.pending = 0;
        self.pending_bits = 0;
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.pending_bits = 0;
    }

    /// Writes a number below `count` in the bits that so many cases need: the first cases take one bit less where
    /// `count` is no power of two (truncated binary).
    fn put_below(&mut self, value: u32, count: u64) {
        let (short_bits, short_cases) = truncated_binary(count);
        let value = u64::from(value);
        if value < short_cases {
            self.put(value, short_bits);
        } else {
            let long = value + short_cases;
            // The highest bits come first, so that the reader knows after `short_bits` whether one more follows.
            self.put(long >> 1, short_bits);
            self.put(long & 1, 1);
        }
    }
}

/// Truncated binary code for `count` cases: bits of the short codes, and the number of these codes.
fn truncated_binary(count: u64) -> (u32, u64) {
    let short_bits = count.max(1).ilog2();
    (short_bits, (2 << short_bits) - count)
}

/// Reads what [`BitWriter`] wrote.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    bit: u64,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, bit: 0 }
    }

    pub(crate) fn skip(&mut self, bits: u64) -> Option<()> {
        self.bit = self.bit.checked_add(bits)?;
        Some(())
    }

    #[inline]
    fn peek(&self) -> Option<u64> {
        let at = usize::try_from(self.bit / 8).ok()?;
        let word = match self.bytes.get(at..at + 8) {
            Some(word) => word.try_into().map_or(0, u64::from_le_bytes),
            None => {
                let tail = self.bytes.get(at..)?;
                tail.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
            }
        };
        Some(word >> (self.bit % 8))
    }

    #[inline]
    fn take_below(&mut self, count: u64) -> Option<u32> {
        if count <= 1 {
            return Some(0);
        }
        let (short_bits, short_cases) = truncated_binary(count);
        let word = self.peek()?;
        let short = word & ((1 << short_bits) - 1);
        let (value, bits) = match short < short_cases {
            true => (short, short_bits),
            false => ((short << 1 | (word >> short_bits & 1)) - short_cases, short_bits + 1),
        };
        self.bit += u64::from(bits);
        u32::try_from(value).ok()
    }
}

/// Writes `between`, ascending numbers above `first` and below `last`.
pub(crate) fn put(output: &mut BitWriter, between: &[u32], first: u32, last: u32) {
    if between.is_empty() {
        return;
    }
    let middle = between.len() / 2;
    let low = first + 1 + middle as u32;
    let high = last - (between.len() - middle) as u32;
    output.put_below(between[middle] - low, u64::from(high - low) + 1);
    put(output, &between[..middle], first, between[middle]);
    put(output, &between[middle + 1..], between[middle], last);
}

/// Reads as many numbers as `between` has room for.
pub(crate) fn take(input: &mut BitReader<'_>, between: &mut [u32], first: u32, last: u32) -> Option<()> {
    if between.is_empty() {
        return Some(());
    }
    let middle = between.len() / 2;
    let low = first.checked_add(1)?.checked_add(u32::try_from(middle).ok()?)?;
    let high = last.checked_sub(u32::try_from(between.len() - middle).ok()?)?;
    let found = low + input.take_below(u64::from(high.checked_sub(low)?) + 1)?;
    let (before, rest) = between.split_at_mut(middle);
    let (at, behind) = rest.split_first_mut()?;
    *at = found;
    take(input, before, first, found)?;
    take(input, behind, found, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_come_back(lists in proptest::collection::vec(
            proptest::collection::btree_set(0u32..5000, 2..300), 1..5), offset in 0u32..u32::MAX - 5000,
        ) {
            let mut writer = BitWriter::default();
            let lists: Vec<Vec<u32>> =
                lists.into_iter().map(|list| list.into_iter().map(|n| n + offset).collect()).collect();
            for list in &lists {
                put(&mut writer, &list[1..list.len() - 1], list[0], list[list.len() - 1]);
            }
            writer.finish();
            let mut reader = BitReader::new(&writer.bytes);
            for list in &lists {
                let mut between = vec![0; list.len() - 2];
                take(&mut reader, &mut between, list[0], list[list.len() - 1]).unwrap();
                prop_assert_eq!(&between[..], &list[1..list.len() - 1]);
            }
        }

        #[test]
        fn any_bits_end(bytes in proptest::collection::vec(any::<u8>(), 0..50), count in 0usize..2000, first: u32, last: u32) {
            let _ = take(&mut BitReader::new(&bytes), &mut vec![0; count], first, last);
        }
    }

    #[test]
    fn a_full_run_takes_no_bits() {
        let mut writer = BitWriter::default();
        put(&mut writer, &[6, 7, 8], 5, 9);
        assert_eq!(writer.bits(), 0);
    }
}
