//! Counts by key, written so that one key is found without reading the others, and the heaviest come first.
//!
//! ```text
//! numbers of entries, blocks, heavy entries; bytes of those; where each block begins; the heavy ones; the blocks
//! ```

use netrewind_flows::heavy_hitters::{CountKey, Weight};
use netrewind_flows::tally::HostTally;
use netrewind_flows::totals::Totals;
use std::marker::PhantomData;
use std::net::IpAddr;

use crate::document::{DocumentReader, DocumentWriter};

/// Entries of a block, which are read to find one of them.
const BLOCK_ENTRIES: usize = 32;
/// The heaviest entries are listed by weight: one in so many.
const HEAVY_ONE_IN: usize = 8;
/// Fewest entries that are listed by weight, if a table has so many.
pub const HEAVY_MIN: usize = 1024;
/// Most entries that are listed by weight.
pub const HEAVY_MAX: usize = 8192;
/// Largest number that fits half a byte; where it stands, the number follows.
const HALF_BYTE_MAX: u8 = 15;
/// The longest key: two addresses of IPv6.
const KEY_BYTES_MAX: usize = 34;

/// Form of the entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableForm {
    /// Small numbers share bytes.
    Packed,
    /// Each number has its bytes: that of rollups of version 2 and seams of version 1.
    Plain,
}

/// Key of a table. The bytes of keys sort as the keys do, and none is a prefix of another.
pub trait TableKey: CountKey {
    /// Writes it.
    fn write(&self, to: &mut DocumentWriter);
    /// Reads it.
    fn read(from: &mut DocumentReader<'_>) -> Option<Self>;
}

impl TableKey for IpAddr {
    fn write(&self, to: &mut DocumentWriter) {
        match self {
            Self::V4(address) => {
                to.0.push(4);
                to.0.extend_from_slice(&address.octets());
            }
            Self::V6(address) => {
                to.0.push(6);
                to.0.extend_from_slice(&address.octets());
            }
        }
    }

    fn read(from: &mut DocumentReader<'_>) -> Option<Self> {
        match from.byte()? {
            4 => from.array::<4>().map(Self::from),
            6 => from.array::<16>().map(Self::from),
            _ => None,
        }
    }
}

impl TableKey for (IpAddr, IpAddr) {
    fn write(&self, to: &mut DocumentWriter) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut DocumentReader<'_>) -> Option<Self> {
        Some((IpAddr::read(from)?, IpAddr::read(from)?))
    }
}

