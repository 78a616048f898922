//! Places in a record that are brought into the processor's cache before the filter looks at them: which of them it will read is
//! known, and most of the time of a scan is waiting for memory.

use netrewind_filter::Program;
use netrewind_store::layout::RECORD_HEADER_BYTES;

use crate::sys::prefetch;

/// Bytes that come into the cache together, at least.
const LINE_BYTES: usize = 64;
/// Places of a record that are fetched beside its first byte: with more, the first ones.
const PLACES_MAX: usize = 4;

/// Places to be fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CachedPlaces {
    /// Offsets from a record's beginning; zero where there is none.
    places: [usize; PLACES_MAX],
}

impl CachedPlaces {
    /// For packets that have to be taken apart: mostly the headers are looked at.
    pub(super) const HEADERS: Self = Self { places: [LINE_BYTES, 0, 0, 0] };

    /// For packets to which this program is put.
    pub(super) fn of(program: &Program) -> Self {
        let offsets = program.likely_offsets().filter_map(|offset| usize::try_from(offset).ok());
        let mut offsets: Vec<usize> =
            offsets.filter_map(|offset| offset.checked_add(RECORD_HEADER_BYTES)).collect();
        offsets.sort_unstable();
        let mut places = [0; PLACES_MAX];
        let (mut free, mut fetched) = (places.iter_mut(), 0);
        for (nth, &offset) in offsets.iter().enumerate() {
            // Two places no farther apart than a line are in the same line or in neighbouring ones: the last one near enough
            // stands for those between.
            let is_far = |offset: usize| offset - fetched > LINE_BYTES;
            let is_needed = is_far(offset) || offsets.get(nth + 1).is_none_or(|&next| is_far(next));
            if is_needed
                && offset > fetched
                && let Some(place) = free.next()
            {
                (*place, fetched) = (offset, offset);
            }
        }
        Self { places }
    }

    /// Fetches the places of the record at `at`, and its first byte.
    #[inline(always)]
    pub(super) fn fetch(&self, block: &[u8], at: usize) {
        prefetch(block, at);
        for place in self.places {
            if place > 0 {
                prefetch(block, at.saturating_add(place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netrewind_filter::RawInstruction;
    use netrewind_store::LinkType;

    use super::*;

    /// A program that loads bytes at these offsets.
    fn loads(offsets: &[u32]) -> Program {
        let load = |&k: &u32| RawInstruction { code: 0x30, jt: 0, jf: 0, k };
        let end = RawInstruction { code: 0x06, jt: 0, jf: 0, k: 1 };
        let raw: Vec<_> = offsets.iter().map(load).chain([end]).collect();
        Program::decode(LinkType::ETHERNET, &raw).unwrap()
    }

    #[test]
    fn every_line_with_a_load_is_fetched() {
        let places = |offsets: &[u32]| CachedPlaces::of(&loads(offsets)).places;
        assert_eq!(places(&[]), [0; 4]);
        assert_eq!(places(&[12, 23, 20, 14]), [39, 0, 0, 0]);
        assert_eq!(places(&[12, 134, 23]), [39, 150, 0, 0]);
        assert_eq!(places(&[0, 40, 80, 120, 160]), [56, 96, 136, 176]);
        assert_eq!(places(&[1000, 2000, 3000, 4000, 5000]), [1016, 2016, 3016, 4016]);
        assert_eq!(places(&[12, u32::MAX]), [28, u32::MAX as usize + 16, 0, 0]);
        for begin in 0..64 {
            // Wherever the record begins in its line.
            let offsets = [12, 14, 60, 61, 100, 134];
            let lines: Vec<_> =
                places(&offsets).iter().map(|place| (begin + place) / 64).chain([begin / 64]).collect();
            assert!(offsets.iter().all(|&offset| lines.contains(&((begin + 16 + offset as usize) / 64))));
        }
    }
}
