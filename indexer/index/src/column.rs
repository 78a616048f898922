//! A column of up to [`BLOCK_ROWS`] numbers in few bits: frame of reference, bit-packed, with exceptions.
//!
//! `FORMAT.md`, "Columns", is normative. Arithmetic is modulo 2^64, so that a column can hold differences of either sign.

use crate::sys::with_wide_instructions;

/// Rows of a block, and so the most values of a column.
pub(crate) const BLOCK_ROWS: usize = 128;
/// Set in the first byte of a column that has exceptions; the other bits are the width.
const EXCEPTIONS: u8 = 0x80;
/// Bits of the widest value.
const WIDTH_MAX: u32 = 64;
/// The widest value that one unaligned load of 64 bits always holds whole.
const WIDTH_OF_ONE_LOAD: u32 = 57;
/// Bytes of the longest variable-length number.
const VARINT_BYTES_MAX: usize = 10;

/// Values of a decoded column; those behind the column's last are not meaningful.
pub(crate) type Values = [u64; BLOCK_ROWS];

/// Appends `value` as LEB128.
pub(crate) fn put_varint(output: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        output.push(value as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}

/// Takes a LEB128 number from the front of `input`.
pub(crate) fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..VARINT_BYTES_MAX {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes `count` bytes from the front of `input`.
pub(crate) fn take<'a>(input: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = input.split_at_checked(count)?;
    *input = rest;
    Some(front)
}

fn zigzag(value: u64) -> u64 {
    let signed = value as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

fn bits_of(value: u64) -> u32 {
    WIDTH_MAX - value.leading_zeros()
}

/// Appends a column of these values, at most [`BLOCK_ROWS`]; `values` is room for them.
#[inline]
pub(crate) fn put_all(output: &mut Vec<u8>, values: &mut Values, column: impl Iterator<Item = u64>) {
    let (mut count, mut least, mut most) = (0, i64::MAX, i64::MIN);
    for (slot, value) in values.iter_mut().zip(column) {
        *slot = value;
        least = least.min(value as i64);
        most = most.max(value as i64);
        count += 1;
    }
    put_between(output, &values[..count], least, most);
}

/// Appends a column. Nothing is written for no values; the reader knows how many there are.
pub(crate) fn put(output: &mut Vec<u8>, values: &[u64]) {
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    for &value in values {
        least = least.min(value as i64);
        most = most.max(value as i64);
    }
    put_between(output, values, least, most);
}

/// Appends a column of values of which these are the least and the greatest.
fn put_between(output: &mut Vec<u8>, values: &[u64], least: i64, most: i64) {
    debug_assert!(values.len() <= BLOCK_ROWS);
    if values.is_empty() {
        return;
    }
    let base = least as u64;
    if least == most {
        output.push(0);
        return put_varint(output, zigzag(base));
    }
    with_wide_instructions(|| put_varied(output, values, base));
}

/// Appends a column of values that are not all the same.
#[inline(always)]
fn put_varied(output: &mut Vec<u8>, values: &[u64], base: u64) {
    let mut widths = [0u32; WIDTH_MAX as usize + 1];
    for value in values {
        widths[bits_of(value.wrapping_sub(base)) as usize] += 1;
    }
    let width = cheapest_width(&widths, values.len() as u32);
    let exception_count: u32 = widths[width as usize + 1..].iter().sum();
    output.push(width as u8 | if exception_count > 0 { EXCEPTIONS } else { 0 });
    put_varint(output, zigzag(base));
    if exception_count > 0 {
        put_exceptions(output, values, base, width);
    }
    put_bits(output, values, base, width);
}

/// Appends the rows of the values above the base that need more than `width` bits, and the bits beyond these.
#[inline(always)]
fn put_exceptions(output: &mut Vec<u8>, values: &[u64], base: u64, width: u32) {
    let (mut rows, mut count) = ([0u8; BLOCK_ROWS], 0);
    for (row, value) in (0..).zip(values) {
        // Written for every row, and counted where it is one: that needs no branch. As many as there are rows at most.
        rows[count % BLOCK_ROWS] = row;
        count += usize::from(value.wrapping_sub(base) >> width > 0);
    }
    let rows = &rows[..count];
    output.push(count as u8);
    output.extend_from_slice(rows);
    for &row in rows {
        put_varint(output, values[usize::from(row)].wrapping_sub(base) >> width);
    }
}

/// The width that takes the fewest bits, exceptions included; the widest of those that take equally many.
#[inline(always)]
fn cheapest_width(widths: &[u32; WIDTH_MAX as usize + 1], rows: u32) -> u32 {
    let widest = widths.iter().rposition(|&count| count > 0).unwrap_or(0) as u32;
    let mut best = (rows * widest, widest);
    let mut exceptions = 0;
    // An exception takes 8 bits, and 8 for each begun 7 of its upper bits. One bit less of width begins another 7 for those that
    // have a multiple of 7 upper bits: these are counted by the remainder of their width.
    let mut by_remainder = [0; 7];
    let mut groups = 0;
    for width in (0..widest).rev() {
        let wider = widths[width as usize + 1];
        exceptions += wider;
        if 8 + 16 * exceptions >= best.0 {
            // An exception takes 16 bits at least, and narrower widths have no fewer of them.
            break;
        }
        let alike: &mut u32 = &mut by_remainder[(width + 1) as usize % 7];
        *alike += wider;
        groups += *alike;
        let bits = rows * width + 8 + 8 * (exceptions + groups);
        if bits < best.0 {
            best = (bits, width);
        }
    }
    best.1
}

/// Appends the low `width` bits of each value above the base, lowest bit first, and pads to a byte.
#[inline(always)]
fn put_bits(output: &mut Vec<u8>, values: &[u64], base: u64, width: u32) {
    let start = output.len();
    output.resize(start + (values.len() * width as usize).div_ceil(8), 0);
    let packed = &mut output[start..];
    let done = pack_groups(width, packed, values, base);
    let mask = u64::MAX >> (WIDTH_MAX - width.max(1));
    let mut bit = done * width as usize;
    for value in &values[done..] {
        let value = u128::from(value.wrapping_sub(base) & mask) << (bit % 8);
        let end = bit + width as usize;
        for (byte, value) in packed[bit / 8..end.div_ceil(8)].iter_mut().zip(value.to_le_bytes()) {
            *byte |= value;
        }
        bit = end;
    }
}

/// Packs whole groups, and says how many values that were.
#[inline(always)]
fn pack_groups(width: u32, packed: &mut [u8], values: &[u64], base: u64) -> usize {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => pack_groups_of::<$width>(packed, values, base),)*
                _ => return 0,
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40
    );
    values.len() / GROUP_VALUES * GROUP_VALUES
}

