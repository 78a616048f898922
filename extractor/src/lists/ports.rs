//! Lists of ports.

use std::sync::Arc;

use netrewind_index::ValueSet;
use serde::{Deserialize, Serialize};

use super::error::{LeftOut, ListError, ListKind};
use super::text::read_entries;
use super::{ListEntry, VALUE_RANGE_BYTES, values_of};

/// Ports of TCP, UDP, SCTP, DCCP or UDP-Lite of which a packet has to have one: single ones, ranges, and exceptions from these.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct PortList {
    /// In the order of the text.
    entries: Arc<[ListEntry<u16>]>,
    values: ValueSet,
}

impl PortList {
    /// Reads the text of a list, like [`super::AddressList::parse`].
    pub fn parse(text: &str) -> Result<(Self, LeftOut), ListError> {
        let mut entries = Vec::new();
        let left_out = read_entries(text, ListKind::Ports, |text, is_exception| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then(|| entries.push(ListEntry { first, last, is_exception }))
        })?;
        let values = values_of(&entries, 0..=u16::MAX.into());
        Ok((Self { entries: entries.into(), values }, left_out))
    }

    /// The ports in it, as numbers.
    pub(crate) fn values(&self) -> &ValueSet {
        &self.values
    }

    /// Memory that it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let of_entry = size_of::<ListEntry<u16>>() + VALUE_RANGE_BYTES;
        (self.entries.len() as u64).saturating_mul(of_entry as u64)
    }

    /// True if the port is in the list.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        self.values.contains(port.into())
    }
}

impl From<PortList> for Vec<String> {
    fn from(list: PortList) -> Self {
        let text = |entry: &ListEntry<u16>| {
            let mark = if entry.is_exception { "!" } else { "" };
            match entry.first == entry.last {
                true => format!("{mark}{}", entry.first),
                false => format!("{mark}{}-{}", entry.first, entry.last),
            }
        };
        list.entries.iter().map(text).collect()
    }
}

impl TryFrom<Vec<String>> for PortList {
    type Error = ListError;
    fn try_from(entries: Vec<String>) -> Result<Self, ListError> {
        Self::parse(&entries.join("\n")).map(|(list, _)| list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_ports_ranges_and_exceptions() {
        let (list, _) = PortList::parse("443\n8000-8100 !8080 # web").unwrap();
        let told = [442, 443, 8000, 8080, 8100, 8101].map(|port| list.contains(port));
        assert_eq!(told, [false, true, true, false, true, false]);
        let text: Vec<String> = list.clone().into();
        assert_eq!(text, ["443", "8000-8100", "!8080"]);
        assert_eq!(PortList::try_from(text).unwrap(), list);
        let (others, _) = PortList::parse("!443").unwrap();
        assert_eq!([0, 443, 65_535].map(|port| others.contains(port)), [true, false, true]);
        for wrong in ["65536", "https", "9-8", "-1", "1-"] {
            assert!(matches!(PortList::parse(wrong), Err(ListError::Entry { .. })), "{wrong}");
        }
        let misp = r#"{"Attribute": [{"type": "ip-dst|port", "value": "192.0.2.1|4444"}, {"type": "port", "value": "22"}]}"#;
        let (list, left_out) = PortList::parse(misp).unwrap();
        assert_eq!(
            (Vec::<String>::from(list).join(" "), left_out),
            ("4444 22".to_owned(), LeftOut::default())
        );
    }
}
