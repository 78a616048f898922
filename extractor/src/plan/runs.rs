//! Grouping of the granules to be read into runs: ranges read in one go, in the order in which the answer needs them.

use std::ops::Range;

use netrewind_index::{Index, IndexError};
use netrewind_store::{Map, Timestamp};

use super::flow_judge::PlanError;
use crate::query::TimeRange;
use crate::store::scan::ScanGranule;

/// Bytes of a run: few enough that reading one takes a few milliseconds.
pub(crate) const RUN_BYTES_MAX: u64 = 512 << 10;

/// Ranges of a segment that are read in one go. No packet in them is earlier than `first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRun {
    pub(crate) first: Timestamp,
    /// One for each granule, ascending.
    pub(crate) ranges: Vec<Range<u64>>,
}

/// Groups granules, given in stored order, into runs in the order of their earliest timestamp and then of their place. A
/// segment in order gives runs in order; a stray granule becomes a run of its own, and only runs that overlap in time have to
/// be held back by the merge.
pub(crate) fn group(mut granules: Vec<ScanGranule>) -> Vec<PlannedRun> {
    if !granules.is_sorted_by_key(|granule| granule.first) {
        granules.sort_by_key(|granule| granule.first); // stable: place decides between equals
    }
    let mut runs: Vec<PlannedRun> = Vec::new();
    let mut run_bytes = 0;
    for granule in granules {
        let range = granule.start..granule.end;
        run_bytes += range.end - range.start;
        let goes_on = |run: &&mut PlannedRun| {
            run_bytes <= RUN_BYTES_MAX && run.ranges.last().is_some_and(|last| last.end <= range.start)
        };
        match runs.last_mut().filter(goes_on) {
            Some(run) => run.ranges.push(range),
            None => {
                run_bytes = range.end - range.start;
                runs.push(PlannedRun { first: granule.first, ranges: Vec::from([range]) });
            }
        }
    }
    runs
}

/// A set of granules by their number.
#[derive(Clone, Debug)]
pub(crate) struct GranuleSet {
    words: Vec<u64>,
    count: u32,
}

impl GranuleSet {
    /// Empty set over this many granules.
    pub(crate) fn none(granules: u32) -> Self {
        Self { words: vec![0; granules.div_ceil(u64::BITS) as usize], count: 0 }
    }

    pub(crate) fn insert(&mut self, number: u32) {
        if let Some(word) = self.words.get_mut((number / u64::BITS) as usize) {
            let bit = 1 << (number % u64::BITS);
            self.count += u32::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Number of granules in the set.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let word = self.words.get((number / u64::BITS) as usize).copied().unwrap_or(0);
        word >> (number % u64::BITS) & 1 == 1
    }

    /// Numbers of the granules, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.words).flat_map(|(number, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < u64::BITS).then_some(number * u64::BITS + bit)
            })
        })
    }
}

/// The granules that can hold a packet of the range; `None` where all can.
pub(super) fn granules_in_time(
    index: &Index<Map>,
    range: TimeRange,
) -> Result<Option<GranuleSet>, IndexError> {
    if range.covers(index.first(), index.last()) {
        return Ok(None);
    }
    let mut granules = GranuleSet::none(index.granule_count());
    let to = range.end().unwrap_or(Timestamp::MAX);
    for number in index.granules_in(range.from..to)? {
        granules.insert(number);
    }
    Ok(Some(granules))
}

/// The runs of the granules that are in both sets; an absent set has all.
pub(super) fn runs_of(
    index: &Index<Map>,
    in_time: Option<&GranuleSet>,
    found: Option<&GranuleSet>,
) -> Result<Vec<PlannedRun>, PlanError> {
    let mut cursor = index.cursor();
    let mut granules = Vec::new();
    let mut add = |number: u32| -> Result<(), IndexError> {
        let granule = cursor.granule(number)?;
        if granule.records > 0 {
            let (start, end) = (granule.offset, cursor.granule_end(number)?);
            granules.push(ScanGranule { start, end, first: granule.first, last: granule.last });
        }
        Ok(())
    };
    let (smaller, other) = match (in_time, found) {
        (Some(in_time), found) => (Some(in_time), found),
        (None, found) => (found, None),
    };
    match smaller {
        None => (0..index.granule_count()).try_for_each(&mut add)?,
        Some(set) => {
            let both = |number: &u32| other.is_none_or(|other| other.contains(*number));
            set.iter().filter(both).try_for_each(&mut add)?;
        }
    }
    Ok(group(granules))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a run of one range")]
mod tests {
    use super::*;

    fn granule(start: u64, end: u64, first: u64) -> ScanGranule {
        ScanGranule { start, end, first: Timestamp(first), last: Timestamp(first + 10) }
    }

    #[test]
    fn neighbours_join_and_strays_stand_alone() {
        let runs = group(vec![
            granule(24, 100, 5),
            granule(100, 200, 5),
            granule(300, 400, 7),
            granule(400, 500, 2),
            granule(500, 500 + RUN_BYTES_MAX, 9),
        ]);
        let run =
            |first, ranges: &[Range<u64>]| PlannedRun { first: Timestamp(first), ranges: ranges.to_vec() };
        assert_eq!(
            runs,
            [
                run(2, &[400..500]),
                run(5, &[24..100, 100..200, 300..400]),
                run(9, &[500..500 + RUN_BYTES_MAX])
            ]
        );
    }

    #[test]
    fn a_set_counts_and_lists_its_members() {
        let mut set = GranuleSet::none(200);
        for number in [3, 64, 63, 199, 3] {
            set.insert(number);
        }
        assert_eq!((set.count(), set.iter().collect::<Vec<_>>()), (4, vec![3, 63, 64, 199]));
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1000));
    }
}
