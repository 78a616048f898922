//! Sets of addresses or ports: ranges in order, which do not touch each other.

use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A set of values of a key's field, as big-endian numbers of one width. Cheap to clone; equal sets have equal ranges.
#[derive(Clone, Default)]
pub struct ValueSet {
    /// First and last value of each range.
    ranges: Arc<[(u128, u128)]>,
}

impl ValueSet {
    /// The values that are in one of the ranges, which may overlap and come in any order.
    pub fn of(ranges: impl IntoIterator<Item = RangeInclusive<u128>>) -> Self {
        let mut ranges: Vec<(u128, u128)> =
            ranges.into_iter().filter(|range| !range.is_empty()).map(RangeInclusive::into_inner).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self { ranges: joined.into() }
    }

    /// The values of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut removed = other.ranges.iter().copied().peekable();
        for &(mut first, last) in self.ranges.iter() {
            let mut is_used_up = false;
            while let Some(&(from, to)) = removed.peek() {
                if to < first {
                    removed.next();
                    continue;
                }
                if from > last {
                    break;
                }
                if from > first {
                    left.push((first, from - 1));
                }
                match to.checked_add(1).filter(|next| *next <= last) {
                    Some(next) => first = next,
                    None => {
                        is_used_up = true;
                        break;
                    }
                }
            }
            if !is_used_up {
                left.push((first, last));
            }
        }
        Self { ranges: left.into() }
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its ranges, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u128>> + '_ {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }

    /// True if the value is in it.
    #[inline]
    pub fn contains(&self, value: u128) -> bool {
        self.contains_from(0, value).1
    }

    /// The same for values that come in order: `from` is what the value before has given, or zero.
    #[inline]
    pub(crate) fn contains_from(&self, from: usize, value: u128) -> (usize, bool) {
        let rest = self.ranges.get(from..).unwrap_or_default();
        let at = from + rest.partition_point(|&(_, last)| last < value);
        (at, self.ranges.get(at).is_some_and(|&(first, _)| first <= value))
    }

    /// The range from the first value to the last one; `None` if nothing is in it.
    pub fn hull(&self) -> Option<RangeInclusive<u128>> {
        Some(self.ranges.first()?.0..=self.ranges.last()?.1)
    }

    /// Number of values; the greatest number there is where it is greater.
    pub fn len(&self) -> u128 {
        self.ranges
            .iter()
            .fold(0, |sum: u128, &(first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }
}

impl std::fmt::Debug for ValueSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.ranges()).finish()
    }
}

impl PartialEq for ValueSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ranges, &other.ranges) || self.ranges == other.ranges
    }
}

impl Eq for ValueSet {}

impl Hash for ValueSet {
    /// Of the ends alone: a set may have a million ranges.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ranges.len().hash(state);
        self.hull().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn values(ranges: &[(u8, u8)]) -> BTreeSet<u8> {
        ranges.iter().flat_map(|&(first, last)| first..=last).collect()
    }

    fn set(ranges: &[(u8, u8)]) -> ValueSet {
        ValueSet::of(ranges.iter().map(|&(first, last)| first.into()..=last.into()))
    }

    proptest! {
        #[test]
        fn it_is_a_set(one: Vec<(u8, u8)>, other: Vec<(u8, u8)>) {
            let (left, model) = (set(&one).without(&set(&other)), &values(&one) - &values(&other));
            prop_assert_eq!(left.len(), model.len() as u128);
            prop_assert_eq!(left.is_empty(), model.is_empty());
            let ends = model.first().zip(model.last()).map(|(first, last)| (*first).into()..=(*last).into());
            prop_assert_eq!(left.hull(), ends);
            let mut at = 0;
            for value in 0..=u8::MAX {
                prop_assert_eq!(left.contains(value.into()), model.contains(&value));
                let found;
                (at, found) = left.contains_from(at, value.into());
                prop_assert_eq!(found, model.contains(&value));
            }
            let ranges: Vec<_> = left.ranges().collect();
            prop_assert!(ranges.windows(2).all(|two| two[0].end() + 1 < *two[1].start()), "they do not touch");
            prop_assert_eq!(ValueSet::of(left.ranges()), left);
        }
    }

    #[test]
    fn its_ends_are_those_of_the_numbers() {
        let all = ValueSet::of([0..=u128::MAX]);
        assert_eq!((all.len(), all.contains(u128::MAX), all.contains(0)), (u128::MAX, true, true));
        assert!(all.without(&all).is_empty());
        let last = all.without(&ValueSet::of([0..=u128::MAX - 1]));
        assert_eq!(last.hull(), Some(u128::MAX..=u128::MAX));
    }
}
