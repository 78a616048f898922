//! Packets and bytes a second, in bounded memory whatever the timestamps say.

use crate::column::{self, BLOCK_ROWS, put_varint, take_values, take_varint};

/// Largest number of points in the graph of a segment. If its timestamps are spread wider, the width of a point is doubled
/// until they fit.
pub(crate) const POINTS_MAX: usize = 4096;

/// Packets and bytes received in one second, or in one stretch of 2^shift seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecondRow {
    /// Seconds since the Unix epoch over the width.
    pub(crate) number: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Counts packets and bytes a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seconds {
    pub(crate) shift: u8,
    pub(crate) rows: Vec<SecondRow>,
    /// The row of the last packet.
    current: usize,
}

impl Seconds {
    pub(crate) fn clear(&mut self) {
        self.shift = 0;
        self.rows.clear();
        self.current = 0;
    }

    #[inline]
    pub(crate) fn count(&mut self, second: u64, bytes: u64) {
        let number = second >> self.shift;
        match self.rows.get_mut(self.current) {
            Some(row) if row.number == number => {
                row.packets += 1;
                row.bytes += bytes;
            }
            _ => self.count_elsewhere(second, bytes),
        }
    }

    #[cold]
    fn count_elsewhere(&mut self, second: u64, bytes: u64) {
        let number = second >> self.shift;
        self.current = self.rows.partition_point(|row| row.number < number);
        match self.rows.get_mut(self.current) {
            Some(row) if row.number == number => {
                row.packets += 1;
                row.bytes += bytes;
            }
            _ => {
                self.rows.insert(self.current, SecondRow { number, packets: 1, bytes });
                while self.rows.len() > POINTS_MAX {
                    self.widen();
                }
            }
        }
    }

    fn widen(&mut self) {
        self.shift += 1;
        self.current = 0;
        self.rows.iter_mut().for_each(|row| row.number >>= 1);
        self.rows.dedup_by(|row, kept| {
            let is_same = row.number == kept.number;
            if is_same {
                kept.packets += row.packets;
                kept.bytes += row.bytes;
            }
            is_same
        });
    }

    /// The bytes of the section: how many rows, then for each 128 the columns.
    pub(crate) fn put(&self) -> Vec<u8> {
        let mut output = Vec::new();
        put_varint(&mut output, self.rows.len() as u64);
        let mut previous = 0;
        for rows in self.rows.chunks(BLOCK_ROWS) {
            let steps = rows.iter().map(|row| row.number - std::mem::replace(&mut previous, row.number));
            column::put(&mut output, &steps.collect::<Vec<_>>());
            column::put(&mut output, &rows.iter().map(|row| row.packets).collect::<Vec<_>>());
            column::put(&mut output, &rows.iter().map(|row| row.bytes).collect::<Vec<_>>());
        }
        output
    }
}

/// Reads the section; `None` where it is not one.
pub(crate) fn take_all(mut input: &[u8]) -> Option<Vec<SecondRow>> {
    let mut left = usize::try_from(take_varint(&mut input)?).ok().filter(|&count| count <= POINTS_MAX)?;
    let mut rows = Vec::with_capacity(left);
    let mut number = 0u64;
    let mut columns = [[0; BLOCK_ROWS]; 3];
    while left > 0 {
        let count = left.min(BLOCK_ROWS);
        for values in &mut columns {
            take_values(&mut input, count, values)?;
        }
        let [steps, packets, bytes] = &columns;
        for ((&step, &packets), &bytes) in steps.iter().zip(packets).zip(bytes).take(count) {
            number = number.checked_add(step)?;
            rows.push(SecondRow { number, packets, bytes });
        }
        left -= count;
    }
    input.is_empty().then_some(rows)
}
