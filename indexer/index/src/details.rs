//! The blocks of details: properties of a flow's packets, and the granules and times between which they lie.

use crate::column::{BLOCK_ROWS, Values, put_all, take_values};
use crate::keys::KeyBlock;
use crate::ranking::{Coder, Ranking, Rankings};

/// The details of a flow, as blocks hold them. Instants are relative to the granules', modulo 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetailRow {
    pub(crate) packets: u64,
    /// Number of granules that hold its packets: at least one, at most `packets`.
    pub(crate) granules: u64,
    pub(crate) first_granule: u32,
    pub(crate) last_granule: u32,
    /// The flow's first timestamp less the first of its first granule.
    pub(crate) after_first: u64,
    /// The last timestamp of its last granule less the flow's; zero for a single packet.
    pub(crate) before_last: u64,
    pub(crate) bytes: u64,
    pub(crate) len_min: u32,
    pub(crate) len_max: u32,
    pub(crate) caplen_min: u32,
    pub(crate) caplen_max: u32,
    /// AND of the TCP flags in the high byte, OR in the low one; [`NO_FLAGS`] where there are none.
    pub(crate) tcp_flags: u16,
    pub(crate) has_fragments: bool,
    /// The captured lengths differ from those on the wire.
    pub(crate) is_cut: bool,
}

/// AND and OR over nothing.
pub(crate) const NO_FLAGS: u16 = 0xff00;

impl DetailRow {
    /// Bytes beyond those that the shortest and longest length imply.
    fn excess(&self) -> u64 {
        self.bytes
            .wrapping_sub(u64::from(self.len_max))
            .wrapping_sub((self.packets - 1).wrapping_mul(u64::from(self.len_min)))
    }

    fn set_excess(&mut self, excess: u64) {
        let implied = (self.packets - 1).wrapping_mul(u64::from(self.len_min));
        self.bytes = excess.wrapping_add(u64::from(self.len_max)).wrapping_add(implied);
    }

    fn has_excess(&self) -> bool {
        self.packets > 2 && self.len_max > self.len_min
    }
}

/// Coders of lengths and flags.
#[derive(Debug)]
pub(crate) struct DetailCoders {
    len_min: Coder,
    len_max: Coder,
    tcp_flags: Coder,
}

impl DetailCoders {
    pub(crate) fn new(rankings: &Rankings) -> Self {
        Self {
            len_min: rankings.len_min.coder(),
            len_max: rankings.len_max.coder(),
            tcp_flags: rankings.tcp_flags.coder(),
        }
    }
}

/// Appends a block of at most 128 rows. `begins` says of each flow whether it is the first of its conversation in the
/// block.
pub(crate) fn put(block: &mut Vec<u8>, rows: &[DetailRow], begins: &[bool], coders: &DetailCoders) {
    let mut values: Values = [0; BLOCK_ROWS];
    let values = &mut values;
    let several = || rows.iter().filter(|row| row.packets > 1);
    let spread = || rows.iter().filter(|row| row.granules > 1);
    let first_granule = |row: usize| u64::from(rows[row].first_granule);
    let after = |row: usize| first_granule(row).wrapping_sub(first_granule(row - 1));
    let between = |row: &DetailRow| u64::from(row.last_granule - row.first_granule) + 1 - row.granules;
    put_all(block, values, rows.iter().map(|row| row.packets - 1));
    put_all(block, values, several().map(|row| row.packets - row.granules));
    put_all(block, values, (0..rows.len()).filter(|&row| begins[row]).map(first_granule));
    put_all(block, values, (0..rows.len()).filter(|&row| !begins[row]).map(after));
    put_all(block, values, spread().map(between));
    put_all(block, values, rows.iter().map(|row| row.after_first));
    put_all(block, values, several().map(|row| row.before_last));
    put_all(block, values, rows.iter().map(|row| coders.len_min.code(u64::from(row.len_min))));
    put_all(block, values, several().map(|row| coders.len_max.code(u64::from(row.len_max))));
    put_all(block, values, rows.iter().filter(|row| row.has_excess()).map(DetailRow::excess));
    put_all(block, values, rows.iter().map(|row| u64::from(row.is_cut)));
    put_all(block, values, rows.iter().filter(|row| row.is_cut).map(|row| u64::from(row.caplen_min)));
    put_all(block, values, rows.iter().filter(|row| row.is_cut).map(|row| u64::from(row.caplen_max)));
    put_all(block, values, rows.iter().map(|row| coders.tcp_flags.code(u64::from(row.tcp_flags))));
    put_all(block, values, rows.iter().map(|row| u64::from(row.has_fragments)));
}

