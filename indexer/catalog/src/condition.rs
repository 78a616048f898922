//! Records as the catalog finds them, and the conditions that it finds them by.
//!
//! The meaning of [`CatalogRecord::document`] is known only to [`crate::record`]; the index of an hour stores it unchanged and finds it
//! by the numbers and words beside it.

use std::net::{IpAddr, Ipv6Addr};

pub use netrewind_flows::search::as_ipv6;

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
