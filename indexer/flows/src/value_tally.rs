//! Counts of conversations by the values of their properties: applications, names, ports.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::conversation::{client_of, protocol_name};
use crate::key::FlowKey;
use crate::labels::application_of;
use crate::part::FlowCounters;
use crate::services;
use crate::totals::Totals;

/// Distinct values of a property that are counted; beyond, the lesser half is forgotten.
pub const VALUES_HELD_MAX: usize = 1 << 14;
/// Memory in bytes of a value beside its text.
const VALUE_BYTES: usize = 80;
/// Search fields of properties that are no labels.
const APPLICATION: &str = "application";
const PROTOCOL: &str = "protocol";
const SERVER_PORT: &str = "server_port";

/// A property whose values are counted.
#[derive(Debug, Default)]
struct PropertyValues {
    values: HashMap<Box<str>, Totals, RandomState>,
    /// Totals of the conversations that have the property.
    totals: Totals,
    text_bytes: usize,
    is_approximate: bool,
}

impl PropertyValues {
    fn add(&mut self, value: &str, body: &FlowCounters) {
        if let Some(totals) = self.values.get_mut(value) {
            return totals.add(body);
        }
        if self.values.len() >= VALUES_HELD_MAX {
            self.forget();
        }
        self.text_bytes += value.len();
        self.values.entry(value.into()).or_default().add(body);
    }

    /// Forgets the half with the fewest bytes.
    fn forget(&mut self) {
        self.is_approximate = true;
        let mut bytes: Vec<u64> = self.values.values().map(|totals| totals.bytes).collect();
        let middle = bytes.len() / 2;
        let least = *bytes.select_nth_unstable(middle).1;
        let mut room = bytes.len() - middle;
        self.values.retain(|_, totals| {
            let is_kept = totals.bytes > least || (totals.bytes == least && room > 0);
            room = room.saturating_sub(usize::from(is_kept));
            is_kept
        });
        self.text_bytes = self.values.keys().map(|value| value.len()).sum();
    }
}

/// Counts conversations by the values of their properties.
#[derive(Debug, Default)]
pub struct ValueTally {
    properties: BTreeMap<&'static str, PropertyValues>,
    totals: Totals,
    span: Option<(u64, u64)>,
}

/// Values of one property.
#[derive(Clone, Debug)]
pub struct CountedProperty {
    /// Its search field.
    pub name: &'static str,
    /// Totals of the conversations that have it.
    pub totals: Totals,
    /// Number of distinct values.
    pub distinct: usize,
    /// True if values were forgotten, and counts may be too low.
    pub is_approximate: bool,
    /// Values with the most conversations first.
    pub values: Vec<(String, Totals)>,
}

impl ValueTally {
    /// Counts a conversation.
    pub fn take(&mut self, key: &FlowKey, body: &FlowCounters) {
        self.totals.add(body);
        let (first, last) = self.span.unwrap_or((u64::MAX, 0));
        self.span = Some((first.min(body.first()), last.max(body.last())));
        self.add(PROTOCOL, &protocol_name(key), body);
        let port = key.port(1 - client_of(key, body));
        if let Some(port) = port {
            self.add(SERVER_PORT, &port.to_string(), body);
        }
        if application_of(body).is_none()
            && let Some(name) = port.and_then(|port| services::name_of(key.protocol, port))
        {
            self.add(APPLICATION, name, body);
        }
        let mut before = "";
        for (label, text) in body.labels.iter().flat_map(|texts| texts.iter()) {
            if label.name() != before {
                self.properties.entry(label.name()).or_default().totals.add(body);
                before = label.name();
            }
            self.properties.entry(label.name()).or_default().add(text, body);
        }
    }

    fn add(&mut self, name: &'static str, value: &str, body: &FlowCounters) {
        let property = self.properties.entry(name).or_default();
        property.totals.add(body);
        property.add(value, body);
    }

    /// Memory in bytes that it takes, about.
    pub fn bytes(&self) -> u64 {
        let of = |property: &PropertyValues| property.text_bytes + property.values.len() * VALUE_BYTES;
        self.properties.values().map(of).sum::<usize>() as u64
    }

    /// Totals of all conversations.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Times of the first and the last packet in nanoseconds; `None` if no conversation was counted.
    pub fn span(&self) -> Option<(u64, u64)> {
        self.span
    }

    /// The first `limit` values of each property.
    pub fn into_properties(self, limit: usize) -> impl Iterator<Item = CountedProperty> {
        self.properties.into_iter().map(move |(name, property)| {
            let PropertyValues { values, totals, is_approximate, .. } = property;
            let distinct = values.len();
            let mut values: Vec<_> =
                values.into_iter().map(|(text, totals)| (text.into_string(), totals)).collect();
            values.sort_by(|(text, one), (other_text, other)| {
                let rank = |totals: &Totals| (totals.conversations, totals.bytes);
                rank(other).cmp(&rank(one)).then_with(|| text.cmp(other_text))
            });
            values.truncate(limit);
            CountedProperty { name, totals, distinct, is_approximate, values }
        })
    }
}
