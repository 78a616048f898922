//! Parts of one segment: from its index if that suffices, else from its packets.
//!
//! Packets that have to be read are counted by the indexer itself: what the filter accepts of them gets an index in memory,
//! whose flows are the parts. So both ways have the same flows, down to the limits of an index.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::{LabelLookup, Wanted};
use netrewind_flows::observed::{IndexFacts, PartOrigin};
use netrewind_flows::part::{FlowPart, Parts};
use netrewind_flows::template_facts::{TemplateFacts, TemplateTraits};
use netrewind_index::{Builder, Flow, FlowShare, Index, IndexError, IndexLimits, Template};
use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::{LinkType, Map, Record};

use super::gathered::Gathered;
use super::pieces::{Emit, PartsBeside, Pieces};
use super::request::Gathering;
use super::source::FlowSource;
use crate::answer::completeness::RejectedIndex;
use crate::fragments::Relevant;
use crate::plan::divide::Division;
use crate::plan::flow_judge::PlanError;
use crate::plan::planner::Planner;
use crate::plan::query_filter::LinkTypeVerdict;
use crate::plan::runs::PlannedRun;
use crate::read::place::PacketOrder;
use crate::read::reader::{Run, read};
use crate::store::live_index::new_builder;
use crate::store::segment::{Opening, Segment, lost_part_of};
use crate::{ExtractError, Span, Unreadable};

/// Number of flows between two checks for cancellation.
const FLOWS_BETWEEN_QUESTIONS: u32 = 1024;

/// Bytes of a flow whose packets are counted.
const COUNTED_FLOW_BYTES: u64 = 200;

/// Gathers the parts of segments, one after the other.
pub(super) struct Gatherer<'q> {
    source: FlowSource<'q>,
    gathering: Gathering<'q>,
    planner: Planner<'q>,
    facts: TemplateFacts<'q>,
    /// Kept from segment to segment for its memory.
    builder: Option<(LinkType, Builder)>,
    stop: &'q (dyn Fn() -> bool + Sync),
}

/// Flow key and template number, which identify a flow in every index.
type FlowIdentity = (u32, Option<IpAddr>, Option<IpAddr>, u16, u16);