/// Packs values of a width known when this is compiled: every shift is a constant.
#[inline(always)]
fn pack_groups_of<const WIDTH: usize>(packed: &mut [u8], values: &[u64], base: u64) {
    let mask = u64::MAX >> (WIDTH_MAX as usize - WIDTH);
    for (bytes, group) in packed.chunks_exact_mut(WIDTH).zip(values.as_chunks::<GROUP_VALUES>().0) {
        let (mut pending, mut pending_bits, mut at) = (0, 0, 0);
        for value in group {
            let value = value.wrapping_sub(base) & mask;
            pending |= value << pending_bits;
            pending_bits += WIDTH;
            if pending_bits >= 64 {
                bytes[at..at + 8].copy_from_slice(&pending.to_le_bytes());
                at += 8;
                pending_bits -= 64;
                pending = if pending_bits > 0 { value >> (WIDTH - pending_bits) } else { 0 };
            }
        }
        bytes[at..].copy_from_slice(&pending.to_le_bytes()[..WIDTH - at]);
    }
}

/// A column whose header has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'a> {
    rows: usize,
    base: u64,
    width: u32,
    exception_rows: &'a [u8],
    /// The high bits of the exceptions as varints.
    exception_bits: &'a [u8],
    /// Bytes from the packed values to the end of the block.
    packed: &'a [u8],
}

impl<'a> Column<'a> {
    /// Takes a column of `rows` values from the front of `input`.
    pub(crate) fn take(input: &mut &'a [u8], rows: usize) -> Option<Self> {
        let mut column =
            Self { rows, base: 0, width: 0, exception_rows: &[], exception_bits: &[], packed: &[] };
        if rows == 0 {
            return Some(column);
        }
        let &first = take(input, 1)?.first()?;
        column.width = u32::from(first & !EXCEPTIONS);
        if rows > BLOCK_ROWS || column.width > WIDTH_MAX {
            return None;
        }
        column.base = unzigzag(take_varint(input)?);
        if first & EXCEPTIONS != 0 {
            let count = usize::from(*take(input, 1)?.first()?);
            column.exception_rows = take(input, count)?;
            let bits = *input;
            for _ in 0..count {
                take_varint(input)?;
            }
            column.exception_bits = &bits[..bits.len() - input.len()];
        }
        column.packed = input;
        take(input, (rows * column.width as usize).div_ceil(8))?;
        Some(column)
    }

    /// Writes the column's values to the front of `values`.
    pub(crate) fn decode(&self, values: &mut Values) -> Option<()> {
        let values = &mut values[..self.rows];
        if self.width == 0 {
            values.fill(self.base);
        } else {
            self.unpack(values);
        }
        let mut bits = self.exception_bits;
        for &row in self.exception_rows {
            let high = take_varint(&mut bits)?.checked_shl(self.width)?;
            let value = values.get_mut(usize::from(row))?;
            *value = value.wrapping_add(high);
        }
        Some(())
    }

