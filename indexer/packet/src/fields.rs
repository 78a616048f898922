//! Protocol numbers, and where the fields of network and transport headers stand.
//!
//! Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP), IANA's protocol numbers.

/// Largest number of IPv6 extension headers walked over.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Protocol numbers (IANA).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header of IPv6.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// EtherIP.
    pub const ETHER_IP: u8 = 97;
    /// L2TP, version 3.
    pub const L2TP: u8 = 115;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
    /// MPLS in IP.
    pub const MPLS: u8 = 137;
}

/// Offsets in the IPv4 header.
pub mod ipv4_field {
    use std::ops::Range;

    /// Bytes of the whole packet.
    pub const TOTAL_BYTES: usize = 2;
    /// Identification.
    pub const ID: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Protocol of what follows.
    pub const PROTOCOL: usize = 9;
    /// Source address.
    pub const SOURCE: Range<usize> = 12..16;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 16..20;
    /// Bytes of the header without options.
    pub const HEADER_BYTES: usize = 20;
    /// "More fragments" and the offset, in the two bytes at `FRAGMENT`.
    pub const FRAGMENT_MASK: u16 = 0x3fff;
    /// The offset alone, in units of eight bytes.
    pub const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
}

/// Offsets in the IPv6 header.
pub mod ipv6_field {
    use std::ops::Range;

    /// Bytes behind the header.
    pub const PAYLOAD_BYTES: usize = 4;
    /// Next header.
    pub const NEXT_HEADER: usize = 6;
    /// Source address.
    pub const SOURCE: Range<usize> = 8..24;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 24..40;
    /// Bytes of the header without extension headers.
    pub const HEADER_BYTES: usize = 40;
}

/// Offsets in the TCP header.
pub mod tcp_field {
    /// Sequence number.
    pub const SEQUENCE: usize = 4;
    /// Acknowledgment number.
    pub const ACKNOWLEDGMENT: usize = 8;
    /// Length of the header in words, in the upper four bits.
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Bytes of the header without options.
    pub const HEADER_BYTES: usize = 20;
}

/// Offsets in the UDP header.
pub mod udp_field {
    /// Bytes of header and payload.
    pub const BYTES: usize = 4;
    /// Bytes of the header.
    pub const HEADER_BYTES: usize = 8;
}
