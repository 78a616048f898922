//! Lists of addresses, networks and ranges of both families.

use std::net::IpAddr;
use std::sync::Arc;

use netrewind_index::ValueSet;
use serde::{Deserialize, Serialize};

use super::error::{LeftOut, ListError, ListKind};
use super::text::read_entries;
use super::{ListEntry, VALUE_RANGE_BYTES, digest, values_of};

/// Addresses of which a packet has to have one: IPv4 and IPv6, single ones, networks, ranges, and exceptions from these. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct AddressList {
    /// Of both families, in the order of the text.
    entries: Arc<[AddressEntry]>,
    v4: ValueSet,
    v6: ValueSet,
    order: Arc<EntryOrder>,
}

/// An entry and its family.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AddressEntry {
    V4(ListEntry<u32>),
    V6(ListEntry<u128>),
}

/// The entries of each family that are no exceptions, by where they begin, to look up the one that an address is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EntryOrder {
    v4: Vec<PlacedEntry>,
    v6: Vec<PlacedEntry>,
}

/// An entry among the others of its family.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlacedEntry {
    first: u128,
    last: u128,
    /// The greatest end of this entry and of all before it.
    last_so_far: u128,
}

impl AddressList {
    /// Reads the text of a list: entries in lines or between commas, `!` before an exception, or JSON of MISP. Says what the
    /// text has besides.
    pub fn parse(text: &str) -> Result<(Self, LeftOut), ListError> {
        let mut entries = Vec::new();
        let left_out = read_entries(text, ListKind::Addresses, |text, is_exception| {
            entries.push(AddressEntry::read(text, is_exception)?);
            Some(())
        })?;
        Ok((Self::of(entries), left_out))
    }

    fn of(entries: Vec<AddressEntry>) -> Self {
        let v4: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                AddressEntry::V4(entry) => Some(entry.clone()),
                AddressEntry::V6(_) => None,
            })
            .collect();
        let v6: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                AddressEntry::V6(entry) => Some(entry.clone()),
                AddressEntry::V4(_) => None,
            })
            .collect();
        let has_entries = entries.iter().any(|entry| !entry.is_exception());
        // With exceptions alone, all other addresses of both families are in the list.
        let values = |of_v4: bool| match (of_v4, has_entries) {
            (true, true) if v4.iter().all(|entry| entry.is_exception) => ValueSet::default(),
            (false, true) if v6.iter().all(|entry| entry.is_exception) => ValueSet::default(),
            (true, _) => values_of(&v4, 0..=u32::MAX.into()),
            (false, _) => values_of(&v6, 0..=u128::MAX),
        };
        let order = EntryOrder { v4: placed(&v4), v6: placed(&v6) };
        Self { v4: values(true), v6: values(false), entries: entries.into(), order: Arc::new(order) }
    }

    /// The IPv4 addresses in it, as numbers.
    pub(crate) fn v4(&self) -> &ValueSet {
        &self.v4
    }

    /// The IPv6 addresses in it, as numbers.
    pub(crate) fn v6(&self) -> &ValueSet {
        &self.v6
    }

    /// Memory that it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let of_entry = size_of::<AddressEntry>() + size_of::<PlacedEntry>() + VALUE_RANGE_BYTES;
        (self.entries.len() as u64).saturating_mul(of_entry as u64)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if the address is in the list.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits().into()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// The entry that an address is in, as it is written in a list: one of them where there are several. Nothing where all but
    /// the exceptions are in the list.
    pub fn entry_of(&self, address: IpAddr) -> Option<String> {
        let (order, value) = match address {
            IpAddr::V4(address) => (&self.order.v4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.order.v6, address.to_bits()),
        };
        let end = order.partition_point(|entry| entry.first <= value);
        let before = order[..end].iter().rev().take_while(|entry| entry.last_so_far >= value);
        let found = before.into_iter().find(|entry| entry.last >= value)?;
        Some(match address {
            IpAddr::V4(_) => v4_text(found.first as u32, found.last as u32),
            IpAddr::V6(_) => v6_text(found.first, found.last),
        })
    }
}

/// What tells it from other lists, in short: it may have a million entries.
impl std::fmt::Debug for AddressList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AddressList of {} entries ({:016x})", self.entries.len(), digest(self.entries.iter()))
    }
}

impl AddressEntry {
    fn is_exception(&self) -> bool {
        match self {
            Self::V4(entry) => entry.is_exception,
            Self::V6(entry) => entry.is_exception,
        }
    }

