//! Reading a run of a segment: every packet goes through the exact time check and the real filter.

use std::ops::Range;
use std::sync::Arc;

use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES};
use netrewind_store::{Map, RecordHeader, Records, Timestamp};

use crate::fragments::{self, FirstFragment, FirstVerdict, Later};
use crate::plan::query_filter::{QueryFilter, Scratch};
use crate::query::TimeRange;
use crate::store::segment::Segment;
use crate::sys::prefetch;
use netrewind_packet::ViewBytes;

/// The place of a packet in the order of answers: time, then lane, then the age of its segment, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketOrder {
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
    pub(crate) place: PacketOrder,
    /// Fragments are noted, so that they can be judged together with the first of their packet.
    pub(crate) links: bool,
}

impl Run {
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Has the disk read ahead.
    pub(crate) fn prefetch(&self) {
        let mut joined: Option<Range<u64>> = None;
        for range in &self.ranges {
            match &mut joined {
                Some(before) if before.end == range.start => before.end = range.end,
                _ => {
                    self.will_need(joined.replace(range.clone()));
                }
            }
        }
        self.will_need(joined);
    }

    fn will_need(&self, range: Option<Range<u64>>) {
        if let Some(range) = range {
            self.segment.bytes.will_need(index(range.start)..index(range.end));
        }
    }
}

/// Accepted packet, or a later fragment whose verdict depends on its first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) at: Timestamp,
    pub(crate) offset: u64,
    /// Its index in [`RunMatches::laters`], or [`ACCEPTED`].
    pub(crate) later: u32,
}

/// The number of no later fragment.
pub(crate) const ACCEPTED: u32 = u32::MAX;

/// Result of reading a run.
#[derive(Debug, Default)]
pub(crate) struct RunMatches {
    /// The accepted packets in order of time and position, where they were to be collected, and in any case those that
    /// may be.
    pub(crate) matches: Vec<Match>,
    /// Later fragments among them.
    pub(crate) laters: Vec<Later>,
    /// First fragments, also of packets outside of the range.
    pub(crate) firsts: Vec<FirstFragment>,
    /// Number of packets accepted beyond doubt.
    pub(crate) packets: u64,
    /// Their bytes on the wire.
    pub(crate) bytes: u64,
    /// Number of packets looked at.
    pub(crate) judged: u64,
    /// Offsets of records that could not be read; the rest of each one's stretch is lost.
    pub(crate) damaged_at: Vec<u64>,
}

/// Reads a run. Without `collect` only the counts are right.
///
/// If pages of the segment turn out to be lost, results from their zeros are discarded: each stretch is read again up to the
/// first record that touches a lost page.
pub(crate) fn read(run: &Run, range: TimeRange, filters: &QueryFilter, collect: bool) -> RunMatches {
    let mut found = read_ranges(run, &run.ranges, range, filters, collect);
    let mut ranges = run.ranges.clone();
    let mut damaged_at = Vec::new();
    while cut_at_lost_pages(&run.segment.bytes, &mut ranges, &mut damaged_at) {
        found = read_ranges(run, &ranges, range, filters, collect);
    }
    found.damaged_at.append(&mut damaged_at);
    found
}

/// Ends each range before its first record that touches a lost page; false if there is none.
fn cut_at_lost_pages(segment: &Map, ranges: &mut Vec<Range<u64>>, damaged_at: &mut Vec<u64>) -> bool {
    if !segment.has_lost() {
        return false;
    }
    let before = damaged_at.len();
    for range in ranges.iter_mut() {
        let Some(lost) = segment.first_lost(index(range.start)..index(range.end)) else { continue };
        let whole = segment.get(index(range.start)..lost).unwrap_or_default();
        range.end = Records::new(whole, range.start).last().map_or(range.start, |record| record.end());
        damaged_at.push(range.end);
    }
    ranges.retain(|range| !range.is_empty());
    damaged_at.len() > before
}

fn read_ranges(
    run: &Run,
    ranges: &[Range<u64>],
    range: TimeRange,
    filters: &QueryFilter,
    collect: bool,
) -> RunMatches {
    let mut found = RunMatches::default();
    let wide = if run.links { fragments::reach(range) } else { range };
    let mut reader =
        RunReader { run, range, wide, filters, collect, scratch: filters.scratch(), found: &mut found };
    let mut offsets: [Vec<usize>; LANES] = Default::default();
    for ranges in ranges.chunks(LANES) {
        reader.walk(ranges, &mut offsets);
        offsets.iter_mut().for_each(|lane| reader.judge(lane));
    }
    if !found.matches.is_sorted_by_key(|found| found.at) {
        found.matches.sort_by_key(|found| found.at); // stable: positions ascend already
    }
    found
}

