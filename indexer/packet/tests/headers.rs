//! Every link layer is walked to the network header behind it, and every network header to its ports.

use netrewind_packet::{Shape, TransportKey, dissect};
use netrewind_store::LinkType;

const V4: [u8; 34] = [
    0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 2, 3, 10, 4, 5, 6, 0x30, 0x39, 1, 187, 0, 0, 0, 0, 0,
    0, 0, 0, 0x50, 0x12,
];

/// A LINUX_SLL2 header behind its protocol.
const SLL2: [u8; 18] = [0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];

/// Link-layer headers, each for an IPv4 packet and for an IPv6 packet.
fn link_layers() -> Vec<(LinkType, Vec<u8>, Vec<u8>)> {
    let both = |link_type: u16, front: &[u8], v4: &[u8], v6: &[u8]| {
        (LinkType(link_type), [front, v4].concat(), [front, v6].concat())
    };
    let (v4, v6): (&[u8], &[u8]) = (&[8, 0], &[0x86, 0xdd]);
    let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let with_macs = |behind: &[u8]| [&macs[..], behind].concat();
    vec![
        both(1, &macs, v4, v6),
        both(1, &with_macs(&[0x81, 0, 0x60, 5]), v4, v6),
        both(1, &with_macs(&[0x88, 0xa8, 0, 7, 0x91, 0, 0, 6, 0x81, 0, 0, 5]), v4, v6),
        both(1, &with_macs(&[0, 48, 0xaa, 0xaa, 3, 0, 0, 0]), v4, v6),
        both(12, &[], &[], &[]),
        both(14, &[], &[], &[]),
        both(101, &[], &[], &[]),
        (LinkType::IPV4, Vec::new(), Vec::new()),
        both(0, &[], &[2, 0, 0, 0], &[30, 0, 0, 0]),
        both(0, &[], &[0, 0, 0, 2], &[0, 0, 0, 24]),
        both(108, &[], &[0, 0, 0, 2], &[0, 0, 0, 28]),
        both(113, &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], v4, v6),
        (LinkType::LINUX_SLL2, [v4, &SLL2].concat(), [v6, &SLL2].concat()),
        both(113, &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x81, 0, 0x60, 5], v4, v6),
        both(276, &[&[0x81, 0][..], &SLL2, &[0, 5]].concat(), v4, v6),
        both(276, &[&[0x93, 0][..], &SLL2, &[0, 7, 0x88, 0xa8, 0, 5]].concat(), v4, v6),
        both(9, &[0xff, 3], &[0, 0x21], &[0, 0x57]),
        both(9, &[], &[0, 0x21], &[0, 0x57]),
        both(50, &[0xff, 3], &[0, 0x21], &[0, 0x57]),
        both(50, &[0x0f, 0], v4, v6),
        both(51, &[0x11, 0, 0, 9, 0, 42], &[0, 0x21], &[0, 0x57]),
        both(104, &[0x8f, 0], v4, v6),
    ]
}

fn v6(next_header: u8, extensions: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 60, next_header, 64];
    packet.extend([[0x20; 16], [0x30; 16]].concat());
    packet.extend(extensions);
    packet.extend(&V4[20..]);
    packet
}

#[test]
fn network_headers_are_found_behind_every_link_layer() {
    for (link_type, before_v4, before_v6) in link_layers() {
        let packet = [&before_v4[..], &V4].concat();
        let found = dissect(link_type, &packet, packet.len() as u32);
        let shape =
            Shape::Ipv4 { first_byte: 0x45, protocol: 6, later_fragment: false, key: TransportKey::Ports };
        assert_eq!((found.prefix_bytes, found.shape), (before_v4.len(), shape), "{link_type}");
        let key = found.key;
        assert_eq!((key.source, key.destination), (0x0a01_0203, 0x0a04_0506));
        assert_eq!((key.source_port, key.destination_port, found.tcp_flags), (12345, 443, Some(0x12)));
        if link_type != LinkType::IPV4 {
            let packet = [before_v6.clone(), v6(6, &[])].concat();
            let found = dissect(link_type, &packet, packet.len() as u32);
            let key = TransportKey::Ports;
            let shape =
                Shape::Ipv6 { next_header: 6, transport: 40, protocol: 6, later_fragment: false, key };
            assert_eq!((found.prefix_bytes, found.shape), (before_v6.len(), shape), "{link_type}");
        }
    }
}

#[test]
fn extension_headers_are_walked_as_far_as_they_go() {
    let hop_by_hop = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |offset: u16| [[6, 0], offset.to_be_bytes(), [0; 2], [0; 2]].concat();
    let authentication = [&[6, 4, 0, 0][..], &[0; 20]].concat();
    let cases: Vec<(u8, Vec<u8>, u16, u8, bool, TransportKey)> = vec![
        (0, hop_by_hop(6).into(), 48, 6, false, TransportKey::Ports),
        (60, [&[43, 1][..], &[0; 14], &hop_by_hop(6)].concat(), 64, 6, false, TransportKey::Ports),
        (44, fragment(1), 48, 6, false, TransportKey::Ports),
        (44, fragment(8), 48, 6, true, TransportKey::None),
        (51, authentication, 64, 6, false, TransportKey::Ports),
        (50, Vec::new(), 40, 50, false, TransportKey::None),
        (58, Vec::new(), 40, 58, false, TransportKey::TypeAndCode),
        (0, hop_by_hop(0).repeat(9), 104, 0, false, TransportKey::None),
    ];
    for (next_header, extensions, transport, protocol, later_fragment, key) in cases {
        let packet = v6(next_header, &extensions);
        let found = dissect(LinkType::RAW, &packet, packet.len() as u32);
        assert_eq!(found.shape, Shape::Ipv6 { next_header, transport, protocol, later_fragment, key });
        assert_eq!(found.fragment, next_header == 44);
    }
}

#[test]
fn what_is_cut_or_malformed_is_not_known() {
    let shape_of = |packet: &[u8]| dissect(LinkType::RAW, packet, 100).shape;
    let key_of = |shape| match shape {
        Shape::Ipv4 { key, .. } => Some(key),
        _ => None,
    };
    for end in 0..=V4.len() {
        let expected = match end {
            0..20 => None,
            20..24 => Some(TransportKey::None),
            _ => Some(TransportKey::Ports),
        };
        assert_eq!(key_of(shape_of(&V4[..end])), expected, "cut to {end} bytes");
    }
    let mut short_header = V4;
    short_header[0] = 0x44;
    assert_eq!(shape_of(&short_header), Shape::None);
    let mut later_fragment = V4;
    later_fragment[7] = 1;
    assert_eq!(key_of(shape_of(&later_fragment)), Some(TransportKey::None));
}