    fn unpack(&self, values: &mut [u64]) {
        if self.width > WIDTH_OF_ONE_LOAD {
            return self.unpack_wide(values);
        }
        let done = unpack_groups(self.width, self.packed, values);
        let mask = u64::MAX >> (WIDTH_MAX - self.width);
        let mut bit = done * self.width as usize;
        for value in &mut values[done..] {
            *value = load(self.packed, bit / 8) >> (bit % 8) & mask;
            bit += self.width as usize;
        }
        values.iter_mut().for_each(|value| *value = value.wrapping_add(self.base));
    }

    /// Unpacks values of which one can reach over nine bytes.
    fn unpack_wide(&self, values: &mut [u64]) {
        let mask = u64::MAX >> (WIDTH_MAX - self.width);
        let mut bit = 0;
        for value in values {
            let low = load(self.packed, bit / 8) >> (bit % 8);
            let high = match bit % 8 {
                0 => 0,
                shift => load(self.packed, bit / 8 + 8) << (WIDTH_MAX as usize - shift),
            };
            *value = self.base.wrapping_add((low | high) & mask);
            bit += self.width as usize;
        }
    }
}

/// Values of a group: it begins and ends with a byte, whatever the width.
const GROUP_VALUES: usize = 8;

/// Unpacks whole groups, as long as a load does not reach behind the bytes, and says how many values that were.
fn unpack_groups(width: u32, packed: &[u8], values: &mut [u64]) -> usize {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_groups_of::<$width>(packed, values),)*
                _ => 0,
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42
        43 44 45 46 47 48 49 50 51 52 53 54 55 56 57
    )
}

/// Unpacks values of a width known when this is compiled: every shift is a constant.
fn unpack_groups_of<const WIDTH: usize>(packed: &[u8], values: &mut [u64]) -> usize {
    let mask = u64::MAX >> (WIDTH_MAX as usize - WIDTH);
    let mut done = 0;
    for (group, bytes) in values.chunks_exact_mut(GROUP_VALUES).zip(packed.windows(WIDTH + 8).step_by(WIDTH))
    {
        for (number, value) in group.iter_mut().enumerate() {
            let bit = number * WIDTH;
            let word = bytes[bit / 8..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            *value = word >> (bit % 8) & mask;
        }
        done += GROUP_VALUES;
    }
    done
}

/// Up to eight bytes from `at` on as a little-endian number; those behind the end are zero.
fn load(bytes: &[u8], at: usize) -> u64 {
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Takes a column of `rows` values and decodes it.
pub(crate) fn take_values(input: &mut &[u8], rows: usize, values: &mut Values) -> Option<()> {
    Column::take(input, rows)?.decode(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_values() -> impl Strategy<Value = Vec<u64>> {
        (0u32..=64, any::<u64>(), 0..=BLOCK_ROWS).prop_flat_map(|(width, base, rows)| {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let value = prop_oneof![20 => any::<u64>().prop_map(move |v| v & mask), 1 => any::<u64>()];
            proptest::collection::vec(value.prop_map(move |v| v.wrapping_add(base)), rows)
        })
    }

    proptest! {
        #[test]
        fn columns_come_back(values in any_values(), behind in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = Vec::new();
            put(&mut bytes, &values);
            let bytes_of_column = bytes.len();
            bytes.extend(&behind);
            let mut input = &bytes[..];
            let mut decoded = [0; BLOCK_ROWS];
            take_values(&mut input, values.len(), &mut decoded).unwrap();
            prop_assert_eq!(&decoded[..values.len()], &values[..]);
            prop_assert_eq!(input, &behind[..]);
            let worst = 1 + VARINT_BYTES_MAX + values.len() * 8;
            prop_assert!(bytes_of_column <= worst);
        }

        #[test]
        fn any_bytes_are_a_column_or_not(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0..=BLOCK_ROWS,
        ) {
            let mut decoded = [0; BLOCK_ROWS];
            let _ = take_values(&mut &bytes[..], rows, &mut decoded);
        }

        #[test]
        fn varints_come_back(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut input = &bytes[..];
            prop_assert_eq!(take_varint(&mut input), Some(value));
            prop_assert!(input.is_empty());
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn a_constant_column_is_two_bytes_and_an_outlier_three_more() {
        let mut bytes = Vec::new();
        put(&mut bytes, &[7; 128]);
        assert_eq!(bytes.len(), 2);
        let mut values = [7; 128];
        values[5] = 8;
        bytes.clear();
        put(&mut bytes, &values);
        assert_eq!(bytes.len(), 5);
    }
}