/// Value of a table.
pub trait TableValue: Copy + Weight {
    /// Writes it.
    fn write(&self, to: &mut DocumentWriter);
    /// Reads it.
    fn read(from: &mut DocumentReader<'_>) -> Option<Self>;
    /// Writes it as packed tables have it.
    fn pack(&self, to: &mut DocumentWriter);
    /// Reads it as packed tables have it.
    fn unpack(from: &mut DocumentReader<'_>) -> Option<Self>;
    /// Adds another value.
    fn add_all(&mut self, other: &Self);
}

impl TableValue for Totals {
    fn write(&self, to: &mut DocumentWriter) {
        [self.packets, self.bytes, self.conversations].into_iter().for_each(|number| to.number(number));
    }

    fn read(from: &mut DocumentReader<'_>) -> Option<Self> {
        Some(Self { packets: from.number()?, bytes: from.number()?, conversations: from.number()? })
    }

    fn pack(&self, to: &mut DocumentWriter) {
        // Each conversation has a packet, and most have few.
        let more = self.packets.checked_sub(self.conversations).map_or(HALF_BYTE_MAX, half_byte);
        let conversations = half_byte(self.conversations);
        to.0.push(conversations << 4 | more);
        if conversations == HALF_BYTE_MAX {
            to.number(self.conversations);
        }
        if more == HALF_BYTE_MAX {
            to.number(self.packets);
        }
        to.number(self.bytes);
    }

    fn unpack(from: &mut DocumentReader<'_>) -> Option<Self> {
        let halves = from.byte()?;
        let conversations = match halves >> 4 {
            HALF_BYTE_MAX => from.number()?,
            number => number.into(),
        };
        let packets = match halves & HALF_BYTE_MAX {
            HALF_BYTE_MAX => from.number()?,
            more => conversations.checked_add(more.into())?,
        };
        Some(Self { packets, bytes: from.number()?, conversations })
    }

    fn add_all(&mut self, other: &Self) {
        Self::add_all(self, other);
    }
}

impl TableValue for HostTally {
    fn write(&self, to: &mut DocumentWriter) {
        self.totals.write(to);
        to.number(self.sent_bytes);
    }

    fn read(from: &mut DocumentReader<'_>) -> Option<Self> {
        let totals = Totals::read(from)?;
        let sent_bytes = from.number().filter(|&sent| sent <= totals.bytes)?;
        Some(Self { totals, sent_bytes })
    }

    fn pack(&self, to: &mut DocumentWriter) {
        self.totals.pack(to);
        to.number(self.sent_bytes);
    }

    fn unpack(from: &mut DocumentReader<'_>) -> Option<Self> {
        let totals = Totals::unpack(from)?;
        let sent_bytes = from.number().filter(|&sent| sent <= totals.bytes)?;
        Some(Self { totals, sent_bytes })
    }

    fn add_all(&mut self, other: &Self) {
        self.totals.add_all(&other.totals);
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
    }
}

/// A number in half a byte, the greatest where it does not fit.
fn half_byte(number: u64) -> u8 {
    u8::try_from(number).map_or(HALF_BYTE_MAX, |number| number.min(HALF_BYTE_MAX))
}

/// Writes entries sorted by key, packed; `None` if there are too many.
pub fn write<K: TableKey, V: TableValue>(to: &mut DocumentWriter, entries: &[(K, V)]) -> Option<()> {
    let mut heaviest: Vec<&(K, V)> = entries.iter().collect();
    let order = |one: &&(K, V), other: &&(K, V)| (other.1.weight(), one.0).cmp(&(one.1.weight(), other.0));
    let listed = (heaviest.len() / HEAVY_ONE_IN).clamp(HEAVY_MIN, HEAVY_MAX);
    if heaviest.len() > listed {
        heaviest.select_nth_unstable_by(listed, order);
        heaviest.truncate(listed);
    }
    heaviest.sort_unstable_by(order);
    let mut heavy = DocumentWriter::default();
    for (key, value) in &heaviest {
        key.write(&mut heavy);
        value.pack(&mut heavy);
    }
    let (mut offsets, mut blocks) = (Vec::new(), DocumentWriter::default());
    for block in entries.chunks(BLOCK_ENTRIES) {
        offsets.extend_from_slice(&u32::try_from(blocks.0.len()).ok()?.to_be_bytes());
        write_block(&mut blocks, block);
    }
    for number in [entries.len(), offsets.len() / 4, heaviest.len(), heavy.0.len()] {
        to.number(number as u64);
    }
    for bytes in [offsets, heavy.0, blocks.0] {
        to.0.extend_from_slice(&bytes);
    }
    Some(())
}

/// Of each entry: how much of the last key it begins with, how much more it has, that, and the value.
fn write_block<K: TableKey, V: TableValue>(to: &mut DocumentWriter, block: &[(K, V)]) {
    let (mut last, mut bytes) = (DocumentWriter::default(), DocumentWriter::default());
    for (key, value) in block {
        bytes.0.clear();
        key.write(&mut bytes);
        let shared = last.0.iter().zip(&bytes.0).take_while(|(one, other)| one == other).count();
        let lengths = [shared as u8, (bytes.0.len() - shared) as u8];
        let halves = lengths.map(|length| length.min(HALF_BYTE_MAX));
        to.0.push(halves[0] << 4 | halves[1]);
        to.0.extend(lengths.iter().filter(|length| **length >= HALF_BYTE_MAX));
        to.0.extend_from_slice(&bytes.0[shared..]);
        value.pack(to);
        std::mem::swap(&mut last, &mut bytes);
    }
}

fn value_of<V: TableValue>(from: &mut DocumentReader<'_>, form: TableForm) -> Option<V> {
    match form {
        TableForm::Packed => V::unpack(from),
        TableForm::Plain => V::read(from),
    }
}

/// Lengths of the part of a key that it shares with the one before, and of the rest.
fn lengths(from: &mut DocumentReader<'_>, form: TableForm) -> Option<[usize; 2]> {
    if form == TableForm::Plain {
        return Some(from.array::<2>()?.map(usize::from));
    }
    let halves = from.byte()?;
    let mut lengths = [0; 2];
    for (length, half) in lengths.iter_mut().zip([halves >> 4, halves & HALF_BYTE_MAX]) {
        *length = usize::from(if half == HALF_BYTE_MAX { from.byte()? } else { half });
    }
    Some(lengths)
}

/// Key assembled from its encoded pieces.
struct KeyBytes {
    bytes: [u8; KEY_BYTES_MAX],
    length: usize,
}

/// Counts by key, as they were written.
#[derive(Debug)]
pub struct Table<'b, K, V> {
    form: TableForm,
    count: u64,
    heavy_count: u64,
    offsets: &'b [u8],
    heavy: &'b [u8],
    blocks: &'b [u8],
    of: PhantomData<(K, V)>,
}

impl<'b, K: TableKey, V: TableValue> Table<'b, K, V> {
    /// Reads bytes written by [`write()`], or an earlier version of it, to the end.
    pub fn read(bytes: &'b [u8], form: TableForm) -> Option<Self> {
        let mut from = DocumentReader(bytes);
        let count = from.number()?;
        let blocks = usize::try_from(from.number()?).ok()?;
        let heavy_count = from.number()?;
        let heavy = usize::try_from(from.number()?).ok()?;
        let offsets = from.bytes(blocks.checked_mul(4)?)?;
        let heavy = from.bytes(heavy)?;
        Some(Self { form, count, heavy_count, offsets, heavy, blocks: from.0, of: PhantomData })
    }

