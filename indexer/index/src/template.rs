//! Templates: everything of a packet that is constant for many flows, so that a flow needs only its key.
//!
//! A template fixes the offset of every field of the key. [`Template::describe`] writes down what it and a flow say of
//! every packet of that flow.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use netrewind_packet::tunnel::{Layer, Tunnel, addresses_of, tunnels};
use netrewind_packet::{Dissection, Shape, TransportKey, View, ipv4_field, ipv6_field, protocol, tcp_field};
use netrewind_store::LinkType;

use crate::flow::Flow;

/// Range of a view's lengths, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewLengths {
    /// On the wire; for an inner view, as the headers around it tell.
    pub len: RangeInclusive<u32>,
    /// Captured.
    pub caplen: RangeInclusive<u32>,
}

/// A field of a flow's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyField {
    /// Source address of the innermost network header.
    SourceAddress,
    /// Its destination address.
    DestinationAddress,
    /// Source port; for ICMP and ICMPv6 the two bytes type and code.
    SourcePort,
    /// Destination port.
    DestinationPort,
}

impl KeyField {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SourceAddress, Self::DestinationAddress, Self::SourcePort, Self::DestinationPort];
}

/// Everything of a packet that is constant for many flows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// The bytes before the innermost network header; unknown bits are zero. At most
    /// [`netrewind_packet::PREFIX_BYTES_MAX`]. Every packet of the template's flows has captured them.
    pub prefix: Vec<u8>,
    /// Mask of the known bits of the prefix: as long as the prefix.
    pub known: Vec<u8>,
    /// Views from the packet itself to the innermost: never empty, ascending.
    pub views: Vec<View>,
    /// The headers in the prefix that are tunnels or have unknown bits, from the outermost.
    pub layers: Vec<Layer>,
    /// The header behind the prefix.
    pub shape: Shape,
}

