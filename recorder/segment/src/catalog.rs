//! The catalog: an hour of it, what it keeps of a conversation, and what it can be searched for.
//!
//! The catalog keeps records of conversations longer than their packets. Who makes the records also knows what stands in
//! [`KeptFlow::document`]; the catalog keeps it as it is, and finds it again by the numbers and words beside it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::SECOND_NS;
use crate::{SegmentName, Timestamp};

/// The version of hours that this crate's project reads and writes. Others are written again.
pub const CATALOG_VERSION: u32 = 2;
const HOUR_NS: u64 = 3600 * SECOND_NS;

/// An hour of UTC: the one in which segments were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// The one that an instant lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.ns() / HOUR_NS)
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(HOUR_NS))
    }

    /// When it has ended.
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

/// A text that is no hour.
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

/// What an hour of the catalog is: written last, so that an hour that has one is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`CATALOG_VERSION`].
    pub version: u32,
    /// Which hour.
    pub hour: Hour,
    /// Records of conversations.
    pub records: u64,
    /// Packets that they count.
    pub packets: u64,
    /// Bytes of these on the wire.
    pub bytes: u64,
    /// What it was made of, by name. Those without packets are not there.
    pub segments: Vec<CataloguedSegment>,
    /// Segments of the hour that hold no packets, or cannot be read.
    #[serde(default)]
    pub without_packets: Vec<SegmentName>,
    /// Link types of the segments, ascending.
    pub link_types: Vec<u16>,
    /// What could not be read of the segments, or was ended before its time.
    pub lacks: Vec<String>,
    /// Too many conversations were open at once: some are in several records that are not marked as open.
    #[serde(default)]
    pub is_divided: bool,
}

impl Manifest {
    /// Whether it was made with this segment in the store.
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
pub struct KeptFlow {
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
    /// What it is found by.
    pub words: Vec<String>,
    /// What it is, for who wrote it.
    pub document: Vec<u8>,
}

/// A number of a [`KeptFlow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberColumn {
    /// The client's port.
    ClientPort,
    /// The server's.
    ServerPort,
    /// [`KeptFlow::packets`].
    Packets,
    /// [`KeptFlow::bytes`].
    Bytes,
    /// [`KeptFlow::vlans`].
    Vlan,
    /// [`KeptFlow::tunnel_ids`].
    TunnelId,
}

/// What a conversation has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Any.
    Everything,
    /// None.
    Nothing,
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    Any(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// One of the numbers there lies from one to the other, both included.
    Number(NumberColumn, u64, u64),
    /// The client's (0) or the server's (1) address lies from one to the other; those of IPv4 as RFC 4291 maps them.
    Address(usize, Ipv6Addr, Ipv6Addr),
    /// One of its words is this.
    Word(String),
}

/// Addresses of IPv4 stand where RFC 4291 maps them.
pub fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl Condition {
    /// Whether a conversation fulfils it.
    pub fn accepts(&self, flow: &KeptFlow) -> bool {
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
    /// The numbers that a conversation has there.
    pub fn numbers(self, flow: &KeptFlow) -> Vec<u64> {
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
