//! Sorting many numbers in linear time.

/// Fewer than this many are sorted by comparison.
const RADIX_FROM: usize = 4096;
const DIGIT_BITS: u32 = 11;
const DIGITS: u32 = 3;

/// Sorts by the upper 32 bits; numbers that agree in them keep their order.
pub(super) fn sort_by_upper_half(numbers: &mut Vec<u64>) {
    if numbers.len() < RADIX_FROM {
        numbers.sort_by_key(|number| number >> 32);
        return;
    }
    let mut sorted = vec![0; numbers.len()];
    for digit in 0..DIGITS {
        let shift = 32 + digit * DIGIT_BITS;
        scatter(
            numbers,
            &mut sorted,
            |number| (number >> shift) as usize & ((1 << DIGIT_BITS) - 1),
            1 << DIGIT_BITS,
        );
        std::mem::swap(numbers, &mut sorted);
    }
}

/// Copies `from` to `to`, ordered by `bucket`, which gives less than `buckets`; keeps the order within a bucket. Gives
/// where each bucket ends.
pub(super) fn scatter<T: Copy>(
    from: &[T],
    to: &mut [T],
    bucket: impl Fn(&T) -> usize,
    buckets: usize,
) -> Vec<u32> {
    let mut places = vec![0u32; buckets + 1];
    for item in from {
        places[bucket(item) + 1] += 1;
    }
    for i in 1..places.len() {
        places[i] += places[i - 1];
    }
    for item in from {
        let place = &mut places[bucket(item)];
        to[*place as usize] = *item;
        *place += 1;
    }
    places.pop();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn sorts_stably(numbers in proptest::collection::vec(any::<u64>(), 0..3 * RADIX_FROM), mask: u64) {
            let mut sorted: Vec<u64> = numbers.iter().map(|number| number & mask).collect();
            let mut expected = sorted.clone();
            expected.sort_by_key(|number| number >> 32);
            sort_by_upper_half(&mut sorted);
            prop_assert_eq!(sorted, expected);
        }
    }
}
