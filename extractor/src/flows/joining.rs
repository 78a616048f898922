//! Joining: from the parts of segments and the records of the catalog to whole conversations.

use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_catalog::rollup::Rollup;
use netrewind_catalog::rollup::aggregate::Aggregate;
use netrewind_catalog::sums_file::SumsFile;
use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::Joiner;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::{Keys, Wanted};
use netrewind_flows::memory::TableMemory;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::search::Search;
use netrewind_store::time::Span;

use super::from_answer::Collector;
use super::from_catalog::{CatalogHours, HourQuery, HourRecords, Stands};
use super::from_rollups::take_rollup;
use super::gathered::Gathered;
use super::pipeline::{self, Take};
use super::range_fragments::may_cut_fragments;
use super::request::{Gathering, Membership};
use super::source::FlowSource;
use crate::answer::completeness::Completeness;
use crate::answer::completeness::RejectedIndex;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::answer::{Answer, Work};
use crate::extract::output::AnswerForm;
use crate::extract::plan::PlannedQuery;
use crate::extract::prepare::PreparedQuery;
use crate::extract::run::WrittenQuery;
use crate::memory::{Holding, MemoryAccount};
use crate::query::AnswerLimits;
use crate::sink::Wants;

/// Note for an answer with too many fragments to read.
const FRAGMENTS_ALONE: &str = "there are too many fragments to read: later fragments are counted only if the filter accepts them alone; an extraction also finds them with the first fragment of their packet";

/// Origin of the records of an answer, and the work done for them.
#[derive(Clone, Debug, Default)]
pub(super) struct GatherOutcome {
    pub(super) work: Work,
    pub(super) rejected: Vec<RejectedIndex>,
    pub(super) completeness: Completeness,
    /// Packets that were not written, by the second.
    pub(super) drops: Vec<(Span, u64)>,
    /// True if some packets are fragments.
    pub(super) has_fragments: bool,
    /// Fragments decide which packets belong to the answer: query them with [`Membership::Answer`].
    pub(super) is_unsure: bool,
    /// True if some conversations were ended early because too many were open at once.
    pub(super) approximate: bool,
    /// Files whose sums were taken.
    pub(super) sums: Vec<Arc<SumsFile>>,
}

impl GatherOutcome {
    /// Adds the work done for a segment's parts, and the defects found.
    fn note(&mut self, gathered: &Gathered) {
        let is_read = u64::from(gathered.bytes_read > 0);
        self.work.segments_read += is_read;
        self.work.segments_from_archive += is_read * u64::from(gathered.is_archived);
        self.work.bytes_read += gathered.bytes_read;
        self.work.packets_judged += gathered.packets_judged;
        self.has_fragments |= gathered.parts.iter().any(|part| part.body.has_fragments);
        self.rejected.extend(gathered.rejected.clone());
        gathered.unreadable.iter().for_each(|place| self.completeness.add_unreadable(place.clone()));
        if let Some(gone) = gathered.gone {
            self.completeness.add_gone(gone);
        }
    }
}

/// The only conversations that a search can find.
pub(super) struct FoundKeys {
    pub(super) keys: Keys,
    /// Their share of the memory of all answers.
    _holding: Holding,
}

