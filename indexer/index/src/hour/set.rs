//! A set of the segments of an hour, by their numbers.

/// Segments of an hour, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSet {
    words: Vec<u64>,
    /// Segments of the hour.
    segments: u32,
}

impl SegmentSet {
    /// None of so many segments.
    pub fn none(segments: u32) -> Self {
        Self { words: vec![0; segments.div_ceil(u64::BITS) as usize], segments }
    }

    /// All of so many segments.
    pub fn all(segments: u32) -> Self {
        let mut set = Self { words: vec![u64::MAX; segments.div_ceil(u64::BITS) as usize], segments };
        let beyond = segments % u64::BITS;
        if let Some(last) = set.words.last_mut().filter(|_| beyond > 0) {
            *last = (1 << beyond) - 1;
        }
        set
    }

    /// Adds a segment of the hour.
    pub fn insert(&mut self, number: u32) {
        if number < self.segments
            && let Some(word) = self.words.get_mut((number / u64::BITS) as usize)
        {
            *word |= 1 << (number % u64::BITS);
        }
    }

    /// True if it has the segment.
    pub fn contains(&self, number: u32) -> bool {
        self.words
            .get((number / u64::BITS) as usize)
            .is_some_and(|word| word >> (number % u64::BITS) & 1 == 1)
    }

    /// Adds those of another set.
    pub fn add(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Keeps those that are in another set as well.
    pub fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// True if no segment is in it.
    pub fn is_none(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// True if all segments of the hour are in it.
    pub fn is_all(&self) -> bool {
        self.words.iter().map(|word| word.count_ones()).sum::<u32>() == self.segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_join_and_meet() {
        for segments in [0, 1, 63, 64, 65, 200] {
            let (none, all) = (SegmentSet::none(segments), SegmentSet::all(segments));
            assert!(none.is_none() && all.is_all(), "{segments}");
            assert!(!all.contains(segments) && all.contains(0) == (segments > 0));
            let mut odd = none.clone();
            (0..segments + 3).step_by(2).for_each(|number| odd.insert(number));
            let mut even = none.clone();
            (1..segments + 3).step_by(2).for_each(|number| even.insert(number));
            let mut both = odd.clone();
            both.add(&even);
            assert_eq!(both, all);
            both.keep(&even);
            assert_eq!(both, even);
            both.keep(&odd);
            assert_eq!(both, none);
        }
    }
}
