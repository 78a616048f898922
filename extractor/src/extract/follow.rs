//! The live tail: packets that are recorded while the answer is given.
//!
//! ```text
//! round: list the store -> segments that are new or have grown -> plan -> read -> hold back -> Sink, flushed
//! ```
//!
//! The first round answers the query as it stands. Each further round reads only what lies behind the place to which each
//! segment was read, up to its committed mark: so nothing is missing and nothing comes twice, whether a segment is sealed
//! meanwhile, recovered, or new.
//!
//! Lanes commit at different moments, so that a lane's newest packets can be at hand half a second before older ones of
//! another lane. So that they come in order all the same, packets are held back until they are [`HOLD_BACK`] old. A later
//! fragment whose first one has not been met waits as long as that can still turn up.

pub(crate) mod clock;
mod hold_back;
mod read_positions;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_store::logbook::{DayExcerpt, LogbookLine, read_day};
use netrewind_store::store::StoreWriter;
use netrewind_store::time::Span;
use netrewind_store::{Event, LinkType, SegmentName, Timestamp};

use super::begin::begin;
use super::conclude::conclude;
use super::engine::Engine;
use super::interfaces::undecided;
use super::output::{AnswerForm, Output};
use super::prepare::{PreparedQuery, prepare};
use super::secrets::give_secrets;
use crate::answer::completeness::{Completeness, ReachedLimit};
use crate::answer::control::{Control, Progress, is_over};
use crate::answer::{Answer, Interface, InterfaceAccount, Work};
use crate::fragments::Links;
use crate::history::coverage::{self, CoverageQuery, KeptSegments};
use crate::history::origin::Origin;
use crate::history::segment_origins::{keep_chosen_interfaces, origin_of};
use crate::history::timeline::{LogbookScope, RecordingTimeline};
use crate::plan::query_filter::QueryFilter;
use crate::query::{Query, TimeRange};
use crate::read::merge::merge;
use crate::read::read_ahead::WorkPool;
use crate::read::reader::{Run, read};
use crate::read::run_queue::{PlanReport, Purpose, RunQueue};
use crate::sink::Sink;
use crate::store::segment::Segment;
use crate::transform::decapsulate::add_inner_interfaces;
use crate::transform::dedup::Dedup;
use crate::transform::reassembly::Reassembler;
use crate::{ExtractError, Unreadable};
use clock::{FollowClock, HOLD_BACK, LOGBOOK_INTERVAL, POLL_INTERVAL, SETTLE, SIGN_OF_LIFE_WITHIN};
use hold_back::{HeldBack, HoldBack};
use read_positions::{Known, Round};

/// A query being followed.
struct Following<'f> {
    engine: &'f Engine,
    query: &'f Query,
    range: TimeRange,
    /// Compiled for these link types; for more as segments of others turn up.
    filters: QueryFilter,
    link_types: Vec<LinkType>,
    known: Known,
    held: HeldBack,
    /// The first fragments of all rounds.
    links: Links,
    names: InterfaceNames,
    /// Time at which the logbook was last checked for its progress.
    asked_at_ns: Option<u64>,
    work: Work,
    report: PlanReport,
    unreadable: Vec<Unreadable>,
    stop: &'f dyn Fn() -> bool,
}

/// Interfaces that packets come from.
struct InterfaceNames {
    are_wanted: bool,
    interfaces: Vec<Interface>,
    /// The last segment of each lane, and the number of its interface.
    of_lanes: HashMap<u16, (SegmentName, u32)>,
    /// Last segment of each lane, if interfaces were chosen, and whether it is of one of them; `None` if that is not known.
    chosen: HashMap<u16, (SegmentName, Option<bool>)>,
}

/// Reason why following ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FollowEnd {
    /// Callback between two rounds: everything committed was given.
    Stopped,
    /// The end of the range has passed.
    Passed,
    /// The caller's word, amid a round.
    Broken,
    /// A limit.
    Limit,
}

