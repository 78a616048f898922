//! Last stage of an extraction: reassembles, deduplicates, decapsulates, enforces limits, counts, and writes to the sink.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::RECORD_HEADER_BYTES;
use netrewind_store::{Record, SegmentBlock, Timestamp};

use crate::answer::completeness::ReachedLimit;
use crate::answer::control::{Control, Progress, is_over};
use crate::flows::ChosenPackets;
use crate::memory::MemoryAccount;
use crate::query::DedupWindow;
use crate::query::{AnswerLimits, Query};
use crate::read::matches::RunMatches;
use crate::read::merge::Emit;
use crate::read::place::Streak;
use crate::read::run_queue::RunQueue;
use crate::sink::{AnswerPacket, AnswerRecords, Sink, Wants};
use crate::store::segment::Segment;
use crate::transform::decapsulate::{Decapsulator, InnerInterfaces};
use crate::transform::dedup::Dedup;
use crate::transform::reassembly::{OutputPacket, Reassembler};
use crate::{ExtractError, Unreadable};

/// Number of packets between two checks for cancellation.
const PACKETS_BETWEEN_QUESTIONS: u64 = 1024;
/// Bytes of records that are gathered before they are given to the sink, unless a single streak has more: a streak lies
/// within a run.
const GATHERED_BYTES_MAX: usize = 512 << 10;

/// Form in which packets are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerForm {
    /// Needs of the sink.
    pub(crate) wants: Wants,
    /// Limits of the answer.
    pub(crate) limits: AnswerLimits,
    /// True if packets are taken out of their tunnels.
    pub(crate) decapsulate: bool,
    /// Window within which a packet is given only once.
    pub(crate) dedup: Option<DedupWindow>,
}

impl AnswerForm {
    /// Form that a query asks for.
    pub(crate) fn of(query: &Query, wants: Wants) -> Self {
        Self { wants, limits: query.limits, decapsulate: query.decapsulate, dedup: query.dedup }
    }

    /// True if the number of packets is enough. Of fragments, and of duplicates, it is known only once they have been read.
    pub(super) fn only_counts(&self) -> bool {
        !self.wants.packets && !self.limits.are_set() && self.dedup.is_none() && !self.decapsulate
    }
}

/// Passes packets on to the sink, within the limits.
pub(super) struct Output<'a, 'h> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) wants: Wants,
    pub(super) only_counts: bool,
    pub(super) limits: AnswerLimits,
    pub(super) limit_reached: Option<ReachedLimit>,
    pub(super) captured_bytes: u64,
    pub(super) reassembler: Option<Reassembler>,
    pub(super) dedup: Option<Dedup>,
    pub(super) chosen: Option<ChosenPackets<'a>>,
    pub(super) decapsulator: Option<Decapsulator>,
    pub(super) control: &'a RefCell<&'h mut dyn Control>,
    pub(super) progress: Progress,
    /// Places that could be read when they were filtered, but not when they were written.
    pub(super) lost: Vec<Unreadable>,
    /// Copy of the records that go to the sink together.
    pub(super) gathered: Vec<u8>,
}