    /// Value of a key.
    pub fn find(&self, key: &[u8]) -> Option<V> {
        let starts: &[[u8; 4]] = self.offsets.as_chunks().0;
        // The last block that does not begin behind it.
        let block = starts.partition_point(|start| self.first_key(*start).is_some_and(|first| first <= key));
        let mut from = self.block(*starts.get(block.checked_sub(1)?)?)?;
        let mut found = KeyBytes::EMPTY;
        for _ in 0..BLOCK_ENTRIES {
            found.read(&mut from, self.form)?;
            let value: V = value_of(&mut from, self.form)?;
            match found.bytes().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(value),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    fn block(&self, start: [u8; 4]) -> Option<DocumentReader<'b>> {
        self.blocks.get(u32::from_be_bytes(start) as usize..).map(DocumentReader)
    }

    fn first_key(&self, start: [u8; 4]) -> Option<&'b [u8]> {
        let mut from = self.block(start)?;
        let [shared, length] = lengths(&mut from, self.form)?;
        from.bytes(length).filter(|_| shared == 0)
    }

    /// The heaviest, the heaviest first; equal ones by key.
    pub fn heavy(&self) -> impl Iterator<Item = (K, V)> + use<'b, K, V> {
        let (mut from, form) = (DocumentReader(self.heavy), self.form);
        (0..self.heavy_count).map_while(move |_| Some((K::read(&mut from)?, value_of(&mut from, form)?)))
    }

    /// True if all entries are among the heaviest.
    pub fn is_all_heavy(&self) -> bool {
        self.heavy_count == self.count
    }

    /// Gives all entries in the order of their keys; `None` if they are not valid.
    pub fn for_each(&self, mut take: impl FnMut(K, V)) -> Option<()> {
        let (mut from, mut key) = (DocumentReader(self.blocks), KeyBytes::EMPTY);
        for number in 0..self.count {
            if number.is_multiple_of(BLOCK_ENTRIES as u64) {
                key.length = 0;
            }
            key.read(&mut from, self.form)?;
            take(K::read(&mut DocumentReader(key.bytes()))?, value_of(&mut from, self.form)?);
        }
        from.0.is_empty().then_some(())
    }
}

impl KeyBytes {
    const EMPTY: Self = Self { bytes: [0; KEY_BYTES_MAX], length: 0 };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn read(&mut self, from: &mut DocumentReader<'_>, form: TableForm) -> Option<()> {
        let [shared, more] = lengths(from, form)?;
        let rest = from.bytes(more)?;
        self.bytes.get_mut(shared..shared + more).filter(|_| shared <= self.length)?.copy_from_slice(rest);
        self.length = shared + more;
        Some(())
    }
}
