//! Parts of an answer whose packets only extraction can determine: duplicates are left out across segments and lanes, and
//! fragments depend on the first of their packet.
//!
//! Labels, round trips and the like are here those of the answer's packets.

use std::collections::HashMap;

use netrewind_flows::observed::{IndexFacts, PartOrigin};
use netrewind_flows::part::Parts;
use netrewind_flows::series::SeriesBuilder;
use netrewind_flows::template_facts::TemplateFacts;
use netrewind_index::{Builder, Index, IndexError};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::{Record, SegmentName, Timestamp};

use super::gathered::Gathered;
use super::pipeline::Take;
use super::request::Gathering;
use crate::ExtractError;
use crate::answer::error::SinkError;
use crate::memory::{Holding, MemoryAccount};
use crate::sink::{AnswerPacket, Sink};
use crate::store::live_index::new_builder;

/// Packets that parts are made of at a time: as many flows as an index has, at most.
const PACKETS_MAX: u64 = 4 << 20;
/// Segments that these lie in, each with tables of some megabytes.
const SEGMENTS_MAX: usize = 32;

/// Bytes of a flow that is counted and observed.
const COLLECTED_FLOW_BYTES: u64 = 400;
/// Number of packets between two checks for memory.
const PACKETS_BETWEEN_QUESTIONS: u64 = 4096;

/// The packets of a segment that are in the answer.
struct Collected {
    builder: Builder,
    /// Offset of the next record, if these were a segment.
    end: u64,
    first: Timestamp,
}

/// Makes parts of an answer's packets.
pub(super) struct Collector<'q, 't, 'f> {
    gathering: Gathering<'q>,
    ports: &'q TunnelPorts,
    facts: TemplateFacts<'q>,
    take: &'t mut Take<'f>,
    open: HashMap<SegmentName, Collected>,
    packets: u64,
    series: SeriesBuilder,
    /// Error after which it takes no more packets.
    failure: Option<ExtractError>,
    /// The receiver wants no more.
    is_done: bool,
    /// Its share of the memory of all answers.
    holding: Option<Holding>,
}

impl<'q, 't, 'f> Collector<'q, 't, 'f> {
    pub(super) fn new(gathering: Gathering<'q>, ports: &'q TunnelPorts, take: &'t mut Take<'f>) -> Self {
        Self {
            gathering,
            ports,
            facts: TemplateFacts::new(gathering.encapsulations),
            take,
            open: HashMap::new(),
            packets: 0,
            series: gathering.series(),
            failure: None,
            is_done: false,
            holding: gathering.account.map(MemoryAccount::holding),
        }
    }

    /// Hands over the remaining parts after the last packet; or the error, if the answer broke off because of it.
    pub(super) fn end<T>(mut self, answer: Result<T, ExtractError>) -> Result<Option<T>, ExtractError> {
        match answer {
            Ok(answer) => {
                if !self.is_done {
                    self.hand_over(None)?;
                }
                Ok(Some(answer))
            }
            Err(ExtractError::ReaderGone) if self.is_done => Ok(None),
            Err(error) => Err(self.failure.unwrap_or(error)),
        }
    }

    /// Hands over the parts of all packets so far. Later ones begin at `horizon` or later.
    fn hand_over(&mut self, horizon: Option<Timestamp>) -> Result<(), ExtractError> {
        let mut collected: Vec<(SegmentName, Collected)> = self.open.drain().collect();
        collected.sort_by_key(|(name, collected)| (collected.first, name.lane, *name));
        self.packets = 0;
        let begin = collected.first().map(|(_, collected)| collected.first);
        let last = collected.len().saturating_sub(1);
        for (number, (name, collected)) in collected.into_iter().enumerate() {
            let wrong = |reason| ExtractError::Flows { segment: name, reason };
            let index = collected.builder.finish().map_err(|error| wrong(error.to_string()))?;
            let mut gathered = Gathered::nothing(&self.gathering);
            self.parts_of(&index, &mut gathered).map_err(|error| wrong(error.to_string()))?;
            if self.gathering.tracks {
                gathered.are_of(name);
            }
            std::mem::swap(&mut gathered.series, &mut self.series);
            self.series = self.gathering.series();
            let horizon = if number == last { horizon } else { begin };
            if (self.take)(gathered, horizon.map(Timestamp::ns)).is_break() {
                self.is_done = true;
                break;
            }
        }
        Ok(())
    }

    /// True if there is memory for what it has collected; when it has its turn, it hands that over earlier instead.
    fn has_memory(&mut self) -> bool {
        let Some(holding) = &mut self.holding else { return true };
        let flows: usize = self.open.values().map(|collected| collected.builder.flows()).sum();
        if holding.hold(flows as u64 * COLLECTED_FLOW_BYTES) {
            return true;
        }
        if self.gathering.account.is_some_and(MemoryAccount::is_short) {
            self.failure = Some(ExtractError::NoMemory);
            return false;
        }
        self.packets = PACKETS_MAX; // with the next one
        true
    }

    fn parts_of(&mut self, index: &[u8], gathered: &mut Gathered) -> Result<(), IndexError> {
        let index = Index::open(index)?;
        let facts = self.facts.of(index.templates()?);
        let Gathering { encapsulations, wanted, .. } = self.gathering;
        let mut parts = Parts::default();
        for item in index.flows() {
            let (_, flow) = item?;
            if let Some(facts) = facts.get(flow.template as usize) {
                parts.add_in_order(&flow, facts, encapsulations);
            }
        }
        gathered.parts = parts.finish(encapsulations);
        if !wanted.is_all() {
            gathered.parts.retain(|part| wanted.has(&part.key, encapsulations));
        }
        IndexFacts { index: &index, facts: &facts, only_whole: false }
            .add_to(&mut gathered.parts, PartOrigin::OfAny)
    }
}

impl Sink for Collector<'_, '_, '_> {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        let at = packet.header.timestamp();
        let is_full = !self.open.contains_key(&packet.segment) && self.open.len() >= SEGMENTS_MAX;
        if is_full || self.packets >= PACKETS_MAX {
            if let Err(error) = self.hand_over(Some(at)) {
                self.failure = Some(error);
            }
            if self.failure.is_some() || self.is_done {
                return Err(SinkError::ReaderGone);
            }
        }
        let collected = self.open.entry(packet.segment).or_insert_with(|| Collected {
            builder: new_builder(packet.link_type, self.ports),
            end: FILE_HEADER_BYTES as u64,
            first: at,
        });
        let record = Record { offset: collected.end, header: packet.header, packet: packet.bytes };
        collected.end = record.end();
        collected.builder.push(&record);
        self.packets += 1;
        if self.packets.is_multiple_of(PACKETS_BETWEEN_QUESTIONS) && !self.has_memory() {
            return Err(SinkError::ReaderGone);
        }
        self.series.add(at, 1, u64::from(packet.header.len));
        Ok(())
    }
}
