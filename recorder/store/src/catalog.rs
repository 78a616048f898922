//! The catalog: one hour of it, the record it keeps of a conversation, and the searches it answers.
//!
//! The catalog keeps records of conversations longer than their packets. The meaning of [`CatalogRecord::document`] is known
//! only to the code that makes the records; the catalog stores it unchanged and finds it by the numbers and words beside it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::HOUR_NS;
use crate::{SegmentName, Timestamp};

/// Version of the hours that this version of netrewind reads and writes. Hours of other versions are written again.
pub const CATALOG_VERSION: u32 = 2;

/// An hour of UTC: the one in which segments were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// The hour that contains an instant.
    pub fn of(at: Timestamp) -> Self {
        Self(at.ns() / HOUR_NS)
    }

    /// Start of the hour.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(HOUR_NS))
    }

    /// End of the hour, exclusive.
    pub fn end(self) -> Timestamp {
        self.start().plus_ns(HOUR_NS)
    }

    /// The hour before.
    pub fn before(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// `2026-11-22T09`.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start();
        write!(f, "{}T{}", start.date(), start.time_of_day().get(..2).unwrap_or_default())
    }
}

/// A text that is not an hour.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an hour, such as 2026-11-22T09")]
pub struct NotAnHour(String);

impl FromStr for Hour {
    type Err = NotAnHour;
    fn from_str(text: &str) -> Result<Self, NotAnHour> {
        let read = || {
            let (date, hour) = text.split_once('T')?;
            let at = Timestamp::from_date_and_time(date, &format!("{hour}0000.000000000Z"))?;
            Some(Self::of(at)).filter(|hour| hour.to_string() == text)
        };
        read().ok_or_else(|| NotAnHour(text.to_owned()))
    }
}

crate::text::serde_as_text!(Hour);

/// A segment that an hour was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CataloguedSegment {
    /// Its name.
    pub name: SegmentName,
    /// The earliest timestamp in it.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

/// Manifest of a catalog hour: written last, so an hour that has one is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`CATALOG_VERSION`].
    pub version: u32,
    /// The hour.
    pub hour: Hour,
    /// Records of conversations in it.
    pub records: u64,
    /// Packets that the records count.
    pub packets: u64,
    /// Bytes of these packets on the wire.
    pub bytes: u64,
    /// Segments that the hour was made of, by name. Those without packets are left out.
    pub segments: Vec<CataloguedSegment>,
    /// Segments of the hour that hold no packets, or cannot be read.
    #[serde(default)]
    pub without_packets: Vec<SegmentName>,
    /// Link types of the segments, ascending.
    pub link_types: Vec<u16>,
    /// Parts of the segments that could not be read, or were ended early, in words.
    pub lacks: Vec<String>,
    /// Too many conversations were open at once: some are in several records that are not marked as open.
    #[serde(default)]
    pub is_divided: bool,
}

impl Manifest {
    /// True if the hour was made with this segment in the store.
    pub fn knows(&self, name: &SegmentName) -> bool {
        self.segments.iter().any(|segment| segment.name == *name) || self.without_packets.contains(name)
    }

    /// The earliest and the latest timestamp of its segments; `None` where it has none.
    pub fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let first = self.segments.iter().map(|segment| segment.first).min()?;
        let last = self.segments.iter().map(|segment| segment.last).max()?;
        Some((first, last))
    }
}

/// A conversation, as the catalog keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogRecord {
    /// Its earliest packet, in nanoseconds since the epoch.
    pub first_ns: u64,
    /// Its latest.
    pub last_ns: u64,
    /// It may go on beyond the hour: every search finds it.
    pub is_open: bool,
    /// The addresses of client and server.
    pub addresses: [Option<IpAddr>; 2],
    /// Their ports.
    pub ports: [Option<u16>; 2],
    /// Packets both ways.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// VLAN ids.
    pub vlans: Vec<u16>,
    /// VNIs, keys, sessions... of its tunnels.
    pub tunnel_ids: Vec<u32>,
    /// Words it is found by.
    pub words: Vec<String>,
    /// The record itself, opaque to the catalog.
    pub document: Vec<u8>,
}

/// A number of a [`CatalogRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberColumn {
    /// The client's port.
    ClientPort,
    /// The server's.
    ServerPort,
    /// [`CatalogRecord::packets`].
    Packets,
    /// [`CatalogRecord::bytes`].
    Bytes,
    /// [`CatalogRecord::vlans`].
    Vlan,
    /// [`CatalogRecord::tunnel_ids`].
    TunnelId,
}

/// Condition that a conversation must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always true.
    Everything,
    /// Never true.
    Nothing,
    /// All of these hold.
    All(Vec<Self>),
    /// At least one of these holds.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// One of the numbers in the column lies in this range, both ends included.
    Number(NumberColumn, u64, u64),
    /// The client's (0) or the server's (1) address lies in this range, both ends included; IPv4 addresses as RFC 4291 maps them.
    Address(usize, Ipv6Addr, Ipv6Addr),
    /// One of its words is this.
    Word(String),
}

/// The address as IPv6; IPv4 addresses as RFC 4291 maps them.
pub fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl Condition {
    /// True if the conversation meets the condition.
    pub fn accepts(&self, flow: &CatalogRecord) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::All(all) => all.iter().all(|one| one.accepts(flow)),
            Self::Any(any) => any.iter().any(|one| one.accepts(flow)),
            Self::Not(one) => !one.accepts(flow),
            Self::Number(column, from, to) => {
                column.numbers(flow).into_iter().any(|number| (*from..=*to).contains(&number))
            }
            Self::Address(end, from, to) => {
                flow.addresses[end & 1].is_some_and(|address| (*from..=*to).contains(&as_ipv6(address)))
            }
            Self::Word(word) => flow.words.contains(word),
        }
    }
}

impl NumberColumn {
    /// The conversation's numbers in this column.
    pub fn numbers(self, flow: &CatalogRecord) -> Vec<u64> {
        match self {
            Self::ClientPort => flow.ports[0].map(u64::from).into_iter().collect(),
            Self::ServerPort => flow.ports[1].map(u64::from).into_iter().collect(),
            Self::Packets => vec![flow.packets],
            Self::Bytes => vec![flow.bytes],
            Self::Vlan => flow.vlans.iter().map(|&vlan| u64::from(vlan)).collect(),
            Self::TunnelId => flow.tunnel_ids.iter().map(|&id| u64::from(id)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_come_back_and_others_do_not() {
        let hour = Hour::of(Timestamp::new(1_795_339_861, 5));
        assert_eq!(hour.to_string(), "2026-11-22T09");
        assert_eq!(hour.to_string().parse::<Hour>().unwrap(), hour);
        assert_eq!(Hour::of(hour.end()).start(), hour.end());
        for odd in ["", "2026-11-22T24", "2026-11-22T9", "2026-11-22", ".2026-11-22T09.new", "2026-11-22T09x"]
        {
            assert!(odd.parse::<Hour>().is_err(), "{odd}");
        }
    }
}
