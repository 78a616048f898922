//! Packets held back until no earlier packet can still arrive.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use netrewind_store::clock::Now;
use netrewind_store::{SegmentBlock, Timestamp};

use super::clock::HOLD_BACK;
use crate::ExtractError;
use crate::fragments::{Later, Links, REACH_NS};
use crate::read::matches::RunMatches;
use crate::read::merge::Emit;
use crate::read::place::{PacketOrder, Streak};
use crate::read::run_queue::RunQueue;
use crate::store::segment::Segment;

/// Limit on packets held back; beyond it, the earliest is given out early.
const HELD_PACKETS_MAX: usize = 1 << 20;
/// Limit on later fragments that wait for the first fragment of their packet; beyond it, they are filtered alone.
const ORPHANS_MAX: usize = 1 << 16;

/// Packets that are held back.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    waiting: BTreeMap<PacketOrder, HeldPacket>,
    /// Later fragments whose first one has not been met.
    orphans: Vec<(HeldPacket, Later)>,
    /// Packets up to here are old enough.
    until: Timestamp,
    elapsed: Duration,
    /// The latest timestamp given out.
    newest: Timestamp,
    /// Packets given out after one with a later timestamp.
    pub(crate) late: u64,
    /// Later fragments for which there was no room to wait.
    pub(crate) unlinked: u64,
}

#[derive(Debug)]
struct HeldPacket {
    segment: Arc<Segment>,
    block: SegmentBlock,
    found: Streak,
    since: Duration,
}

impl HeldPacket {
    /// A packet to be held back, with the block that it stands in.
    fn new(segment: &Arc<Segment>, block: &SegmentBlock, found: Streak, since: Duration) -> Self {
        let found = Streak { block: 0, ..found };
        Self { segment: Arc::clone(segment), block: block.clone(), found, since }
    }

    fn place(&self) -> PacketOrder {
        PacketOrder::of(&self.segment, self.found.at, self.found.offset)
    }
}

impl HeldBack {
    /// A round begins: to be called before the store is looked at.
    pub(crate) fn advance(&mut self, now: Now) {
        let hold_back_ns = u64::try_from(HOLD_BACK.as_nanos()).unwrap_or(u64::MAX);
        self.until = Timestamp(now.wall.ns().saturating_sub(hold_back_ns));
        self.elapsed = now.since(0);
    }

    /// True if the first fragment of its packet can still turn up.
    fn can_be_linked(&self, at: Timestamp, since: Duration) -> bool {
        self.until < at.plus_ns(REACH_NS) && self.elapsed < since + HOLD_BACK + Duration::from_nanos(REACH_NS)
    }

    /// Filters the later fragments whose first one has been found by now, or has been waited for long enough.
    pub(crate) fn link(&mut self, links: &Links, is_end: bool) {
        for (waiting, later) in std::mem::take(&mut self.orphans) {
            if !is_end && !links.knows(&later) && self.can_be_linked(later.at, waiting.since) {
                self.orphans.push((waiting, later));
            } else if links.accept(&later) {
                self.waiting.insert(waiting.place(), waiting);
            }
        }
    }

    /// Committed packets up to here have been given out.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }
}

/// Takes the packets of each round in order, and passes them on in the order of all rounds.
pub(crate) struct HoldBack<'r> {
    pub(crate) held: &'r mut HeldBack,
    pub(crate) output: &'r mut dyn Emit,
}

impl HoldBack<'_> {
    /// Passes on packets that are old enough, or were held long enough although their timestamps lie in the future.
    pub(crate) fn give_due(&mut self) -> Result<ControlFlow<()>, ExtractError> {
        if self.give_while(|place, until| place.at <= until)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let elapsed = self.held.elapsed;
        let is_due = |waiting: &HeldPacket| waiting.since + HOLD_BACK <= elapsed;
        let due = self.held.waiting.iter().rev().find(|(_, waiting)| is_due(waiting));
        match due.map(|(place, _)| *place) {
            // Earlier packets are available, and go first.
            Some(due) => self.give_while(|place, _| *place <= due),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// Gives out everything: nothing more will come.
    pub(crate) fn give_all(&mut self) -> Result<ControlFlow<()>, ExtractError> {
        self.give_while(|_, _| true)
    }

    fn give_while(
        &mut self,
        may: impl Fn(&PacketOrder, Timestamp) -> bool,
    ) -> Result<ControlFlow<()>, ExtractError> {
        while let Some(place) = self.held.waiting.keys().next().copied()
            && may(&place, self.held.until)
        {
            if self.give(place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn give(&mut self, place: PacketOrder) -> Result<ControlFlow<()>, ExtractError> {
        match self.held.waiting.remove(&place) {
            Some(HeldPacket { segment, block, found, .. }) => self.pass_on(&segment, &[block], &[found]),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// Passes on packets that are in order.
    fn pass_on(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &[SegmentBlock],
        found: &[Streak],
    ) -> Result<ControlFlow<()>, ExtractError> {
        for streak in found {
            self.held.late += u64::from(streak.at < self.held.newest);
            self.held.newest = self.held.newest.max(streak.last);
        }
        self.output.emit(segment, blocks, found)
    }

    /// Passes on a packet, or holds it back.
    fn take(
        &mut self,
        segment: &Arc<Segment>,
        block: &SegmentBlock,
        found: Streak,
    ) -> Result<ControlFlow<()>, ExtractError> {
        let waiting = HeldPacket::new(segment, block, found, self.held.elapsed);
        let place = waiting.place();
        if self.give_while(|held, until| *held < place && held.at <= until)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if found.at <= self.held.until {
            return self.pass_on(segment, &[waiting.block], &[waiting.found]);
        }
        self.held.waiting.insert(place, waiting);
        match self.held.waiting.keys().next().copied() {
            Some(earliest) if self.held.waiting.len() > HELD_PACKETS_MAX => self.give(earliest),
            _ => Ok(ControlFlow::Continue(())),
        }
    }
}

impl Emit for HoldBack<'_> {
    fn emit(
        &mut self,
        segment: &Arc<Segment>,
        blocks: &[SegmentBlock],
        streaks: &[Streak],
    ) -> Result<ControlFlow<()>, ExtractError> {
        let is_past = streaks.last().is_some_and(|last| last.last <= self.held.until);
        let is_in_order = streaks.first().is_some_and(|first| first.at >= self.held.newest);
        if self.held.waiting.is_empty() && is_past && is_in_order {
            return self.pass_on(segment, blocks, streaks);
        }
        for streak in streaks {
            let Some(block) = blocks.get(streak.block as usize) else { continue };
            for record in streak.records(block) {
                let found = Streak { later: streak.later, ..Streak::of(&record, streak.block) };
                if self.take(segment, block, found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn postpone(
        &mut self,
        segment: &Arc<Segment>,
        block: &SegmentBlock,
        found: Streak,
        later: &Later,
    ) -> bool {
        let since = self.held.elapsed;
        if !self.held.can_be_linked(later.at, since) {
            return false;
        }
        if self.held.orphans.len() >= ORPHANS_MAX {
            self.held.unlinked += 1;
            return false;
        }
        self.held.orphans.push((HeldPacket::new(segment, block, found, since), *later));
        true
    }

    fn pause(&mut self, run_queue: &RunQueue<'_>, found: &RunMatches) -> Result<(), ExtractError> {
        self.output.pause(run_queue, found)
    }
}
