//! Parts of an index a piece at a time: memory does not grow with the number of a segment's conversations.
//!
//! The flows of an index lie in the order of their ends. Once those of further ends follow, the conversations before have all of
//! their flows of this segment, and are handed over. Without ports the flows of a conversation are scattered over the
//! index: these come last, together.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use netrewind_flows::key::FlowKey;
use netrewind_flows::observed::{IndexFacts, PartOrigin, PartPlace};
use netrewind_flows::part::{FlowPart, Parts};
use netrewind_index::{Flow, IndexError, Observations};

use super::gathered::Gathered;
use super::request::Gathering;

/// Parts of a segment that are handed over together, if it has so many.
pub(crate) const PIECE_PARTS: usize = 8192;

/// Flows of a segment whose packets are counted together; a segment with more is read several times.
pub(crate) const COUNTED_FLOWS: usize = 1 << 19;

/// Takes a piece of a segment's parts, which is not the last; false if no more are wanted.
pub(super) type Emit<'e> = dyn FnMut(Gathered) -> bool + 'e;

/// Parts known beside those of the flows: of the same segment, by key.
pub(super) type PartsBeside = HashMap<FlowKey, FlowPart, RandomState>;

/// Parts that are being made of flows of an index, which are added in the order of their numbers.
pub(super) struct Pieces<'q, 'i, B> {
    gathering: Gathering<'q>,
    told: IndexFacts<'i, B>,
    rows: Observations<'i>,
    /// All flows of the index are added.
    are_all: bool,
    piece_parts: usize,
    is_checked: bool,
    parts: Parts,
    /// Numbers of the flows whose parts have not been handed over, and the places of their parts.
    flows: Vec<u32>,
    places: Vec<PartPlace>,
    /// Numbers of flows that are scattered over the index, or whose parts were beside.
    scattered: Vec<u32>,
    beside: PartsBeside,
}

impl<'q, 'i, B: AsRef<[u8]>> Pieces<'q, 'i, B> {
    /// No parts yet; they will be of all flows, or of some.
    pub(super) fn new(
        gathering: Gathering<'q>,
        told: IndexFacts<'i, B>,
        piece_parts: usize,
        are_all: bool,
    ) -> Result<Self, IndexError> {
        Ok(Self {
            gathering,
            rows: told.index.observations()?,
            told,
            are_all,
            piece_parts,
            is_checked: false,
            parts: Parts::default(),
            flows: Vec::new(),
            places: Vec::new(),
            scattered: Vec::new(),
            beside: PartsBeside::default(),
        })
    }

    /// Adds parts of other flows, with their numbers.
    pub(super) fn with_beside(self, beside: PartsBeside, flows: Vec<u32>) -> Self {
        Self { beside, scattered: flows, ..self }
    }

    /// Adds the next flow.
    pub(super) fn add(&mut self, number: u32, flow: &Flow) {
        // A flow names a template of its index: the index has checked that.
        let Some(facts) = self.told.facts.get(flow.template as usize) else { return };
        let place = self.parts.add_in_order(flow, facts, self.gathering.encapsulations);
        self.flows.push(number);
        self.places.push(PartPlace::new(place));
        if place.is_none() {
            self.scattered.push(number);
        }
    }

    /// Memory in bytes that it takes for a while.
    pub(super) fn bytes(&self) -> u64 {
        let numbers = self.flows.capacity() + self.places.capacity() + self.scattered.capacity();
        self.parts.bytes() + (numbers * size_of::<u32>()) as u64
    }

    /// A piece of parts that have all of their flows, if there are enough for one.
    pub(super) fn settled(&mut self) -> Result<Option<Gathered>, IndexError> {
        let Some((parts, count)) = self.parts.take_settled(self.piece_parts) else { return Ok(None) };
        if !self.is_checked {
            // What has been handed over cannot be taken back.
            self.told.index.check_flows()?;
            self.is_checked = true;
        }
        let flows = self.flows.drain(..count).collect();
        let places: Vec<PartPlace> = self.places.drain(..count).collect();
        self.places.iter_mut().for_each(|place| place.move_up(parts.len()));
        let mut piece = Gathered::piece(&self.gathering);
        piece.parts = self.observed(parts, flows, &places)?;
        piece.hold_parts();
        Ok(Some(piece))
    }

    /// The rest of the parts.
    pub(super) fn finish(mut self) -> Result<Vec<FlowPart>, IndexError> {
        let in_order = self.parts.take_in_order();
        let (flows, places) = (std::mem::take(&mut self.flows), std::mem::take(&mut self.places));
        let mut all = self.observed(in_order, flows, &places)?;
        let Self { gathering, told, parts, scattered, beside, .. } = self;
        let mut rest = parts.finish(gathering.encapsulations);
        let mut beside = beside;
        join_beside(&mut rest, &mut beside, gathering);
        rest.extend(beside.into_values());
        told.add_to(&mut rest, PartOrigin::Of(scattered))?;
        rest.retain(|part| gathering.wanted.has(&part.key, gathering.encapsulations));
        if all.is_empty() {
            return Ok(rest);
        }
        all.append(&mut rest);
        Ok(all)
    }

    /// Wanted ones of these parts, with what was observed of them.
    fn observed(
        &mut self,
        mut parts: Vec<FlowPart>,
        flows: Vec<u32>,
        places: &[PartPlace],
    ) -> Result<Vec<FlowPart>, IndexError> {
        join_beside(&mut parts, &mut self.beside, self.gathering);
        match self.are_all {
            true => self.told.add_in_order(&mut parts, &flows, places, &mut self.rows)?,
            false => self.told.add_to(&mut parts, PartOrigin::Of(flows))?,
        }
        let Gathering { wanted, encapsulations, .. } = self.gathering;
        if !wanted.is_all() {
            parts.retain(|part| wanted.has(&part.key, encapsulations));
        }
        Ok(parts)
    }
}

/// Joins parts with those of the same keys beside them.
fn join_beside(parts: &mut [FlowPart], beside: &mut PartsBeside, gathering: Gathering<'_>) {
    if beside.is_empty() {
        return;
    }
    for part in parts {
        if let Some(other) = beside.remove(&part.key) {
            part.body.add(&other.body, gathering.encapsulations);
        }
    }
}
