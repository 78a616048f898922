//! Flows: the packets of one direction of a conversation, within one segment.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use netrewind_store::Timestamp;

/// The TCP flags of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Flags that every packet has (AND).
    pub all: u8,
    /// Flags that some packet has (OR).
    pub any: u8,
}

/// All packets of a segment with one template, addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Number of its template in [`crate::Index::templates`].
    pub template: u32,
    /// Source address; `None` exactly where the template's shape is none.
    pub source: Option<IpAddr>,
    /// Destination address, likewise.
    pub destination: Option<IpAddr>,
    /// Source port, or type and code of ICMP; zero where the template has no such field.
    pub source_port: u16,
    /// Destination port; zero where the template has no such field.
    pub destination_port: u16,
    /// Earliest timestamp of a packet.
    pub first: Timestamp,
    /// Latest timestamp of a packet.
    pub last: Timestamp,
    /// Number of packets: at least one.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Shortest and longest length on the wire, in bytes.
    pub len: RangeInclusive<u32>,
    /// Fewest and most bytes captured of a packet.
    pub caplen: RangeInclusive<u32>,
    /// Over the packets whose flags byte was captured; `None` where there is none.
    pub tcp_flags: Option<TcpFlags>,
    /// Some packet is a fragment.
    pub has_fragments: bool,
    /// Number of granules that hold its packets: at least one.
    pub granules: u32,
}
