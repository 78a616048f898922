//! Flow engine: the conversations of a query's packets, out of the indexes where they tell, else out of the packets.
//!
//! ```text
//! segment -> parts (a conversation within one segment) -> conversations (parts joined over segments and lanes)
//!         -> a list, sorted and paged; or a summary: series, totals, top lists
//! ```
//!
//! `netrewind_flows` says what a conversation is, and joins, counts and searches them. Of which packets these are, each segment tells
//! by itself, unless duplicates are left out, or fragments may be among them that are judged with the first of their packet: then
//! they are those that extraction gives out (`answered`), and so is what is known of them. Labels, round trips and the like are of
//! each segment's whole conversation: of what a filter or the ends of a range leave out too.
//!
//! **Invariant:** each packet of the answer is in exactly one record: their packets and bytes add up to what
//! [`Extractor::count`] counts for the same query.
//!
//! **Invariant:** an index only skips work: the records are the same without it.

mod answered;
mod archive;
mod boundary;
mod catalog;
mod choose;
mod chosen;
mod gather;
mod kept;
mod list_answer;
mod pipeline;
mod rollup;
mod search_condition;
mod summary_answer;

pub(crate) use archive::{CatalogHours, Manifests};
pub use catalog::{Catalog, Catalogued};
pub(crate) use choose::FlowSelection;
pub use chosen::PARTS_CHOSEN_MAX;
pub(crate) use chosen::{Aim, Chosen, ChosenPackets};
pub use list_answer::{FlowAnswer, FlowQuery, LIMIT_MAX, NotACursor, PageCursor};
pub use netrewind_flows::conversation::{
    Conversation, FlowEnd, FlowId, Icmp, NotAFlowId, TcpRecord, TcpState,
};
pub use netrewind_flows::labels::{FlowLabels, LabelValue};
pub use netrewind_flows::search::{FIELDS, Search, SearchError};
pub use netrewind_flows::series::{BUCKETS_MAX, Point};
pub use netrewind_flows::top_flows::FlowSort;
pub use netrewind_flows::totals::Totals;
pub use netrewind_flows::tunnel_record::TunnelRecord;
pub use rollup::{rollup_adds_up, seam, seam_adds_up, seam_is_due};
pub use summary_answer::{
    ApplicationCount, Edge, FlowSummary, HostCount, PortCount, SummaryQuery, TOP_MAX, Top,
};

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::join::Joiner;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_lookup::{Keys, Wanted};
use netrewind_flows::memory::TableMemory;
use netrewind_flows::part::FlowCounters;
use netrewind_flows::series::Buckets;

use crate::answer::completeness::Completeness;
use crate::extract::Prepared;
use crate::memory::MemoryAccount;
use crate::query::AnswerLimits;
use crate::sink::Wants;
use crate::store::segment::Segment;
use crate::{Answer, Control, ExtractError, Extractor, Query, RejectedIndex, Work};
use answered::Collector;
use archive::{HourQuery, HourRecords, Stands};
pub(crate) use pipeline::FlowSource as GatherSource;
use pipeline::{Gathering, Membership, Take};
use rollup::{Aggregate, Rollup};
use summary_answer::SummaryBuilder;

/// Origin of the records of an answer, and the work done for them.
#[derive(Clone, Debug, Default)]
struct GatherOutcome {
    work: Work,
    rejected: Vec<RejectedIndex>,
    /// True if some packets are fragments.
    has_fragments: bool,
    /// Fragments decide which packets are the answer's: they are to be asked for with [`Membership::Answer`].
    is_unsure: bool,
    /// True if some conversations were ended early because too many were open at once.
    approximate: bool,
}

/// Asks for flows by a way of telling which packets are the answer's; true where it is not sure of them.
type FlowAttempt<'a, T> = dyn FnMut(Membership, &mut dyn Control) -> Result<(T, bool), ExtractError> + 'a;

impl Extractor {
    /// Asks by segments where that can do, and again by the answer where it turns out that it could not.
    fn retry_with_exact_membership<T>(
        &self,
        query: &Query,
        control: &mut dyn Control,
        mut ask: impl FnMut(Membership, &MemoryAccount, &mut dyn Control) -> Result<(T, bool), ExtractError>,
    ) -> Result<T, ExtractError> {
        self.memory.answer(control, |account, control| {
            self.surely_on(query, control, &mut |by, control| ask(by, account, control))
        })
    }

