//! Joining of parts to conversations, across segments and lanes.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::encapsulation::Encapsulations;
use crate::key::FlowKey;
use crate::memory::TableMemory;
use crate::part::FlowCounters;

/// Maximum number of conversations open at the same time, some 150 bytes each. Beyond it, the longest idle ones are ended early,
/// and later packets count as another conversation.
pub const OPEN_MAX: usize = 1 << 22;
/// With fewer open ones, ended ones are not searched for.
const WORTH_LOOKING_THROUGH: usize = 1 << 14;

/// Unit in which memory is taken for labels and the like.
const BESIDE_STEP_BYTES: u64 = 256 << 10;

/// Conversations that may still get parts. Parts have to be added segment by segment, in the order of the segments' earliest
/// timestamps, each key once a segment.
#[derive(Debug)]
pub struct Joiner<'q> {
    open: HashMap<FlowKey, FlowCounters, RandomState>,
    encapsulations: &'q Encapsulations,
    open_max: usize,
    /// Fewer open ones are not looked through.
    worth_it: usize,
    looked_through_at: usize,
    /// Every part of a later segment begins then or later.
    horizon: u64,
    is_approximate: bool,
    /// Memory that it may grow into, if it is limited.
    memory: Option<Box<dyn TableMemory>>,
    /// Bytes that the open ones take beside the table, and those that it may take.
    bytes_beside: u64,
    bytes_beside_max: u64,
    /// Start time up to which a conversation's past may be unknown, see [`Self::of_hour`].
    unknown_until: u64,
}

impl<'q> Joiner<'q> {
    /// Joiner of whole conversations.
    pub fn new(encapsulations: &'q Encapsulations) -> Self {
        Self {
            open: HashMap::default(),
            encapsulations,
            open_max: OPEN_MAX,
            worth_it: WORTH_LOOKING_THROUGH,
            looked_through_at: WORTH_LOOKING_THROUGH,
            horizon: 0,
            is_approximate: false,
            memory: None,
            bytes_beside: 0,
            bytes_beside_max: 0,
            unknown_until: 0,
        }
    }

    /// Joiner for the segments of one hour, some of whose conversations may have begun in the hour before: conversations that
    /// begin up to `unknown_until` are joined only if they would be whatever went before. The resulting pieces are loose: they
    /// can later be joined with what did go before, to what they would have been without hours.
    pub fn of_hour(encapsulations: &'q Encapsulations, unknown_until: u64) -> Self {
        Self { unknown_until, ..Self::new(encapsulations) }
    }

    /// Limits its memory; without room for more it ends conversations early.
    pub fn within(self, memory: Option<Box<dyn TableMemory>>) -> Self {
        Self { memory, ..self }
    }

    /// Limits the number of open conversations.
    pub fn with_open_max(self, open_max: usize) -> Self {
        Self { open_max, ..self }
    }

    /// Tells of each conversation as soon as it has ended.
    pub fn eager(encapsulations: &'q Encapsulations) -> Self {
        Self { worth_it: 0, looked_through_at: 0, ..Self::new(encapsulations) }
    }

    /// True if conversations were ended before their time.
    pub fn is_approximate(&self) -> bool {
        self.is_approximate || self.encapsulations.are_full()
    }

    /// Begins a segment. Every part of a later segment begins at `horizon` or later; `None` if there are no later ones.
    pub fn begin(&mut self, horizon: Option<u64>) {
        self.horizon = horizon.unwrap_or(u64::MAX);
    }

    /// Adds a part; passes the conversation that it shows to be over to `close`.
    pub fn add(
        &mut self,
        key: &FlowKey,
        part: &FlowCounters,
        close: &mut dyn FnMut(&FlowKey, &FlowCounters),
    ) {
        let Some(open) = self.open.get_mut(key) else {
            // Most conversations of a long segment begin and end in it.
            return match last_moment(key, part) < self.horizon {
                true => close(key, part),
                false => self.open(key, part, close),
            };
        };
        let (goes_on, is_loose) = (goes_on(key, open, part), is_uncertain(open, self.unknown_until));
        let bytes_before = open.bytes_beside();
        if goes_on && (!is_loose || goes_on_anyway(key, open, part)) {
            open.add(part, self.encapsulations);
            open.segments += part.segments;
        } else {
            let mut over = std::mem::replace(open, FlowCounters { is_loose: goes_on, ..part.clone() });
            over.is_loose |= goes_on;
            close(key, &over);
        }
        self.bytes_beside = self.bytes_beside + open.bytes_beside() - bytes_before;
    }

