//! Packets that are recorded more than once, against a slow model that knows what was put into each of them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use netrewind_extractor::{AnswerLimits, CountSink, NoControl, Query, TunnelDemands};
use netrewind_store::{LinkType, RecordHeader};
use support::{Chance, Stored, TestStore, check_flows, extract, name};

const STORES: usize = 40;
const QUERIES: usize = 12;
const PACKETS: usize = 250;
/// So few that the same comes again soon.
const CONTENTS: u64 = 30;
const VNIS: [u32; 2] = [10, 20];

/// What is sent: the same number is the same packet.
fn content(number: u64) -> (u16, Vec<u8>) {
    let payload = vec![number as u8; number as usize % 7];
    match number % 3 {
        0 => {
            let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, number as u8, 0, 0, 0, 253, 0, 0];
            packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            packet.extend(payload);
            (0x0800, packet)
        }
        1 => {
            let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8 + 1, 253, 0];
            packet.extend([0x20; 32]);
            packet.push(number as u8);
            packet.extend(payload);
            (0x86dd, packet)
        }
        _ => (0x88b5, vec![number as u8; 50]),
    }
}

/// What a hop changes, and what stands around the packet, by chance.
fn on_its_way(chance: &mut Chance, number: u64) -> Vec<u8> {
    let (ethertype, mut packet) = content(number);
    match ethertype {
        0x0800 => {
            packet[8] = chance.next() as u8;
            packet[10..12].copy_from_slice(&(chance.next() as u16).to_be_bytes());
        }
        0x86dd => packet[7] = chance.next() as u8,
        _ => {}
    }
    let mut frame: Vec<u8> = (0..12).map(|_| chance.next() as u8 & 0xfe).collect();
    for _ in 0..chance.below(3) {
        frame.extend([0x81, 0, 0, chance.next() as u8]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    if ethertype != 0x88b5 && chance.one_in(2) {
        frame.resize(frame.len().max(60), 0);
    }
    if chance.one_in(3) { frame } else { in_vxlan(*chance.pick(&VNIS), &frame) }
}

fn in_vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    let udp_bytes = 16 + frame.len() as u16;
    let mut outer = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    outer.extend((20 + udp_bytes).to_be_bytes());
    outer.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0xc0, 0, 0x12, 0xb5]);
    outer.extend(udp_bytes.to_be_bytes());
    outer.extend([0, 0, 8, 0, 0, 0]);
    outer.extend((vni << 8).to_be_bytes());
    outer.extend(frame);
    outer
}

/// A store of two lanes, of which one segment has an index, and the content of every packet.
fn store(chance: &mut Chance) -> (TestStore, HashMap<Vec<u8>, u64>) {
    let mut store = TestStore::default();
    let mut contents = HashMap::new();
    for lane in 0..2 {
        let mut nanoseconds = 0;
        let mut packets = Vec::new();
        for _ in 0..PACKETS {
            nanoseconds += chance.next() as u32 % 1_000_000;
            let number = chance.next() % CONTENTS;
            let bytes = on_its_way(chance, number);
            contents.insert(bytes.clone(), number);
            let len = bytes.len() as u32;
            let header = RecordHeader { seconds: 1_795_339_862, nanoseconds, caplen: len, len };
            packets.push(Stored { header, bytes, link_type: LinkType::ETHERNET });
        }
        match lane {
            0 => store.seal_indexed(name(1, lane), packets),
            _ => _ = store.seal(name(1, lane), packets),
        }
    }
    (store, contents)
}

/// Leaves out what was there before, the slow way.
fn model(all: &[Stored], contents: &HashMap<Vec<u8>, u64>, window: Duration) -> Vec<Stored> {
    let again = |at: usize| {
        all[..at].iter().any(|before| {
            contents[&before.bytes] == contents[&all[at].bytes]
                && u128::from(all[at].at().ns() - before.at().ns()) <= window.as_nanos()
        })
    };
    (0..all.len()).filter(|&at| !again(at)).map(|at| all[at].clone()).collect()
}

#[test]
fn what_was_there_within_the_window_is_left_out() {
    for seed in 1..=STORES as u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (store, contents) = store(&mut chance);
        for _ in 0..QUERIES {
            let window = Duration::from_nanos(1 + chance.next() % 5_000_000);
            let vni = chance.one_in(4).then(|| *chance.pick(&VNIS));
            let plain = Query {
                filter: String::from(*chance.pick(&["", "ip", "ip6 or ip"])),
                tunnels: TunnelDemands { vni, ..TunnelDemands::default() },
                use_index: chance.one_in(2),
                ..Query::default()
            };
            let query = Query { dedup: Some(window.try_into().unwrap()), ..plain.clone() };
            let extractor = store.extractor();
            let all = extract(&extractor, &plain).unwrap().0;
            let wanted = model(&all, &contents, window);
            let (found, answer) = extract(&extractor, &query).unwrap();
            assert_eq!(found, wanted, "seed {seed}, {query:?}");
            let counted = extractor.count(&query, &mut NoControl).unwrap();
            let left_out = (all.len() - wanted.len()) as u64;
            assert_eq!((answer.packets, answer.duplicates_dropped), (wanted.len() as u64, left_out));
            assert_eq!((counted.packets, counted.duplicates_dropped), (answer.packets, left_out));
            assert_eq!((counted.bytes, counted.completeness), (answer.bytes, answer.completeness));
            let context = format!("seed {seed}, {query:?}");
            check_flows(&extractor, &query, (answer.packets, answer.bytes), &context);
            let estimate = extractor.estimate(&query).unwrap();
            assert!(estimate.packets_min <= answer.packets && answer.packets <= estimate.packets_max);
            let bare = extract(&extractor, &Query { decapsulate: true, ..query.clone() }).unwrap().0;
            assert_eq!(bare.len(), found.len());
            let limits = AnswerLimits { packets: Some(chance.next() % 60), bytes: None };
            let some = extract(&extractor, &Query { limits, ..query.clone() }).unwrap().0;
            assert_eq!(some[..], wanted[..wanted.len().min(limits.packets.unwrap() as usize)]);
        }
    }
}

#[test]
fn without_the_demand_nothing_is_left_out() {
    let (store, contents) = store(&mut Chance(5));
    let mut sink = CountSink;
    let answer = store.extractor().extract(&Query::default(), &mut sink, &mut NoControl).unwrap();
    assert_eq!((answer.packets, answer.duplicates_dropped), (2 * PACKETS as u64, 0));
    assert!(answer.completeness.lines().iter().all(|line| !line.contains("duplicates")));
    assert!(contents.len() > CONTENTS as usize);
}

/// A packet that was cut has less in common than one that was not.
#[test]
fn packets_cut_at_different_places_are_not_the_same() {
    let mut chance = Chance(9);
    let mut store = TestStore::default();
    let whole = on_its_way(&mut chance, 5);
    let packet = |n: u32, caplen: usize| Stored {
        header: RecordHeader {
            seconds: 1_795_339_862,
            nanoseconds: n,
            caplen: caplen as u32,
            len: whole.len() as u32,
        },
        bytes: whole[..caplen].to_vec(),
        link_type: LinkType::ETHERNET,
    };
    let all = whole.len();
    store.seal(name(1, 0), vec![packet(0, all), packet(1, all - 1), packet(2, all - 1), packet(3, all)]);
    let window = Duration::from_millis(1).try_into().unwrap();
    let found = extract(&store.extractor(), &Query { dedup: Some(window), ..Query::default() }).unwrap().0;
    let times: Vec<u32> = found.iter().map(|packet| packet.header.nanoseconds).collect();
    assert_eq!(times, [0, 1]);
}
