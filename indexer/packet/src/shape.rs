//! Properties of a packet: the beginnings of views, and the innermost network header.

use netrewind_store::LinkType;

/// One way to look at a packet: the bytes from `offset` on, as a packet of `link_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Offset in the stored packet.
    pub offset: u16,
    /// Link type of its first byte.
    pub link_type: LinkType,
}

/// Part of the transport header that is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportKey {
    /// Nothing: another protocol, a later fragment, or cut.
    None,
    /// Source and destination port (TCP, UDP, SCTP, DCCP, UDP-Lite).
    Ports,
    /// Type and code of ICMP or ICMPv6, in the place of the source port.
    TypeAndCode,
}

/// The innermost network header, where the prefix ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Nothing is known behind the prefix: no IP, or cut, or malformed, or more flows than the index holds.
    None,
    /// A whole IPv4 header without its options is in the captured bytes.
    Ipv4 {
        /// Version and header length: the transport header stands at `(first_byte & 15) * 4`.
        first_byte: u8,
        /// Protocol (IANA).
        protocol: u8,
        /// The fragment offset is not zero: there is no transport header.
        later_fragment: bool,
        /// Part of the transport header that is in the key.
        key: TransportKey,
    },
    /// A whole IPv6 header is in the captured bytes.
    Ipv6 {
        /// Next header of the IPv6 header itself.
        next_header: u8,
        /// Offset of the end of the extension headers, from the beginning of the IPv6 header.
        transport: u16,
        /// Protocol found there; an extension header if the walk had to stop before one.
        protocol: u8,
        /// The fragment offset is not zero: there is no transport header.
        later_fragment: bool,
        /// Part of the transport header that is in the key.
        key: TransportKey,
    },
}

impl Shape {
    /// True where the packet is a fragment other than the first.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        matches!(self, Self::Ipv4 { later_fragment: true, .. } | Self::Ipv6 { later_fragment: true, .. })
    }
}
