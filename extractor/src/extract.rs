//! Carrying out a query: from the store to the sink.

mod chosen;
mod estimate;
pub(crate) mod follow;
mod for_flows;
mod interfaces;
mod output;

use std::cell::RefCell;
use std::sync::Arc;

use netrewind_packet::INNER_LINK_TYPES;
use netrewind_store::time::{DAY_NS, SECOND_NS, Span};
use netrewind_store::{LinkType, SegmentName, Store, Timestamp};

use crate::ExtractError;
use crate::answer::completeness::{Asked, Completeness, ReachedLimit};
use crate::answer::control::{Control, NoControl, Progress};
use crate::answer::{Answer, Interface, InterfaceAccount, Work};
use crate::flows::{Aim, Catalog, CatalogHours, Chosen, ChosenPackets, GatherSource, Manifests};
use crate::fragments::{self, FRAGMENT_WINDOW_NS, Links, Relevant};
use crate::history::coverage::{self, CoverageQuery, KeptSegments};
use crate::history::logbook_cache::Days;
use crate::history::reach::{KeptBounds, reach};
use crate::history::timeline::{LogbookScope, RecordingTimeline};
use crate::memory::{ANSWERS_BYTES_MAX, Memory};
use crate::plan::planner::Planner;
use crate::plan::query_filter::{ForProgram, LinkTypeVerdict, QueryFilter};
use crate::query::{Query, TimeRange};
use crate::read::merge::merge;
use crate::read::read_ahead::WorkPool;
use crate::read::reader::{Run, read};
use crate::read::run_queue::{PlanReport, Purpose, RunQueue};
use crate::sink::{Preface, Sink, Wants};
use crate::store::live_index::LiveIndexes;
use crate::store::segment::{ScanCache, Segment};
use crate::store::segment_cache::SegmentCache;
use crate::store::snapshot::{Snapshot, Workers};
use crate::transform::decapsulate::{Decapsulator, InnerInterfaces, add_inner_interfaces};
use crate::transform::dedup::Dedup;
use crate::transform::reassembly::Reassembler;
use netrewind_filter::{CompileLimits, Compiler};
use output::Output;

/// Segments of a link type that are looked at to learn whether the answer certainly has it.
const SEGMENTS_LOOKED_AT_MAX: usize = 8;
/// The most threads beside the caller's.
pub const HELPERS_MAX: usize = 16;

/// Settings of an extractor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read ahead, beside the caller's own; at most [`HELPERS_MAX`].
    pub helpers: usize,
    /// Segments whose maps are kept from the beginning of a query until it has read them, so that they may expire meanwhile;
    /// also the number of segments that stay opened between queries. Beyond it, maps are made when they are needed: a process
    /// can have some 65,000 of them (`vm.max_map_count`), and a segment takes two.
    pub segments_held_max: usize,
    /// Limits on compiling a filter.
    pub compile: CompileLimits,
    /// Bytes that may be read to tell of flows only because fragments are among their packets. Where it were more, later fragments
    /// are judged by themselves, and the answer says so.
    pub fragmented_bytes_max: u64,
    /// Memory in bytes that all answers together may take for their tables, beside the minimum of each.
    pub answers_bytes_max: u64,
    /// Reads the catalog, which answers for flows whose packets are no longer kept.
    pub catalog: Option<Arc<dyn Catalog>>,
}

/// Half a second's work, or several from a slow disk.
const FRAGMENTED_BYTES_MAX: u64 = 512 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            helpers: 1,
            segments_held_max: 8192,
            compile: CompileLimits::default(),
            fragmented_bytes_max: FRAGMENTED_BYTES_MAX,
            answers_bytes_max: ANSWERS_BYTES_MAX,
            catalog: None,
        }
    }
}

/// Answers queries over one store. Shared between threads; its memory between queries is bounded.
#[derive(Debug)]
pub struct Extractor {
    segment_cache: SegmentCache,
    compiler: Compiler,
    scans: ScanCache,
    live_indexes: LiveIndexes,
    days: Days,
    workers: Workers,
    pub(crate) fragmented_bytes_max: u64,
    pub(crate) memory: Memory,
    catalog: Option<Arc<dyn Catalog>>,
    manifests: Manifests,
}