impl Template {
    /// Memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let (views, layers) = (size_of_val(self.views.as_slice()), size_of_val(self.layers.as_slice()));
        size_of::<Self>() + self.prefix.len() + self.known.len() + views + layers
    }

    /// The template of a dissected packet: an index counts the packet under the same, unless it has reached a limit.
    pub fn of(dissection: &Dissection, packet: &[u8]) -> Self {
        let mut prefix = packet.get(..dissection.prefix_bytes).unwrap_or_default().to_vec();
        let mut known = vec![0xff; prefix.len()];
        dissection.layers().iter().for_each(|layer| layer.clear_varying(&mut known));
        prefix.iter_mut().zip(&known).for_each(|(byte, known)| *byte &= known);
        Self {
            prefix,
            known,
            views: dissection.views().iter().map(|view| view.view).collect(),
            layers: dissection.layers().to_vec(),
            shape: dissection.shape,
        }
    }

    /// The template of packets of which nothing is known.
    pub fn opaque(link_type: LinkType) -> Self {
        Self {
            prefix: Vec::new(),
            known: Vec::new(),
            views: vec![View { offset: 0, link_type }],
            layers: Vec::new(),
            shape: Shape::None,
        }
    }

    /// The number of the innermost view, counted from the outermost.
    pub fn innermost_view(&self) -> u8 {
        u8::try_from(self.views.len().saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// True where nothing is known of the packets: they may have other views than [`Self::views`] tells.
    pub fn is_opaque(&self) -> bool {
        self.prefix.is_empty() && self.shape == Shape::None
    }

    /// The tunnels between the views, from the outermost. An id or an address that is not known whole is not there.
    pub fn tunnels(&self) -> impl Iterator<Item = Tunnel> {
        // Once with zeros in place of unknown bits, once with ones: known bits are the same in both.
        let ones: Vec<u8> = self.prefix.iter().zip(&self.known).map(|(byte, known)| byte | !known).collect();
        let others: Vec<Tunnel> = tunnels(&self.layers, &ones).collect();
        tunnels(&self.layers, &self.prefix).zip(others).map(|(tunnel, other)| Tunnel {
            id: tunnel.id.filter(|_| tunnel.id == other.id),
            outer: tunnel.outer.filter(|_| tunnel.outer == other.outer),
            ..tunnel
        })
    }

    /// The IP headers that carry tunnels: view, source and destination, from the outermost.
    pub fn outer_addresses(&self) -> impl Iterator<Item = (u8, IpAddr, IpAddr)> {
        self.layers.iter().filter_map(|layer| {
            let (source, destination) = addresses_of(*layer, &self.prefix)?;
            Some((layer.view, source, destination))
        })
    }

    /// Makes unknown what `layer` says, and notes it.
    pub(crate) fn forget(&mut self, layer: Layer) {
        layer.clear_varying(&mut self.known);
        for (byte, known) in self.prefix.iter_mut().zip(&self.known) {
            *byte &= known;
        }
        self.layers.push(layer);
    }

    /// Range of lengths of the view with this number, which must exist, in the packets of `flow`. Of an inner view it is only
    /// known that it holds the bytes of the flow's key, and ends where the packet ends.
    pub fn lengths_of(&self, view: usize, flow: &Flow) -> ViewLengths {
        let offset = u32::from(self.views[view].offset);
        if view == 0 {
            let longest = *flow.len.end().max(flow.caplen.end());
            return ViewLengths { len: *flow.len.start()..=longest, caplen: flow.caplen.clone() };
        }
        let shortest = (self.captured_bytes_min() as u32).saturating_sub(offset);
        let longest = |end: u32| shortest..=end.saturating_sub(offset).max(shortest);
        let caplen = longest(*flow.caplen.end());
        ViewLengths { len: longest(*flow.len.end().max(flow.caplen.end())), caplen }
    }

    /// Number of bytes that every packet has captured, in every view.
    fn captured_bytes_min(&self) -> usize {
        let header_bytes = match self.shape {
            Shape::None => 0,
            Shape::Ipv4 { .. } => ipv4_field::HEADER_BYTES,
            Shape::Ipv6 { .. } => ipv6_field::HEADER_BYTES,
        };
        let key_bytes = match self.transport_key() {
            TransportKey::None => return self.prefix.len() + header_bytes,
            TransportKey::Ports => 4,
            TransportKey::TypeAndCode => 2,
        };
        self.transport_offset().unwrap_or(0) + key_bytes
    }

    /// Offset of the network header: the length of the prefix.
    pub fn network_offset(&self) -> usize {
        self.prefix.len()
    }

    /// The protocol of the transport header, or what stands in its place.
    pub fn protocol(&self) -> Option<u8> {
        match self.shape {
            Shape::None => None,
            Shape::Ipv4 { protocol, .. } | Shape::Ipv6 { protocol, .. } => Some(protocol),
        }
    }

    /// Offset of the transport header (of a later fragment: of its payload).
    pub fn transport_offset(&self) -> Option<usize> {
        match self.shape {
            Shape::None => None,
            Shape::Ipv4 { first_byte, .. } => Some(self.prefix.len() + usize::from(first_byte & 0x0f) * 4),
            Shape::Ipv6 { transport, .. } => Some(self.prefix.len() + usize::from(transport)),
        }
    }

    /// Part of the transport header that is in the key.
    pub fn transport_key(&self) -> TransportKey {
        match self.shape {
            Shape::None => TransportKey::None,
            Shape::Ipv4 { key, .. } | Shape::Ipv6 { key, .. } => key,
        }
    }

    /// True where the packets are fragments other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.shape.is_later_fragment()
    }

    /// True where the IPv4 header has options, or an IPv6 extension header precedes the transport header.
    pub fn has_options(&self) -> bool {
        match self.shape {
            Shape::None => false,
            Shape::Ipv4 { first_byte, .. } => first_byte & 0x0f > 5,
            Shape::Ipv6 { transport, .. } => usize::from(transport) > ipv6_field::HEADER_BYTES,
        }
    }

    /// The bytes of the stored packet that hold a field of the key; `None` where the template's flows do not have it.
    pub fn field(&self, field: KeyField) -> Option<Range<usize>> {
        let network = self.prefix.len();
        let shifted = |range: Range<usize>, by: usize| Some(range.start + by..range.end + by);
        let transport = self.transport_offset()?;
        match (field, self.shape, self.transport_key()) {
            (KeyField::SourceAddress, Shape::Ipv4 { .. }, _) => shifted(ipv4_field::SOURCE, network),
            (KeyField::SourceAddress, _, _) => shifted(ipv6_field::SOURCE, network),
            (KeyField::DestinationAddress, Shape::Ipv4 { .. }, _) => {
                shifted(ipv4_field::DESTINATION, network)
            }
            (KeyField::DestinationAddress, _, _) => shifted(ipv6_field::DESTINATION, network),
            (KeyField::SourcePort, _, TransportKey::Ports | TransportKey::TypeAndCode) => {
                shifted(0..2, transport)
            }
            (KeyField::DestinationPort, _, TransportKey::Ports) => shifted(2..4, transport),
            _ => None,
        }
    }

    /// Offset of the TCP flags byte, in packets that have captured it.
    pub fn tcp_flags_offset(&self) -> Option<usize> {
        let is_tcp = self.protocol() == Some(protocol::TCP) && self.transport_key() == TransportKey::Ports;
        is_tcp.then(|| self.transport_offset().map(|at| at + tcp_field::FLAGS)).flatten()
    }

    /// Describes every packet of the template, whatever its flow: fills `known` with one mask per byte and `bytes` with the
    /// values under it (unknown bits are zero).
    pub fn describe_any(&self, description: &mut Description) {
        description.bytes.clear();
        description.known.clear();
        description.bytes.extend_from_slice(&self.prefix);
        description.known.extend_from_slice(&self.known);
        let network = self.prefix.len();
        match self.shape {
            Shape::None => {}
            Shape::Ipv4 { first_byte, protocol, later_fragment, .. } => {
                description.set(network, first_byte, 0xff);
                description.set(network + ipv4_field::PROTOCOL, protocol, 0xff);
                if !later_fragment {
                    let [high, low] = ipv4_field::FRAGMENT_OFFSET_MASK.to_be_bytes();
                    description.set(network + ipv4_field::FRAGMENT, 0, high);
                    description.set(network + ipv4_field::FRAGMENT + 1, 0, low);
                }
            }
            Shape::Ipv6 { next_header, transport, protocol, .. } => {
                description.set(network, 0x60, 0xf0);
                description.set(network + ipv6_field::NEXT_HEADER, next_header, 0xff);
                if usize::from(transport) == ipv6_field::HEADER_BYTES + 8 {
                    // One extension header of 8 bytes, the shortest there is: its first byte names the transport.
                    description.set(network + ipv6_field::HEADER_BYTES, protocol, 0xff);
                }
            }
        }
    }

    /// Describes every packet of `flow`, which is of this template: [`Self::describe_any`], the key, and those TCP flags that
    /// all or none of its packets have. The flags hold only for packets that captured them: a packet of the flow may end before
    /// (see [`Flow::caplen`]).
    pub fn describe(&self, flow: &Flow, description: &mut Description) {
        self.describe_any(description);
        for field in [KeyField::SourceAddress, KeyField::DestinationAddress] {
            let address = if field == KeyField::SourceAddress { flow.source } else { flow.destination };
            match (self.field(field), address) {
                (Some(range), Some(IpAddr::V4(address))) => {
                    description.set_all(range.start, &address.octets())
                }
                (Some(range), Some(IpAddr::V6(address))) => {
                    description.set_all(range.start, &address.octets())
                }
                _ => {}
            }
        }
        for (field, port) in
            [(KeyField::SourcePort, flow.source_port), (KeyField::DestinationPort, flow.destination_port)]
        {
            if let Some(range) = self.field(field) {
                description.set_all(range.start, &port.to_be_bytes());
            }
        }
        if let (Some(offset), Some(flags)) = (self.tcp_flags_offset(), flow.tcp_flags) {
            description.set(offset, flags.all, !(flags.all ^ flags.any));
        }
    }
}

/// The bytes of an abstract packet from its beginning, as far as anything is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Values; unknown bits are zero.
    pub bytes: Vec<u8>,
    /// Mask of the known bits: as long as `bytes`.
    pub known: Vec<u8>,
}

impl Description {
    fn set(&mut self, offset: usize, value: u8, known: u8) {
        if self.bytes.len() <= offset {
            self.bytes.resize(offset + 1, 0);
            self.known.resize(offset + 1, 0);
        }
        self.bytes[offset] = value & known;
        self.known[offset] = known;
    }

    fn set_all(&mut self, offset: usize, values: &[u8]) {
        for (i, &value) in values.iter().enumerate() {
            self.set(offset + i, value, 0xff);
        }
    }
}