/// Gives the packets of the answer to the sink, in order, and then those that are recorded from now on: see
/// [`crate::Extractor::follow`].
pub(super) fn follow(
    engine: &Engine,
    query: &Query,
    sink: &mut dyn Sink,
    control: &mut dyn Control,
    clock: &dyn FollowClock,
) -> Result<Answer, ExtractError> {
    if query.chooses_conversations() {
        return Err(ExtractError::NotFollowed);
    }
    let wants = sink.wants();
    let mut held = HeldBack::default();
    held.advance(clock.now());
    let prepared = prepare(engine, query, wants, control)?;
    begin(&prepared, false, sink, control)?;
    let remarks = give_secrets(engine.store(), query, sink)?;
    sink.flush()?;
    let PreparedQuery { filters, segments, rejected, unreadable, completeness, interfaces, .. } = prepared;
    let account = engine.memory.account();
    let control = RefCell::new(control);
    let stop = || is_over(&**control.borrow());
    let form = AnswerForm::of(query, wants);
    let mut output = Output {
        progress: Progress { segments: segments.in_range.len() as u64, ..Progress::default() },
        ..Output::new(sink, form, &filters.ports, interfaces.inner, &control, &account)
    };
    let mut following = Following {
        engine,
        query,
        range: query.range(),
        link_types: link_types_of(segments.iter()),
        filters,
        known: Known::new(engine.store(), &segments, &unreadable, &engine.scans, &stop)?,
        held,
        links: Links::default(),
        asked_at_ns: None,
        names: InterfaceNames {
            are_wanted: wants.interfaces,
            interfaces: interfaces.names,
            of_lanes: segments.in_range.iter().map(|segment| last_of_lane(segment)).collect(),
            chosen: HashMap::new(),
        },
        work: Work { segments: segments.names.len() as u64, ..Work::default() },
        report: PlanReport { rejected, ..PlanReport::default() },
        unreadable,
        stop: &stop,
    };
    let to_read = segments.in_range.into_iter().chain(segments.beside).collect();
    let end = following.go_on(to_read, &mut output, clock)?;
    let oldest = completeness.covered.map(|span| span.from);
    let mut answer = following.answer(&mut output, oldest, end)?;
    remarks.add_to(&mut answer.completeness);
    output.sink.finish(&answer)?;
    Ok(answer)
}

/// Link types of segments, ascending.
fn link_types_of<'s>(segments: impl Iterator<Item = &'s Segment>) -> Vec<LinkType> {
    let mut link_types: Vec<_> = segments.map(|segment| segment.link_type).collect();
    link_types.sort_unstable();
    link_types.dedup();
    link_types
}

/// Lane of a segment, and the segment with the number of its interface.
fn last_of_lane(segment: &Segment) -> (u16, (SegmentName, u32)) {
    (segment.name.lane, (segment.name, segment.interface))
}

