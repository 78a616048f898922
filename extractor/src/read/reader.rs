//! Reading a run of a segment: every packet goes through the exact time check and the real filter.

use std::ops::Range;
use std::sync::Arc;

use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES};
use netrewind_store::{RecordHeader, SegmentBlock, Timestamp};

use super::place::{ACCEPTED, Match, PacketOrder};
use crate::fragments::{self, FirstFragment, FirstVerdict, Later};
use crate::plan::query_filter::{QueryFilter, Scratch};
use crate::query::TimeRange;
use crate::store::segment::Segment;
use crate::sys::prefetch;
use netrewind_packet::ViewBytes;

/// Ranges of one segment that are read in one go: no packet in them is before `place`.
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
            self.segment.medium.will_need(range);
        }
    }
}

/// Result of reading a run.
#[derive(Debug, Default)]
pub(crate) struct RunMatches {
    /// The run's bytes, in which the matches stand.
    pub(crate) blocks: Vec<SegmentBlock>,
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
    /// Offsets of records that could not be read; the rest of each one's range is lost.
    pub(crate) damaged_at: Vec<u64>,
}

/// Reads a run. Without `collect` only the counts are right.
///
/// If pages of the segment turn out to be lost, results from their zeros are discarded: each range is read again up to the first
/// record that touches a lost page.
pub(crate) fn read(run: &Run, range: TimeRange, filters: &QueryFilter, collect: bool) -> RunMatches {
    let mut blocks: Vec<_> = run.ranges.iter().map(|range| run.segment.medium.read(range.clone())).collect();
    let mut found = read_blocks(run, &blocks, range, filters, collect);
    let mut damaged_at = Vec::new();
    while run.segment.medium.has_lost() && cut_at_lost_pages(&mut blocks, &mut damaged_at) {
        found = read_blocks(run, &blocks, range, filters, collect);
    }
    found.damaged_at.append(&mut damaged_at);
    if !found.matches.is_empty() {
        found.blocks = blocks;
    }
    found
}

/// Ends each block before its first record that touches a lost page; false if there is none.
fn cut_at_lost_pages(blocks: &mut Vec<SegmentBlock>, damaged_at: &mut Vec<u64>) -> bool {
    let before = damaged_at.len();
    for block in blocks.iter_mut() {
        let Some(lost) = block.first_lost() else { continue };
        let whole = block.part(block.begin()..lost);
        let end = whole.records().last().map_or(block.begin(), |record| record.end());
        *block = block.part(block.begin()..end);
        damaged_at.push(end);
    }
    blocks.retain(|block| !block.is_empty());
    damaged_at.len() > before
}

fn read_blocks(
    run: &Run,
    blocks: &[SegmentBlock],
    range: TimeRange,
    filters: &QueryFilter,
    collect: bool,
) -> RunMatches {
    let mut found = RunMatches::default();
    let wide = if run.links { fragments::reach(range) } else { range };
    let mut reader =
        RunReader { run, range, wide, filters, collect, scratch: filters.scratch(), found: &mut found };
    let mut offsets: [Vec<usize>; LANES] = Default::default();
    for (number, blocks) in (0u32..).step_by(LANES).zip(blocks.chunks(LANES)) {
        reader.walk(blocks, &mut offsets);
        for ((number, block), offsets) in (number..).zip(blocks).zip(&offsets) {
            reader.judge(number, block, offsets);
        }
    }
    if !found.matches.is_sorted_by_key(|found| found.at) {
        found.matches.sort_by_key(|found| found.at); // stable: positions ascend already
    }
    found
}

/// Blocks that are walked over side by side. Where the next record begins is known only once the header before it has
/// come from memory; so that these waits overlap, several chains of headers are followed at once.
const LANES: usize = 16;
/// Bytes after a record's beginning that a filter is most likely to read next, after its first cache line.
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
    /// Finds where in each of at most [`LANES`] blocks the records begin, and has their first bytes fetched.
    fn walk(&mut self, blocks: &[SegmentBlock], offsets: &mut [Vec<usize>; LANES]) {
        let mut lanes: [(&[u8], usize); LANES] = [(&[], 0); LANES];
        for ((bytes, _), block) in lanes.iter_mut().zip(blocks) {
            *bytes = block;
        }
        offsets.iter_mut().for_each(Vec::clear);
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for (lane, ((block, at), offsets)) in lanes.iter_mut().zip(offsets.iter_mut()).enumerate() {
                if *at >= block.len() {
                    continue;
                }
                let header = block.get(*at..).and_then(RecordHeader::read);
                let next =
                    header.filter(|header| header.caplen <= CAPLEN_MAX).map(|h| *at + h.record_bytes());
                let Some(next) = next.filter(|next| *next <= block.len()) else {
                    self.found.damaged_at.push(blocks[lane].begin() + *at as u64);
                    *at = block.len();
                    continue;
                };
                offsets.push(*at);
                *at = next;
                prefetch(block, next);
                prefetch(block, next + LIKELY_BYTES);
                goes_on = true;
            }
        }
    }

    /// Puts the records that begin at these offsets of a block through time check and filter.
    fn judge(&mut self, number: u32, block: &SegmentBlock, offsets: &[usize]) {
        let (begin, bytes): (_, &[u8]) = (block.begin(), block);
        let link_type = self.run.segment.link_type;
        let is_plain = self.run.segment.is_plain();
        self.found.judged += offsets.len() as u64;
        for &offset in offsets {
            let record = &bytes[offset..];
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
                self.found.matches.push(Match { at, offset: begin + offset as u64, block: number, later });
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