impl<'a, 'h> Output<'a, 'h> {
    /// Output of all packets in this form.
    pub(super) fn new(
        sink: &'a mut dyn Sink,
        form: AnswerForm,
        ports: &TunnelPorts,
        inner_interfaces: InnerInterfaces,
        control: &'a RefCell<&'h mut dyn Control>,
        account: &MemoryAccount,
    ) -> Self {
        let AnswerForm { wants, limits, decapsulate, dedup } = form;
        Self {
            sink,
            wants,
            only_counts: false,
            limits,
            limit_reached: None,
            captured_bytes: 0,
            reassembler: decapsulate.then(|| Reassembler::new(ports).held_by(account)),
            dedup: dedup.map(|window| Dedup::new(window, ports).held_by(account)),
            chosen: None,
            decapsulator: decapsulate.then(|| Decapsulator::new(ports, inner_interfaces)),
            control,
            progress: Progress::default(),
            lost: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// True if packets go to the sink as they are stored.
    fn passes_on(&self) -> bool {
        let is_changed = self.reassembler.is_some() || self.decapsulator.is_some();
        let is_chosen = self.dedup.is_some() || self.chosen.is_some();
        self.wants.packets && !is_changed && !is_chosen
    }

    /// True if all of these packets are within the limits.
    fn allows(&self, packets: u64, captured_bytes: u64) -> bool {
        let AnswerLimits { packets: packets_max, bytes: bytes_max } = self.limits;
        packets_max.is_none_or(|limit| self.progress.packets.saturating_add(packets) <= limit)
            && bytes_max.is_none_or(|limit| self.captured_bytes.saturating_add(captured_bytes) <= limit)
    }

    /// Limit that a packet of this captured length would exceed.
    fn limit_passed_by(&self, caplen: u32) -> Option<ReachedLimit> {
        let AnswerLimits { packets, bytes } = self.limits;
        if packets.is_some_and(|limit| self.progress.packets >= limit) {
            return Some(ReachedLimit::Packets);
        }
        let with_it = self.captured_bytes + u64::from(caplen);
        bytes.is_some_and(|limit| with_it > limit).then_some(ReachedLimit::Bytes)
    }

    /// Reports progress, and checks for cancellation at intervals.
    fn go_on(&mut self, reached: Timestamp) -> Result<ControlFlow<()>, ExtractError> {
        self.progress.reached = Some(reached);
        let looked_at = self.progress.packets
            + self.dedup.as_ref().map_or(0, Dedup::dropped)
            + self.chosen.as_ref().map_or(0, |chosen| chosen.passed_over);
        if looked_at.is_multiple_of(PACKETS_BETWEEN_QUESTIONS) && is_over(&**self.control.borrow()) {
            return Err(ExtractError::Cancelled);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies the first of these streaks, as many as go to the sink together; returns their number. None where the
    /// first one exceeds a limit, or cannot be read any more.
    fn gather(&mut self, segment: &Segment, blocks: &[SegmentBlock], streaks: &[Streak]) -> usize {
        let records = |streak: &Streak| {
            let block = blocks.get(streak.block as usize)?;
            block.from(streak.offset).get(..streak.bytes as usize)
        };
        let (mut count, mut bytes, mut packets, mut captured_bytes) = (0, 0, 0, 0);
        for streak in streaks {
            let Some(records) = records(streak) else { break };
            bytes += records.len();
            packets += u64::from(streak.packets);
            captured_bytes += streak.captured_bytes();
            let has_room = count == 0 || bytes <= GATHERED_BYTES_MAX;
            if !has_room || !self.allows(packets, captured_bytes) {
                break;
            }
            count += 1;
        }
        self.gathered.clear();
        for records in streaks[..count].iter().filter_map(records) {
            self.gathered.extend_from_slice(records);
        }
        // Pages that are lost by now may have been lost before they were copied.
        if segment.medium.has_lost() {
            let is_lost = |streak: &Streak| segment.medium.first_lost(streak.offset..streak.end()).is_some();
            count = streaks[..count].iter().position(is_lost).unwrap_or(count);
            self.gathered.truncate(streaks[..count].iter().map(|streak| streak.bytes as usize).sum());
        }
        count
    }

    /// Writes the gathered records of these streaks.
    fn write_gathered(
        &mut self,
        segment: &Segment,
        streaks: &[Streak],
    ) -> Result<ControlFlow<()>, ExtractError> {
        let packets = streaks.iter().map(|streak| u64::from(streak.packets)).sum();
        let Segment { link_type, interface, name, .. } = *segment;
        self.sink.records(&AnswerRecords {
            bytes: &self.gathered,
            packets,
            link_type,
            interface,
            segment: name,
        })?;
        let before = self.progress.packets;
        self.progress.packets += packets;
        self.progress.bytes += streaks.iter().map(|streak| streak.wire_bytes).sum::<u64>();
        self.captured_bytes += streaks.iter().map(Streak::captured_bytes).sum::<u64>();
        self.progress.reached = streaks.last().map(|streak| streak.last).or(self.progress.reached);
        let is_due = before / PACKETS_BETWEEN_QUESTIONS != self.progress.packets / PACKETS_BETWEEN_QUESTIONS;
        if is_due && is_over(&**self.control.borrow()) {
            return Err(ExtractError::Cancelled);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Writes the packets of a streak one by one.
    fn write_each(
        &mut self,
        segment: &Segment,
        block: &SegmentBlock,
        streak: &Streak,
    ) -> Result<ControlFlow<()>, ExtractError> {
        let mut written = 0;
        for record in streak.records(block) {
            if self.write_record(segment, block, &record)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            written += 1;
        }
        if written < streak.packets {
            self.note_lost(segment, streak.offset); // the way to the others is
        }
        Ok(ControlFlow::Continue(()))
    }

    fn write_record(
        &mut self,
        segment: &Segment,
        block: &SegmentBlock,
        record: &Record<'_>,
    ) -> Result<ControlFlow<()>, ExtractError> {
        let whole = block.part(record.offset..record.end());
        if !self.is_readable(segment, &whole) {
            return Ok(ControlFlow::Continue(()));
        }
        let Segment { link_type, interface, name, .. } = *segment;
        let Record { header, packet: bytes, .. } = *record;
        let stored = AnswerPacket { header, bytes, link_type, interface, segment: name };
        let passes = |reassembler: &mut Reassembler| reassembler.lets_pass(&stored);
        if self.reassembler.as_mut().is_none_or(passes) {
            let next = self.write(stored, header.len.into());
            self.is_readable(segment, &whole); // a page lost while it was written is reported
            return next;
        }
        if let Some(reassembler) = &mut self.reassembler {
            let packet = whole.part(record.offset + RECORD_HEADER_BYTES as u64..whole.end());
            reassembler.take(OutputPacket::stored(&stored, packet));
        }
        self.write_ready()
    }

    /// Writes the packets that can no longer change, now that no packet before this time follows.
    pub(super) fn advance(&mut self, now: Timestamp) -> Result<ControlFlow<()>, ExtractError> {
        if let Some(reassembler) = &mut self.reassembler {
            reassembler.advance(now);
        }
        self.write_ready()
    }

    /// Writes the packets still waiting: no more will come.
    pub(super) fn write_rest(&mut self) -> Result<ControlFlow<()>, ExtractError> {
        if self.limit_reached.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(reassembler) = &mut self.reassembler {
            reassembler.end();
        }
        self.write_ready()
    }

    fn write_ready(&mut self) -> Result<ControlFlow<()>, ExtractError> {
        while let Some(item) = self.reassembler.as_mut().and_then(Reassembler::next) {
            if self.write(item.packet(), item.wire_bytes)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Writes a packet, if it is not a duplicate and is selected. `wire_bytes`: bytes on the wire that it came in.
    fn write(&mut self, packet: AnswerPacket<'_>, wire_bytes: u64) -> Result<ControlFlow<()>, ExtractError> {
        let AnswerPacket { header, bytes, link_type, .. } = packet;
        let at = header.timestamp();
        let as_stored = ViewBytes { link_type, bytes, len: header.len };
        if self.dedup.as_mut().is_some_and(|dedup| dedup.is_duplicate(at, as_stored)) {
            return self.go_on(at);
        }
        if self.chosen.as_mut().is_some_and(|chosen| !chosen.has(&packet)) {
            return self.go_on(at);
        }
        let packet = match &mut self.decapsulator {
            Some(decapsulator) => decapsulator.decapsulate(packet),
            None => packet,
        };
        let caplen = packet.header.caplen;
        if self.limits.are_set() {
            self.limit_reached = self.limit_passed_by(caplen);
            if self.limit_reached.is_some() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.wants.packets {
            self.sink.packet(&packet)?;
        }
        self.progress.packets += 1;
        self.progress.bytes += wire_bytes;
        self.captured_bytes += u64::from(caplen);
        self.go_on(at)
    }

    /// True if a record can be read at this moment; otherwise its place is noted.
    fn is_readable(&mut self, segment: &Segment, record: &SegmentBlock) -> bool {
        record.touch();
        let is_lost = record.first_lost().is_some();
        if is_lost {
            self.note_lost(segment, record.begin());
        }
        !is_lost
    }

    fn note_lost(&mut self, segment: &Segment, offset: u64) {
        if self.lost.last().is_none_or(|place| place.segment != segment.name) {
            self.lost.push(segment.unreadable_at(offset));
        }
    }
}

impl Emit for Output<'_, '_> {
    fn emit(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &[SegmentBlock],
        mut streaks: &[Streak],
    ) -> Result<ControlFlow<()>, ExtractError> {
        let passes_on = self.passes_on();
        while let [first, others @ ..] = streaks {
            let count = if passes_on { self.gather(segment, blocks, streaks) } else { 0 };
            let next = match (count, blocks.get(first.block as usize)) {
                (0, Some(block)) => self.write_each(segment, block, first)?,
                (0, None) => ControlFlow::Continue(()),
                _ => self.write_gathered(segment, &streaks[..count])?,
            };
            if next.is_break() {
                return Ok(next);
            }
            streaks = if count == 0 { others } else { &streaks[count..] };
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pause(&mut self, run_queue: &RunQueue<'_>, found: &RunMatches) -> Result<(), ExtractError> {
        if self.only_counts {
            self.progress.packets += found.packets;
            self.progress.bytes += found.bytes;
        }
        self.progress.segments_done = run_queue.report.segments_planned;
        let mut control = self.control.borrow_mut();
        if is_over(&**control) {
            return Err(ExtractError::Cancelled);
        }
        control.progress(&self.progress);
        Ok(())
    }
}
