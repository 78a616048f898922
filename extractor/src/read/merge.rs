//! Merging of runs: packets that have been read are given out as soon as nothing unread can come before them.
//!
//! Memory is bounded by the runs read ahead and by those that overlap in time: in a store whose lanes are in order that
//! is one run a lane.

use std::collections::{BinaryHeap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use netrewind_store::SegmentBlock;

use crate::ExtractError;
use crate::answer::Work;
use crate::fragments::{HELD_PACKETS_MAX, Later, Links, REACH_NS};
use crate::read::check::altered_at;
use crate::read::matches::RunMatches;
use crate::read::place::{ACCEPTED, PacketOrder, Streak};
use crate::read::read_ahead::{Task, WorkPool};
use crate::read::reader::Run;
use crate::read::run_queue::RunQueue;
use crate::store::segment::Segment;

/// Bytes of segments that are read ahead of the answer.
const AHEAD_BYTES_MAX: u64 = 16 << 20;
/// Runs that are read ahead of the answer.
const AHEAD_RUNS_MAX: usize = 64;

/// Takes the packets of the answer in order; returns false when it wants no more.
pub(crate) trait Emit {
    /// Takes streaks, which stand in these blocks of a segment.
    fn emit(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &[SegmentBlock],
        streaks: &[Streak],
    ) -> Result<ControlFlow<()>, ExtractError>;
    /// Takes a later fragment whose first one has not been found and may still be recorded. Otherwise it is filtered alone.
    fn postpone(
        &mut self,
        _segment: &Arc<Segment>,
        _block: &SegmentBlock,
        _found: Streak,
        _later: &Later,
    ) -> bool {
        false
    }
    /// Called at intervals with the progress of reading. An error ends it.
    fn pause(&mut self, run_queue: &RunQueue<'_>, found: &RunMatches) -> Result<(), ExtractError>;
}

/// A run whose packets are being given out.
struct Active {
    segment: Arc<Segment>,
    blocks: Vec<SegmentBlock>,
    streaks: Vec<Streak>,
    laters: Vec<Later>,
    given: usize,
}

impl Active {
    fn head(&self) -> Option<PacketOrder> {
        let next = self.streaks.get(self.given)?;
        Some(PacketOrder::of(&self.segment, next.at, next.offset))
    }

    /// The later fragment that the next packet is, if it is one.
    fn later(&self) -> Option<&Later> {
        self.laters.get(self.streaks.get(self.given)?.later as usize)
    }

    /// Number of next streaks of which all packets come before `until`, and are no later fragments.
    fn ready(&self, until: Option<PacketOrder>) -> usize {
        // No record begins between the last one of a streak and its end.
        let is_before = |streak: &&Streak| {
            let end = PacketOrder::of(&self.segment, streak.last, streak.end());
            streak.later == ACCEPTED && until.is_none_or(|until| end <= until)
        };
        self.streaks.iter().skip(self.given).take_while(is_before).count()
    }

    /// Gives out the packets before `until`, up to the next later fragment; at least the first one.
    fn give(
        &mut self,
        until: Option<PacketOrder>,
        emit: &mut dyn Emit,
    ) -> Result<(ControlFlow<()>, usize), ExtractError> {
        let ready = self.ready(until);
        let Self { segment, blocks, streaks, given, .. } = self;
        if ready > 0 {
            let whole = &streaks[*given..*given + ready];
            *given += ready;
            return Ok((emit.emit(segment, blocks, whole)?, packets_of(whole)));
        }
        let streak = &mut streaks[*given];
        let is_before = |at, offset| until.is_none_or(|until| PacketOrder::of(segment, at, offset) < until);
        let front = match blocks.get(streak.block as usize).filter(|_| streak.packets > 1) {
            Some(block) => streak.take_front(block, is_before),
            None => {
                let one = *streak;
                streak.packets = 0;
                one
            }
        };
        *given += usize::from(streak.packets == 0);
        Ok((emit.emit(segment, blocks, &[front])?, front.packets as usize))
    }
}

/// Number of packets of streaks.
fn packets_of(streaks: &[Streak]) -> usize {
    streaks.iter().map(|streak| streak.packets as usize).sum()
}

/// Ordered for the heap: the earliest is the greatest.
impl Ord for Active {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.head().cmp(&self.head())
    }
}
impl PartialOrd for Active {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Active {
    fn eq(&self, other: &Self) -> bool {
        self.head() == other.head()
    }
}
impl Eq for Active {}

/// Reads all runs and gives their packets out in order. `links` are the first fragments found so far.
pub(crate) fn merge<'scope>(
    run_queue: &mut RunQueue<'_>,
    pool: &mut WorkPool<'scope, '_, Run, RunMatches>,
    links: &mut Links,
    emit: &mut dyn Emit,
    stop: &dyn Fn() -> bool,
) -> Result<Work, ExtractError> {
    let mut ahead: VecDeque<Arc<Task<Run, RunMatches>>> = VecDeque::new();
    let mut ahead_bytes = 0;
    let mut held = MergeQueue { active: BinaryHeap::new(), packets: 0, links };
    let mut work = Work::default();
    loop {
        while ahead.len() < AHEAD_RUNS_MAX && ahead_bytes < AHEAD_BYTES_MAX {
            let Some(run) = run_queue.next(stop)? else { break };
            let bytes = run.bytes();
            ahead_bytes += bytes;
            run.prefetch();
            ahead.push_back(pool.submit(run, bytes));
        }
        let unread = ahead.front().map(|task| task.input.place);
        let next = held.give_out(unread, emit)?;
        run_queue.report.unlinked = held.links.forgotten;
        let Some(task) = ahead.pop_front().filter(|_| next.is_continue()) else { return Ok(work) };
        let found = pool.finish(&task);
        let bytes = task.input.bytes();
        ahead_bytes -= bytes;
        work.bytes_read += bytes;
        work.packets_judged += found.judged;
        emit.pause(run_queue, &found)?;
        for &offset in &found.damaged_at {
            run_queue.report.unreadable.push(task.input.segment.unreadable_at(offset));
        }
        for range in &found.altered {
            let place = altered_at(task.input.segment.name, range.clone());
            // Two runs may lie in one granule.
            if run_queue.report.unreadable.last() != Some(&place) {
                run_queue.report.unreadable.push(place);
            }
        }
        held.add(found, &task.input);
    }
}

/// Packets that have been read and not given out yet.
struct MergeQueue<'l> {
    active: BinaryHeap<Active>,
    packets: usize,
    links: &'l mut Links,
}

