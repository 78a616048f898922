//! Sorted sets of distinct numbers: IPv4 addresses, IPv6 addresses, ports. A number's rank in its set is its id.
//!
//! A set answers exactly and at the cost of one directory and one block whether it holds a number: no approximate filter is needed.

use crate::IndexError;
use crate::blocks::{BlockReader, BlockWriter};
use crate::column::{self, BLOCK_ROWS, take_values};
use crate::layout::Section;

/// Writes the blocks of ascending distinct numbers of 32 bits.
pub(crate) fn put_u32(section: Section, sorted: &[u32]) -> BlockWriter {
    let mut writer = BlockWriter::new(section);
    for rows in sorted.chunks(BLOCK_ROWS) {
        writer.put(&rows[0].to_le_bytes(), |block| u32::encode(rows, block));
    }
    writer
}

/// Writes the blocks of ascending distinct numbers of 128 bits.
pub(crate) fn put_u128(section: Section, sorted: &[u128]) -> BlockWriter {
    let mut writer = BlockWriter::new(section);
    for rows in sorted.chunks(BLOCK_ROWS) {
        writer.put(&rows[0].to_le_bytes(), |block| u128::encode(rows, block));
    }
    writer
}

/// A number that a set can hold.
pub(crate) trait DictionaryKey<const BYTES: usize>: Copy + Ord + Default {
    fn from_key(key: [u8; BYTES]) -> Self;
    fn to_key(self) -> [u8; BYTES];
    /// Appends a block of ascending distinct numbers to `block`; the first is in the directory.
    fn encode(members: &[Self], block: &mut Vec<u8>);
    /// Decodes a block whose first number is `members[0]` into the rest of `members`.
    fn decode(block: &[u8], members: &mut [Self]) -> Option<()>;
}

impl DictionaryKey<4> for u32 {
    fn from_key(key: [u8; 4]) -> Self {
        Self::from_le_bytes(key)
    }

    fn to_key(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn encode(members: &[Self], block: &mut Vec<u8>) {
        let steps: Vec<u64> = members.windows(2).map(|pair| u64::from(pair[1] - pair[0] - 1)).collect();
        column::put(block, &steps);
    }

    fn decode(mut block: &[u8], members: &mut [Self]) -> Option<()> {
        let steps_count = members.len().checked_sub(1)?;
        let mut steps = [0; BLOCK_ROWS];
        take_values(&mut block, steps_count, &mut steps)?;
        let mut member = members[0];
        for (next, &step) in members[1..].iter_mut().zip(&steps) {
            member = member.checked_add(u32::try_from(step).ok()?)?.checked_add(1)?;
            *next = member;
        }
        block.is_empty().then_some(())
    }
}

impl DictionaryKey<16> for u128 {
    fn from_key(key: [u8; 16]) -> Self {
        Self::from_le_bytes(key)
    }

    fn to_key(self) -> [u8; 16] {
        self.to_le_bytes()
    }

    /// Numbers that share their upper half with the one before are a step in the lower; the others are a step in the upper half
    /// and the lower as it is.
    fn encode(members: &[Self], block: &mut Vec<u8>) {
        let (mut high_steps, mut low_steps, mut lows) = (Vec::new(), Vec::new(), Vec::new());
        for pair in members.windows(2) {
            let high_step = (pair[1] >> 64) as u64 - (pair[0] >> 64) as u64;
            high_steps.push(high_step);
            match high_step {
                0 => low_steps.push(pair[1] as u64 - pair[0] as u64 - 1),
                _ => lows.push(pair[1] as u64),
            }
        }
        column::put(block, &high_steps);
        column::put(block, &low_steps);
        column::put(block, &lows);
    }

    fn decode(mut block: &[u8], members: &mut [Self]) -> Option<()> {
        let steps_count = members.len().checked_sub(1)?;
        let (mut high_steps, mut low_steps, mut lows) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS], [0; BLOCK_ROWS]);
        take_values(&mut block, steps_count, &mut high_steps)?;
        let same = high_steps[..steps_count].iter().filter(|&&step| step == 0).count();
        take_values(&mut block, same, &mut low_steps)?;
        take_values(&mut block, steps_count - same, &mut lows)?;
        let (mut low_steps, mut lows) = (low_steps.iter(), lows.iter());
        let mut member = members[0];
        for (next, &high_step) in members[1..].iter_mut().zip(&high_steps) {
            member = match high_step {
                0 => member.checked_add(u128::from(*low_steps.next()?))?.checked_add(1)?,
                step => ((member >> 64).checked_add(u128::from(step))?) << 64 | u128::from(*lows.next()?),
            };
            *next = member;
        }
        block.is_empty().then_some(())
    }
}