    fn read(text: &str, is_exception: bool) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            return match (first.parse().ok()?, last.parse().ok()?) {
                (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                    Some(Self::V4(ListEntry { first: first.to_bits(), last: last.to_bits(), is_exception }))
                }
                (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                    Some(Self::V6(ListEntry { first: first.to_bits(), last: last.to_bits(), is_exception }))
                }
                _ => None,
            };
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let bits = bits.unwrap_or(u32::BITS);
                let rest = u32::MAX.checked_shr(bits).filter(|_| bits <= u32::BITS);
                let rest = rest.or((bits == u32::BITS).then_some(0))?;
                let first = address.to_bits() & !rest;
                Some(Self::V4(ListEntry { first, last: first | rest, is_exception }))
            }
            IpAddr::V6(address) => {
                let bits = bits.unwrap_or(u128::BITS);
                let rest = u128::MAX.checked_shr(bits).filter(|_| bits <= u128::BITS);
                let rest = rest.or((bits == u128::BITS).then_some(0))?;
                let first = address.to_bits() & !rest;
                Some(Self::V6(ListEntry { first, last: first | rest, is_exception }))
            }
        }
    }
}

/// As in a list.
impl std::fmt::Display for AddressEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.is_exception() { "!" } else { "" };
        match self {
            Self::V4(entry) => write!(f, "{mark}{}", v4_text(entry.first, entry.last)),
            Self::V6(entry) => write!(f, "{mark}{}", v6_text(entry.first, entry.last)),
        }
    }
}

fn placed<V: Copy + Into<u128>>(entries: &[ListEntry<V>]) -> Vec<PlacedEntry> {
    let mut placed: Vec<PlacedEntry> = entries
        .iter()
        .filter(|entry| !entry.is_exception)
        .map(|entry| PlacedEntry {
            first: entry.first.into(),
            last: entry.last.into(),
            last_so_far: entry.last.into(),
        })
        .collect();
    // Of entries that begin together the narrowest is found first, from the end.
    placed.sort_unstable_by_key(|entry| (entry.first, std::cmp::Reverse(entry.last)));
    let mut greatest = 0;
    for entry in &mut placed {
        greatest = entry.last.max(greatest);
        entry.last_so_far = greatest;
    }
    placed
}

fn v4_text(first: u32, last: u32) -> String {
    let address = std::net::Ipv4Addr::from_bits;
    range_text(address(first), address(last), prefix_bits(first.into(), last.into(), u32::BITS))
}

fn v6_text(first: u128, last: u128) -> String {
    let address = std::net::Ipv6Addr::from_bits;
    range_text(address(first), address(last), prefix_bits(first, last, u128::BITS))
}

fn range_text<A: std::fmt::Display + PartialEq>(first: A, last: A, bits: Option<u32>) -> String {
    match bits {
        _ if first == last => first.to_string(),
        Some(bits) => format!("{first}/{bits}"),
        None => format!("{first}-{last}"),
    }
}

/// The length of the prefix that all addresses from `first` to `last` have, where those are all that have it.
fn prefix_bits(first: u128, last: u128, of: u32) -> Option<u32> {
    let differing = first ^ last;
    let is_network = differing & differing.wrapping_add(1) == 0 && first & differing == 0;
    is_network.then(|| of - differing.count_ones())
}

impl From<AddressList> for Vec<String> {
    fn from(list: AddressList) -> Self {
        list.entries.iter().map(AddressEntry::to_string).collect()
    }
}