impl<'q> Gatherer<'q> {
    pub(super) fn new(
        source: FlowSource<'q>,
        gathering: Gathering<'q>,
        stop: &'q (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            source,
            gathering,
            planner: Planner::new(source.range, source.filters),
            facts: TemplateFacts::new(gathering.encapsulations),
            builder: None,
            stop,
        }
    }

    /// The parts of a segment: if pages turn out to be lost, those before the first lost one. Of a large one `emit` gets a piece
    /// after the other, and only the last is returned.
    pub(super) fn gather(
        &mut self,
        segment: Arc<Segment>,
        emit: &mut Emit<'_>,
    ) -> Result<Gathered, ExtractError> {
        let (name, tracks) = (segment.name, self.gathering.tracks);
        let has_emitted = Cell::new(false);
        let emit: &mut Emit<'_> = &mut |mut piece| {
            has_emitted.set(true);
            if tracks {
                piece.are_of(name);
            }
            emit(piece)
        };
        let mut gathered = match self.opened(segment)? {
            Err(nothing) => nothing,
            Ok(mut segment) => {
                let mut gathered = self.gather_parts(Arc::clone(&segment), emit, &has_emitted)?;
                while let Some(front) = segment.before_lost_pages() {
                    let lost = segment.unreadable_at(front.medium.bytes());
                    if has_emitted.get() {
                        gathered.unreadable.push(lost);
                        break;
                    }
                    segment = Arc::new(front);
                    gathered = self.gather_parts(Arc::clone(&segment), emit, &has_emitted)?;
                    gathered.unreadable = vec![lost];
                }
                gathered
            }
        };
        if tracks {
            gathered.are_of(name);
        }
        Ok(gathered)
    }

    /// Reopens a released segment; if that fails, returns parts with the reason.
    fn opened(&self, segment: Arc<Segment>) -> Result<Result<Arc<Segment>, Gathered>, ExtractError> {
        if !segment.is_released() {
            return Ok(Ok(segment));
        }
        let mut gathered = Gathered::nothing(&self.gathering);
        gathered.keys = Some(Vec::new());
        if segment.is_barren && self.gathering.sought.is_none() {
            return Ok(Err(gathered));
        }
        match self.source.segment_cache.reopened(&segment, self.source.use_index) {
            Opening::Ready(reopened, _) => return Ok(Ok(Arc::new(*reopened))),
            Opening::Unreadable(place) => gathered.unreadable.push(place),
            Opening::Nothing => {
                gathered.gone = segment.bounds.map(|(from, last)| Span { from, to: last.plus_ns(1) });
            }
        }
        Ok(Err(gathered))
    }

    fn gather_parts(
        &mut self,
        segment: Arc<Segment>,
        emit: &mut Emit<'_>,
        has_emitted: &Cell<bool>,
    ) -> Result<Gathered, ExtractError> {
        let mut gathered = Gathered::nothing(&self.gathering);
        if self.source.filters.link_type_verdict(segment.link_type) == LinkTypeVerdict::Nothing {
            gathered.keys = Some(Vec::new());
            return Ok(gathered);
        }
        let stop = self.stop;
        let live_indexes = match self.source.use_index && segment.index.is_none() {
            true => {
                self.source.live_indexes.index_of(&segment, || self.new_builder(segment.link_type), stop)?
            }
            false => None,
        };
        if let Some(index) = segment.index.as_deref().or(live_indexes.as_deref()) {
            let done = match self.gathering.sought {
                Some(sought) => self.seek(index, sought, &mut gathered),
                None => self.by_index(&segment, index, &mut gathered, emit),
            };
            let done = done.and_then(|()| Ok(lost_part_of(index)?));
            match done {
                Ok(()) => return Ok(gathered),
                Err(GatherFailure::Index(reason)) if has_emitted.get() => {
                    let reason = format!("its index got lost while it was read: {reason}");
                    gathered.unreadable.push(Unreadable { segment: segment.name, offset: 0, reason });
                    return Ok(gathered);
                }
                Err(GatherFailure::Index(reason)) => {
                    gathered = Gathered::nothing(&self.gathering);
                    let segment = segment.name;
                    gathered.rejected.push(RejectedIndex { segment, reason, is_unreadable: false });
                }
                Err(GatherFailure::Extract(error)) => return Err(error),
            }
        }
        if self.gathering.sought.is_some() {
            return Ok(gathered); // without keys: nothing is known of this segment's
        }
        let walk = self.source.scans.of(&segment, stop).ok_or(ExtractError::Cancelled)?;
        gathered.unreadable.extend(segment.damage(&walk));
        let runs = self.planner.runs_of_walk(walk.granules_from(0), segment.link_type);
        let mut parts = Parts::default();
        // An index that was built in memory is never damaged.
        let by_packets = || {
            self.by_packets(&segment, runs, (None, FlowShare::ALL), &mut parts, &mut gathered)?;
            self.finish(parts, &mut gathered);
            self.observe(&segment, walk.end, &mut gathered)
        };
        by_packets().map_err(|failure| match failure {
            GatherFailure::Index(reason) => flows_error(&segment, reason),
            GatherFailure::Extract(error) => error,
        })?;
        Ok(gathered)
    }

    fn by_index(
        &mut self,
        segment: &Arc<Segment>,
        index: &Index<Map>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        let covered = self.source.range.covers(index.first(), index.last());
        let verdict = self.source.filters.link_type_verdict(index.link_type());
        if covered && verdict == LinkTypeVerdict::Everything {
            return self.every_flow(index, gathered, emit);
        }
        index.matches_segment(&segment.medium)?;
        // Flows that the index could not distinguish cannot be distinguished here either.
        if !covered || is_full(index)? {
            let runs = self.planner.runs(index, &Relevant::default(), self.stop)?;
            return self.by_packets_alone(segment, index, runs, gathered, emit);
        }
        self.by_division(segment, index, gathered, emit)
    }

    /// The parts of all flows of an index, or of those with a wanted key.
    fn every_flow(
        &mut self,
        index: &Index<Map>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        let facts = self.facts.of(index.templates()?);
        index.seconds()?.iter().for_each(|second| gathered.series.add_second(second));
        let told = self.told(index, &facts);
        if let Wanted::Keys(keys) = self.gathering.wanted
            && let Some(numbers) = keys.flows_in(index)?
        {
            let pieces = Pieces::new(self.gathering, told, self.source.piece_parts, false)?;
            return self.those_flows(index, &numbers, pieces, gathered, emit);
        }
        index.bytes().read_around();
        let pieces = Pieces::new(self.gathering, told, self.source.piece_parts, true)?;
        self.in_pieces(index.flows(), 0, pieces, gathered, emit)
    }

    /// The parts of the flows that the index accounts for, and of the packets of the others.
    fn by_division(
        &mut self,
        segment: &Arc<Segment>,
        index: &Index<Map>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        let (mut untold, mut untold_numbers, mut numbers) = (HashSet::new(), Vec::new(), Vec::new());
        let division = self.planner.divide(
            index,
            self.stop,
            &mut |number, flow| {
                numbers.push(number);
                gathered.series.add_flow(flow);
                if numbers.len().is_multiple_of(FLOWS_BETWEEN_QUESTIONS as usize) {
                    gathered.hold((numbers.capacity() * size_of::<u32>()) as u64);
                }
            },
            &mut |number, flow| {
                untold_numbers.push(number);
                untold.insert(known(flow, flow.template));
            },
        )?;
        let mut beside = PartsBeside::default();
        match division {
            Division::Told => {}
            Division::Partly(runs) => {
                let of_index = (0..).zip(index.templates()?).map(|(number, template)| (template, number));
                let untold = Untold { flows: untold, templates: of_index.collect() };
                let mut parts = Parts::default();
                self.by_packets(segment, runs, (Some(&untold), FlowShare::ALL), &mut parts, gathered)?;
                let parts = parts.finish(self.gathering.encapsulations);
                beside.extend(parts.into_iter().map(|part| (part.key, part)));
            }
            Division::Untold(runs) => {
                gathered.series = self.gathering.series();
                return self.by_packets_alone(segment, index, runs, gathered, emit);
            }
        }
        if segment.medium.has_lost() {
            return Ok(()); // it is gathered again, up to the lost page
        }
        numbers.sort_unstable();
        let facts = self.facts.of(index.templates()?);
        let pieces = Pieces::new(self.gathering, self.told(index, &facts), self.source.piece_parts, false)?;
        let pieces = pieces.with_beside(beside, untold_numbers);
        self.those_flows(index, &numbers, pieces, gathered, emit)
    }

    /// The parts of the packets of these runs, and what the index has observed of their conversations. Of many flows, one share is
    /// counted after the other.
    fn by_packets_alone(
        &mut self,
        segment: &Arc<Segment>,
        index: &Index<Map>,
        runs: Vec<PlannedRun>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        // A full index has counted some flows together, which shares would not.
        let shares = if is_full(index)? {
            1
        } else {
            index.flow_count().div_ceil(u32::try_from(self.source.counted_flows).unwrap_or(u32::MAX).max(1))
        };
        let facts = self.facts.of(index.templates()?);
        for number in 0..shares.max(1) {
            let share = FlowShare { number, of: shares };
            let mut parts = Parts::default();
            self.by_packets(segment, runs.clone(), (None, share), &mut parts, gathered)?;
            if number == 0 && segment.medium.has_lost() {
                return Ok(()); // it is gathered again, up to the lost page
            }
            let is_last = number + 1 >= shares;
            let mut piece = Gathered::piece(&self.gathering);
            let into = if is_last { &mut *gathered } else { &mut piece };
            self.finish(parts, into);
            self.told(index, &facts).add_to(&mut into.parts, PartOrigin::OfAny)?;
            into.hold_parts();
            if !is_last && !emit(piece) {
                return Err(GatherFailure::Extract(ExtractError::Cancelled));
            }
        }
        Ok(())
    }

    /// The parts of flows with these numbers, which ascend.
    fn those_flows(
        &self,
        index: &Index<Map>,
        numbers: &[u32],
        pieces: Pieces<'q, '_, Map>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        let mut cursor = index.cursor();
        let flows = numbers.iter().map(|&number| Ok((number, cursor.flow(number)?)));
        self.in_pieces(flows, size_of_val(numbers) as u64, pieces, gathered, emit)
    }

    /// The parts of flows in the order of their numbers, which take some bytes: hands over all pieces but the last.
    fn in_pieces<B: AsRef<[u8]>>(
        &self,
        flows: impl Iterator<Item = Result<(u32, Flow), IndexError>>,
        bytes: u64,
        mut pieces: Pieces<'q, '_, B>,
        gathered: &mut Gathered,
        emit: &mut Emit<'_>,
    ) -> Result<(), GatherFailure> {
        let piece_flows = u32::try_from(self.source.piece_parts).unwrap_or(u32::MAX);
        let between = FLOWS_BETWEEN_QUESTIONS.min(piece_flows).max(1);
        for (seen, item) in (1u32..).zip(flows) {
            if seen.is_multiple_of(between) {
                gathered.hold(bytes + pieces.bytes());
                let is_wanted = pieces.settled()?.is_none_or(&mut *emit);
                if !is_wanted || (self.stop)() {
                    return Err(GatherFailure::Extract(ExtractError::Cancelled));
                }
            }
            let (number, flow) = item?;
            pieces.add(number, &flow);
        }
        gathered.parts = pieces.finish()?;
        gathered.hold_parts();
        Ok(())
    }

    fn told<'i, B>(&self, index: &'i Index<B>, facts: &'i [TemplateTraits]) -> IndexFacts<'i, B>
    where
        B: AsRef<[u8]>,
    {
        let verdict = self.source.filters.joined_link_type_verdict(index.link_type());
        IndexFacts { index, facts, only_whole: verdict != LinkTypeVerdict::Everything }
    }

    fn new_builder(&self, link_type: LinkType) -> Builder {
        new_builder(link_type, &self.source.filters.ports)
    }

    /// Observes the conversations of a segment that has no index, up to `end`, as its index would have.
    fn observe(&mut self, segment: &Segment, end: u64, gathered: &mut Gathered) -> Result<(), GatherFailure> {
        if gathered.parts.is_empty() {
            return Ok(());
        }
        let link_type = segment.link_type;
        let mut builder = self.new_builder(link_type);
        let mut seen = 0_u32;
        for piece in segment.medium.front(end).pieces(FILE_HEADER_BYTES as u64) {
            for record in piece.records() {
                seen += 1;
                if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && (self.stop)() {
                    return Err(GatherFailure::Extract(ExtractError::Cancelled));
                }
                builder.push(&record);
            }
        }
        let built = builder.finish().map_err(|error| flows_error(segment, error.to_string()));
        let index = Index::open(built.map_err(GatherFailure::Extract)?)?;
        let facts = self.facts.of(index.templates()?);
        Ok(self.told(&index, &facts).add_to(&mut gathered.parts, PartOrigin::OfAny)?)
    }

    /// The keys of the conversations that have a wanted label.
    fn seek<B: AsRef<[u8]>>(
        &mut self,
        index: &Index<B>,
        sought: &LabelLookup<'_>,
        gathered: &mut Gathered,
    ) -> Result<(), GatherFailure> {
        let facts = self.facts.of(index.templates()?);
        let keys = sought.keys_in(index, &facts)?;
        gathered.hold((keys.capacity() * size_of::<FlowKey>()) as u64);
        gathered.keys = Some(keys);
        Ok(())
    }

    /// The parts of the packets of these runs that the filter accepts; only of the flows that are `untold`, if they are given, and
    /// only of a share of the flows. What it takes to read counts with the first share.
    fn by_packets(
        &mut self,
        segment: &Arc<Segment>,
        runs: Vec<PlannedRun>,
        (untold, share): (Option<&Untold<'_>>, FlowShare),
        parts: &mut Parts,
        gathered: &mut Gathered,
    ) -> Result<(), GatherFailure> {
        let link_type = segment.link_type;
        let (_, builder) = match &mut self.builder {
            Some(kept) if kept.0 == link_type => kept,
            other => other.insert((
                link_type,
                new_builder(link_type, &self.source.filters.ports).without_observations(),
            )),
        };
        builder.reset();
        builder.count_share(share);
        let is_first = share.number == 0;
        let mut offset = FILE_HEADER_BYTES as u64;
        let mut runs = runs.into_iter().map(|run| run_of(segment, run)).peekable();
        while let Some(run) = runs.next() {
            if (self.stop)() {
                return Err(GatherFailure::Extract(ExtractError::Cancelled));
            }
            runs.peek().inspect(|next| next.prefetch());
            let read = read(&run, self.source.range, self.source.filters, true);
            if is_first {
                gathered.bytes_read += run.bytes();
                gathered.is_archived |= run.segment.medium.is_archived();
                gathered.packets_judged += read.judged;
                gathered.unreadable.extend(read.damaged_at.iter().map(|&at| segment.unreadable_at(at)));
            }
            for found in &read.streaks {
                for record in found.records(&read.blocks[found.block as usize]) {
                    let record = Record { offset, ..record };
                    offset = record.end();
                    builder.push(&record);
                    if untold.is_none() && is_first {
                        gathered.series.add(record.header.timestamp(), 1, u64::from(record.header.len));
                    }
                }
            }
            gathered.hold(parts.bytes() + builder.flows() as u64 * COUNTED_FLOW_BYTES);
        }
        let built = builder.finish_segment().map_err(|error| flows_error(segment, error.to_string()));
        let index = Index::open(built.map_err(GatherFailure::Extract)?)?;
        let facts = self.facts.of(index.templates()?);
        match untold {
            None => {
                for (seen, item) in (1u32..).zip(index.flows()) {
                    if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) {
                        gathered.hold(parts.bytes());
                        if (self.stop)() {
                            return Err(GatherFailure::Extract(ExtractError::Cancelled));
                        }
                    }
                    let (_, flow) = item?;
                    parts.add_in_order(&flow, &facts[flow.template as usize], self.gathering.encapsulations);
                }
                Ok(())
            }
            Some(untold) => {
                let templates = index.templates()?;
                for item in index.flows() {
                    let (_, flow) = item?;
                    let template =
                        templates.get(flow.template as usize).and_then(|t| untold.templates.get(t));
                    if template.is_some_and(|&number| untold.flows.contains(&known(&flow, number))) {
                        parts.add(&flow, &facts[flow.template as usize]);
                        gathered.series.add_flow(&flow);
                    }
                }
                Ok(())
            }
        }
    }

    fn finish(&self, parts: Parts, gathered: &mut Gathered) {
        let Gathering { encapsulations, wanted, .. } = self.gathering;
        gathered.parts = parts.finish(encapsulations);
        gathered.hold((gathered.parts.capacity() * size_of::<FlowPart>()) as u64);
        if !wanted.is_all() {
            gathered.parts.retain(|part| wanted.has(&part.key, encapsulations));
        }
    }
}