/// Decodes a block into the front of `rows`; `keys` is the block of keys of the same flows.
pub(crate) fn decode(
    mut block: &[u8],
    rows: &mut [DetailRow; BLOCK_ROWS],
    keys: &KeyBlock,
    rankings: &Rankings,
) -> Option<()> {
    let rows = &mut rows[..keys.rows];
    let input = &mut block;
    take_packets(input, rows)?;
    take_granules(input, rows, keys)?;
    take_instants(input, rows)?;
    take_lengths(input, rows, rankings)?;
    take_flags(input, rows, &rankings.tcp_flags)?;
    block.is_empty().then_some(())
}

/// Takes a column that has a value for each of the rows that `has` names, and hands both to `set`.
fn take_some(
    input: &mut &[u8],
    rows: &mut [DetailRow],
    has: impl Fn(&DetailRow) -> bool,
    mut set: impl FnMut(&mut DetailRow, u64) -> Option<()>,
) -> Option<()> {
    let count = rows.iter().filter(|row| has(row)).count();
    let mut values: Values = [0; BLOCK_ROWS];
    take_values(input, count, &mut values)?;
    let mut values = values[..count].iter();
    for row in rows.iter_mut().filter(|row| has(row)) {
        set(row, *values.next()?)?;
    }
    Some(())
}

fn take_packets(input: &mut &[u8], rows: &mut [DetailRow]) -> Option<()> {
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.packets = value.checked_add(1)?;
            row.granules = 1;
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |row| row.packets > 1,
        |row, value| {
            row.granules = row.packets.checked_sub(value).filter(|&granules| granules > 0)?;
            Some(())
        },
    )
}

fn take_granules(input: &mut &[u8], rows: &mut [DetailRow], keys: &KeyBlock) -> Option<()> {
    let (mut begins, mut steps) = ([0; BLOCK_ROWS], [0; BLOCK_ROWS]);
    take_values(input, keys.conversations, &mut begins)?;
    take_values(input, keys.rows - keys.conversations, &mut steps)?;
    let (mut begins, mut steps) = (begins.iter(), steps.iter());
    let mut previous = 0u64;
    for (number, row) in rows.iter_mut().enumerate() {
        previous = match keys.begins_conversation(number) {
            true => *begins.next()?,
            false => previous.wrapping_add(*steps.next()?),
        };
        row.first_granule = u32::try_from(previous).ok()?;
        row.last_granule = row.first_granule;
    }
    take_some(
        input,
        rows,
        |row| row.granules > 1,
        |row, value| {
            let span = value.checked_add(row.granules - 1)?;
            row.last_granule = u32::try_from(span.checked_add(u64::from(row.first_granule))?).ok()?;
            Some(())
        },
    )
}

fn take_instants(input: &mut &[u8], rows: &mut [DetailRow]) -> Option<()> {
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.after_first = value;
            row.before_last = 0;
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |row| row.packets > 1,
        |row, value| {
            row.before_last = value;
            Some(())
        },
    )
}

fn take_lengths(input: &mut &[u8], rows: &mut [DetailRow], rankings: &Rankings) -> Option<()> {
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.len_min = u32::try_from(rankings.len_min.value(value)).ok()?;
            row.len_max = row.len_min;
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |row| row.packets > 1,
        |row, value| {
            row.len_max =
                u32::try_from(rankings.len_max.value(value)).ok().filter(|&len| len >= row.len_min)?;
            Some(())
        },
    )?;
    rows.iter_mut().for_each(|row| row.set_excess(0));
    take_some(input, rows, DetailRow::has_excess, |row, value| {
        row.set_excess(value);
        Some(())
    })?;
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.is_cut = value != 0;
            (row.caplen_min, row.caplen_max) = (row.len_min, row.len_max);
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |row| row.is_cut,
        |row, value| {
            row.caplen_min = u32::try_from(value).ok()?;
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |row| row.is_cut,
        |row, value| {
            row.caplen_max = u32::try_from(value).ok().filter(|&caplen| caplen >= row.caplen_min)?;
            Some(())
        },
    )
}

fn take_flags(input: &mut &[u8], rows: &mut [DetailRow], flags: &Ranking) -> Option<()> {
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.tcp_flags = u16::try_from(flags.value(value)).ok()?;
            Some(())
        },
    )?;
    take_some(
        input,
        rows,
        |_| true,
        |row, value| {
            row.has_fragments = value != 0;
            Some(())
        },
    )
}
