//! Figures on how well the recorder keeps up: duration of writes, fill of the rings.

use netrewind_store::{RingFill, WRITE_BOUNDS_US, WriteTimes};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::recording::Recording;
use super::sample::{MetricLabels, add_counter};

const SECOND_US: f64 = 1e6;

/// Adds what is known of rings and writes.
pub(super) fn add_lane_load(registry: &mut Registry, recording: &Recording) {
    let Recording { writes, rings, freezes, .. } = recording;
    registry.register_with_unit(
        "recorder_write_duration",
        "Duration of writes to the disk, according to the logbook",
        Unit::Seconds,
        WriteHistogram(*writes),
    );
    let freezes_help = "Times that the kernel found no free block in a ring, according to the logbook";
    add_counter(registry, "recorder_ring_freezes", freezes_help, *freezes);
    let (blocks, filled) =
        (Family::<MetricLabels, Gauge>::default(), Family::<MetricLabels, Gauge>::default());
    for (lane, RingFill { blocks: of_lane, filled_max, .. }) in rings {
        let labels = vec![("lane", lane.to_string())];
        blocks.get_or_create(&labels).set(i64::from(*of_lane));
        filled.get_or_create(&labels).set(i64::from(*filled_max));
    }
    registry.register("recorder_ring_blocks", "Blocks of a lane's ring in the kernel", blocks);
    registry.register(
        "recorder_ring_filled_blocks",
        "Most blocks waiting to be read within the last logged second",
        filled,
    );
}

/// Write times counted by the logbook, as a histogram.
#[derive(Debug)]
struct WriteHistogram(WriteTimes);

impl EncodeMetric for WriteHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(writes) = self;
        let bounds =
            WRITE_BOUNDS_US.iter().map(|&bound_us| bound_us as f64 / SECOND_US).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(writes.counts).collect();
        let seconds = writes.total_us as f64 / SECOND_US;
        encoder.encode_histogram::<NoLabelSet>(seconds, writes.total(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