/// A query about to be carried out.
pub(crate) struct Prepared {
    pub(crate) snapshot: Snapshot,
    /// Hours of the catalog in the place of segments that have expired: only for flows.
    pub(crate) archived: CatalogHours,
    pub(crate) range: TimeRange,
    pub(crate) filters: QueryFilter,
    pub(crate) completeness: Completeness,
    /// Packets that were not written, by the second.
    pub(crate) drops: Vec<(Span, u64)>,
    interfaces: Vec<Interface>,
    accounts: Vec<InterfaceAccount>,
    inner_interfaces: InnerInterfaces,
    pub(crate) segments_in_store: usize,
    /// Restricts the answer to packets of these conversations.
    chosen: Option<Chosen>,
}

impl Prepared {
    /// The segments of the range, to be gone through more than once.
    pub(crate) fn take_segments(&mut self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.snapshot.segments).into_iter().map(Arc::new).collect()
    }
}

impl Extractor {
    /// Over a store. Nothing is read yet.
    pub fn new(store: Store, options: Options) -> Self {
        let compiler = Compiler::new(options.compile);
        let helpers = options.helpers.min(HELPERS_MAX);
        let workers = Workers { helpers, held_max: options.segments_held_max };
        let (scans, live_indexes) = (ScanCache::default(), LiveIndexes::default());
        Self {
            segment_cache: SegmentCache::new(store, workers.held_max),
            compiler,
            scans,
            live_indexes,
            days: Days::default(),
            workers,
            fragmented_bytes_max: options.fragmented_bytes_max,
            memory: Memory::new(options.answers_bytes_max),
            catalog: options.catalog,
            manifests: Manifests::default(),
        }
    }

