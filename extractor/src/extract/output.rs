//! Last stage of an extraction: reassembles, deduplicates, decapsulates, enforces limits, counts, and writes to the sink.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_packet::ViewBytes;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::{RECORD_HEADER_BYTES, RecordHeader};
use netrewind_store::{SegmentBlock, Timestamp};

use crate::answer::completeness::ReachedLimit;
use crate::answer::control::{Control, Progress, is_over};
use crate::flows::ChosenPackets;
use crate::memory::MemoryAccount;
use crate::query::DedupWindow;
use crate::query::{AnswerLimits, Query};
use crate::read::merge::Emit;
use crate::read::place::Match;
use crate::read::reader::RunMatches;
use crate::read::run_queue::RunQueue;
use crate::sink::{AnswerPacket, Sink, Wants};
use crate::store::segment::Segment;
use crate::transform::decapsulate::{Decapsulator, InnerInterfaces};
use crate::transform::dedup::Dedup;
use crate::transform::reassembly::{OutputPacket, Reassembler};
use crate::{ExtractError, Unreadable};

/// Number of packets between two checks for cancellation.
const PACKETS_BETWEEN_QUESTIONS: u64 = 1024;

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
        }
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
        if is_lost && self.lost.last().is_none_or(|place| place.segment != segment.name) {
            self.lost.push(segment.unreadable_at(record.begin()));
        }
        !is_lost
    }
}

impl Emit for Output<'_, '_> {
    fn emit(
        &mut self,
        segment: &Arc<Segment>,
        block: &SegmentBlock,
        found: Match,
    ) -> Result<ControlFlow<()>, ExtractError> {
        let record = block.from(found.offset);
        // The reading has seen the whole record.
        let Some(header) = RecordHeader::read(record) else { return Ok(ControlFlow::Continue(())) };
        let whole = block.part(found.offset..found.offset + header.record_bytes() as u64);
        let Some(bytes) = whole.get(RECORD_HEADER_BYTES..header.record_bytes()) else {
            return Ok(ControlFlow::Continue(()));
        };
        if !self.is_readable(segment, &whole) {
            return Ok(ControlFlow::Continue(()));
        }
        let Segment { link_type, interface, name, .. } = **segment;
        let stored = AnswerPacket { header, bytes, link_type, interface, segment: name };
        let passes = |reassembler: &mut Reassembler| reassembler.lets_pass(&stored);
        if self.reassembler.as_mut().is_none_or(passes) {
            let next = self.write(stored, header.len.into());
            self.is_readable(segment, &whole); // a page lost while it was written is reported
            return next;
        }
        if let Some(reassembler) = &mut self.reassembler {
            let packet = whole.part(found.offset + RECORD_HEADER_BYTES as u64..whole.end());
            reassembler.take(OutputPacket::stored(&stored, packet));
        }
        self.write_ready()
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
