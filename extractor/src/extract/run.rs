//! Fifth stage of a query: reads the planned segments, and writes the packets of the answer to the sink.

use std::cell::RefCell;

use super::conclude::conclude;
use super::output::Output;
use super::plan::PlannedQuery;
use crate::answer::ReassemblyAccount;
use crate::answer::completeness::RejectedIndex;
use crate::answer::completeness::{Completeness, ReachedLimit, Unreadable};
use crate::answer::control::{Control, Progress, is_over};
use crate::answer::error::ExtractError;
use crate::answer::{Answer, InterfaceAccount, Work};
use crate::flows::ChosenPackets;
use crate::fragments::Links;
use crate::query::Query;
use crate::read::check::ByteCheck;
use crate::read::matches::RunMatches;
use crate::read::merge::merge;
use crate::read::read_ahead::WorkPool;
use crate::read::reader::{Run, read};
use crate::read::run_queue::{PlanReport, Purpose, RunQueue};
use crate::sink::Sink;
use crate::transform::dedup::Dedup;

/// Query whose packets have been written.
pub(crate) struct WrittenQuery<'q> {
    query: &'q Query,
    progress: Progress,
    limit_reached: Option<ReachedLimit>,
    duplicates_dropped: u64,
    dedup_notes: Vec<String>,
    reassembly: ReassemblyAccount,
    work: Work,
    report: PlanReport,
    completeness: Completeness,
    rejected: Vec<RejectedIndex>,
    unreadable: Vec<Unreadable>,
    accounts: Vec<InterfaceAccount>,
}

impl<'q> WrittenQuery<'q> {
    /// Gives the packets of a planned query to the sink.
    pub(crate) fn run(
        planned: PlannedQuery<'q>,
        sink: &mut dyn Sink,
        control: &mut dyn Control,
    ) -> Result<Self, ExtractError> {
        let PlannedQuery { engine, query, range, filters, form, only_counts, chosen, .. } = planned;
        let account = engine.memory.account();
        let control = RefCell::new(control);
        let stop = || is_over(&**control.borrow());
        let (segments, divided) = match planned.segments {
            Ok(segments) => (segments, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let purpose = Purpose { use_index: query.use_index, counts: only_counts && !query.check };
        let mut run_queue =
            RunQueue::new(segments, range, &filters, &engine.scans, &engine.segment_cache, purpose)
                .choosing(chosen.as_ref());
        let mut output = Output {
            only_counts,
            chosen: chosen.as_ref().map(|chosen| ChosenPackets::new(chosen, &filters.ports)),
            progress: Progress { segments: planned.segments_in_range, ..Progress::default() },
            ..Output::new(sink, form, &filters.ports, planned.interfaces.inner, &control, &account)
        };
        let check = ByteCheck::default();
        let reader = |run: &Run| {
            let is_compared = query.check || run.segment.is_unsummed();
            let altered = if is_compared { check.altered(run) } else { Vec::new() };
            RunMatches { altered, ..read(run, range, &filters, !only_counts) }
        };
        let merged = divided.and_then(|()| {
            std::thread::scope(|scope| {
                let mut pool = WorkPool::new(scope, engine.workers.helpers, &reader);
                merge(&mut run_queue, &mut pool, &mut Links::default(), &mut output, &stop)
            })
        });
        let merged = merged.and_then(|work| output.write_rest().map(|_| work));
        let Output { progress, mut limit_reached, dedup, reassembler, lost, .. } = output;
        let work = match merged {
            // Packets given so far are in order, so they are the beginning of the answer.
            Err(ExtractError::Cancelled) if !control.borrow().cancelled() => {
                limit_reached = control.borrow().cut();
                Work::default()
            }
            merged => merged?,
        };
        let mut report = run_queue.into_report();
        let mut completeness = planned.completeness;
        let note = if query.check && !query.is_restricted() { check.note() } else { None };
        note.into_iter().for_each(|note| completeness.note(note));
        report.unreadable.extend(lost);
        Ok(Self {
            query,
            progress,
            limit_reached,
            duplicates_dropped: dedup.as_ref().map_or(0, Dedup::dropped),
            dedup_notes: dedup.iter().flat_map(Dedup::notes).collect(),
            reassembly: reassembler.map(|reassembler| reassembler.account()).unwrap_or_default(),
            work: Work {
                segments: planned.segments_in_store,
                segments_read: report.segments_read,
                segments_from_archive: report.segments_from_archive,
                ..work
            },
            report,
            completeness,
            rejected: planned.rejected,
            unreadable: planned.unreadable,
            accounts: planned.interfaces.accounts,
        })
    }

    /// The answer, with its account and completeness.
    pub(crate) fn into_answer(self) -> Answer {
        let mut answer = Answer {
            packets: self.progress.packets + self.report.counted_packets,
            bytes: self.progress.bytes + self.report.counted_bytes,
            duplicates_dropped: self.duplicates_dropped,
            reassembly: self.reassembly,
            completeness: self.completeness,
            rejected_indexes: self.rejected,
            hint: None,
            work: self.work,
            interfaces: self.accounts,
        };
        self.dedup_notes.into_iter().for_each(|note| answer.completeness.note(note));
        conclude(&mut answer, self.query, self.report, self.unreadable, self.limit_reached);
        answer
    }
}
