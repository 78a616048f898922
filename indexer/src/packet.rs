//! One packet taken apart: where its network header stands, and the key of its flow.
//!
//! [`dissect`] is a total function of bytes: whatever is cut, malformed or unknown only makes fewer things known. It
//! allocates nothing.
//!
//! **Invariant:** what a [`Dissection`] calls known is in the packet's captured bytes, at the place that its shape tells.

mod link;
mod network;

use netrewind_segment::LinkType;

pub use network::{EXTENSION_HEADERS_MAX, protocol};
pub(crate) use network::{TCP_FLAGS, ipv4_field, ipv6_field};

use crate::template::{Shape, View};

/// The longest prefix (everything before the innermost network header) that a template holds. What stands deeper is
/// not taken apart.
pub const PREFIX_BYTES_MAX: usize = 512;
/// How many views a packet can have: itself and what nested tunnels hold.
pub const VIEWS_MAX: usize = 8;
/// How many stretches of unknown bits a prefix can have.
pub const UNKNOWN_MAX: usize = 32;

/// Bits of a prefix that differ between packets of one flow: in each of `bytes` bytes from `offset`, the bits of `mask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// The first byte.
    pub offset: u16,
    /// How many bytes.
    pub bytes: u16,
    /// Which bits of each of them are unknown.
    pub mask: u8,
}

/// What the fields of a flow's key hold. Fields that the shape does not have are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketKey {
    /// Source address as a big-endian number; an IPv4 address is below 2^32.
    pub source: u128,
    /// Destination address, likewise.
    pub destination: u128,
    /// Source port, or the two bytes type and code of ICMP and ICMPv6.
    pub source_port: u16,
    /// Destination port; zero for ICMP and ICMPv6.
    pub destination_port: u16,
}

/// What [`dissect`] finds in a packet.
#[derive(Clone, Debug)]
pub struct Dissection {
    /// Bytes before the innermost network header: at most [`PREFIX_BYTES_MAX`].
    pub prefix_bytes: usize,
    /// What stands behind the prefix.
    pub shape: Shape,
    /// The flow's key.
    pub key: PacketKey,
    /// The flags byte of TCP, where it was captured.
    pub tcp_flags: Option<u8>,
    /// The network header says that the packet is a fragment (the first one included).
    pub fragment: bool,
    unknown: [Unknown; UNKNOWN_MAX],
    unknown_count: usize,
    views: [View; VIEWS_MAX],
    view_count: usize,
}

impl Dissection {
    fn new(link_type: LinkType) -> Self {
        Self {
            prefix_bytes: 0,
            shape: Shape::None,
            key: PacketKey::default(),
            tcp_flags: None,
            fragment: false,
            unknown: [Unknown::default(); UNKNOWN_MAX],
            unknown_count: 0,
            views: [View { offset: 0, link_type }; VIEWS_MAX],
            view_count: 1,
        }
    }

    /// The stretches of the prefix whose bits vary, in no particular order.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown[..self.unknown_count]
    }

    /// The packet's views, from itself (offset 0, the capture's link type) to the innermost.
    pub fn views(&self) -> &[View] {
        &self.views[..self.view_count]
    }

    /// Marks bits of the prefix as unknown. Where there is no room for another stretch the whole prefix becomes
    /// unknown, so that nothing is called known by mistake.
    fn mark_unknown(&mut self, offset: usize, bytes: usize, mask: u8) {
        if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
            *slot = Unknown { offset: offset as u16, bytes: bytes as u16, mask };
            self.unknown_count += 1;
        } else {
            self.unknown[UNKNOWN_MAX - 1] = Unknown { offset: 0, bytes: PREFIX_BYTES_MAX as u16, mask: 0xff };
        }
    }
}

/// Takes a packet apart as far as it is understood.
#[inline]
pub fn dissect(link_type: LinkType, packet: &[u8]) -> Dissection {
    let mut dissection = Dissection::new(link_type);
    let network = link::walk(&mut dissection, link_type, packet, 0);
    network::walk(&mut dissection, network, packet);
    dissection
}

#[inline]
fn byte_at(packet: &[u8], offset: usize) -> Option<u8> {
    packet.get(offset).copied()
}

#[inline]
fn u16_at(packet: &[u8], offset: usize) -> Option<u16> {
    let bytes = packet.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
