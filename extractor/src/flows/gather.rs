//! Parts of one segment: from its index if that suffices, else from its packets.
//!
//! Packets that have to be read are counted by the indexer itself: what the filter accepts of them gets an index in memory,
//! whose flows are the parts. So both ways have the same flows, down to the limits of an index.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use netrewind_flows::label_lookup::{LabelLookup, Wanted};
use netrewind_flows::observed::{IndexFacts, PartOrigin, PartPlace};
use netrewind_flows::part::{FlowPart, Parts};
use netrewind_flows::template_facts::{TemplateFacts, TemplateTraits};
use netrewind_index::{Builder, Flow, Index, IndexLimits, Template};
use netrewind_store::layout::FILE_HEADER_BYTES;
use netrewind_store::{LinkType, Map, Record, Records};

use super::gathered::Gathered;
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
use crate::{ExtractError, Span};

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

    /// The parts of a segment: if pages turn out to be lost, those before the first lost one.
    pub(super) fn gather(&mut self, segment: Arc<Segment>) -> Result<Gathered, ExtractError> {
        let name = segment.name;
        let mut gathered = match self.opened(segment)? {
            Err(nothing) => nothing,
            Ok(mut segment) => {
                let mut gathered = self.gather_parts(Arc::clone(&segment))?;
                while let Some(front) = segment.before_lost_pages() {
                    let lost = segment.unreadable_at(front.medium.bytes());
                    segment = Arc::new(front);
                    gathered = self.gather_parts(Arc::clone(&segment))?;
                    gathered.unreadable = vec![lost];
                }
                gathered
            }
        };
        if self.gathering.tracks {
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

    fn gather_parts(&mut self, segment: Arc<Segment>) -> Result<Gathered, ExtractError> {
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
                None => self.by_index(&segment, index, &mut gathered),
            };
            let done = done.and_then(|()| Ok(lost_part_of(index)?));
            match done {
                Ok(()) => return Ok(gathered),
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
            self.by_packets(&segment, runs, None, &mut parts, &mut gathered)?;
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
    ) -> Result<(), GatherFailure> {
        let mut parts = Parts::default();
        let stop = self.stop;
        let covered = self.source.range.covers(index.first(), index.last());
        let verdict = self.source.filters.link_type_verdict(index.link_type());
        let facts = self.facts.of(index.templates()?);
        let mut made = PartOrigin::OfAny;
        match verdict {
            LinkTypeVerdict::Everything if covered => {
                made = self.flows_of(index, &facts, &mut parts, gathered)?;
                index.seconds()?.iter().for_each(|second| gathered.series.add_second(second));
            }
            // Flows that the index could not distinguish cannot be distinguished here either.
            _ if !covered || is_full(index)? => {
                index.matches_segment(&segment.medium.read_all())?;
                let runs = self.planner.runs(index, &Relevant::default(), stop)?;
                self.by_packets(segment, runs, None, &mut parts, gathered)?;
            }
            _ => {
                index.matches_segment(&segment.medium.read_all())?;
                let (mut untold, mut numbers) = (HashSet::new(), RefCell::new(Vec::new()));
                let division = self.planner.divide(
                    index,
                    stop,
                    &mut |number, flow| {
                        numbers.borrow_mut().push(number);
                        parts.add(flow, &facts[flow.template as usize]);
                        gathered.series.add_flow(flow);
                        if numbers.borrow().len().is_multiple_of(FLOWS_BETWEEN_QUESTIONS as usize) {
                            gathered.hold(parts.bytes());
                        }
                    },
                    &mut |number, flow| {
                        numbers.borrow_mut().push(number);
                        untold.insert(known(flow, flow.template));
                    },
                )?;
                if !matches!(division, Division::Untold(_)) {
                    made = PartOrigin::Of(std::mem::take(numbers.get_mut()));
                }
                match division {
                    Division::Told => {}
                    Division::Partly(runs) => {
                        let numbers =
                            (0..).zip(index.templates()?).map(|(number, template)| (template, number));
                        let untold = Untold { flows: untold, templates: numbers.collect() };
                        self.by_packets(segment, runs, Some(&untold), &mut parts, gathered)?;
                    }
                    Division::Untold(runs) => {
                        parts = Parts::default();
                        gathered.series = self.gathering.series();
                        self.by_packets(segment, runs, None, &mut parts, gathered)?;
                    }
                }
            }
        }
        self.finish(parts, gathered);
        Ok(self.told(index, &facts).add_to(&mut gathered.parts, made)?)
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
        for (seen, record) in (1u32..).zip(Records::of_segment(&segment.medium.read_all())) {
            if record.end() > end {
                break;
            }
            if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) && (self.stop)() {
                return Err(GatherFailure::Extract(ExtractError::Cancelled));
            }
            builder.push(&record);
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
        gathered.keys = Some(sought.keys_in(index, &facts)?);
        Ok(())
    }

    /// The parts of the flows of an index that are wanted.
    fn flows_of(
        &self,
        index: &Index<Map>,
        facts: &[TemplateTraits],
        parts: &mut Parts,
        gathered: &mut Gathered,
    ) -> Result<PartOrigin, GatherFailure> {
        if let Wanted::Keys(keys) = self.gathering.wanted
            && let Some(flows) = keys.flows_in(index)?
        {
            let mut cursor = index.cursor();
            for &number in &flows {
                let flow = cursor.flow(number)?;
                // A flow names a template of its index: the index has checked that.
                if let Some(facts) = facts.get(flow.template as usize) {
                    parts.add(&flow, facts);
                }
            }
            return Ok(PartOrigin::Of(flows));
        }
        index.bytes().read_around();
        let places = self.all_flows(index, facts, parts, gathered)?;
        Ok(if self.gathering.wanted.is_all() { PartOrigin::InOrder(places) } else { PartOrigin::OfAny })
    }

    /// The parts of all flows of an index; for each flow the place of its part.
    fn all_flows<B: AsRef<[u8]>>(
        &self,
        index: &Index<B>,
        facts: &[TemplateTraits],
        parts: &mut Parts,
        gathered: &mut Gathered,
    ) -> Result<Vec<PartPlace>, GatherFailure> {
        let mut places = Vec::with_capacity(index.flow_count() as usize);
        for (seen, item) in (1u32..).zip(index.flows()) {
            if seen.is_multiple_of(FLOWS_BETWEEN_QUESTIONS) {
                gathered.hold(parts.bytes());
                if (self.stop)() {
                    return Err(GatherFailure::Extract(ExtractError::Cancelled));
                }
            }
            let (_, flow) = item?;
            // A flow names a template of its index: the index has checked that.
            let place = facts.get(flow.template as usize);
            let place =
                place.and_then(|facts| parts.add_in_order(&flow, facts, self.gathering.encapsulations));
            places.push(PartPlace::new(place));
        }
        Ok(places)
    }

    /// The parts of the packets of these runs that the filter accepts; only of the flows that are `untold`, if it is given.
    fn by_packets(
        &mut self,
        segment: &Arc<Segment>,
        runs: Vec<PlannedRun>,
        untold: Option<&Untold<'_>>,
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
        let mut offset = FILE_HEADER_BYTES as u64;
        let mut runs = runs.into_iter().map(|run| run_of(segment, run)).peekable();
        while let Some(run) = runs.next() {
            if (self.stop)() {
                return Err(GatherFailure::Extract(ExtractError::Cancelled));
            }
            runs.peek().inspect(|next| next.prefetch());
            let read = read(&run, self.source.range, self.source.filters, true);
            gathered.bytes_read += run.bytes();
            gathered.packets_judged += read.judged;
            gathered.unreadable.extend(read.damaged_at.iter().map(|&at| segment.unreadable_at(at)));
            for found in &read.streaks {
                for record in found.records(&read.blocks[found.block as usize]) {
                    let record = Record { offset, ..record };
                    offset = record.end();
                    builder.push(&record);
                    if untold.is_none() {
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
            None => self.all_flows(&index, &facts, parts, gathered).map(drop),
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

impl From<netrewind_index::IndexError> for GatherFailure {
    fn from(error: netrewind_index::IndexError) -> Self {
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
fn is_full(index: &Index<Map>) -> Result<bool, netrewind_index::IndexError> {
    let limits = IndexLimits::default();
    let templates = index.templates()?.len();
    Ok(index.flow_count() >= limits.flows_max || templates >= limits.templates_max as usize)
}

fn run_of(segment: &Arc<Segment>, run: PlannedRun) -> Run {
    let offset = run.ranges.first().map_or(0, |range| range.start);
    let place = PacketOrder { at: run.first, lane: segment.name.lane, ordinal: segment.ordinal, offset };
    Run { segment: Arc::clone(segment), ranges: run.ranges, place, links: false }
}
