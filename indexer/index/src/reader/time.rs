//! Time ranges: granules by time, and packets and bytes a second.

use std::ops::Range;

use netrewind_store::Timestamp;
use netrewind_store::time::SECOND_NS;

use super::sections::IndexSections;
use crate::IndexError;
use crate::column::BLOCK_ROWS;
use crate::layout::Section;
use crate::seconds;

/// A point of the graph: what was received within `width_seconds` from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Start of the point: a multiple of the width.
    pub start: Timestamp,
    /// One, unless the segment's timestamps are spread over more seconds than the graph has points: then a power of two.
    pub width_seconds: u64,
    /// Packets received.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// Packets and bytes a second, ascending; seconds without packets are left out.
pub(super) fn seconds<B: AsRef<[u8]>>(index: &IndexSections<B>) -> Result<Vec<Second>, IndexError> {
    let shift = index.header.second_shift;
    let rows = seconds::take_all(index.section(Section::Seconds)?).ok_or(Section::Seconds.damaged())?;
    let second = |row: seconds::SecondRow| Second {
        start: Timestamp((row.number << shift).saturating_mul(SECOND_NS)),
        width_seconds: 1 << shift,
        packets: row.packets,
        bytes: row.bytes,
    };
    Ok(rows.into_iter().map(second).collect())
}

/// The numbers of the granules that can hold a packet with `from <= timestamp < to`, ascending.
pub(super) fn granules_in<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    range: Range<Timestamp>,
) -> Result<Vec<u32>, IndexError> {
    let table = index.granule_table()?;
    let mut found = Vec::new();
    if range.is_empty() {
        return Ok(found);
    }
    let (from, to) = (range.start.ns(), range.end.ns());
    for block in 0..table.blocks() {
        let (first, last) = table.bounds(block);
        if first >= to || last < from {
            continue;
        }
        let begin = (block * BLOCK_ROWS) as u32;
        let rows = table.rows_of(block);
        if first >= from && last < to && first <= last {
            found.extend(begin..begin + rows as u32);
            continue;
        }
        let granules = table.decode(block)?;
        let overlaps = |row: &usize| {
            granules.records[*row] > 0 && granules.firsts[*row] < to && granules.lasts[*row] >= from
        };
        found.extend((0..rows).filter(overlaps).map(|row| begin + row as u32));
    }
    Ok(found)
}

/// The earliest timestamp of a record in `granule` or any later one; [`Timestamp::MAX`] where there is none. Earlier packets
/// can be given out once all granules before have been read, however much the segment is out of order.
pub(super) fn earliest_from<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    granule: u32,
) -> Result<Timestamp, IndexError> {
    let minima = index.suffix_minima()?;
    let block = granule as usize / BLOCK_ROWS;
    let after = minima.get(block + 1).copied().unwrap_or(u64::MAX);
    let table = index.granule_table()?;
    if block >= table.blocks() {
        return Ok(Timestamp::MAX);
    }
    let rows = granule as usize % BLOCK_ROWS..table.rows_of(block);
    let granules = table.decode(block)?;
    let within = rows.filter(|&row| granules.records[row] > 0).map(|row| granules.firsts[row]).min();
    Ok(Timestamp(within.unwrap_or(u64::MAX).min(after)))
}
