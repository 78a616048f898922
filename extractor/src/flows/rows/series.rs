//! Values of labels, and traffic over time by part, as rows.

use netrewind_flows::totals::Totals;
use netrewind_store::Timestamp;
use serde::Serialize;

use super::CsvRow;
use crate::flows::split_series::SplitSeries;
use crate::flows::values::{PropertyList, PropertyValue};

/// A value of a property, and the conversations that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueRow {
    /// Name of the property.
    pub property: &'static str,
    /// Its value.
    pub value: String,
    /// Totals of the conversations that have it.
    #[serde(flatten)]
    pub totals: Totals,
}

/// The values of all properties, those of one property after another.
pub fn value_rows(list: &PropertyList) -> Vec<ValueRow> {
    let rows = list.properties.iter().flat_map(|property| {
        let of_value = |value: &PropertyValue| ValueRow {
            property: property.name,
            value: value.value.clone(),
            totals: value.totals,
        };
        property.values.iter().map(of_value)
    });
    rows.collect()
}

impl CsvRow for ValueRow {
    const FIELDS: &'static [&'static str] = &["property", "value", "packets", "bytes", "conversations"];

    fn fields(&self) -> Vec<String> {
        let Totals { packets, bytes, conversations, .. } = self.totals;
        let numbers = [packets, bytes, conversations].map(|number| number.to_string());
        [self.property.to_owned(), self.value.clone()].into_iter().chain(numbers).collect()
    }
}

/// Traffic of a part in a bucket of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitRow {
    /// Begin of the bucket.
    pub at: Timestamp,
    /// Name of the part; empty for all others together.
    pub part: String,
    /// Packets of it in the bucket.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// TCP segments among them that were sent again.
    pub retransmissions: u64,
}

/// The buckets of a series in the order of time, in each the parts and then all others.
pub fn split_rows(series: &SplitSeries) -> Vec<SplitRow> {
    let mut rows = Vec::new();
    for (bucket, &at) in series.at.iter().enumerate() {
        let number = |numbers: &[u64]| numbers.get(bucket).copied().unwrap_or_default();
        let parts = series.parts.iter().map(|part| (part.name.clone(), part));
        rows.extend(parts.chain([(String::new(), &series.others)]).map(|(name, part)| SplitRow {
            at,
            part: name,
            packets: number(&part.packets),
            bytes: number(&part.bytes),
            retransmissions: number(&part.retransmissions),
        }));
    }
    rows
}

impl CsvRow for SplitRow {
    const FIELDS: &'static [&'static str] = &["at", "part", "packets", "bytes", "retransmissions"];

    fn fields(&self) -> Vec<String> {
        let numbers = [self.packets, self.bytes, self.retransmissions].map(|number| number.to_string());
        [self.at.to_string(), self.part.clone()].into_iter().chain(numbers).collect()
    }
}