impl TryFrom<Vec<String>> for AddressList {
    type Error = ListError;
    fn try_from(entries: Vec<String>) -> Result<Self, ListError> {
        Self::parse(&entries.join("\n")).map(|(list, _)| list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AddressList {
        AddressList::parse(text).unwrap().0
    }

    fn has(list: &AddressList, addresses: &[&str]) -> Vec<bool> {
        addresses.iter().map(|address| list.contains(address.parse().unwrap())).collect()
    }

    #[test]
    fn entries_are_addresses_networks_ranges_and_exceptions_from_these() {
        let list = list(
            "\u{feff}# a feed\r\n10.0.0.0/8 ; SBL1\n!10.1.0.0/16, 192[.]0[.]2[.]7\n2001:db8::5-2001:db8::9 fe80::/10\n\"0.0.0.0\"\n",
        );
        let told = [
            "10.0.0.1",
            "10.1.2.3",
            "192.0.2.7",
            "192.0.2.8",
            "2001:db8::4",
            "2001:db8::9",
            "fe81::1",
            "0.0.0.0",
        ];
        assert_eq!(has(&list, &told), [true, false, true, false, false, true, true, true]);
        let text: Vec<String> = list.clone().into();
        assert_eq!(
            text,
            ["10.0.0.0/8", "!10.1.0.0/16", "192.0.2.7", "2001:db8::5-2001:db8::9", "fe80::/10", "0.0.0.0"]
        );
        assert_eq!(AddressList::try_from(text).unwrap(), list);
    }

    #[test]
    fn with_exceptions_alone_all_others_are_in_the_list() {
        let others = list("!10.0.0.0/8");
        assert_eq!(has(&others, &["10.0.0.1", "11.0.0.1", "::1"]), [false, true, true]);
        let all = list("0.0.0.0/0\n::/0");
        assert_eq!(has(&all, &["255.255.255.255", "::", "ffff::"]), [true; 3]);
        let of_one_family = list("10.0.0.0/8 !2001:db8::/32");
        assert_eq!(has(&of_one_family, &["10.9.9.9", "2001:db9::1"]), [true, false]);
    }

    #[test]
    fn the_narrowest_entry_is_told() {
        let list = list("10.0.0.0/8 10.1.0.0/16 10.1.2.3 10.1.2.200-10.1.3.9 2001:db8::/32 !10.1.9.0/24");
        let told = ["10.1.2.3", "10.1.2.4", "10.1.3.1", "10.200.0.1", "11.0.0.0", "2001:db8::1"];
        let entries = told.map(|address| list.entry_of(address.parse().unwrap()));
        assert_eq!(
            entries.map(Option::unwrap_or_default),
            ["10.1.2.3", "10.1.0.0/16", "10.1.2.200-10.1.3.9", "10.0.0.0/8", "", "2001:db8::/32"]
        );
    }

    #[test]
    fn what_means_nothing_is_named_with_its_line() {
        for (text, place, entry) in [
            ("10.0.0.1\nexample.com\n", "line 2", "example.com"),
            ("10.0.0.0/33", "line 1", "10.0.0.0/33"),
            ("::/129", "line 1", "::/129"),
            ("10.0.0.9-10.0.0.1", "line 1", "10.0.0.9-10.0.0.1"),
            ("10.0.0.1-::1", "line 1", "10.0.0.1-::1"),
            ("!", "line 1", "!"),
            ("10.0.0.1/", "line 1", "10.0.0.1/"),
        ] {
            match AddressList::parse(text) {
                Err(ListError::Entry { place: at, entry: it, .. }) => {
                    assert_eq!((&*at, &*it), (place, entry))
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
        for empty in ["", "# nothing\n\n", " \n;"] {
            assert_eq!(AddressList::parse(empty), Err(ListError::Empty(LeftOut::default())));
        }
    }

    #[test]
    fn attributes_of_misp_are_entries() {
        let event = r#"{"response": [{"Event": {"info": "x", "Attribute": [
            {"type": "ip-dst", "value": "192.0.2.1", "to_ids": true},
            {"type": "ip-src|port", "value": "192.0.2.2|8080"},
            {"type": "domain|ip", "value": "example.com|2001:db8::1"},
            {"type": "ip-dst", "value": "192.0.2.99", "to_ids": false},
            {"type": "sha256", "value": "00"}],
            "Object": [{"name": "ip-port", "Attribute": [{"type": "ip-dst", "value": "198.51.100.0/24"}, {"type": "port", "value": "443"}]}]
        }}]}"#;
        let (list, left_out) = AddressList::parse(event).unwrap();
        let text: Vec<String> = list.into();
        assert_eq!(text.len(), 4, "{text:?}");
        assert_eq!(left_out, LeftOut { of_other_types: 2, not_for_detection: 1 });
        let warning = list_of_warning();
        assert_eq!(has(&warning, &["8.8.8.8", "9.9.9.9"]), [true, false]);
        let wrong = |text: &str| AddressList::parse(text).unwrap_err().to_string();
        assert!(
            wrong(r#"{"type": "ip-dst", "value": "x"}"#).starts_with("attribute 1, of type ip-dst: \"x\"")
        );
        assert!(wrong(r#"{"a": 1}"#).contains("has no attributes"));
        assert!(wrong(r#"{"a": "#).contains("EOF"));
        assert!(
            wrong(r#"{"type": "md5", "value": "x"}"#).contains("1 attributes of other types are left out")
        );
    }

    fn list_of_warning() -> AddressList {
        list(r#"{"name": "resolvers", "type": "cidr", "list": ["8.8.8.0/24", "!8.8.4.4"]}"#)
    }
}
