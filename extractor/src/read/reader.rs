//! Reading a run of a segment: every packet goes through the exact time check and the real filter.

use std::ops::Range;
use std::sync::Arc;

use netrewind_store::layout::{CAPLEN_MAX, RECORD_HEADER_BYTES};
use netrewind_store::{Record, RecordHeader, SegmentBlock, Timestamp};

use super::cached::CachedPlaces;
use super::matches::{LANES, RunMatches};
use super::place::{ACCEPTED, PacketOrder, Streak, put_in_order};
use super::side_by_side::SideBySide;
use super::whole::sum_up;
use crate::fragments::{self, FirstFragment, FirstVerdict, Later};
use crate::plan::query_filter::{LinkTypeVerdict, QueryFilter, Scratch};
use crate::query::TimeRange;
use crate::store::segment::Segment;
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

    /// Has the disk read ahead, or the archive.
    pub(crate) fn prefetch(&self) {
        if self.segment.medium.is_archived() {
            return self.segment.medium.will_fetch(&self.ranges);
        }
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

/// Reads a run. Without `collect` only the counts are right.
///
/// If pages of the segment turn out to be lost, results from their zeros are discarded: each range is read again up to the first
/// record that touches a lost page.
pub(crate) fn read(run: &Run, range: TimeRange, filters: &QueryFilter, collect: bool) -> RunMatches {
    let mut blocks = run.segment.medium.read_ranges(&run.ranges);
    let mut found = read_blocks(run, &blocks, range, filters, collect);
    let mut damaged_at = Vec::new();
    while run.segment.medium.has_lost() && cut_at_lost_pages(&mut blocks, &mut damaged_at) {
        found = read_blocks(run, &blocks, range, filters, collect);
    }
    found.damaged_at.append(&mut damaged_at);
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
    let (joined, numbers) = joined(blocks);
    let scratch = filters.scratch();
    let link_type = run.segment.link_type;
    let sole = filters.sole_program(link_type, run.segment.is_plain()).filter(|_| !run.links);
    let takes_all = !run.links && filters.link_type_verdict(link_type) == LinkTypeVerdict::Everything;
    let mut side_by_side = sole.and_then(|program| SideBySide::new(program, range, collect));
    let cached = sole.map_or(CachedPlaces::HEADERS, CachedPlaces::of);
    let mut reader = RunReader { run, range, wide, filters, cached, collect, scratch, found: &mut found };
    let mut offsets: [Vec<usize>; LANES] = Default::default();
    for (blocks, numbers) in blocks.chunks(LANES).zip(numbers.chunks(LANES)) {
        match &mut side_by_side {
            _ if takes_all => reader.take_all(blocks, numbers, &mut offsets),
            Some(judge) => judge.judge(blocks, numbers, reader.found),
            None => reader.examine(blocks, numbers, &mut offsets),
        }
    }
    put_in_order(&mut found.streaks, &joined);
    if !found.streaks.is_empty() {
        found.blocks = joined;
    }
    found
}

/// The blocks, neighbours as one, so that packets of several can be given out together; and of each the number of the one that
/// it became part of.
fn joined(blocks: &[SegmentBlock]) -> (Vec<SegmentBlock>, Vec<u32>) {
    let mut joined: Vec<SegmentBlock> = Vec::new();
    let mut numbers = Vec::with_capacity(blocks.len());
    for block in blocks {
        match joined.last_mut().and_then(|last| Some((last.joined(block)?, last))) {
            Some((both, last)) => *last = both,
            None => joined.push(block.clone()),
        }
        numbers.push(u32::try_from(joined.len() - 1).unwrap_or(u32::MAX));
    }
    (joined, numbers)
}

struct RunReader<'a> {
    run: &'a Run,
    range: TimeRange,
    wide: TimeRange,
    filters: &'a QueryFilter,
    cached: CachedPlaces,
    collect: bool,
    scratch: Scratch,
    found: &'a mut RunMatches,
}

impl RunReader<'_> {
    /// Takes all packets of at most [`LANES`] blocks, which the filter accepts unseen. A block that does not lie within the range,
    /// is out of order, or damaged is looked at packet by packet.
    fn take_all(&mut self, blocks: &[SegmentBlock], numbers: &[u32], offsets: &mut [Vec<usize>; LANES]) {
        for (lane, sum) in sum_up(blocks).into_iter().enumerate().take(blocks.len()) {
            match sum.filter(|sum| self.range.contains(sum.at) && self.range.contains(sum.last)) {
                Some(sum) => {
                    self.found.judged += u64::from(sum.packets);
                    self.take(Streak { block: numbers[lane], ..sum });
                }
                None => self.examine(&blocks[lane..=lane], &numbers[lane..=lane], offsets),
            }
        }
    }

    /// Puts every record of at most [`LANES`] blocks through time check and filter.
    fn examine(&mut self, blocks: &[SegmentBlock], numbers: &[u32], offsets: &mut [Vec<usize>; LANES]) {
        self.walk(blocks, offsets);
        for ((number, block), offsets) in numbers.iter().zip(blocks).zip(&*offsets) {
            self.judge(*number, block, offsets);
        }
    }

    /// Takes accepted packets into the result.
    #[inline]
    fn take(&mut self, streak: Streak) {
        if streak.later == ACCEPTED {
            self.found.packets += u64::from(streak.packets);
            self.found.bytes += streak.wire_bytes;
            if !self.collect {
                return;
            }
        }
        if !self.found.streaks.last_mut().is_some_and(|last| last.goes_on_with(&streak)) {
            self.found.streaks.push(streak);
        }
    }

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
                self.cached.fetch(block, next);
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
                false => (self.filters.accept(packet, at, is_plain, &mut self.scratch), ACCEPTED),
            };
            if self.range.contains(at) && (is_accepted || later != ACCEPTED) {
                let record = Record { offset: begin + offset as u64, header, packet: bytes };
                self.take(Streak { later, ..Streak::of(&record, number) });
            }
        }
    }

    /// Judges a packet; returns also its number among the later fragments. Notes the fragments that it is.
    fn judge_linked(&mut self, packet: ViewBytes<'_>, at: Timestamp) -> (bool, u32) {
        let (peeled, untagged) = self.filters.take_apart(packet, &mut self.scratch);
        let is_accepted = self.filters.accept_peeled(peeled, at, untagged);
        if !peeled.is_fragment() {
            return (is_accepted, ACCEPTED);
        }
        let innermost = peeled.innermost_view();
        let asks_innermost = self.filters.ask_innermost();
        let later = peeled.fragments().find(|fragment| fragment.is_later()).map(|fragment| fragment.series);
        let later = later.filter(|_| self.filters.may_accept_linked(peeled, at, untagged));
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
