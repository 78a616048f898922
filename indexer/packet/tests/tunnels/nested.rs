//! Packets whose nesting is known, whole and cut, and bytes that mean nothing.

use netrewind_packet::tunnel::{LAYERS_MAX, TunnelKind, TunnelPorts, UdpTunnel};
use netrewind_packet::{PREFIX_BYTES_MAX, VIEWS_MAX, dissect, dissect_with};
use netrewind_store::LinkType;
use proptest::prelude::*;

use crate::generate::{Chance, Expected, packet};

/// Tunnels in each other.
const DEPTH: usize = 4;
/// No view begins closer to the end of the longest prefix.
const LINK_BYTES_MAX: usize = 64;

fn is_within_limits(view: &Expected) -> bool {
    view.offset + LINK_BYTES_MAX <= PREFIX_BYTES_MAX
}

/// The bytes that must be captured of a view for it to be one.
fn bytes_needed(view: &Expected, packet: &[u8]) -> usize {
    const GUESSED_HEADER_BYTES_MAX: usize = 14 + 8 + 60;
    match (view.link_type, packet.get(view.offset).map(|byte| byte >> 4)) {
        _ if view.is_guessed => GUESSED_HEADER_BYTES_MAX.min(view.len),
        (LinkType::ETHERNET, _) => 14,
        (_, Some(4)) => 20,
        _ => 40,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_view_of_a_whole_packet_is_found(seed in any::<u64>()) {
        let packet = packet(&mut Chance::new(seed, seed), DEPTH);
        let dissection = dissect(LinkType::ETHERNET, &packet.bytes, packet.bytes.len() as u32);
        let expected: Vec<&Expected> = packet.views.iter().take_while(|view| is_within_limits(view)).collect();
        let found: Vec<Expected> = dissection.views().iter().zip(&packet.views).map(|(view, expected)| {
            assert_eq!(view.caplen, view.len);
            let offset = usize::from(view.view.offset);
            Expected { offset, link_type: view.view.link_type, len: view.len as usize, ..*expected }
        }).collect();
        prop_assert!(found.iter().eq(expected.iter().copied()), "{:?}\nfound {found:?}\nin {packet:?}", dissection);
        if expected.len() == packet.views.len() {
            let tunnels: Vec<(TunnelKind, Option<u32>)> =
                dissection.tunnels(&packet.bytes).map(|tunnel| (tunnel.kind, tunnel.id)).collect();
            prop_assert_eq!(tunnels, packet.tunnels);
        }
    }

    #[test]
    fn a_cut_packet_has_the_views_that_were_captured(seed in any::<u64>(), cut in 0.0f64..1.0) {
        let packet = packet(&mut Chance::new(seed, seed), DEPTH);
        let len = packet.bytes.len();
        let cut = (len as f64 * cut) as usize;
        let captured = &packet.bytes[..cut];
        let dissection = dissect(LinkType::ETHERNET, captured, len as u32);
        for (view, expected) in dissection.views().iter().zip(&packet.views) {
            prop_assert_eq!(usize::from(view.view.offset), expected.offset);
            prop_assert_eq!(view.view.link_type, expected.link_type);
            prop_assert_eq!(view.len as usize, expected.len);
            prop_assert_eq!(view.caplen as usize, expected.len.min(cut.saturating_sub(expected.offset)));
            prop_assert_eq!(view.bytes(captured), &captured[expected.offset..expected.offset + view.caplen as usize]);
        }
        let must_be_found = packet.views.iter().skip(1).take_while(|view| {
            is_within_limits(view) && view.offset + bytes_needed(view, &packet.bytes) <= cut
        });
        prop_assert!(dissection.views().len() > must_be_found.count(), "{:?}\nof {packet:?}", dissection);
    }

    #[test]
    fn hostile_bytes_give_views_within_the_packet(
        seed in any::<u64>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        len in any::<u32>(), link_type in prop::sample::select(vec![0u16, 1, 9, 50, 51, 101, 104, 108, 113, 228, 229, 276]),
    ) {
        let mut bytes = packet(&mut Chance::new(seed, seed), DEPTH).bytes;
        for (at, value) in flips {
            let at = at.index(bytes.len().min(200));
            bytes[at] = value;
        }
        check_sound(&bytes, LinkType(link_type), len);
        check_sound(&bytes, LinkType::ETHERNET, bytes.len() as u32);
    }

    #[test]
    fn random_bytes_behind_a_tunnel_header_give_views_within_the_packet(
        head in prop::sample::select(heads()), tail in prop::collection::vec(any::<u8>(), 0..300), len in any::<u32>(),
    ) {
        let bytes = [head, tail].concat();
        check_sound(&bytes, LinkType::RAW, len);
        check_sound(&bytes, LinkType::RAW, bytes.len() as u32);
    }
}

/// IPv4 headers, and UDP headers, that announce every tunnel.
fn heads() -> Vec<Vec<u8>> {
    let ip = |protocol: u8| {
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        header
    };
    let mut heads: Vec<Vec<u8>> = [4, 41, 51, 97, 115, 137].into_iter().map(ip).collect();
    for protocol in
        [0x0800u16, 0x86dd, 0x6558, 0x8847, 0x880b, 0x88be, 0x22eb, 0x883e, 0x8909, 0x894f, 0x6400]
    {
        for flags in [0u16, 0x2001, 0x1000, 0x2000, 0x3001, 0xb000] {
            heads.push([ip(47), flags.to_be_bytes().to_vec(), protocol.to_be_bytes().to_vec()].concat());
        }
    }
    for port in [4789u16, 8472, 4790, 6081, 2152, 6635, 3544, 1701, 37008] {
        heads.push([ip(17), vec![0x80, 0], port.to_be_bytes().to_vec(), vec![0, 0, 0, 0]].concat());
    }
    heads
}

/// VXLAN in IPv4 without options, from a generated packet.
fn vxlan() -> Vec<u8> {
    (0..)
        .map(|seed| packet(&mut Chance::new(seed, seed), 1).bytes)
        .find(|bytes| bytes[12..15] == [8, 0, 0x45] && bytes[36..38] == 4789u16.to_be_bytes())
        .unwrap()
}

fn views_of(packet: &[u8]) -> Vec<(u16, u32, u32)> {
    let dissection = dissect(LinkType::ETHERNET, packet, packet.len() as u32);
    dissection.views().iter().map(|view| (view.view.offset, view.caplen, view.len)).collect()
}

#[test]
fn a_first_fragment_has_an_inner_view_and_a_later_one_has_none() {
    let whole = vxlan();
    let len = whole.len() as u32;
    assert_eq!(views_of(&whole), [(0, len, len), (50, len - 50, len - 50)]);
    let mut first = whole.clone();
    let fragment_bytes = 88u16;
    first[16..18].copy_from_slice(&fragment_bytes.to_be_bytes());
    first[20] = 0x20;
    let inner_bytes = u32::from(fragment_bytes) + 14 - 50;
    assert_eq!(views_of(&first), [(0, len, len), (50, inner_bytes, inner_bytes)]);
    let mut later = whole;
    later[21] = 1;
    assert_eq!(views_of(&later), [(0, len, len)]);
}

#[test]
fn a_length_of_zero_limits_nothing() {
    let whole = vxlan();
    let len = whole.len() as u32;
    let mut offloaded = whole;
    offloaded[16..18].fill(0);
    offloaded[38..40].fill(0);
    assert_eq!(views_of(&offloaded), [(0, len, len), (50, len - 50, len - 50)]);
}

#[test]
fn labels_of_an_unknown_payload_are_kept() {
    let mut packet = vec![2; 12];
    packet.extend([0x88, 0x47, 0, 0x01, 0x00, 64, 0, 0x02, 0x01, 64]);
    packet.extend([0xee; 60]);
    let dissection = dissect(LinkType::ETHERNET, &packet, packet.len() as u32);
    let labels: Vec<_> = dissection.tunnels(&packet).map(|tunnel| tunnel.id).collect();
    assert_eq!(labels, [Some(16), Some(32)]);
    assert_eq!((dissection.views().len(), dissection.prefix_bytes), (1, 22));
}

#[test]
fn ports_are_a_matter_of_configuration() {
    let mut packet = vxlan();
    packet[36..38].copy_from_slice(&5555u16.to_be_bytes());
    let len = packet.len() as u32;
    let views = |ports: &TunnelPorts| dissect_with(ports, LinkType::ETHERNET, &packet, len).views().len();
    assert_eq!(views(&TunnelPorts::DEFAULT), 1);
    assert_eq!(views(&TunnelPorts::DEFAULT.with(5555, UdpTunnel::Vxlan)), 2);
}

/// Checks that hold for every dissection, whatever the bytes are.
fn check_sound(bytes: &[u8], link_type: LinkType, len: u32) {
    let dissection = dissect(link_type, bytes, len);
    let views = dissection.views();
    assert!((1..=VIEWS_MAX).contains(&views.len()));
    assert!(dissection.layers().len() <= LAYERS_MAX);
    assert!(dissection.prefix_bytes <= PREFIX_BYTES_MAX.min(bytes.len()));
    assert_eq!((views[0].view.offset, views[0].caplen as usize), (0, bytes.len()));
    let ends = |view: &netrewind_packet::PacketView| {
        let begin = usize::from(view.view.offset);
        (begin, begin + view.caplen as usize, begin + view.len as usize)
    };
    for pair in views.windows(2) {
        let (outer, inner) = (ends(&pair[0]), ends(&pair[1]));
        assert!(
            outer.0 < inner.0 && inner.1 <= outer.1 && inner.2 <= outer.2,
            "{outer:?} {inner:?} in {bytes:02x?}"
        );
        assert!(inner.1 <= inner.2);
    }
    for tunnel in dissection.tunnels(bytes) {
        let carries = usize::from(tunnel.view) + 1;
        assert!(carries < views.len() || (carries == views.len() && tunnel.kind == TunnelKind::Mpls));
    }
    assert!(dissection.layers().iter().all(|layer| layer.end() <= dissection.prefix_bytes));
}
