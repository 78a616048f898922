//! Lists of addresses and ports, as of indicators of compromise, and of logged conversations, that the packets of a query have to be in.
//!
//! A list is no filter: it has no limit of libpcap's, an IPv4 or IPv6 header is found behind any VLAN tags and labels, and ARP
//! does not count. Beside a filter, both have to accept the packet.

mod addresses;
mod demands;
mod error;
mod events;
mod hits;
mod misp;
mod ports;
mod room;
mod text;

pub use addresses::AddressList;
pub(crate) use demands::ListConstraints;
pub use demands::ListDemands;
pub use error::{LIST_BYTES_MAX, LIST_ENTRIES_MAX, LeftOut, ListError};
pub use events::{EVE_WINDOW, EventList, EventProtocol, EventTuple, ListedEvent};
pub use hits::{HITS_MAX, HitSink, ListedHit};
pub use ports::PortList;
pub use room::{ListMemory, ListRoom};

use std::ops::RangeInclusive;

use netrewind_index::ValueSet;

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListEntry<V> {
    first: V,
    last: V,
    /// Taken out of what the other entries put in.
    is_exception: bool,
}

/// Bytes of a range of a [`ValueSet`].
const VALUE_RANGE_BYTES: usize = size_of::<(u128, u128)>();

/// Number by which lists of entries are told apart.
fn digest<E: std::fmt::Display>(entries: impl Iterator<Item = E>) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for entry in entries {
        hasher.update(entry.to_string().as_bytes());
        hasher.update(b"\n");
    }
    hasher.digest()
}

/// The values that the entries put in, or all where there are exceptions alone, without the exceptions.
fn values_of<V: Copy + Into<u128>>(entries: &[ListEntry<V>], all: RangeInclusive<u128>) -> ValueSet {
    let ranges = |are_exceptions: bool| {
        let chosen = entries.iter().filter(move |entry| entry.is_exception == are_exceptions);
        ValueSet::of(chosen.map(|entry| entry.first.into()..=entry.last.into()))
    };
    let (put_in, exceptions) = (ranges(false), ranges(true));
    let put_in = if put_in.is_empty() { ValueSet::of([all]) } else { put_in };
    put_in.without(&exceptions)
}