/// Ranges that are walked over side by side. Where the next record begins is known only once the header before it has
/// come from memory; so that these waits overlap, several chains of headers are followed at once.
const LANES: usize = 16;
/// Bytes behind a record's beginning that a filter is most likely to look at next, after its first cache line.
const LIKELY_BYTES: usize = 64;

struct RunReader<'a> {
    run: &'a Run,
    range: TimeRange,
    wide: TimeRange,
    filters: &'a QueryFilter,
    collect: bool,
    scratch: Scratch,
    found: &'a mut RunMatches,
}

impl RunReader<'_> {
    /// Finds where the records of at most [`LANES`] ranges begin, and has their first bytes fetched.
    fn walk(&mut self, ranges: &[Range<u64>], offsets: &mut [Vec<usize>; LANES]) {
        let segment: &[u8] = &self.run.segment.bytes;
        let mut lanes: [(usize, usize); LANES] = [(0, 0); LANES];
        for (lane, range) in lanes.iter_mut().zip(ranges) {
            *lane = (index(range.start), index(range.end).min(segment.len()));
        }
        offsets.iter_mut().for_each(Vec::clear);
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for ((at, end), offsets) in lanes.iter_mut().zip(offsets.iter_mut()) {
                if *at >= *end {
                    continue;
                }
                let header = segment.get(*at..*end).and_then(RecordHeader::read);
                let next =
                    header.filter(|header| header.caplen <= CAPLEN_MAX).map(|h| *at + h.record_bytes());
                let Some(next) = next.filter(|next| next <= end) else {
                    self.found.damaged_at.push(*at as u64);
                    *at = *end;
                    continue;
                };
                offsets.push(*at);
                *at = next;
                prefetch(segment, next);
                prefetch(segment, next + LIKELY_BYTES);
                goes_on = true;
            }
        }
    }

    /// Puts the records that begin at these offsets through time check and filter.
    fn judge(&mut self, offsets: &[usize]) {
        let segment: &[u8] = &self.run.segment.bytes;
        let link_type = self.run.segment.link_type;
        let is_plain = self.run.segment.is_plain();
        self.found.judged += offsets.len() as u64;
        for &offset in offsets {
            let record = &segment[offset..];
            let Some(header) = RecordHeader::read(record) else { continue };
            let Some(bytes) = record.get(RECORD_HEADER_BYTES..header.record_bytes()) else { continue };
            let at = header.timestamp();
            let packet = ViewBytes { link_type, bytes, len: header.len };
            if !self.wide.contains(at) {
                continue;
            }
            let (is_accepted, later) = match self.run.links {
                true => self.judge_linked(packet, at),
                false => (self.filters.accept(packet, is_plain, &mut self.scratch), ACCEPTED),
            };
            let is_certain = later == ACCEPTED;
            if !self.range.contains(at) || (is_certain && !is_accepted) {
                continue;
            }
            if is_certain {
                self.found.packets += 1;
                self.found.bytes += u64::from(header.len);
            }
            if self.collect || !is_certain {
                self.found.matches.push(Match { at, offset: offset as u64, later });
            }
        }
    }

    /// Judges a packet; returns also its number among the later fragments. Notes the fragments that it is.
    fn judge_linked(&mut self, packet: ViewBytes<'_>, at: Timestamp) -> (bool, u32) {
        let (peeled, untagged) = self.filters.take_apart(packet, &mut self.scratch);
        let is_accepted = self.filters.accept_peeled(peeled, untagged);
        if !peeled.is_fragment() {
            return (is_accepted, ACCEPTED);
        }
        let innermost = peeled.innermost_view();
        let asks_innermost = self.filters.ask_innermost();
        let later = peeled.fragments().find(|fragment| fragment.is_later()).map(|fragment| fragment.series);
        let later = later.filter(|_| self.filters.may_accept_linked(peeled, untagged));
        for first in peeled.fragments().filter(|fragment| fragment.is_first()) {
            let verdict = FirstVerdict {
                is_accepted,
                is_deeper: asks_innermost && innermost > first.series.view,
                within: later.map(Box::new),
            };
            self.found.firsts.push(FirstFragment { at, series: first.series, verdict });
        }
        let number = u32::try_from(self.found.laters.len()).unwrap_or(ACCEPTED);
        match later.filter(|_| number != ACCEPTED && self.range.contains(at)) {
            Some(series) => {
                self.found.laters.push(Later { at, series, is_accepted });
                (is_accepted, number)
            }
            None => (is_accepted, ACCEPTED),
        }
    }
}

/// Index in a map; an offset that does not fit lies behind every map.
pub(crate) fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
