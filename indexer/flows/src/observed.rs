//! Labels and measurements that the index has taken from the packets of conversations, added to their parts.
//!
//! They describe the segment's whole conversation, whatever part of it a filter or range accepts: a server's name is the
//! conversation's also if only the answers are asked for. A restricted asker gets them only for conversations all of whose
//! packets are in the answer.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use netrewind_index::{FlowCursor, Index, IndexError, Observation, Observations};

use crate::key::FlowKey;
use crate::label_texts::LabelTexts;
use crate::part::{FlowCounters, FlowPart};
use crate::template_facts::TemplateTraits;

/// Flows of an index that parts were made from.
pub enum PartOrigin {
    /// Any.
    OfAny,
    /// These, by number.
    Of(Vec<u32>),
}

/// The place of a flow's part, and which of the two ends has sent the flow.
#[derive(Clone, Copy, Debug)]
pub struct PartPlace(u32);

impl PartPlace {
    const UNSETTLED: u32 = u32::MAX;

    /// An index has 2^22 flows, and as many without a key, at most.
    pub fn new(place: Option<(usize, usize)>) -> Self {
        let number = place.and_then(|(place, side)| u32::try_from(place << 1 | side).ok());
        Self(number.unwrap_or(Self::UNSETTLED))
    }

    /// The same part's place once so many parts before it have been taken out.
    pub fn move_up(&mut self, parts: usize) {
        if let Some((place, side)) = self.get() {
            *self = Self::new(place.checked_sub(parts).map(|place| (place, side)));
        }
    }

    fn get(self) -> Option<(usize, usize)> {
        (self.0 != Self::UNSETTLED).then_some(((self.0 >> 1) as usize, (self.0 & 1) as usize))
    }
}

/// Index with the facts of its templates.
pub struct IndexFacts<'i, B> {
    /// The index.
    pub index: &'i Index<B>,
    /// Traits of its templates, by number.
    pub facts: &'i [TemplateTraits],
    /// Only for conversations whose packets are all in the answer.
    pub only_whole: bool,
}

impl<B: AsRef<[u8]>> IndexFacts<'_, B> {
    /// Adds the observations of flows to their parts.
    pub fn add_to(&self, parts: &mut [FlowPart], made: PartOrigin) -> Result<(), IndexError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut rows = self.index.observations()?;
        let mut cursor = self.index.cursor();
        let places = places_of(parts);
        let mut add =
            |rows: &mut Observations<'_>, row: &Observation| self.add(parts, &places, &mut cursor, rows, row);
        let PartOrigin::Of(mut flows) = made else { return rows.visit(add) };
        flows.sort_unstable();
        let mut cursor = self.index.cursor();
        let mut done = 0;
        for flow in flows {
            if flow < done {
                continue;
            }
            let conversation = cursor.conversation_of(flow)?;
            done = conversation.end;
            for flow in conversation {
                if let Some(row) = rows.of(flow)? {
                    add(&mut rows, &row)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the observations of flows to parts that have all packets of their conversations. `flows` are all of the index from the
    /// first to the last of them, in order, and `settled` the places of their parts; those without a place are passed over.
    pub fn add_in_order(
        &self,
        parts: &mut [FlowPart],
        flows: &[u32],
        settled: &[PartPlace],
        rows: &mut Observations<'_>,
    ) -> Result<(), IndexError> {
        let (Some(&first), Some(&last)) = (flows.first(), flows.last()) else { return Ok(()) };
        let mut places = flows.iter().zip(settled).peekable();
        rows.visit_range(first..last.saturating_add(1), |rows, row| {
            while places.next_if(|(flow, _)| **flow < row.flow).is_some() {}
            let place =
                places.peek().filter(|(flow, _)| **flow == row.flow).and_then(|(_, place)| place.get());
            let Some((place, side)) = place else { return Ok(()) };
            parts.get_mut(place).map_or(Ok(()), |part| add_row(&mut part.body, side, rows, row))
        })
    }

    fn add(
        &self,
        parts: &mut [FlowPart],
        places: &PartNumbers,
        cursor: &mut FlowCursor<'_, B>,
        rows: &mut Observations<'_>,
        row: &Observation,
    ) -> Result<(), IndexError> {
        let Some((key, side, _)) = self.key_of(cursor, row.flow)? else { return Ok(()) };
        let Some(part) = places.get(&key).and_then(|&place| parts.get_mut(place)) else { return Ok(()) };
        if self.only_whole && self.packets_of(cursor, &key, row.flow)? != part.body.packets() {
            return Ok(());
        }
        add_row(&mut part.body, side, rows, row)
    }

    /// The key that a flow has, which end has sent it, and its packets.
    fn key_of(
        &self,
        cursor: &mut FlowCursor<'_, B>,
        flow: u32,
    ) -> Result<Option<(FlowKey, usize, u64)>, IndexError> {
        let flow = cursor.flow(flow)?;
        Ok(self.facts.get(flow.template as usize).map(|facts| {
            let (key, side, _) = FlowKey::of(&flow, facts);
            (key, side, flow.packets)
        }))
    }

    /// Number of packets that the segment has of a flow's conversation.
    fn packets_of(
        &self,
        cursor: &mut FlowCursor<'_, B>,
        key: &FlowKey,
        flow: u32,
    ) -> Result<u64, IndexError> {
        let mut packets = 0;
        for flow in cursor.conversation_of(flow)? {
            let found = self.key_of(cursor, flow)?;
            packets += found.filter(|(found, ..)| found == key).map_or(0, |(.., packets)| packets);
        }
        Ok(packets)
    }
}

/// Parts by their keys.
type PartNumbers = HashMap<FlowKey, usize, RandomState>;

fn places_of(parts: &[FlowPart]) -> PartNumbers {
    parts.iter().enumerate().map(|(place, part)| (part.key, place)).collect()
}

/// Adds one flow's observation to its part.
fn add_row(
    body: &mut FlowCounters,
    side: usize,
    rows: &mut Observations<'_>,
    row: &Observation,
) -> Result<(), IndexError> {
    if let Some(side) = body.sides.get_mut(side).filter(|side| side.packets > 0) {
        side.retransmissions += row.retransmissions;
        side.out_of_order += row.out_of_order;
    }
    body.round_trip_ns = body.round_trip_ns.or(row.round_trip_ns);
    if row.has_labels() && body.labels.is_none() {
        body.labels = Some(LabelTexts::read(rows, row)?);
    }
    Ok(())
}
