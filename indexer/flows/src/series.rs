//! Packets and bytes over time.

use netrewind_index::{Flow, Second};
use netrewind_store::Timestamp;
use netrewind_store::time::{DAY_SECONDS, SECOND_NS, Span};
use serde::{Deserialize, Serialize};

/// The most buckets of a series.
pub const BUCKETS_MAX: usize = 4096;
/// Widths of buckets, in seconds; wider ones are whole days.
const WIDTHS: [u64; 20] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200,
    86_400,
];

/// Packets received within one bucket of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Point {
    /// Start of the bucket; it ends where the next one begins.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// Packets of the answer.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets dropped by the recorder, whatever the filter, according to the logbook.
    pub dropped: u64,
}

/// Division of a time range into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first_ns: u64,
    width_ns: u64,
    count: usize,
}

impl Buckets {
    /// Division of a range into at most `wanted` buckets and one more, of a customary width, aligned to multiples of it.
    pub fn of(range: Option<Span>, wanted: usize) -> Self {
        let Some(Span { from, to }) = range.filter(|span| span.from < span.to) else {
            return Self { first_ns: 0, width_ns: SECOND_NS, count: 0 };
        };
        let wanted = wanted.clamp(1, BUCKETS_MAX - 1) as u64;
        let seconds = to.ns_since(from).div_ceil(SECOND_NS).div_ceil(wanted).max(1);
        let known = WIDTHS.into_iter().find(|&width| width >= seconds);
        let width = known.unwrap_or(seconds.div_ceil(DAY_SECONDS) * DAY_SECONDS);
        let width_ns = width.saturating_mul(SECOND_NS);
        let first_ns = from.ns() / width_ns * width_ns;
        let count = to.ns().saturating_sub(first_ns).div_ceil(width_ns);
        Self { first_ns, width_ns, count: usize::try_from(count).unwrap_or(0).min(BUCKETS_MAX) }
    }

    /// Seconds, as long as there are no more than `seconds_max`.
    pub fn seconds(range: Option<Span>, seconds_max: usize) -> Self {
        let first_ns = range.map_or(0, |span| span.from.ns() / SECOND_NS * SECOND_NS);
        let count = range.map_or(0, |span| span.to.ns().saturating_sub(first_ns).div_ceil(SECOND_NS));
        match usize::try_from(count).ok().filter(|&count| count <= seconds_max) {
            Some(count) => Self { first_ns, width_ns: SECOND_NS, count },
            None => Self::of(range, BUCKETS_MAX),
        }
    }

    /// Width of a bucket.
    pub fn width_seconds(self) -> u64 {
        self.width_ns / SECOND_NS
    }

    /// Bucket of an instant; instants outside count in the nearest.
    fn number(self, at: u64) -> usize {
        let number = at.saturating_sub(self.first_ns) / self.width_ns;
        usize::try_from(number).unwrap_or(usize::MAX).min(self.count.saturating_sub(1))
    }

    fn starts_at(self, number: usize) -> u64 {
        self.first_ns.saturating_add((number as u64).saturating_mul(self.width_ns))
    }

    /// Series of empty buckets.
    pub fn series(self) -> SeriesBuilder {
        SeriesBuilder { buckets: self, counts: vec![Count::default(); self.count], is_exact: true }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    packets: u64,
    bytes: u64,
    dropped: u64,
}

/// Buckets that are being filled.
#[derive(Clone, Debug)]
pub struct SeriesBuilder {
    buckets: Buckets,
    counts: Vec<Count>,
    is_exact: bool,
}

impl SeriesBuilder {
    /// True if each packet is in the bucket of its time.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The division into buckets.
    pub fn buckets(&self) -> Buckets {
        self.buckets
    }

    /// Adds packets of one instant.
    pub fn add(&mut self, at: Timestamp, packets: u64, bytes: u64) {
        if let Some(count) = self.counts.get_mut(self.buckets.number(at.ns())) {
            count.packets = count.packets.saturating_add(packets);
            count.bytes = count.bytes.saturating_add(bytes);
        }
    }

