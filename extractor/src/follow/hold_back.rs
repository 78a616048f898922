//! Packets held back until nothing that comes before them can still turn up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use netrewind_segment::Timestamp;

use super::HOLD_BACK;
use crate::ExtractError;
use crate::merge::{Emit, Next};
use crate::read::{Found, Match, Place};
use crate::segment::Segment;
use crate::upcoming::Upcoming;

/// The most packets that are held back; beyond, the earliest is given out before its time.
const HELD_PACKETS_MAX: usize = 1 << 20;

/// What is held back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: BTreeMap<Place, Waiting>,
    /// Packets up to here are old enough.
    until: Timestamp,
    elapsed: Duration,
    /// The latest timestamp given out.
    newest: Timestamp,
    /// Packets given out after one with a later timestamp.
    pub(crate) late: u64,
}

#[derive(Debug)]
struct Waiting {
    segment: Arc<Segment>,
    found: Match,
    since: Duration,
}

impl Held {
    /// A round begins: to be called before the store is looked at.
    pub(crate) fn advance(&mut self, now: Timestamp, elapsed: Duration) {
        let hold_back_ns = u64::try_from(HOLD_BACK.as_nanos()).unwrap_or(u64::MAX);
        self.until = Timestamp(now.ns().saturating_sub(hold_back_ns));
        self.elapsed = elapsed;
    }
}

/// Takes packets that each round gives in order, and gives them on in the order of all rounds.
pub(crate) struct HoldBack<'r> {
    pub(crate) held: &'r mut Held,
    pub(crate) output: &'r mut dyn Emit,
}

impl HoldBack<'_> {
    /// Gives out what is old enough, or was held long enough although its timestamp lies in the future.
    pub(crate) fn give_due(&mut self) -> Result<Next, ExtractError> {
        if self.give_while(|place, until| place.at <= until)? == Next::NoMore {
            return Ok(Next::NoMore);
        }
        let elapsed = self.held.elapsed;
        let is_due = |waiting: &Waiting| waiting.since + HOLD_BACK <= elapsed;
        let due: Vec<Place> = self
            .held
            .waiting
            .iter()
            .filter(|(_, waiting)| is_due(waiting))
            .map(|(place, _)| *place)
            .collect();
        for place in due {
            if self.give(place)? == Next::NoMore {
                return Ok(Next::NoMore);
            }
        }
        Ok(Next::More)
    }

    /// Gives out everything: nothing more will come.
    pub(crate) fn give_all(&mut self) -> Result<Next, ExtractError> {
        self.give_while(|_, _| true)
    }

    fn give_while(&mut self, may: impl Fn(&Place, Timestamp) -> bool) -> Result<Next, ExtractError> {
        while let Some(place) = self.held.waiting.keys().next().copied()
            && may(&place, self.held.until)
        {
            if self.give(place)? == Next::NoMore {
                return Ok(Next::NoMore);
            }
        }
        Ok(Next::More)
    }

    fn give(&mut self, place: Place) -> Result<Next, ExtractError> {
        match self.held.waiting.remove(&place) {
            Some(Waiting { segment, found, .. }) => self.give_packet(&segment, found),
            None => Ok(Next::More),
        }
    }

    fn give_packet(&mut self, segment: &Arc<Segment>, found: Match) -> Result<Next, ExtractError> {
        self.held.late += u64::from(found.at < self.held.newest);
        self.held.newest = self.held.newest.max(found.at);
        self.output.emit(segment, found)
    }
}

impl Emit for HoldBack<'_> {
    fn emit(&mut self, segment: &Arc<Segment>, found: Match) -> Result<Next, ExtractError> {
        let place = segment.place_of(found);
        if self.give_while(|held, until| *held < place && held.at <= until)? == Next::NoMore {
            return Ok(Next::NoMore);
        }
        if found.at <= self.held.until {
            return self.give_packet(segment, found);
        }
        let waiting = Waiting { segment: Arc::clone(segment), found, since: self.held.elapsed };
        self.held.waiting.insert(place, waiting);
        match self.held.waiting.keys().next().copied() {
            Some(earliest) if self.held.waiting.len() > HELD_PACKETS_MAX => self.give(earliest),
            _ => Ok(Next::More),
        }
    }

    fn pause(&mut self, upcoming: &Upcoming<'_>, found: &Found) -> Result<(), ExtractError> {
        self.output.pause(upcoming, found)
    }
}
