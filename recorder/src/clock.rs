//! Jumps of the wall clock.

use netrewind_store::clock::Now;

/// A smaller difference between the two clocks is slewing, not a step.
pub const CLOCK_STEP_MIN_NS: u64 = 100_000_000;

/// Notices when the wall clock jumps.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    last: Now,
}

impl ClockWatch {
    /// Starts watching.
    pub fn new(now: Now) -> Self {
        Self { last: now }
    }

    /// Nanoseconds that the wall clock has jumped since the last call; negative if it went back.
    pub fn step(&mut self, now: Now) -> Option<i64> {
        let passed = i128::from(now.monotonic_ns) - i128::from(self.last.monotonic_ns);
        let shown = i128::from(now.wall.ns()) - i128::from(self.last.wall.ns());
        self.last = now;
        let by = shown - passed;
        (by.unsigned_abs() >= u128::from(CLOCK_STEP_MIN_NS))
            .then(|| i64::try_from(by).unwrap_or(if by < 0 { i64::MIN } else { i64::MAX }))
    }
}

#[cfg(test)]
mod tests {
    use netrewind_store::Timestamp;

    use super::*;

    #[test]
    fn a_step_is_noticed_and_slewing_is_not() {
        let at = |wall, monotonic_ns| Now { wall: Timestamp(wall), monotonic_ns };
        const S: u64 = 1_000_000_000;
        let mut watch = ClockWatch::new(at(100 * S, 5 * S));
        assert_eq!(watch.step(at(101 * S + 500, 6 * S)), None);
        assert_eq!(watch.step(at(90 * S, 7 * S)), Some(-12_000_000_500));
        assert_eq!(watch.step(at(4_000_000_000 * S, 8 * S)), Some(3_999_999_909_000_000_000));
    }
}
