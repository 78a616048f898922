//! Choosing packets by what carries them: what it finds, and how little is looked at for it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use netrewind_extractor::{Query, TunnelDemands};
use netrewind_store::{LinkType, RecordHeader};
use support::{Chance, Stored, TestStore, extract, name, packet};

const SEGMENTS: u32 = 30;
const PACKETS: u32 = 2000;
const RARE_VNI: u32 = 7777;

const KEY: u8 = 0x20;
const KEY_AND_SEQUENCE: u8 = 0x30;

fn in_gre(flags: u8, key: u32, inner: &Stored) -> Stored {
    let sequence: &[u8] = if flags == KEY_AND_SEQUENCE { &[0, 0, 0, 1] } else { &[] };
    let payload_bytes = (8 + sequence.len() + inner.bytes.len()) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    bytes.extend((20 + payload_bytes).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, flags, 0, 0x65, 0x58]);
    bytes.extend(key.to_be_bytes());
    bytes.extend(sequence);
    bytes.extend(&inner.bytes);
    around(inner, bytes)
}

fn in_vxlan(vni: u32, inner: &Stored) -> Stored {
    let udp_bytes = 16 + inner.bytes.len() as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    bytes.extend((20 + udp_bytes).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0xc0, 0, 0x12, 0xb5]);
    bytes.extend(udp_bytes.to_be_bytes());
    bytes.extend([0, 0, 8, 0, 0, 0]);
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(&inner.bytes);
    around(inner, bytes)
}

fn around(inner: &Stored, bytes: Vec<u8>) -> Stored {
    let len = bytes.len() as u32;
    let header = RecordHeader { caplen: len, len, ..inner.header };
    Stored { header, bytes, link_type: LinkType::ETHERNET }
}

fn of(tunnels: TunnelDemands) -> Query {
    Query { tunnels, ..Query::default() }
}

#[test]
fn the_network_of_nvgre_is_found_by_its_number_and_by_its_key() {
    let mut store = TestStore::default();
    let sent: Vec<Stored> = (0..60)
        .map(|n| match n % 3 {
            0 => in_gre(KEY, (5001 << 8) | (n % 5), &packet(n, 1, 60)),
            1 => in_gre(KEY, (6001 << 8) | (n % 5), &packet(n, 1, 60)),
            _ => in_gre(KEY_AND_SEQUENCE, 5001 << 8, &packet(n, 1, 60)), // no NVGRE
        })
        .collect();
    store.seal_indexed(name(1, 0), sent.clone());
    let extractor = store.extractor();
    let found = |tunnels, use_index| extract(&extractor, &Query { use_index, ..of(tunnels) }).unwrap().0;
    for use_index in [true, false] {
        let by_number = found(TunnelDemands { vni: Some(5001), ..TunnelDemands::default() }, use_index);
        assert_eq!(by_number, sent.iter().step_by(3).cloned().collect::<Vec<_>>());
        let by_key = found(TunnelDemands { gre_key: Some(5001 << 8), ..TunnelDemands::default() }, use_index);
        let has_key = |packet: &&Stored| packet.bytes[38..42] == (5001u32 << 8).to_be_bytes();
        assert_eq!(by_key, sent.iter().filter(has_key).cloned().collect::<Vec<_>>());
        assert!(
            found(TunnelDemands { vni: Some(5001 << 8), ..TunnelDemands::default() }, use_index).is_empty()
        );
    }
}

/// A tunnel's number stands in the few templates of a segment: where none has it, no flow and no packet is looked at.
#[test]
fn segments_without_the_tunnel_are_not_looked_into() {
    let mut store = TestStore::default();
    let mut chance = Chance(11);
    let mut wanted = Vec::new();
    for segment in 0..SEGMENTS {
        let mut packets = Vec::new();
        for n in 0..PACKETS {
            let inner = packet(segment * PACKETS + n, chance.below(200) as u32, 70);
            let is_rare = segment == 9 && (1000..1010).contains(&n);
            let vni = if is_rare { RARE_VNI } else { 100 + n % 8 };
            packets.push(in_vxlan(vni, &inner));
            wanted.extend(is_rare.then(|| packets[n as usize].clone()));
        }
        store.seal_indexed(name(segment, 0), packets);
    }
    let extractor = store.extractor();
    for (demands, expected) in [
        (TunnelDemands { vni: Some(RARE_VNI), ..TunnelDemands::default() }, &wanted[..]),
        (TunnelDemands { vni: Some(4242), ..TunnelDemands::default() }, &[]),
        (TunnelDemands { peer: Some([192, 0, 2, 9].into()), ..TunnelDemands::default() }, &[]),
        (TunnelDemands { erspan_session: Some(1), ..TunnelDemands::default() }, &[]),
    ] {
        let (found, answer) = extract(&extractor, &of(demands)).unwrap();
        assert_eq!(found, expected);
        let read = u64::from(!expected.is_empty());
        assert_eq!(answer.work.segments_read, read, "{demands:?}");
        assert!(answer.work.packets_judged <= read * u64::from(PACKETS), "{:?}", answer.work);
    }
}