impl Following<'_> {
    /// Round after round.
    fn go_on(
        &mut self,
        mut segments: Vec<Arc<Segment>>,
        output: &mut Output<'_, '_>,
        clock: &dyn FollowClock,
    ) -> Result<FollowEnd, ExtractError> {
        let mut is_behind = false;
        loop {
            match self.read(segments, output) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(FollowEnd::Limit),
                Err(ExtractError::Cancelled) => return Ok(FollowEnd::Broken),
                Err(error) => return Err(error),
            }
            output.sink.flush()?;
            if self.has_passed(clock.now().wall) && !is_behind && self.is_told(clock)? {
                return self.give_rest(output, FollowEnd::Passed);
            }
            if !(self.stop)() {
                clock.wait(POLL_INTERVAL)?;
            }
            if (self.stop)() {
                return self.give_rest(output, FollowEnd::Stopped);
            }
            self.held.advance(clock.now());
            segments = match self.list_segments(output) {
                Ok(segments) => segments,
                Err(ExtractError::Cancelled) => return self.give_rest(output, FollowEnd::Stopped),
                Err(error) => return Err(error),
            };
            is_behind = self.is_behind(&segments);
        }
    }

    /// True if the range has ended and all of it should have been committed.
    fn has_passed(&self, now: Timestamp) -> bool {
        let settle_ns = u64::try_from(SETTLE.as_nanos()).unwrap_or(u64::MAX);
        self.range.end().is_some_and(|end| now.ns() >= end.ns().saturating_add(settle_ns))
    }

    /// True if the logbook covers the whole range, as far as can be expected: a recorder without traffic writes a line only
    /// every ten seconds.
    fn is_told(&mut self, clock: &dyn FollowClock) -> Result<bool, ExtractError> {
        let Some(end) = self.range.end() else { return Ok(false) };
        let store = self.engine.store();
        let patience_ns = u64::try_from(SIGN_OF_LIFE_WITHIN.as_nanos()).unwrap_or(u64::MAX);
        let now = clock.now();
        if now.wall.ns() >= end.ns().saturating_add(patience_ns) || StoreWriter::of(store)?.is_none() {
            return Ok(true);
        }
        if self.asked_at_ns.is_some_and(|asked_at_ns| now.since(asked_at_ns) < LOGBOOK_INTERVAL) {
            return Ok(false);
        }
        self.asked_at_ns = Some(now.monotonic_ns);
        let last = Span { from: Timestamp(end.ns().saturating_sub(1)), to: end };
        let scope = LogbookScope { range: last, interfaces: &[], accounts: false };
        let timeline = RecordingTimeline::read(store, &self.engine.logbook_cache, scope, &[]);
        Ok(timeline.is_told_until(end))
    }

    /// True if a recorder at work has not reached the end of the range.
    fn is_behind(&self, grown: &[Arc<Segment>]) -> bool {
        let end = self.range.end();
        let is_before = |segment: &Arc<Segment>| segment.bounds.map(|(_, last)| last) < end;
        grown.iter().any(|segment: &Arc<Segment>| !segment.is_sealed() && is_before(segment))
    }

    /// Segments that have grown since the last round.
    fn list_segments(&mut self, output: &mut Output<'_, '_>) -> Result<Vec<Arc<Segment>>, ExtractError> {
        let Engine { segment_cache, scans, .. } = self.engine;
        let Round { mut segments, rejected, unreadable } =
            self.known.update(segment_cache, scans, self.query.use_index, self.stop)?;
        self.report.rejected.extend(rejected);
        self.take_unreadable(unreadable);
        if !self.query.interfaces.is_empty() {
            let undecided = self.names.keep_chosen(self.engine, &self.query.interfaces, &mut segments)?;
            self.take_unreadable(undecided);
        }
        let known = self.link_types.len();
        for segment in &segments {
            if !self.link_types.contains(&segment.link_type) {
                self.link_types.push(segment.link_type);
            }
        }
        if self.link_types.len() > known {
            let ports = self.filters.ports.clone();
            let control = output.control.borrow();
            let filters = self.engine.compile(self.query, &self.link_types, &**control)?;
            self.filters = filters.with_ports(&ports);
        }
        if self.names.are_wanted && self.names.give(self.engine, &mut segments)? {
            if let Some(decapsulator) = &mut output.decapsulator {
                let accounts = &mut vec![InterfaceAccount::default(); self.names.interfaces.len()];
                let inner = add_inner_interfaces(&mut self.names.interfaces, accounts);
                decapsulator.know_interfaces(inner);
            }
            output.sink.know_interfaces(&self.names.interfaces);
        }
        Ok(segments.into_iter().map(Arc::new).collect())
    }

    fn take_unreadable(&mut self, places: Vec<Unreadable>) {
        for place in places {
            // Damage is found again in every round.
            if self.unreadable.len() < crate::LISTED_MAX && !self.unreadable.contains(&place) {
                self.unreadable.push(place);
            }
        }
    }

    /// Reads new packets, and gives out those that are due.
    fn read(
        &mut self,
        segments: Vec<Arc<Segment>>,
        output: &mut Output<'_, '_>,
    ) -> Result<ControlFlow<()>, ExtractError> {
        let Engine { segment_cache, scans, workers, .. } = self.engine;
        let (range, filters) = (self.range, &self.filters);
        if !segments.is_empty() {
            let purpose = Purpose { use_index: self.query.use_index, counts: false };
            let mut run_queue = RunQueue::new(segments, range, filters, scans, segment_cache, purpose);
            let reader = |run: &Run| read(run, range, filters, true);
            let mut hold_back = HoldBack { held: &mut self.held, output };
            let work = std::thread::scope(|scope| {
                let mut pool = WorkPool::new(scope, workers.helpers, &reader);
                merge(&mut run_queue, &mut pool, &mut self.links, &mut hold_back, self.stop)
            });
            let PlanReport { rejected, unreadable, gone, segments_read, .. } = run_queue.into_report();
            self.report.rejected.extend(rejected);
            self.report.gone.extend(gone);
            self.take_unreadable(unreadable);
            let Work { bytes_read, packets_judged, .. } = work?;
            self.work.bytes_read += bytes_read;
            self.work.packets_judged += packets_judged;
            self.work.segments_read += segments_read;
        }
        if output.limit_reached.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        self.held.link(&self.links, false);
        let mut next = HoldBack { held: &mut self.held, output: &mut *output }.give_due()?;
        if next.is_continue() {
            next = output.advance(self.held.until())?;
        }
        // A limit of packets ends the answer with the last packet, not with the next one.
        if output.limits.packets.is_some_and(|limit| output.progress.packets >= limit) {
            output.limit_reached = Some(ReachedLimit::Packets);
            return Ok(ControlFlow::Break(()));
        }
        Ok(next)
    }

    /// Gives out the packets still held back: nothing more is read.
    fn give_rest(&mut self, output: &mut Output<'_, '_>, end: FollowEnd) -> Result<FollowEnd, ExtractError> {
        self.held.link(&self.links, true);
        loop {
            match (HoldBack { held: &mut self.held, output }.give_all()) {
                Ok(ControlFlow::Continue(())) => break,
                Ok(ControlFlow::Break(())) => return Ok(FollowEnd::Limit),
                Err(ExtractError::Cancelled) => {} // the packet was given: it is asked once in many
                Err(error) => return Err(error),
            }
        }
        loop {
            match output.write_rest() {
                Ok(ControlFlow::Continue(())) => return Ok(end),
                Ok(ControlFlow::Break(())) => return Ok(FollowEnd::Limit),
                Err(ExtractError::Cancelled) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Final answer with its completeness.
    fn answer(
        mut self,
        output: &mut Output<'_, '_>,
        oldest: Option<Timestamp>,
        end: FollowEnd,
    ) -> Result<Answer, ExtractError> {
        let mut completeness = Completeness::of_question(self.query);
        self.filters.note_refused(self.query, &mut completeness);
        completeness.covered = self.covered(oldest, output.progress.reached, end);
        let mut interfaces = Vec::new();
        if let Some(span) = completeness.covered {
            let store = self.engine.store();
            let is_restricted = self.query.is_restricted();
            let chosen = if is_restricted { &[][..] } else { &self.query.interfaces };
            let scope = LogbookScope { range: span, interfaces: chosen, accounts: self.names.are_wanted };
            let mut timeline = RecordingTimeline::read(store, &self.engine.logbook_cache, scope, &[]);
            if !chosen.is_empty() {
                keep_chosen_interfaces(&mut timeline, chosen);
            }
            self.known.leave_out_what_was_read(&mut timeline);
            let (names, spans) = (self.known.names(), self.known.spans());
            let is_damaged = !self.unreadable.is_empty();
            let kept = KeptSegments {
                names: &names,
                catalogued: &HashSet::new(),
                recorded: spans.clone(),
                spans,
                by_segment: Vec::new(),
                unsealed: Vec::new(),
                is_damaged,
            };
            coverage::fill(&mut completeness, span, &timeline, &kept, CoverageQuery { store, is_restricted });
            let account = |interface: &Interface| timeline.accounts.get(&interface.name).copied();
            interfaces.extend(self.names.interfaces.iter().map(|name| account(name).unwrap_or_default()));
            if is_restricted {
                interfaces.iter_mut().for_each(|account: &mut InterfaceAccount| account.received = None);
            }
        }
        if self.held.late > 0 {
            completeness.note(format!(
                "{} packets are out of order: they were committed more than {} ms after later packets, or are fragments that came that long before the first fragment of their packet",
                self.held.late,
                HOLD_BACK.as_millis()
            ));
        }
        self.report.unlinked = self.links.forgotten + self.held.unlinked;
        let dedup = output.dedup.as_ref();
        dedup.iter().flat_map(|dedup| dedup.notes()).for_each(|note| completeness.note(note));
        let mut answer = Answer {
            duplicates_dropped: dedup.map_or(0, Dedup::dropped),
            reassembly: output.reassembler.as_ref().map(Reassembler::account).unwrap_or_default(),
            packets: output.progress.packets,
            bytes: output.progress.bytes,
            completeness,
            rejected_indexes: Vec::new(),
            hint: None,
            work: self.work,
            interfaces,
        };
        let limit_reached = output.limit_reached.or(output.control.borrow().cut());
        self.report.unreadable.append(&mut output.lost);
        conclude(&mut answer, self.query, self.report, self.unreadable, limit_reached);
        Ok(answer)
    }

    /// The range that the answer speaks of.
    fn covered(&self, oldest: Option<Timestamp>, given: Option<Timestamp>, end: FollowEnd) -> Option<Span> {
        let from = self.query.from.or(oldest).or(self.known.oldest())?;
        let reached = if end == FollowEnd::Broken { given } else { self.known.newest() };
        let reached = reached.unwrap_or(from).max(from).plus_ns(1);
        let to = match self.query.to {
            Some(to) if end == FollowEnd::Passed => to,
            Some(to) => to.min(reached),
            None => reached,
        };
        Some(Span { from, to: to.max(from) })
    }
}

impl InterfaceNames {
    /// Numbers the interfaces of these segments; true if there are new ones.
    fn give(&mut self, engine: &Engine, segments: &mut [Segment]) -> Result<bool, ExtractError> {
        let known = self.interfaces.len();
        for segment in segments {
            let before = self.of_lanes.get(&segment.name.lane).copied();
            if let Some((_, number)) = before.filter(|(name, _)| *name == segment.name) {
                segment.interface = number;
                continue;
            }
            let of_lane = before.and_then(|(_, number)| self.interfaces.get(number as usize));
            let (name, description) = match logged(engine, segment.name)? {
                Some(origin) => (origin.interface, origin.description),
                None => (of_lane.map(|interface| interface.name.clone()).unwrap_or_default(), None),
            };
            let interface = Interface { name, description, link_type: segment.link_type };
            let number = self.interfaces.iter().position(|known| *known == interface);
            let number = number.unwrap_or_else(|| {
                self.interfaces.push(interface);
                self.interfaces.len() - 1
            });
            segment.interface = u32::try_from(number).unwrap_or(u32::MAX);
            self.of_lanes.insert(segment.name.lane, (segment.name, segment.interface));
        }
        Ok(self.interfaces.len() > known)
    }

    /// Keeps the segments of the selected interfaces; returns those whose interface is unknown. A lane records one interface as
    /// long as its recorder runs: if the logbook is late, the lane's last segment decides.
    fn keep_chosen(
        &mut self,
        engine: &Engine,
        chosen: &[String],
        segments: &mut Vec<Segment>,
    ) -> Result<Vec<Unreadable>, ExtractError> {
        let mut unknown = Vec::new();
        for segment in &*segments {
            let before = self.chosen.get(&segment.name.lane).copied();
            if before.is_some_and(|(name, is_chosen)| name == segment.name && is_chosen.is_some()) {
                continue;
            }
            let origin = match logged(engine, segment.name)? {
                Some(origin) => Some(origin),
                None => started(engine, segment.name)?,
            };
            let is_chosen = origin.map(|origin| origin.is_of(chosen));
            if is_chosen.is_none() {
                unknown.push(undecided(segment.name));
            }
            self.chosen.insert(segment.name.lane, (segment.name, is_chosen));
        }
        segments.retain(|segment| {
            let known = self.chosen.get(&segment.name.lane).filter(|(name, _)| *name == segment.name);
            known.is_some_and(|(_, is_chosen)| *is_chosen == Some(true))
        });
        Ok(unknown)
    }
}

/// Origin of a segment, from the session of its lane.
fn started(engine: &Engine, name: SegmentName) -> Result<Option<Origin>, ExtractError> {
    let range = Span { from: name.opened, to: name.opened.plus_ns(1) };
    let scope = LogbookScope { range, interfaces: &[], accounts: false };
    let timeline = RecordingTimeline::read(engine.store(), &engine.logbook_cache, scope, &[name]);
    Ok(origin_of(&timeline, &name))
}

/// Origin of a segment, from its own line in the logbook.
fn logged(engine: &Engine, name: SegmentName) -> Result<Option<Origin>, ExtractError> {
    let text = name.to_string();
    let mut found = None;
    for part in [DayExcerpt::Tail, DayExcerpt::Whole] {
        // A day that cannot be read is reported at the end.
        let read = read_day(engine.store(), &name.date(), part, |line| {
            if line.text().contains(&text)
                && let LogbookLine::Entry(entry) = line.parse()
                && let Event::Open { segment, interface, description, file, .. } = entry.event
                && segment == name
            {
                found = Some(Origin { interface, description, file });
            }
        });
        if read.is_err() {
            break;
        }
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}
