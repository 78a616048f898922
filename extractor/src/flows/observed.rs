//! What the index has learnt from the packets of conversations, added to their parts.
//!
//! It is of the segment's whole conversation, whatever of it a filter or range accepts: a server's name is the conversation's
//! also where only the answers are asked for. Whoever may not see all of its packets is told only of conversations all of
//! whose packets are in the answer.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use netrewind_indexer::{Cursor, Index, IndexError, LabelKey, Observation, Observations};

use super::carrier::Facts;
use super::key::Key;
use super::part::Part;

/// The labels of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelTexts {
    text: Box<str>,
    /// Where the text of each ends; it begins where that of the one before ends.
    ends: Box<[(LabelKey, u32)]>,
}

impl LabelTexts {
    fn read(rows: &mut Observations<'_>, row: &Observation) -> Result<Arc<Self>, IndexError> {
        let (mut all, mut ends) = (String::new(), Vec::new());
        rows.visit_labels(row, |key, text| {
            all.push_str(text);
            ends.push((key, u32::try_from(all.len()).unwrap_or(u32::MAX)));
        })?;
        Ok(Arc::new(Self { text: all.into(), ends: ends.into() }))
    }

    /// Key and text of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LabelKey, &str)> {
        let mut from = 0;
        self.ends.iter().map(move |&(key, end)| {
            let to = end as usize;
            (key, self.text.get(std::mem::replace(&mut from, to)..to).unwrap_or_default())
        })
    }

    /// What was recognised.
    pub(super) fn application(&self) -> Option<&str> {
        self.iter().find(|(key, _)| *key == LabelKey::Application).map(|(_, text)| text)
    }
}

/// Which flows of an index parts were made of.
pub(super) enum Made {
    /// Any.
    OfAny,
    /// These, by number.
    Of(Vec<u32>),
}

/// An index, and what its templates say.
pub(super) struct Told<'i, B> {
    pub(super) index: &'i Index<B>,
    pub(super) facts: &'i [Facts],
    /// Only of conversations all of whose packets are in the answer.
    pub(super) only_whole: bool,
}

impl<B: AsRef<[u8]>> Told<'_, B> {
    /// Adds to the parts what was observed of their flows.
    pub(super) fn add_to(&self, parts: &mut [Part], made: Made) -> Result<(), IndexError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut rows = self.index.observations()?;
        let mut cursor = self.index.cursor();
        let mut places: HashMap<Key, usize, RandomState> = HashMap::default();
        places.extend(parts.iter().enumerate().map(|(place, part)| (part.key, place)));
        let mut add =
            |rows: &mut Observations<'_>, row: &Observation| self.add(parts, &places, &mut cursor, rows, row);
        let Made::Of(mut flows) = made else { return rows.visit(add) };
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

    fn add(
        &self,
        parts: &mut [Part],
        places: &HashMap<Key, usize, RandomState>,
        cursor: &mut Cursor<'_, B>,
        rows: &mut Observations<'_>,
        row: &Observation,
    ) -> Result<(), IndexError> {
        let Some((key, side, _)) = self.key_of(cursor, row.flow)? else { return Ok(()) };
        let Some(part) = places.get(&key).and_then(|&place| parts.get_mut(place)) else { return Ok(()) };
        if self.only_whole && self.packets_of(cursor, &key, row.flow)? != part.body.packets() {
            return Ok(());
        }
        let body = &mut part.body;
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

    /// The key that a flow has, which end has sent it, and its packets.
    fn key_of(&self, cursor: &mut Cursor<'_, B>, flow: u32) -> Result<Option<(Key, usize, u64)>, IndexError> {
        let flow = cursor.flow(flow)?;
        Ok(self.facts.get(flow.template as usize).map(|facts| {
            let (key, side, _) = Key::of(&flow, facts);
            (key, side, flow.packets)
        }))
    }

    /// How many packets the segment has of a conversation that a flow is of.
    fn packets_of(&self, cursor: &mut Cursor<'_, B>, key: &Key, flow: u32) -> Result<u64, IndexError> {
        let mut packets = 0;
        for flow in cursor.conversation_of(flow)? {
            let found = self.key_of(cursor, flow)?;
            packets += found.filter(|(found, ..)| found == key).map_or(0, |(.., packets)| packets);
        }
        Ok(packets)
    }
}
