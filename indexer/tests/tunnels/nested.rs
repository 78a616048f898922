//! Packets whose nesting is known, whole and cut, and bytes that mean nothing.

use netrewind_indexer::packet::{PREFIX_BYTES_MAX, VIEWS_MAX, dissect};
use netrewind_indexer::tunnel::{LAYERS_MAX, TunnelKind};
use netrewind_segment::LinkType;
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
    for protocol in [0x0800u16, 0x86dd, 0x6558, 0x8847, 0x880b, 0x88be, 0x22eb, 0x883e, 0x8909, 0x894f] {
        for flags in [0u16, 0x1000, 0x2000, 0x3001, 0xb000] {
            heads.push([ip(47), flags.to_be_bytes().to_vec(), protocol.to_be_bytes().to_vec()].concat());
        }
    }
    for port in [4789u16, 8472, 4790, 6081, 2152, 6635, 3544, 1701] {
        heads.push([ip(17), vec![0x80, 0], port.to_be_bytes().to_vec(), vec![0, 0, 0, 0]].concat());
    }
    heads
}

/// What holds of every dissection, whatever the bytes are.
fn check_sound(bytes: &[u8], link_type: LinkType, len: u32) {
    let dissection = dissect(link_type, bytes, len);
    let views = dissection.views();
    assert!((1..=VIEWS_MAX).contains(&views.len()));
    assert!(dissection.layers().len() <= LAYERS_MAX);
    assert!(dissection.prefix_bytes <= PREFIX_BYTES_MAX.min(bytes.len()));
    assert_eq!((views[0].view.offset, views[0].caplen as usize), (0, bytes.len()));
    let ends = |view: &netrewind_indexer::packet::PacketView| {
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
    assert!(dissection.tunnels(bytes).all(|tunnel| usize::from(tunnel.view) + 1 < views.len()));
}