/// Flows for which the index does not know how many of their packets are in the answer.
struct Untold<'i> {
    flows: HashSet<FlowIdentity>,
    /// The index's numbers of its templates.
    templates: HashMap<&'i Template, u32>,
}

/// Reason why there are no parts.
enum GatherFailure {
    /// The index is damaged: gather without it.
    Index(String),
    Extract(ExtractError),
}

fn flows_error(segment: &Segment, reason: String) -> ExtractError {
    ExtractError::Flows { segment: segment.name, reason }
}

impl From<IndexError> for GatherFailure {
    fn from(error: IndexError) -> Self {
        Self::Index(error.to_string())
    }
}

impl From<PlanError> for GatherFailure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Index(error) => error.into(),
            PlanError::Cancelled => Self::Extract(ExtractError::Cancelled),
        }
    }
}

fn known(flow: &Flow, template: u32) -> FlowIdentity {
    (template, flow.source, flow.destination, flow.source_port, flow.destination_port)
}

/// True if the index has reached a limit and counts packets in flows without a key.
fn is_full(index: &Index<Map>) -> Result<bool, IndexError> {
    let limits = IndexLimits::default();
    let templates = index.templates()?.len();
    Ok(index.flow_count() >= limits.flows_max || templates >= limits.templates_max as usize)
}

fn run_of(segment: &Arc<Segment>, run: PlannedRun) -> Run {
    let offset = run.ranges.first().map_or(0, |range| range.start);
    let place = PacketOrder { at: run.first, lane: segment.name.lane, ordinal: segment.ordinal, offset };
    Run { segment: Arc::clone(segment), ranges: run.ranges, place, links: false }
}