/// The only conversations that a search can find, if labels decide.
pub(super) fn find_keys(
    prepared: &PreparedQuery<'_>,
    hours: &CatalogHours,
    search: Option<&Search>,
    (encapsulations, account): (&Encapsulations, &MemoryAccount),
    control: &mut dyn Control,
) -> Result<Option<FoundKeys>, ExtractError> {
    let PreparedQuery { engine, query, range, filters, segments, .. } = prepared;
    // Conversations that continue from the catalog's hours have their labels there. And if conversations that the asker may not
    // know of have such labels, the query must take no longer.
    let is_told = query.use_index && hours.is_empty() && !query.is_restricted();
    let Some(sought) = search.filter(|_| is_told).and_then(Search::sought) else {
        return Ok(None);
    };
    let gathering = Gathering::of(encapsulations, Wanted::All).held_by(account);
    let gathering = Gathering { sought: Some(&sought), ..gathering };
    let source = FlowSource::new(engine, true, *range, filters);
    let (mut keys, mut holding) = (Some(Keys::default()), account.holding());
    pipeline::run(source, gathering, segments.in_range.clone(), control, &mut |gathered, _| {
        keys = match (keys.take(), &gathered.keys) {
            (Some(mut all), Some(found)) => {
                let goes = all.add(found) && holding.hold(all.bytes());
                goes.then_some(all)
            }
            _ => None,
        };
        if keys.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if account.is_short() {
        return Err(ExtractError::NoMemory);
    }
    Ok(keys.map(|keys| FoundKeys { keys, _holding: holding }))
}

/// Conversations to gather of a prepared query.
#[derive(Clone, Copy)]
pub(super) struct JoinRequest<'q> {
    pub(super) gathering: Gathering<'q>,
    /// Search that need not be given what it does not find.
    pub(super) search: Option<&'q Search>,
    /// True if sums of whole hours can stand for their records.
    pub(super) takes_rollups: bool,
}

/// Joins the parts of all segments, and of records of the catalog, and gives each conversation to `take` when it has ended,
/// in no order. Of the catalog it gives at least those that the search finds. Goes no further once it is unsure.
pub(super) fn join(
    prepared: PreparedQuery<'_>,
    hours: CatalogHours,
    request: JoinRequest<'_>,
    control: &mut dyn Control,
    see: &mut dyn FnMut(RecordSource<'_>),
    take: &mut dyn FnMut(&FlowKey, &FlowCounters) -> ControlFlow<()>,
) -> Result<GatherOutcome, ExtractError> {
    let JoinRequest { gathering, search, takes_rollups } = request;
    let PreparedQuery { engine, query, range, .. } = prepared;
    let decided_by_others = gathering.by == Membership::Segments && prepared.filters.link_fragments();
    if decided_by_others && may_cut_fragments(&prepared, control)? {
        return Ok(GatherOutcome { is_unsure: true, ..GatherOutcome::default() });
    }
    let filters = prepared.filters.clone();
    let asking = engine.catalog().map(|catalog| HourQuery {
        catalog,
        store: engine.store(),
        manifests: &engine.manifests,
        filters: &filters,
        encapsulations: gathering.encapsulations,
        range,
        wanted: gathering.wanted,
        search,
        takes_rollups,
    });
    let bounds: Vec<_> = prepared.segments.in_range.iter().filter_map(|segment| segment.bounds).collect();
    let is_short = || gathering.account.is_some_and(MemoryAccount::is_short);
    let mut take = |key: &FlowKey, body: &FlowCounters| {
        if is_short() { ControlFlow::Break(()) } else { take(key, body) }
    };
    let mut joining = Joining {
        joiner: joiner_of(gathering),
        feed: HourRecords::new(hours, bounds.iter().copied(), asking),
        see,
        take: &mut take,
        goes: ControlFlow::Continue(()),
    };
    let mut outcome = GatherOutcome::default();
    outcome.completeness.clone_from(&prepared.completeness);
    outcome.drops.clone_from(&prepared.drops);
    let starts = bounds.iter().map(|(first, _)| first.ns()).min();
    if starts.is_some() {
        joining.hours(starts, &|| control.cancelled(), &mut outcome.completeness)?;
    }
    match gathering.by {
        Membership::Segments | Membership::SegmentsAlone => {
            let source = FlowSource::new(engine, query.use_index, range, &filters);
            join_segments(prepared, source, gathering, &mut joining, &mut outcome, control)?;
        }
        Membership::Answer => {
            let form = AnswerForm {
                limits: AnswerLimits::default(),
                decapsulate: false,
                ..AnswerForm::of(query, Wants::default())
            };
            let prepared = PreparedQuery { completeness: outcome.completeness.clone(), ..prepared };
            let take = &mut |gathered: Gathered, horizon| joining.segment(&gathered, horizon);
            if let Some(answer) = collect(prepared, form, gathering, control, take)? {
                (outcome.work, outcome.rejected) = (answer.work, answer.rejected_indexes);
                outcome.completeness = answer.completeness;
            }
        }
    }
    if is_short() {
        return Err(ExtractError::NoMemory);
    }
    if outcome.is_unsure {
        return Ok(outcome);
    }
    joining.hours(None, &|| control.cancelled(), &mut outcome.completeness)?;
    joining.finish();
    if is_short() {
        return Err(ExtractError::NoMemory);
    }
    outcome.approximate =
        joining.joiner.is_approximate() | joining.feed.is_approximate(&mut outcome.completeness);
    outcome.sums = joining.feed.into_sums();
    Ok(outcome)
}

fn joiner_of(gathering: Gathering<'_>) -> Joiner<'_> {
    let joiner = match gathering.wanted {
        Wanted::All | Wanted::Keys(_) => Joiner::new(gathering.encapsulations),
        Wanted::Hash(_) => Joiner::eager(gathering.encapsulations),
    };
    let memory = gathering.account.map(|account| Box::new(account.holding()) as Box<dyn TableMemory>);
    joiner.within(memory)
}

/// Joins the parts of segments, as each tells of its packets.
fn join_segments(
    prepared: PreparedQuery<'_>,
    source: FlowSource<'_>,
    gathering: Gathering<'_>,
    joining: &mut Joining<'_, '_>,
    outcome: &mut GatherOutcome,
    control: &mut dyn Control,
) -> Result<(), ExtractError> {
    let PreparedQuery { query, filters, segments, rejected, unreadable, .. } = prepared;
    let decided_by_others = gathering.by == Membership::Segments && filters.link_fragments();
    unreadable.into_iter().for_each(|place| outcome.completeness.add_unreadable(place));
    outcome.rejected.extend(rejected);
    outcome.work.segments = segments.names.len() as u64;
    if joining.goes.is_continue() {
        let first = |bounds: (netrewind_store::Timestamp, _)| bounds.0.ns();
        let mut starts = segments.in_range.iter().filter_map(|segment| segment.bounds).map(first).min();
        pipeline::run(source, gathering, segments.in_range, control, &mut |gathered, horizon| {
            outcome.note(&gathered);
            outcome.is_unsure = decided_by_others && outcome.has_fragments;
            if outcome.is_unsure {
                return ControlFlow::Break(());
            }
            // Hours between segments are read here, without cancellation: such an overlap is rare.
            let _ = joining.hours(starts, &|| false, &mut outcome.completeness);
            // No hour comes between two pieces of a segment.
            if !gathered.has_more {
                starts = horizon;
            }
            joining.segment(&gathered, horizon)
        })?;
    }
    if outcome.has_fragments && filters.link_fragments() {
        outcome.completeness.note(FRAGMENTS_ALONE.to_owned());
    }
    outcome.completeness.tell_of_segments(&mut outcome.rejected, query.is_restricted());
    Ok(())
}

/// Gives the parts of the answer's packets to `take`, and returns the answer of the extraction; `None` if `take` refused
/// further ones.
fn collect(
    prepared: PreparedQuery<'_>,
    form: AnswerForm,
    gathering: Gathering<'_>,
    control: &mut dyn Control,
    take: &mut Take<'_>,
) -> Result<Option<Answer>, ExtractError> {
    let ports = prepared.filters.ports.clone();
    let mut collector = Collector::new(gathering, &ports, take);
    let planned = PlannedQuery::plan(prepared, form, None, control);
    let answer = WrittenQuery::run(planned, &mut collector, control).map(WrittenQuery::into_answer);
    collector.end(answer)
}

/// Sources of conversations.
pub(super) enum RecordSource<'s> {
    /// A segment.
    Segment(&'s Gathered),
    /// A record of the catalog.
    Kept(&'s FlowCounters),
    /// Rollup of a catalog hour: only its series is counted here.
    Rollup(&'s Rollup),
    /// Records that are added up, but for their series.
    Added(&'s Aggregate),
}

/// Conversations on their way from parts and records to their consumer.
struct Joining<'j, 'q> {
    joiner: Joiner<'q>,
    feed: HourRecords<'q>,
    see: &'j mut dyn FnMut(RecordSource<'_>),
    take: &'j mut dyn FnMut(&FlowKey, &FlowCounters) -> ControlFlow<()>,
    goes: ControlFlow<()>,
}

impl Joining<'_, '_> {
    /// Takes the records of all hours that begin until then.
    fn hours(
        &mut self,
        until: Option<u64>,
        stop: &dyn Fn() -> bool,
        completeness: &mut Completeness,
    ) -> Result<(), ExtractError> {
        let Self { joiner, feed, see, take, goes } = self;
        let mut close = |key: &FlowKey, body: &FlowCounters| {
            if goes.is_continue() {
                *goes = take(key, body);
            }
            *goes
        };
        // Any record of one hour can continue another one.
        joiner.begin(Some(0));
        loop {
            let horizon = feed.horizon();
            if let Some(hour) = take_rollup(feed, until, stop, completeness)? {
                // Nothing that is still to come begins before this hour does.
                joiner.begin(horizon);
                joiner.expire(&mut |key, body| _ = close(key, body));
                joiner.begin(Some(0));
                see(RecordSource::Rollup(&hour.rollup));
                hour.added.iter().for_each(|added| see(RecordSource::Added(added)));
                hour.open().for_each(|part| {
                    joiner.add(&part.key, &part.body, &mut |key, body| _ = close(key, body));
                });
                continue;
            }
            let mut take_kept = |key: &FlowKey, body: &FlowCounters, stands: Stands| {
                see(RecordSource::Kept(body));
                let mut goes = ControlFlow::Continue(());
                match stands {
                    Stands::Whole => goes = close(key, body),
                    Stands::Open => joiner.add(key, body, &mut |key, body| goes = close(key, body)),
                }
                goes
            };
            if !feed.hour(until, stop, completeness, &mut take_kept)? {
                return Ok(());
            }
        }
    }

    /// Takes parts of a segment, after which nothing begins before `horizon`. Conversations end when its last parts are there.
    fn segment(&mut self, gathered: &Gathered, horizon: Option<u64>) -> ControlFlow<()> {
        let Self { joiner, feed, see, take, goes } = self;
        see(RecordSource::Segment(gathered));
        let mut close = |key: &FlowKey, body: &FlowCounters| {
            if goes.is_continue() {
                *goes = take(key, body);
            }
        };
        let horizon = horizon.into_iter().chain(feed.horizon()).min();
        joiner.begin(horizon);
        for part in &gathered.parts {
            joiner.add(&part.key, &part.body, &mut close);
        }
        match horizon {
            _ if gathered.has_more => {}
            Some(_) => joiner.expire(&mut close),
            None => joiner.finish(&mut close),
        }
        *goes
    }

    fn finish(&mut self) {
        let Self { joiner, take, goes, .. } = self;
        joiner.finish(&mut |key, body| {
            if goes.is_continue() {
                *goes = take(key, body);
            }
        });
    }
}

/// True if a search finds a conversation.
pub(super) fn finds(
    search: &Search,
    key: &FlowKey,
    body: &FlowCounters,
    encapsulations: &Encapsulations,
    ending: RangeEnd,
) -> bool {
    search.may_accept(key, body) && search.accepts(&describe(key, body, encapsulations, ending))
}