/// Reads a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SortedSet<'a, const BYTES: usize> {
    blocks: BlockReader<'a, BYTES>,
    section: Section,
}

impl<'a, const BYTES: usize> SortedSet<'a, BYTES> {
    pub(crate) fn new(
        section: Section,
        blocks: &'a [u8],
        directory: &'a [u8],
        members: u32,
    ) -> Result<Self, IndexError> {
        Ok(Self { blocks: BlockReader::new(section, blocks, directory, members)?, section })
    }

    /// Compares the checksums of all blocks.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        self.blocks.check()
    }

    /// Decodes a block into the front of `members` and says how many there are.
    pub(crate) fn decode<T: DictionaryKey<BYTES>>(
        &self,
        block: usize,
        members: &mut [T; BLOCK_ROWS],
    ) -> Result<usize, IndexError> {
        let rows = self.blocks.rows_of(block);
        let bytes = self.blocks.block(block)?;
        members[0] = T::from_key(self.blocks.key(block));
        T::decode(bytes, &mut members[..rows]).ok_or(self.section.damaged())?;
        Ok(rows)
    }

    /// Number of members below `value`: its id if it is a member.
    pub(crate) fn rank<T: DictionaryKey<BYTES>>(&self, value: T) -> Result<usize, IndexError> {
        let Some(block) = self.blocks.find(|key| T::from_key(key) > value) else { return Ok(0) };
        let mut members = [T::default(); BLOCK_ROWS];
        let rows = self.decode(block, &mut members)?;
        Ok(block * BLOCK_ROWS + members[..rows].partition_point(|&member| member < value))
    }

    /// The member with an id.
    pub(crate) fn member<T: DictionaryKey<BYTES>>(&self, id: usize) -> Result<T, IndexError> {
        let mut members = [T::default(); BLOCK_ROWS];
        let rows = self.decode(id / BLOCK_ROWS, &mut members)?;
        let member = members[..rows].get(id % BLOCK_ROWS);
        member.copied().ok_or(self.section.damaged())
    }

    /// Appends all members to `output`.
    pub(crate) fn decode_all<T: DictionaryKey<BYTES>>(&self, output: &mut Vec<T>) -> Result<(), IndexError> {
        let mut members = [T::default(); BLOCK_ROWS];
        for block in 0..self.blocks.count() {
            let rows = self.decode(block, &mut members)?;
            output.extend_from_slice(&members[..rows]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check<const BYTES: usize, T: DictionaryKey<BYTES> + std::fmt::Debug>(
        writer: &BlockWriter,
        sorted: &[T],
        probes: &[T],
    ) {
        let set =
            SortedSet::<BYTES>::new(Section::Ports, &writer.blocks, &writer.directory, sorted.len() as u32)
                .unwrap();
        let mut all: Vec<T> = Vec::new();
        set.decode_all(&mut all).unwrap();
        assert_eq!(all, sorted);
        for (id, &member) in sorted.iter().enumerate() {
            assert_eq!(set.rank(member).unwrap(), id);
            assert_eq!(set.member::<T>(id).unwrap(), member);
        }
        for &probe in probes {
            assert_eq!(set.rank(probe).unwrap(), sorted.partition_point(|&member| member < probe));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn sets_come_back(
            members in proptest::collection::btree_set(any::<u32>(), 0..400), dense in 0u32..400,
            probes: [u32; 8],
        ) {
            let sorted: Vec<u32> = members.into_iter().chain(0..dense).collect::<BTreeSet<_>>().into_iter().collect();
            check(&put_u32(Section::Ports, &sorted), &sorted, &probes);
            let wide: BTreeSet<u128> =
                sorted.iter().map(|&n| u128::from(n >> 30) << 64 | u128::from(n).pow(2)).chain([u128::MAX]).collect();
            let wide: Vec<u128> = wide.into_iter().collect();
            check(&put_u128(Section::Ports, &wide), &wide, &probes.map(u128::from));
        }
    }
}