impl MergeQueue<'_> {
    fn add(&mut self, found: RunMatches, run: &Run) {
        let RunMatches { blocks, streaks, laters, firsts, .. } = found;
        if !firsts.is_empty() {
            let earliest = self.active.peek().and_then(Active::head).map(|head| head.at);
            self.links.add(firsts, earliest.map_or(run.place.at, |at| at.min(run.place.at)));
        }
        if !streaks.is_empty() {
            self.packets += packets_of(&streaks);
            let segment = Arc::clone(&run.segment);
            self.active.push(Active { segment, blocks, streaks, laters, given: 0 });
        }
    }

    /// Gives out all packets before `unread`, the place of the first run that has not been read, up to a fragment whose first
    /// one may be in that run.
    fn give_out(
        &mut self,
        unread: Option<PacketOrder>,
        emit: &mut dyn Emit,
    ) -> Result<ControlFlow<()>, ExtractError> {
        while let Some(mut run) = self.active.pop() {
            let other = self.active.peek().and_then(Active::head);
            let until = match (unread, other) {
                (Some(unread), Some(other)) => Some(unread.min(other)),
                (unread, other) => unread.or(other),
            };
            let mut waits_for_first = false;
            while let Some(head) = run.head()
                && until.is_none_or(|until| head < until)
            {
                if let Some(later) = run.later() {
                    waits_for_first = self.must_wait(later, unread);
                    if waits_for_first {
                        break;
                    }
                    let found = run.streaks[run.given];
                    let block = &run.blocks[found.block as usize];
                    let is_postponed =
                        !self.links.knows(later) && emit.postpone(&run.segment, block, found, later);
                    if is_postponed || !self.links.accept(later) {
                        run.given += 1;
                        self.packets -= 1;
                        continue;
                    }
                }
                let (next, packets) = run.give(until, emit)?;
                if next.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.packets = self.packets.saturating_sub(packets);
            }
            let Some(head) = run.head() else { continue };
            let waits =
                unread.is_some_and(|unread| unread <= head && other.is_none_or(|other| unread <= other));
            self.active.push(run);
            if waits || waits_for_first {
                break; // whatever is active comes after what is unread, or after what waits
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// True if the packets that decide about a fragment may still be unread. If too many packets wait already, it is filtered as
    /// if there were none.
    fn must_wait(&mut self, later: &Later, unread: Option<PacketOrder>) -> bool {
        let decided_at = later.at.plus_ns(REACH_NS);
        let may_come = unread.is_some_and(|unread| unread.at <= decided_at);
        if may_come && self.packets > HELD_PACKETS_MAX {
            self.links.forgotten += 1;
            return false;
        }
        may_come
    }
}
