//! Decides when a bucket that failed is asked again.

use std::time::Duration;

use crate::bucket::BucketFault;

/// Wait after the first failure; each further one is twice as long.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The shortest wait where somebody has to do something first, such as to change keys.
pub const REFUSED_BACKOFF_MIN: Duration = Duration::from_secs(60);

/// Failures in a row. While there are any, one request at a time probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    failures: u32,
}

impl Circuit {
    /// A request succeeded. True if those before had failed.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// A request failed; gives the time until the next one.
    pub fn failed(&mut self, fault: BucketFault) -> Duration {
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let least = if fault.needs_somebody() { REFUSED_BACKOFF_MIN } else { BACKOFF_MIN };
        doubled.clamp(least, BACKOFF_MAX)
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut circuit = Circuit::default();
        let server = BucketFault::Server(503);
        let waits: Vec<u64> = (0..11).map(|_| circuit.failed(server).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(circuit.succeeded() && !circuit.succeeded());
        assert_eq!(circuit.failed(BucketFault::Refused), REFUSED_BACKOFF_MIN);
        for _ in 0..40 {
            circuit.failed(server);
        }
        assert_eq!(circuit.failed(BucketFault::Refused), BACKOFF_MAX);
    }
}
