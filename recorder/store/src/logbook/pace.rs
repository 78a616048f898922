//! Measures of how well a lane keeps up: fill of its kernel ring, and write latency of its disk.

use crate::time::MILLISECOND_NS;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Upper bounds of the buckets of [`WriteTimes`], in microseconds: a write counts in the first bucket whose bound it keeps.
///
/// New bounds are added behind the last one, so that counts in older lines keep their meaning; there, the last count has all writes
/// slower than 5 s.
pub const WRITE_BOUNDS_US: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// One bucket for each bound, and one for slower writes.
pub const WRITE_BUCKETS: usize = WRITE_BOUNDS_US.len() + 1;

/// Time within which a lane tells its recorder what it has received: a line may lack packets that came later than that before it.
pub const TOLD_WITHIN_NS: u64 = 300 * MILLISECOND_NS;

const MICROSECOND_NS: u64 = 1000;

/// Measures of how well a lane kept up over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneLoad {
    /// Its kernel ring, where its packets come from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingFill>,
    /// Its writes.
    #[serde(skip_serializing_if = "WriteTimes::is_empty")]
    pub writes: WriteTimes,
    /// Milliseconds, rounded up, that it was behind at the end: what arrived earlier was written or dropped by then, and is
    /// counted. Zero if it had written everything.
    #[serde(skip_serializing_if = "is_zero")]
    pub behind_ms: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Fill of a kernel ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingFill {
    /// Blocks of the ring.
    pub blocks: u32,
    /// Largest number of filled blocks that waited to be read.
    pub filled_max: u32,
    /// Number of times the kernel found no free block, and dropped packets until there was one.
    pub freezes: u64,
}

/// Latency of writes, from submission until the completion was seen. A lane polls for completions at least every 5 ms while any
/// are outstanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteTimes {
    /// Writes per bucket: at most each of [`WRITE_BOUNDS_US`] and more than the bound before; last, those slower than all bounds.
    #[serde(serialize_with = "without_last_zeros", deserialize_with = "with_last_zeros")]
    pub counts: [u64; WRITE_BUCKETS],
    /// Sum of all latencies.
    pub total_us: u64,
    /// The slowest write.
    pub slowest_us: u64,
}

impl LaneLoad {
    /// True if nothing was written, and the kernel always had a free block.
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.ring.is_none_or(|ring| ring.freezes == 0)
    }

    /// Adds a later measure.
    pub fn add(&mut self, later: &Self) {
        self.writes.add(&later.writes);
        self.behind_ms = later.behind_ms;
        if let Some(later) = &later.ring {
            self.ring.get_or_insert_default().add(later);
        }
    }
}

impl RingFill {
    /// Adds a later measure.
    pub fn add(&mut self, later: &Self) {
        self.blocks = later.blocks;
        self.filled_max = self.filled_max.max(later.filled_max);
        self.freezes += later.freezes;
    }

    /// Largest filled share of the ring, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.blocks == 0 { 0.0 } else { f64::from(self.filled_max) / f64::from(self.blocks) }
    }
}

impl WriteTimes {
    /// Counts a write.
    pub fn count(&mut self, took_ns: u64) {
        let took_us = took_ns.div_ceil(MICROSECOND_NS);
        let bucket = WRITE_BOUNDS_US.partition_point(|&bound_us| bound_us < took_us);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total_us = self.total_us.saturating_add(took_us);
        self.slowest_us = self.slowest_us.max(took_us);
    }

    /// Adds the counts of others.
    pub fn add(&mut self, others: &Self) {
        self.counts
            .iter_mut()
            .zip(others.counts)
            .for_each(|(count, other)| *count = count.saturating_add(other));
        self.total_us = self.total_us.saturating_add(others.total_us);
        self.slowest_us = self.slowest_us.max(others.slowest_us);
    }

    /// Number of writes.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, &count| total.saturating_add(count))
    }

    /// True if there were no writes.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }
}

/// Omits trailing zeros: there is such a line every second, and most writes are fast.
fn without_last_zeros<S: Serializer>(
    counts: &[u64; WRITE_BUCKETS],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let end = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
    counts[..end].serialize(serializer)
}

/// Accepts the bounds of later versions: buckets beyond ours count as the slowest.
fn with_last_zeros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; WRITE_BUCKETS], D::Error> {
    let mut counts = [0_u64; WRITE_BUCKETS];
    for (at, count) in Vec::<u64>::deserialize(deserializer)?.into_iter().enumerate() {
        let bucket = &mut counts[at.min(WRITE_BUCKETS - 1)];
        *bucket = bucket.saturating_add(count);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_once_by_the_first_bound_that_it_keeps() {
        let mut writes = WriteTimes::default();
        assert!(writes.is_empty());
        [0, 250_000, 250_001, 1_000_000_000, 60_000_000_001].into_iter().for_each(|ns| writes.count(ns));
        assert_eq!(writes.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!((writes.total(), writes.slowest_us), (5, 60_000_001));
        assert_eq!(writes.total_us, 250 + 251 + 1_000_000 + 60_000_001);
    }

    #[test]
    fn what_is_written_is_short_and_comes_back() {
        let mut pace = LaneLoad::default();
        assert_eq!(serde_json::to_string(&pace).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<LaneLoad>("{}").unwrap(), pace);
        pace.writes.count(600_000);
        pace.add(&LaneLoad { ring: Some(RingFill { blocks: 8, filled_max: 3, freezes: 1 }), ..pace });
        pace.add(&LaneLoad {
            ring: Some(RingFill { blocks: 8, filled_max: 2, freezes: 1 }),
            ..LaneLoad::default()
        });
        let text = serde_json::to_string(&pace).unwrap();
        let ring = r#""ring":{"blocks":8,"filled_max":3,"freezes":2}"#;
        let writes = r#""writes":{"counts":[0,0,2],"total_us":1200,"slowest_us":600}"#;
        assert_eq!(text, format!("{{{ring},{writes}}}"));
        assert_eq!(serde_json::from_str::<LaneLoad>(&text).unwrap(), pace);
        assert!(pace.ring.is_some_and(|ring| (ring.share() - 0.375).abs() < 1e-9));
        let longer = format!("{{\"counts\":[{}7]}}", "0,".repeat(20));
        assert_eq!(serde_json::from_str::<WriteTimes>(&longer).unwrap().counts[WRITE_BUCKETS - 1], 7);
    }
}
