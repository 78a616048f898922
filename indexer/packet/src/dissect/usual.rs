//! The usual packet, taken apart in one step: Ethernet without tags, IPv4 without options, no fragment, TCP or UDP. Nine of
//! ten packets are such, and what [`super::link`] and [`super::network`] find of them is the same.

use netrewind_store::LinkType;

use crate::bytes::byte_at;
use crate::dissection::{Dissection, PacketKey};
use crate::ethernet::ethertype;
use crate::fields::{ipv4_field, protocol, tcp_field};
use crate::shape::{Shape, TransportKey};
use crate::tunnel::Window;

const ETHERTYPE_AT: usize = 12;
const NETWORK_AT: usize = 14;
const TRANSPORT_AT: usize = NETWORK_AT + ipv4_field::HEADER_BYTES;
/// Up to the ports.
const HEADER_BYTES: usize = TRANSPORT_AT + 4;
/// Version 4, five words.
const FIRST_BYTE: u8 = 0x45;

/// The protocol of such a packet. Of another one nothing is noted.
#[inline]
pub(super) fn walk(d: &mut Dissection, link_type: LinkType, window: Window) -> Option<u8> {
    let packet = window.packet;
    let header = packet.first_chunk::<HEADER_BYTES>()?;
    let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let is_plain = u16_at(ETHERTYPE_AT) == ethertype::IPV4
        && header[NETWORK_AT] == FIRST_BYTE
        && u16_at(NETWORK_AT + ipv4_field::FRAGMENT) & ipv4_field::FRAGMENT_MASK == 0;
    if !is_plain || link_type != LinkType::ETHERNET {
        return None;
    }
    let protocol = header[NETWORK_AT + ipv4_field::PROTOCOL];
    let (source_port, destination_port) = (u16_at(TRANSPORT_AT), u16_at(TRANSPORT_AT + 2));
    let tcp_flags = match protocol {
        protocol::TCP => byte_at(packet, TRANSPORT_AT + tcp_field::FLAGS),
        protocol::UDP => None,
        _ => return None,
    };
    d.begin(window, link_type);
    d.tcp_flags = tcp_flags;
    d.prefix_bytes = NETWORK_AT;
    d.shape =
        Shape::Ipv4 { first_byte: FIRST_BYTE, protocol, later_fragment: false, key: TransportKey::Ports };
    d.key = PacketKey {
        source: u32_at(NETWORK_AT + ipv4_field::SOURCE.start).into(),
        destination: u32_at(NETWORK_AT + ipv4_field::DESTINATION.start).into(),
        source_port,
        destination_port,
    };
    d.transport = Some((protocol, TRANSPORT_AT as u32));
    Some(protocol)
}

#[cfg(test)]
mod tests {
    use super::super::{link, network};
    use super::*;
    use crate::tunnel::LayerKind;
    use proptest::prelude::*;

    /// What the walk over all kinds of headers finds.
    fn walked(packet: &[u8], len: u32) -> Dissection {
        let mut d = Dissection::new(LinkType::ETHERNET);
        let window = Window::new(packet, len);
        d.reset(window, LinkType::ETHERNET);
        let network = link::walk(&mut d, LinkType::ETHERNET, packet, 0);
        network::walk(&mut d, network, packet);
        d
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_is_what_the_walk_over_all_headers_finds(
            mut packet in proptest::collection::vec(any::<u8>(), 38..100),
            protocol in prop_oneof![Just(6u8), Just(17u8), any::<u8>()],
            fragment in prop_oneof![3 => Just(0x4000u16), 1 => any::<u16>()],
            first_byte in prop_oneof![3 => Just(0x45u8), 1 => any::<u8>()],
            cut in 0usize..100, len in 0u32..200,
        ) {
            packet[12..15].copy_from_slice(&[8, 0, first_byte]);
            packet[20..22].copy_from_slice(&fragment.to_be_bytes());
            packet[23] = protocol;
            packet.truncate(cut.max(14));
            let mut d = Dissection::new(LinkType::ETHERNET);
            // A packet before, of which nothing may be left.
            d.reset(Window::new(&[1; 40], 40), LinkType::ETHERNET);
            let _ = d.layers.push(LayerKind::Varying, 3, 4);
            (d.fragment, d.tcp_flags) = (true, Some(3));
            let before = format!("{d:?}");
            let window = Window::new(&packet, len);
            match walk(&mut d, LinkType::ETHERNET, window) {
                Some(_) => prop_assert_eq!(format!("{d:?}"), format!("{:?}", walked(&packet, len))),
                None => prop_assert_eq!(format!("{d:?}"), before),
            }
            prop_assert_eq!(walk(&mut d, LinkType::RAW, window), None);
        }
    }
}