    fn surely_on<T>(
        &self,
        query: &Query,
        control: &mut dyn Control,
        ask: &mut FlowAttempt<'_, T>,
    ) -> Result<T, ExtractError> {
        if query.dedup.is_none() {
            let (found, is_unsure) = ask(Membership::Segments, control)?;
            if !is_unsure {
                return Ok(found);
            }
            // Without indexes everything is read anyway.
            if query.use_index && self.estimate_with(query, control)?.bytes_max > self.fragmented_bytes_max {
                return Ok(ask(Membership::SegmentsAlone, control)?.0);
            }
        }
        Ok(ask(Membership::Answer, control)?.0)
    }

    /// The conversations of a query's packets, sorted. Limits of the query do not count.
    pub fn flows(
        &self,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<FlowAnswer, ExtractError> {
        let query = &flows.continued(query);
        self.retry_with_exact_membership(query, control, |by, account, control| {
            self.flows_by(by, account, query, flows, control)
        })
    }

    fn flows_by(
        &self,
        by: Membership,
        account: &MemoryAccount,
        query: &Query,
        flows: &FlowQuery,
        control: &mut dyn Control,
    ) -> Result<(FlowAnswer, bool), ExtractError> {
        let encapsulations = Encapsulations::default();
        let top = RefCell::new(flows.top(&encapsulations));
        let takes_rollups = flows.takes_rollups();
        let mut prepared = self.prepare_flows(query, control, takes_rollups && by == Membership::Segments)?;
        let ending = RangeEnd::at(prepared.completeness.covered_to());
        let segments = take_segments(&mut prepared, by);
        let sought = flows.search.as_ref().filter(|_| by != Membership::Answer);
        let keys = self.sought(&prepared, &segments, query, sought, &encapsulations, control)?;
        let wanted = keys.as_ref().map_or(Wanted::All, Wanted::Keys);
        let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
        let search = flows.search.as_ref();
        let finds = |key: &FlowKey, body: &FlowCounters| match &flows.search {
            None => true,
            Some(search) => finds(search, key, body, &encapsulations, ending),
        };
        let outcome = self.join(
            &mut prepared,
            segments,
            query,
            gathering,
            search,
            takes_rollups,
            control,
            &mut |seen| {
                if let RecordSource::Added(added) = seen {
                    added.add_to(&mut top.borrow_mut(), &encapsulations);
                }
            },
            &mut |key, body| {
                if finds(key, body) {
                    top.borrow_mut().take(key, body);
                }
                ControlFlow::Continue(())
            },
        )?;
        let is_unsure = outcome.is_unsure;
        Ok((FlowAnswer::of(top.into_inner(), ending, prepared.completeness, outcome), is_unsure))
    }

    /// Totals of a query's packets: over time, and by host, port, application and conversation.
    pub fn summary(
        &self,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<FlowSummary, ExtractError> {
        self.retry_with_exact_membership(query, control, |by, account, control| {
            self.summary_by(by, account, query, summary, control)
        })
    }

    fn summary_by(
        &self,
        by: Membership,
        account: &MemoryAccount,
        query: &Query,
        summary: &SummaryQuery,
        control: &mut dyn Control,
    ) -> Result<(FlowSummary, bool), ExtractError> {
        let adds_up = summary.takes_rollups() && by == Membership::Segments;
        let mut prepared = self.prepare_flows(query, control, adds_up)?;
        let encapsulations = Encapsulations::default();
        let ending = RangeEnd::at(prepared.completeness.covered_to());
        let buckets = Buckets::of(prepared.completeness.covered, summary.buckets);
        let tally = RefCell::new(SummaryBuilder::new(summary, &encapsulations, account));
        let mut series = buckets.series();
        let segments = take_segments(&mut prepared, by);
        let sought = summary.search.as_ref().filter(|_| by != Membership::Answer);
        let keys = self.sought(&prepared, &segments, query, sought, &encapsulations, control)?;
        let wanted = keys.as_ref().map_or(Wanted::All, Wanted::Keys);
        let gathering = Gathering::of(&encapsulations, wanted).by(by).held_by(account);
        let gathering = Gathering { buckets: Some(buckets), ..gathering };
        // Which packets a search finds is known only of whole conversations: these are spread over the series.
        let mut found = buckets.series();
        let outcome = self.join(
            &mut prepared,
            segments,
            query,
            gathering,
            summary.search.as_ref(),
            summary.takes_rollups(),
            control,
            &mut |seen| match seen {
                RecordSource::Segment(gathered) => series.add_all(&gathered.series),
                RecordSource::Kept(body) => {
                    series.spread(body.first(), body.last(), body.packets(), body.bytes())
                }
                RecordSource::Rollup(rollup) => rollup.add_to(&mut series),
                RecordSource::Added(added) => tally.borrow_mut().take_added(added),
            },
            &mut |key, body| {
                if let Some(search) = &summary.search {
                    if !finds(search, key, body, &encapsulations, ending) {
                        return ControlFlow::Continue(());
                    }
                    found.spread(body.first(), body.last(), body.packets(), body.bytes());
                }
                tally.borrow_mut().take(key, body);
                ControlFlow::Continue(())
            },
        )?;
        if summary.search.is_some() {
            series = found;
        }
        for (span, dropped) in &prepared.drops {
            series.add_dropped(*span, *dropped);
        }
        let is_unsure = outcome.is_unsure;
        Ok((tally.into_inner().finish(series, ending, prepared.completeness, outcome), is_unsure))
    }

    /// The only conversations that a search can find, where the texts of labels tell.
    fn sought(
        &self,
        prepared: &Prepared,
        segments: &[Arc<Segment>],
        query: &Query,
        search: Option<&Search>,
        encapsulations: &Encapsulations,
        control: &mut dyn Control,
    ) -> Result<Option<Keys>, ExtractError> {
        // What goes on from the catalog's hours has its labels there.
        // And where others have such labels, whose conversations the asker may not know of, that must take no longer.
        let is_told = query.use_index && prepared.archived.is_empty() && !query.is_restricted();
        let Some(sought) = search.filter(|_| is_told).and_then(Search::sought) else {
            return Ok(None);
        };
        let gathering = Gathering { sought: Some(&sought), ..Gathering::of(encapsulations, Wanted::All) };
        let source = self.gather_source(true, prepared.range, &prepared.filters);
        let mut keys = Some(Keys::default());
        pipeline::run(source, gathering, segments.to_vec(), control, &mut |gathered, _| {
            keys = match (keys.take(), &gathered.keys) {
                (Some(mut all), Some(found)) => all.add(found).then_some(all),
                _ => None,
            };
            if keys.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(keys)
    }

    /// Joins the parts of all segments, and of records of the catalog, and gives each conversation to `take` when it has ended,
    /// in no order. Of the catalog it gives at least those that the search finds. Goes no further once it is unsure.
    #[expect(clippy::too_many_arguments, reason = "what is asked, and who takes the answer")]
    fn join(
        &self,
        prepared: &mut Prepared,
        segments: Vec<Arc<Segment>>,
        query: &Query,
        gathering: Gathering<'_>,
        search: Option<&Search>,
        takes_rollups: bool,
        control: &mut dyn Control,
        see: &mut dyn FnMut(RecordSource<'_>),
        take: &mut dyn FnMut(&FlowKey, &FlowCounters) -> ControlFlow<()>,
    ) -> Result<GatherOutcome, ExtractError> {
        let joiner = match gathering.wanted {
            Wanted::All | Wanted::Keys(_) => Joiner::new(gathering.encapsulations),
            Wanted::Hash(_) => Joiner::eager(gathering.encapsulations),
        };
        let memory = gathering.account.map(|account| Box::new(account.holding()) as Box<dyn TableMemory>);
        let joiner = joiner.within(memory);
        let mut outcome = GatherOutcome::default();
        let decided_by_others = gathering.by == Membership::Segments && prepared.filters.link_fragments();
        if decided_by_others && self.may_cut_fragments(prepared, &segments, control)? {
            outcome.is_unsure = true;
            return Ok(outcome);
        }
        let mut completeness = std::mem::take(&mut prepared.completeness);
        let filters = prepared.filters.clone();
        let range = prepared.range;
        let Gathering { encapsulations, wanted, .. } = gathering;
        let asking = self.catalog().map(|catalog| HourQuery {
            catalog,
            store: self.store(),
            manifests: self.manifests(),
            filters: &filters,
            encapsulations,
            range,
            wanted,
            search,
            takes_rollups,
        });
        let taken = segments.iter().map(Arc::as_ref);
        let bounds: Vec<_> =
            taken.chain(&prepared.snapshot.segments).filter_map(|segment| segment.bounds).collect();
        let feed = HourRecords::new(std::mem::take(&mut prepared.archived), bounds.iter().copied(), asking);
        let mut starts = bounds.iter().map(|(first, _)| first.ns()).min();
        let is_short = || gathering.account.is_some_and(MemoryAccount::is_short);
        let mut take = |key: &FlowKey, body: &FlowCounters| {
            if is_short() { ControlFlow::Break(()) } else { take(key, body) }
        };
        let mut joining = Joining { joiner, feed, see, take: &mut take, goes: ControlFlow::Continue(()) };
        if let Some(first) = starts {
            joining.hours(Some(first), &|| control.cancelled(), &mut completeness)?;
        }
        match gathering.by {
            Membership::Segments | Membership::SegmentsAlone => {
                let unreadable = std::mem::take(&mut prepared.snapshot.unreadable);
                unreadable.into_iter().for_each(|place| completeness.add_unreadable(place));
                outcome.rejected.append(&mut prepared.snapshot.rejected);
                outcome.work.segments = prepared.segments_in_store as u64;
                let source = self.gather_source(query.use_index, range, &filters);
                if joining.goes.is_continue() {
                    pipeline::run(source, gathering, segments, control, &mut |gathered, horizon| {
                        outcome.note(&gathered, &mut completeness);
                        outcome.is_unsure = decided_by_others && outcome.has_fragments;
                        if outcome.is_unsure {
                            return ControlFlow::Break(());
                        }
                        // Hours between segments are read here, where nobody asks: what overlaps so is rare.
                        let _ = joining.hours(starts, &|| false, &mut completeness);
                        starts = horizon;
                        joining.segment(&gathered, horizon)
                    })?;
                }
                if outcome.has_fragments && filters.link_fragments() {
                    completeness.note(FRAGMENTS_ALONE.to_owned());
                }
                completeness.tell_of_segments(&mut outcome.rejected, query.is_restricted());
            }
            Membership::Answer => {
                prepared.completeness = completeness;
                let take = &mut |gathered: gather::Gathered, horizon| joining.segment(&gathered, horizon);
                if let Some(answer) = self.collect(prepared, query, gathering, control, take)? {
                    (outcome.work, outcome.rejected) = (answer.work, answer.rejected_indexes);
                    prepared.completeness = answer.completeness;
                }
                completeness = std::mem::take(&mut prepared.completeness);
            }
        }
        if is_short() {
            return Err(ExtractError::NoMemory);
        }
        if outcome.is_unsure {
            return Ok(outcome);
        }
        joining.hours(None, &|| control.cancelled(), &mut completeness)?;
        joining.finish();
        if is_short() {
            return Err(ExtractError::NoMemory);
        }
        outcome.approximate =
            joining.joiner.is_approximate() | joining.feed.is_approximate(&mut completeness);
        prepared.completeness = completeness;
        Ok(outcome)
    }

    /// Gives the parts of the answer's packets to `take`, and returns the answer of the extraction; `None` if `take` refused
    /// further ones.
    fn collect(
        &self,
        prepared: &mut Prepared,
        query: &Query,
        gathering: Gathering<'_>,
        control: &mut dyn Control,
        take: &mut Take<'_>,
    ) -> Result<Option<Answer>, ExtractError> {
        let ports = prepared.filters.ports.clone();
        let mut collector = Collector::new(gathering, &ports, take);
        let query = Query { limits: AnswerLimits::default(), decapsulate: false, ..query.clone() };
        let answer = self.carry_out(prepared, &query, Wants::default(), &mut collector, control);
        collector.end(answer)
    }
}

/// Note for an answer with too many fragments to read.
const FRAGMENTS_ALONE: &str = "there is too much to read for the sake of fragments: of later ones, those count that the filter accepts by \
    themselves; extraction also finds them with the first of their packet";

/// Extraction takes them itself.
fn take_segments(prepared: &mut Prepared, by: Membership) -> Vec<Arc<Segment>> {
    if by == Membership::Answer { Vec::new() } else { prepared.take_segments() }
}

/// Sources of conversations.
enum RecordSource<'s> {
    /// A segment.
    Segment(&'s gather::Gathered),
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
        // Of one hour any record can go on another one.
        joiner.begin(Some(0));
        loop {
            let horizon = feed.horizon();
            if let Some(hour) = feed.rollup(until, stop, completeness)? {
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

    /// Takes the parts of a segment, after which nothing begins before `horizon`.
    fn segment(&mut self, gathered: &gather::Gathered, horizon: Option<u64>) -> ControlFlow<()> {
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
fn finds(
    search: &Search,
    key: &FlowKey,
    body: &FlowCounters,
    encapsulations: &Encapsulations,
    ending: RangeEnd,
) -> bool {
    search.may_accept(key, body) && search.accepts(&describe(key, body, encapsulations, ending))
}

impl GatherOutcome {
    /// Adds the work done for a segment's parts, and the defects found.
    fn note(&mut self, gathered: &gather::Gathered, completeness: &mut Completeness) {
        self.work.segments_read += u64::from(gathered.bytes_read > 0);
        self.work.bytes_read += gathered.bytes_read;
        self.work.packets_judged += gathered.packets_judged;
        self.has_fragments |= gathered.parts.iter().any(|part| part.body.has_fragments);
        self.rejected.extend(gathered.rejected.clone());
        gathered.unreadable.iter().for_each(|place| completeness.add_unreadable(place.clone()));
        if let Some(gone) = gathered.gone {
            completeness.add_gone(gone);
        }
    }
}