    /// Adds a point of an index's graph.
    pub fn add_second(&mut self, second: &Second) {
        let last = second.width_seconds.saturating_mul(SECOND_NS) - 1;
        self.spread(second.start.ns(), second.start.ns().saturating_add(last), second.packets, second.bytes);
    }

    /// Adds a flow with only the earliest and the latest packet known.
    pub fn add_flow(&mut self, flow: &Flow) {
        self.spread(flow.first.ns(), flow.last.ns(), flow.packets, flow.bytes);
    }

    /// Spreads packets evenly over the time from `first` to `last`, both included.
    pub fn spread(&mut self, first: u64, last: u64, packets: u64, bytes: u64) {
        let (begin, end) = (self.buckets.number(first), self.buckets.number(last));
        if begin == end {
            self.add(Timestamp(first), packets, bytes);
            return;
        }
        self.is_exact = false;
        let (mut packets_before, mut bytes_before) = (0, 0);
        for number in begin..=end {
            let until = if number == end { last } else { self.buckets.starts_at(number + 1) };
            let share = |whole: u64| {
                let (part, all) = (u128::from(until - first), u128::from(last - first));
                u64::try_from(u128::from(whole) * part / all).unwrap_or(whole)
            };
            let (packets_until, bytes_until) = (share(packets), share(bytes));
            if let Some(count) = self.counts.get_mut(number) {
                count.packets += packets_until - packets_before;
                count.bytes += bytes_until - bytes_before;
            }
            (packets_before, bytes_before) = (packets_until, bytes_until);
        }
    }

    /// Adds packets that were not written: all to the bucket in which their second ends.
    pub fn add_dropped(&mut self, second: Span, dropped: u64) {
        let at = second.to.ns().saturating_sub(1);
        if let Some(count) = self.counts.get_mut(self.buckets.number(at)) {
            count.dropped += dropped;
        }
    }

    /// The buckets that hold packets: when they begin, packets and bytes.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| count.packets > 0);
        filled.map(|(number, count)| (self.buckets.starts_at(number), count.packets, count.bytes))
    }

    /// Adds another series of the same buckets.
    pub fn add_all(&mut self, other: &Self) {
        self.is_exact &= other.is_exact;
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            count.packets += other.packets;
            count.bytes += other.bytes;
            count.dropped += other.dropped;
        }
    }

    /// The points, in order.
    pub fn points(&self) -> Vec<Point> {
        let point = |(number, count): (usize, &Count)| Point {
            at: Timestamp(self.buckets.starts_at(number)),
            packets: count.packets,
            bytes: count.bytes,
            dropped: count.dropped,
        };
        self.counts.iter().enumerate().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Timestamp {
        Timestamp(n * SECOND_NS)
    }

    #[test]
    fn buckets_are_of_known_widths_and_hold_the_whole_range() {
        let buckets = Buckets::of(Some(Span { from: second(1003), to: second(4603) }), 100);
        assert_eq!((buckets.width_seconds(), buckets.first_ns, buckets.count), (60, 960 * SECOND_NS, 61));
        let instant = Buckets::of(Some(Span { from: second(7), to: Timestamp(7 * SECOND_NS + 1) }), 100);
        assert_eq!((instant.width_seconds(), instant.count), (1, 1));
        let forever = Buckets::of(Some(Span { from: Timestamp::MIN, to: Timestamp::MAX }), 100);
        assert!(forever.count <= 101, "{forever:?}");
        assert_eq!(Buckets::of(None, 5).count, 0);
    }

    #[test]
    fn what_is_spread_is_neither_lost_nor_made_up() {
        let buckets = Buckets::of(Some(Span { from: second(0), to: second(10) }), 10);
        let mut series = buckets.series();
        series.spread(500_000_000, 3_500_000_000, 7, 1000);
        assert!(!series.is_exact());
        let points = series.points();
        assert_eq!(points.iter().map(|point| point.packets).sum::<u64>(), 7);
        assert_eq!(points.iter().map(|point| point.bytes).collect::<Vec<_>>()[..4], [166, 334, 333, 167]);
        series.add_dropped(Span { from: second(2), to: second(3) }, 9);
        assert_eq!(series.points()[2].dropped, 9);
    }
}
