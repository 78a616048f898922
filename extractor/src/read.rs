//! Reading a run of a segment: every packet goes through the exact time check and the real filter.

use std::ops::Range;
use std::sync::Arc;

use netrewind_segment::{Records, Timestamp};

use crate::filters::Filters;
use crate::query::TimeRange;
use crate::segment::Segment;
use crate::views::{PacketView, Scratch};

/// The place of a packet in the order of answers: time, then lane, then the age of its segment, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) at: Timestamp,
    pub(crate) lane: u16,
    pub(crate) ordinal: u32,
    pub(crate) offset: u64,
}

/// Stretches of one segment that are read in one go: no packet in them is before `place`.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) segment: Arc<Segment>,
    /// Each begins and ends with a whole record; ascending.
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) place: Place,
}

impl Run {
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Has the disk read ahead.
    pub(crate) fn prefetch(&self) {
        for range in &self.ranges {
            self.segment.bytes.will_need(index(range.start)..index(range.end));
        }
    }
}

/// An accepted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) at: Timestamp,
    pub(crate) offset: u64,
}

/// What a run gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The accepted packets in order of time and position, where they were to be collected.
    pub(crate) matches: Vec<Match>,
    /// How many were accepted.
    pub(crate) packets: u64,
    /// Their bytes on the wire.
    pub(crate) bytes: u64,
    /// How many were looked at.
    pub(crate) judged: u64,
    /// Where a record could not be read; the rest of its stretch is lost.
    pub(crate) damaged_at: Vec<u64>,
}

/// Reads a run. Without `collect` only the counts are right.
pub(crate) fn read(run: &Run, range: TimeRange, filters: &Filters, collect: bool) -> Found {
    let link_type = run.segment.link_type;
    let mut found = Found::default();
    let mut scratch = Scratch::default();
    let mut in_order = true;
    let mut latest = Timestamp::MIN;
    for stretch in &run.ranges {
        let bytes = run.segment.bytes.get(index(stretch.start)..index(stretch.end)).unwrap_or_default();
        let mut records = Records::new(bytes, stretch.start);
        for record in records.by_ref() {
            let at = record.header.timestamp();
            found.judged += 1;
            let packet = PacketView { link_type, bytes: record.packet, len: record.header.len };
            if !range.contains(at) || !filters.accept(packet, &mut scratch) {
                continue;
            }
            found.packets += 1;
            found.bytes += u64::from(record.header.len);
            if collect {
                in_order &= latest <= at;
                latest = at;
                found.matches.push(Match { at, offset: record.offset });
            }
        }
        if records.offset() != stretch.end {
            found.damaged_at.push(records.offset());
        }
    }
    if !in_order {
        found.matches.sort_by_key(|found| found.at); // stable: positions ascend already
    }
    found
}

/// An offset in a map; what does not fit lies behind every map.
pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