    fn open(&mut self, key: &FlowKey, part: &FlowCounters, close: &mut dyn FnMut(&FlowKey, &FlowCounters)) {
        self.bytes_beside += part.bytes_beside();
        if self.open.len() >= self.open_max || !self.may_grow() || !self.may_hold_beside() {
            self.end_half(close);
        }
        self.open.insert(*key, part.clone());
    }

    /// True if there is memory for what the open ones take beside the table.
    fn may_hold_beside(&mut self) -> bool {
        let Some(memory) = &mut self.memory else { return true };
        if self.bytes_beside <= self.bytes_beside_max {
            return true;
        }
        let wanted = self.bytes_beside.next_multiple_of(BESIDE_STEP_BYTES);
        let is_let = memory.may_hold_beside(wanted);
        if is_let {
            self.bytes_beside_max = wanted;
        }
        is_let
    }

    /// True if there is memory for one more.
    fn may_grow(&mut self) -> bool {
        const ENTRY_BYTES: usize = size_of::<(FlowKey, FlowCounters)>();
        let Some(memory) = &mut self.memory else { return true };
        if self.open.len() < self.open.capacity() {
            return true;
        }
        if !memory.may_grow(self.open.capacity().max(1), ENTRY_BYTES) {
            return false;
        }
        self.open.reserve(1);
        memory.has_grown(self.open.capacity(), ENTRY_BYTES);
        true
    }

    /// Ends the conversations that cannot get parts any more.
    pub fn expire(&mut self, close: &mut dyn FnMut(&FlowKey, &FlowCounters)) {
        let horizon = self.horizon;
        if self.open.len() < self.looked_through_at {
            return;
        }
        let bytes_beside = &mut self.bytes_beside;
        self.open.retain(|key, open| {
            let is_open = last_moment(key, open) >= horizon;
            if !is_open {
                *bytes_beside -= open.bytes_beside();
                close(key, open);
            }
            is_open
        });
        self.looked_through_at =
            if self.worth_it == 0 { 0 } else { (self.open.len() * 2).max(self.worth_it) };
    }

    /// Ends all of them.
    pub fn finish(&mut self, close: &mut dyn FnMut(&FlowKey, &FlowCounters)) {
        self.bytes_beside = 0;
        self.open.drain().for_each(|(key, open)| close(&key, &open));
    }

    /// Ends those that have been silent for longest.
    fn end_half(&mut self, close: &mut dyn FnMut(&FlowKey, &FlowCounters)) {
        self.is_approximate = true;
        let mut lasts: Vec<u64> = self.open.values().map(FlowCounters::last).collect();
        let middle = lasts.len() / 2;
        if lasts.is_empty() {
            return;
        }
        let (_, &mut median, _) = lasts.select_nth_unstable(middle);
        let bytes_beside = &mut self.bytes_beside;
        self.open.retain(|key, open| {
            let stays = open.last() > median;
            if !stays {
                *bytes_beside -= open.bytes_beside();
                close(key, open);
            }
            stays
        });
    }
}

/// Last instant at which a further part would belong to it.
pub fn last_moment(key: &FlowKey, open: &FlowCounters) -> u64 {
    open.last().saturating_add(key.idle_ns(key.is_tcp() && open.has_ended()))
}

/// True if a part of a later segment belongs to the conversation.
fn goes_on(key: &FlowKey, open: &FlowCounters, part: &FlowCounters) -> bool {
    let has_ended = key.is_tcp() && open.has_ended();
    let begins_anew = has_ended && part.first() > open.last() && part.opens_tcp();
    let is_near = part.first() <= last_moment(key, open)
        && open.first() <= part.last().saturating_add(key.idle_ns(false));
    is_near && !begins_anew
}

/// True if the unknown time before an hour can decide whether a part belongs to the conversation, because that may have ended.
/// A continuation of a loose piece is either one with it, which had then not ended, or begins anew; it has ended in both cases
/// or in neither, unless a FIN or RST was seen since, which may be the second of two.
fn is_uncertain(open: &FlowCounters, unknown_until: u64) -> bool {
    match open.is_loose {
        true => open.has_fin_or_reset() && !open.has_ended(),
        false => open.first() <= unknown_until,
    }
}

/// True if the part belongs to the conversation even if that had ended before.
fn goes_on_anyway(key: &FlowKey, open: &FlowCounters, part: &FlowCounters) -> bool {
    let begins_anew = part.first() > open.last() && part.opens_tcp();
    !key.is_tcp() || part.first() <= open.last().saturating_add(key.idle_ns(true)) && !begins_anew
}
