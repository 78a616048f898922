//! Link types: the protocol at the first byte of a packet.

use std::fmt;

/// A LINKTYPE_ number as files carry it (tcpdump.org/linktypes.html), without FCS bits. libpcap's DLT_ numbers are the
/// same but for a few that differ between systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: the address family in the capturing host's byte order, then IP.
    pub const NULL: Self = Self(0);
    /// IEEE 802.3 Ethernet, without preamble and FCS.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP: version 4 or 6 by its first nibble.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: the address family in network byte order, then IP.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture, version 1: 16 bytes, then the payload.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux "cooked" capture, version 2: 20 bytes, then the payload.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0)
    }
}