    /// Source from which flows are gathered.
    pub(crate) fn gather_source<'q>(
        &'q self,
        use_index: bool,
        range: TimeRange,
        filters: &'q QueryFilter,
    ) -> GatherSource<'q> {
        let Self { scans, live_indexes, segment_cache, workers, .. } = self;
        GatherSource {
            range,
            filters,
            scans,
            live_indexes,
            segment_cache,
            use_index,
            helpers: workers.helpers,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.segment_cache.store()
    }

    /// Closes kept segments that are no longer in the store, or no longer used. To be called about once a second by a
    /// long-running service: until then the disk does not get their space back.
    pub fn evict_unused(&self) {
        self.segment_cache.evict_unused();
    }

    /// Gives the packets of the answer to the sink, in order.
    pub fn extract(
        &self,
        query: &Query,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, ExtractError> {
        match self.choose(query, Aim::Packets, &mut Cutting(control)) {
            Err(ExtractError::Cancelled)
                if !control.cancelled() && control.cut() == Some(ReachedLimit::Time) =>
            {
                Ok(Answer::out_of_time(query))
            }
            choice => self.extract_chosen(choice?, query, sink, control),
        }
    }

    /// Begins the sink with the facts known before the first packet.
    fn begin(
        &self,
        prepared: &Prepared,
        query: &Query,
        sink: &mut dyn Sink,
        control: &dyn Control,
    ) -> Result<(), ExtractError> {
        let possible = prepared.possible_link_types(query.decapsulate);
        let certain = self.certain_link_types(prepared, &possible, query, control)?;
        sink.begin(&Preface {
            query,
            possible_link_types: &possible,
            certain_link_types: &certain,
            interfaces: &prepared.interfaces,
            completeness: &prepared.completeness,
            tunnel_ports: &prepared.filters.ports,
        })?;
        Ok(())
    }

    /// Checks that a filter compiles for Ethernet, or at least for bare IP packets. Nothing is looked up.
    pub fn check_filter(&self, filter: &str, control: &dyn Control) -> Result<(), ExtractError> {
        if filter.trim().is_empty() {
            return Ok(());
        }
        let program = |link_type| self.compiler.program(filter, link_type, &ForProgram(control));
        match program(LinkType::ETHERNET).or_else(|error| program(LinkType::RAW).map_err(|_| error)) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Completeness of an answer, as far as it is known before reading.
    pub fn completeness(&self, query: &Query) -> Result<Completeness, ExtractError> {
        Ok(self.prepare(query, Wants::default(), &NoControl)?.completeness)
    }

    pub(crate) fn prepare(
        &self,
        query: &Query,
        wants: Wants,
        control: &dyn Control,
    ) -> Result<Prepared, ExtractError> {
        let snapshot = Snapshot::take(&self.segment_cache, query, &self.scans, self.workers, control)?;
        self.prepare_with(query, wants, snapshot, CatalogHours::default(), control)
    }

    fn prepare_with(
        &self,
        query: &Query,
        wants: Wants,
        mut snapshot: Snapshot,
        archived: CatalogHours,
        control: &dyn Control,
    ) -> Result<Prepared, ExtractError> {
        let range = query.range();
        let ports = self.tunnel_ports()?;
        let mut link_types = snapshot.link_types();
        link_types.extend(archived.link_types());
        link_types.sort_unstable();
        link_types.dedup();
        let filters = QueryFilter::compile(&self.compiler, query, &link_types, control)?.with_ports(&ports);
        let segments_in_store = snapshot.names.len();
        let mut completeness = Completeness::of_question(query);
        for (link_type, reason) in filters.refused.iter().filter(|_| !query.is_restricted()) {
            completeness.note(format!("the filter accepts nothing of {link_type}: {reason}"));
        }
        let covered = {
            let ((first, last), names) = (archived.bounds().unzip(), &snapshot.names[..]);
            let (oldest, newest) =
                (first.into_iter().chain(snapshot.oldest()).min(), last.max(snapshot.newest()));
            reach(query, self.store(), &self.days, KeptBounds { oldest, newest, names })
        };
        completeness.covered = covered;
        snapshot.damaged.drain(..).for_each(|damage| completeness.add_damage(damage));
        archived.tell(&mut completeness, snapshot.oldest(), query.is_restricted());
        let spans = snapshot.spans();
        let foreign = snapshot.opened_on_other_days();
        let reached = if filters.link_fragments() { fragments::reach(range) } else { range };
        let beside = snapshot.keep_in(range, reached);
        let mut prepared = Prepared {
            range,
            filters,
            completeness,
            drops: Vec::new(),
            interfaces: Vec::new(),
            accounts: Vec::new(),
            inner_interfaces: InnerInterfaces::new(),
            segments_in_store,
            chosen: None,
            snapshot,
            archived,
        };
        prepared.snapshot.beside = beside;
        if let Some(span) = covered {
            let is_restricted = query.is_restricted();
            // What an answer lacks concerns all interfaces where the asker may not know which there are.
            let interfaces = if is_restricted { &[][..] } else { &query.interfaces };
            let scope = LogbookScope { range: span, interfaces, accounts: wants.interfaces };
            let mut also = foreign;
            if wants.interfaces || !query.interfaces.is_empty() {
                also.extend(prepared.snapshot.segments.iter().map(|segment| segment.name));
            }
            let mut timeline = RecordingTimeline::read(self.store(), &self.days, scope, &also);
            prepared.choose_interfaces(query, &mut timeline, span)?;
            prepared.drops.clone_from(&timeline.drops);
            prepared.snapshot.find_shortened(&timeline);
            let is_other = |name: &SegmentName| {
                !interfaces.is_empty()
                    && timeline.origin_of(name).is_some_and(|origin| !origin.is_of(interfaces))
            };
            let mut spans = spans;
            spans.retain(|(name, _)| !is_other(name));
            let mut kept_spans = timeline.replayed(&spans);
            kept_spans.extend(spans.iter().map(|(_, span)| *span));
            kept_spans.extend(prepared.archived.spans());
            let catalogued = prepared.archived.names();
            let is_damaged = !prepared.snapshot.unreadable.is_empty();
            let kept =
                KeptSegments { names: &prepared.snapshot.names, catalogued, spans: kept_spans, is_damaged };
            let asking = CoverageQuery { store: self.store(), is_restricted };
            coverage::fill(&mut prepared.completeness, span, &timeline, &kept, asking);
            prepared.settle_range();
            if wants.interfaces {
                prepared.name_interfaces(&timeline);
                if query.is_restricted() {
                    // They count packets that the asker may not know of.
                    prepared.accounts.iter_mut().for_each(|account| account.received = None);
                }
                if query.decapsulate {
                    prepared.inner_interfaces =
                        add_inner_interfaces(&mut prepared.interfaces, &mut prepared.accounts);
                }
            }
        }
        if covered.is_none() && prepared.snapshot.unreadable.is_empty() && prepared.completeness.is_complete()
        {
            prepared.completeness.nothing_kept = Some("there are no packets in the store".to_owned());
        }
        Ok(prepared)
    }

    /// Gives the packets of the answer to the sink.
    pub(crate) fn carry_out(
        &self,
        prepared: &mut Prepared,
        query: &Query,
        wants: Wants,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Answer, ExtractError> {
        let mut snapshot = std::mem::take(&mut prepared.snapshot);
        let (range, filters) = (prepared.range, &prepared.filters);
        // How many packets fragments give is known when they have been put together.
        let only_counts = !wants.packets
            && !query.limits.are_set()
            && query.dedup.is_none()
            && !query.decapsulate
            && prepared.chosen.is_none();
        let chosen = prepared.chosen.as_ref();
        let Snapshot { rejected, unreadable, .. } = &mut snapshot;
        let (rejected, unreadable) = (std::mem::take(rejected), std::mem::take(unreadable));
        let segments = snapshot.segments.len() as u64;
        let purpose = Purpose { use_index: query.use_index, counts: only_counts };
        let account = self.memory.account();
        let control = RefCell::new(control);
        let stop = || is_over(&**control.borrow());
        let segments_to_read = match query.use_index {
            true => self.live_indexes.divide(snapshot.into_segments(), filters, &stop),
            false => Ok(snapshot.into_segments()),
        };
        let (segments_to_read, divided) = match segments_to_read {
            Ok(segments) => (segments, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let mut run_queue =
            RunQueue::new(segments_to_read, range, filters, &self.scans, &self.segment_cache, purpose)
                .choosing(chosen);
        let mut output = Output {
            sink,
            wants,
            only_counts,
            limits: query.limits,
            limit_reached: None,
            captured_bytes: 0,
            reassembler: query.decapsulate.then(|| Reassembler::new(&filters.ports).held_by(&account)),
            decapsulator: query
                .decapsulate
                .then(|| Decapsulator::new(&filters.ports, std::mem::take(&mut prepared.inner_interfaces))),
            dedup: query.dedup.map(|window| Dedup::new(window, &filters.ports).held_by(&account)),
            chosen: chosen.map(|chosen| ChosenPackets::new(chosen, &filters.ports)),
            control: &control,
            progress: Progress { segments, ..Progress::default() },
            lost: Vec::new(),
        };
        let reader = |run: &Run| read(run, range, filters, !only_counts);
        let merged = divided.and_then(|()| {
            std::thread::scope(|scope| {
                let mut pool = WorkPool::new(scope, self.workers.helpers, &reader);
                merge(&mut run_queue, &mut pool, &mut Links::default(), &mut output, &stop)
            })
        });
        let merged = merged.and_then(|work| output.write_rest().map(|_| work));
        let Output { progress, mut limit_reached, dedup, reassembler, lost, .. } = output;
        let mut work = match merged {
            // What has been given out is in order, so it is the beginning of the answer.
            Err(ExtractError::Cancelled) if !control.borrow().cancelled() => {
                limit_reached = control.borrow().cut();
                Work::default()
            }
            merged => merged?,
        };
        let mut report = std::mem::take(&mut run_queue.report);
        report.unreadable.extend(lost);
        work.segments = prepared.segments_in_store as u64;
        work.segments_read = report.segments_read;
        let mut answer = Answer {
            packets: progress.packets + report.counted_packets,
            bytes: progress.bytes + report.counted_bytes,
            duplicates_dropped: dedup.as_ref().map_or(0, Dedup::dropped),
            reassembly: reassembler.map(|reassembler| reassembler.account()).unwrap_or_default(),
            completeness: std::mem::take(&mut prepared.completeness),
            rejected_indexes: rejected,
            hint: None,
            work,
            interfaces: std::mem::take(&mut prepared.accounts),
        };
        dedup.iter().flat_map(Dedup::notes).for_each(|note| answer.completeness.note(note));
        conclude(&mut answer, query, report, unreadable, limit_reached);
        Ok(answer)
    }

    /// Link types that the answer has in any case, judged by a few segments of each. Only needed if several are possible.
    fn certain_link_types(
        &self,
        prepared: &Prepared,
        possible: &[LinkType],
        query: &Query,
        control: &dyn Control,
    ) -> Result<Vec<LinkType>, ExtractError> {
        let mut certain = Vec::new();
        // What packets carry is not known before they are read.
        let is_certain = !query.limits.are_set() && !query.decapsulate && query.dedup.is_none();
        if possible.len() < 2 || !is_certain || prepared.chosen.is_some() {
            return Ok(certain);
        }
        let stop = || control.cancelled();
        let mut planner = Planner::new(prepared.range, &prepared.filters);
        for &link_type in possible {
            let of_type = prepared.snapshot.segments.iter().filter(|segment| segment.link_type == link_type);
            for segment in of_type.take(SEGMENTS_LOOKED_AT_MAX) {
                let nothing = Relevant::default();
                let estimate = self.estimate_segment(segment, &nothing, query, &mut planner, &stop)?;
                if estimate.is_some_and(|estimate| estimate.packets_min > 0) {
                    certain.push(link_type);
                    break;
                }
            }
        }
        Ok(certain)
    }
}

/// Gives up where an answer has to end: of one whose conversations are not chosen yet there is no beginning.
struct Cutting<'h>(&'h mut dyn Control);

impl Control for Cutting<'_> {
    fn cancelled(&self) -> bool {
        is_over(self.0)
    }

    fn progress(&mut self, progress: &Progress) {
        self.0.progress(progress);
    }
}

/// True if reading has to end, for whatever reason.
fn is_over(control: &dyn Control) -> bool {
    control.cancelled() || control.cut().is_some()
}

/// Adds the findings of reading to the answer.
fn conclude(
    answer: &mut Answer,
    query: &Query,
    report: PlanReport,
    unreadable: Vec<crate::Unreadable>,
    limit_reached: Option<ReachedLimit>,
) {
    answer.rejected_indexes.extend(report.rejected);
    answer.reassembly.notes().for_each(|note| answer.completeness.note(note));
    let completeness = &mut answer.completeness;
    completeness.limit_reached = limit_reached;
    report.gone.into_iter().for_each(|gone| completeness.add_gone(gone));
    for place in unreadable.into_iter().chain(report.unreadable) {
        completeness.add_unreadable(place);
    }
    // Others' fragments are among them.
    if report.unlinked > 0 && !query.is_restricted() {
        completeness.note(format!(
            "{} fragments were judged without the first one of their packet, or are missing: there are more fragments \
             within {} s than can be kept in mind; a shorter range or a narrower filter has fewer",
            report.unlinked,
            FRAGMENT_WINDOW_NS / SECOND_NS
        ));
    }
    completeness.tell_of_segments(&mut answer.rejected_indexes, query.is_restricted());
}

impl Prepared {
    /// Clears the covered range if nothing is kept and an end of the range was left open.
    fn settle_range(&mut self) {
        let Asked { from, to } = self.completeness.asked;
        if self.completeness.nothing_kept.is_some() && (from.is_none() || to.is_none()) {
            self.completeness.covered = None;
        }
    }

    fn possible_link_types(&self, decapsulate: bool) -> Vec<LinkType> {
        let mut link_types = self.snapshot.link_types();
        link_types.retain(|&link_type| self.filters.outlook(link_type) != LinkTypeVerdict::Nothing);
        if decapsulate && !link_types.is_empty() {
            link_types.extend(INNER_LINK_TYPES);
            link_types.sort_unstable();
            link_types.dedup();
        }
        link_types
    }
}

impl Snapshot {
    /// The times of all segments that hold packets.
    fn spans(&self) -> Vec<(SegmentName, Span)> {
        let span = |segment: &Segment| {
            let (from, last) = segment.bounds?;
            Some((segment.name, Span { from, to: last.plus_ns(1) }))
        };
        self.segments.iter().filter_map(span).collect()
    }

    /// Segments that were opened on other days than those of their packets, as those of imported files: their logbook entries
    /// are found on these days.
    fn opened_on_other_days(&self) -> Vec<SegmentName> {
        let day = |at: Timestamp| at.ns() / DAY_NS;
        let is_foreign = |segment: &&Segment| {
            let opened = day(segment.name.opened);
            segment.bounds.is_some_and(|(first, last)| opened < day(first) || day(last) < opened)
        };
        self.segments.iter().filter(is_foreign).map(|segment| segment.name).collect()
    }
}
