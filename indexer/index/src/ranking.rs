//! Frequent values get small codes, so that columns of ports, lengths or flags take few bits.

use crate::column::{put_varint, take_varint};

/// Largest number of ranked values of a column.
pub(crate) const RANKS_MAX: usize = 256;
/// Values from here on never have a rank.
const RANKED_BELOW: usize = 1 << 16;
/// A value earns its rank with at least this many rows, and at least one row in [`ROWS_A_RANK`].
const ROWS_MIN: u32 = 4;
const ROWS_A_RANK: usize = 4096;

/// Counts how often each value occurs.
#[derive(Debug)]
pub(crate) struct Census {
    rows: usize,
    counts: Vec<u32>,
}

impl Census {
    pub(crate) fn new() -> Self {
        Self { rows: 0, counts: vec![0; RANKED_BELOW] }
    }

    #[inline]
    pub(crate) fn count(&mut self, value: u64) {
        self.rows += 1;
        if let Some(count) = usize::try_from(value).ok().and_then(|value| self.counts.get_mut(value)) {
            *count += 1;
        }
    }

    /// Ranks the most frequent values; of equally frequent ones the lesser first.
    pub(crate) fn rank(&self) -> Ranking {
        let least = ROWS_MIN.max((self.rows / ROWS_A_RANK) as u32);
        let mut frequent: Vec<(u32, usize)> = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count >= least)
            .map(|(v, &c)| (c, v))
            .collect();
        frequent.sort_unstable_by_key(|&(count, value)| (std::cmp::Reverse(count), value));
        frequent.truncate(RANKS_MAX);
        Ranking { values: frequent.into_iter().map(|(_, value)| value as u64).collect() }
    }
}

/// The values that have a rank, most frequent first. The code of a value is its rank; the code of any other value is
/// the number of ranks plus the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranking {
    values: Vec<u64>,
}

impl Ranking {
    /// Coder from values to codes.
    pub(crate) fn coder(&self) -> Coder {
        let mut codes = vec![0; RANKED_BELOW];
        for (rank, &value) in self.values.iter().enumerate() {
            codes[value as usize] = rank as u16 + 1;
        }
        Coder { codes, ranks: self.values.len() as u64 }
    }

    /// The value that a code stands for.
    #[inline]
    pub(crate) fn value(&self, code: u64) -> u64 {
        match usize::try_from(code).ok().and_then(|rank| self.values.get(rank)) {
            Some(&value) => value,
            None => code - self.values.len() as u64,
        }
    }

    pub(crate) fn put(&self, output: &mut Vec<u8>) {
        put_varint(output, self.values.len() as u64);
        self.values.iter().for_each(|&value| put_varint(output, value));
    }

    pub(crate) fn take(input: &mut &[u8]) -> Option<Self> {
        let count = take_varint(input).filter(|&count| count <= RANKS_MAX as u64)?;
        let values = (0..count).map(|_| take_varint(input)).collect::<Option<_>>()?;
        Some(Self { values })
    }
}

/// Turns values into the codes of a [`Ranking`].
#[derive(Debug)]
pub(crate) struct Coder {
    /// One more than the rank; zero where a value has none.
    codes: Vec<u16>,
    ranks: u64,
}

impl Coder {
    #[inline]
    pub(crate) fn code(&self, value: u64) -> u64 {
        match usize::try_from(value).ok().and_then(|value| self.codes.get(value)) {
            Some(&code) if code > 0 => u64::from(code) - 1,
            _ => self.ranks + value,
        }
    }
}

/// The rankings of an index, one for each ranked column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rankings {
    pub(crate) lesser_port: Ranking,
    pub(crate) code: Ranking,
    pub(crate) len_min: Ranking,
    pub(crate) len_max: Ranking,
    pub(crate) tcp_flags: Ranking,
}

impl Rankings {
    /// Memory that they take, beside themselves.
    pub(crate) fn memory_bytes(&self) -> usize {
        let all = [&self.lesser_port, &self.code, &self.len_min, &self.len_max, &self.tcp_flags];
        all.into_iter().map(|ranking| size_of_val(ranking.values.as_slice())).sum()
    }

    pub(crate) fn put(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ranking in [&self.lesser_port, &self.code, &self.len_min, &self.len_max, &self.tcp_flags] {
            ranking.put(&mut bytes);
        }
        bytes
    }

    pub(crate) fn take(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        let rankings = Self {
            lesser_port: Ranking::take(input)?,
            code: Ranking::take(input)?,
            len_min: Ranking::take(input)?,
            len_max: Ranking::take(input)?,
            tcp_flags: Ranking::take(input)?,
        };
        bytes.is_empty().then_some(rankings)
    }
}
