//! Segments that are being written, asked again and again: their indexes grow in memory, and change no answer.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use netrewind_extractor::Query;
use netrewind_store::{LinkType, RecordHeader};
use support::{Chance, Stored, TestStore, extract, name};

const HOSTS: usize = 200;
/// Some 20 MB of packets: an index is worth it from 8 MiB on.
const PACKETS: u32 = 20_000;

/// A UDP packet between two of the hosts, or a fragment of one. Fifty packets in a row are mostly of one conversation.
fn packet(n: u32, chance: &mut Chance) -> Stored {
    let mut conversation = Chance(u64::from(n / 50 + 1) * 0x9e37_79b9);
    let mut host = || conversation.below(HOSTS) as u8;
    let (from, to, port) = (host(), host(), 1000 + u16::from(host()) % 10);
    let length = 900 + chance.below(200);
    // Of every forty packets one is in two fragments, which are some packets apart.
    let fragment: u16 = match n % 40 {
        7 => 0x2000,
        11 => 0x0020,
        _ => 0,
    };
    let (from, to) = if fragment == 0 { (from, to) } else { ((n / 40 % 200) as u8, 7) };
    let id = (n / 40) as u16;
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    bytes.extend_from_slice(&(length as u16 - 14).to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&fragment.to_be_bytes());
    bytes.extend_from_slice(&[64, 17, 0, 0, 10, 0, 0, from, 10, 0, 1, to]);
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0, 53]);
    bytes.resize(length, n as u8);
    let late = if chance.one_in(50) { 5_000_000 } else { 0 };
    let ns = u64::from(n) * 1_000_000 + 10_000_000 - late;
    let header = RecordHeader {
        seconds: 1_795_339_861 + (ns / 1_000_000_000) as u32,
        nanoseconds: (ns % 1_000_000_000) as u32,
        caplen: length as u32,
        len: length as u32,
    };
    Stored { header, bytes, link_type: LinkType::ETHERNET }
}

fn queries(packets: &[Stored], chance: &mut Chance) -> Vec<Query> {
    let mut queries: Vec<Query> = [
        "host 10.0.0.9",
        "src 10.0.0.3 and port 1007",
        "dst 10.0.1.7",
        "host 10.9.9.9",
        "udp",
        "ip[8] == 64",
    ]
    .map(Query::of)
    .to_vec();
    for _ in 0..6 {
        let filter = format!("host 10.0.{}.{}", chance.below(2), chance.below(HOSTS));
        let (one, other) = (chance.pick(packets).at(), chance.pick(packets).at());
        queries.push(Query {
            from: Some(one.min(other)),
            to: Some(one.max(other)).filter(|_| chance.one_in(2)),
            ..Query::of(&filter)
        });
    }
    queries
}

#[test]
fn an_open_segment_is_answered_by_what_is_indexed_of_it_and_by_the_rest() {
    let mut chance = Chance(0x5eed_0011);
    let packets: Vec<_> = (0..PACKETS).map(|n| packet(n, &mut chance)).collect();
    let mut test = TestStore::default();
    test.open(name(1, 0), packets.clone(), 1);
    let (extractor, plain) = (test.extractor(), test.extractor());
    let mut judged = [0, 0];
    for committed in [5_000, 9_000, 9_100, 12_345, 15_000, 20_000] {
        test.open(name(1, 0), packets.clone(), committed);
        for query in queries(&packets, &mut chance) {
            let (answer, found) = extract(&extractor, &query).unwrap();
            let without = Query { use_index: false, ..query.clone() };
            let (expected, all) = extract(&plain, &without).unwrap();
            assert_eq!(answer, expected, "{committed} packets, {query:?}");
            assert_eq!(found.completeness, all.completeness, "{query:?}");
            let counted = extractor.count(&query, &mut netrewind_extractor::NoControl).unwrap();
            assert_eq!(counted.packets, expected.len() as u64, "{query:?}");
            judged[0] += found.work.packets_judged;
            judged[1] += all.work.packets_judged;
        }
    }
    // Two of the filters are of everything, and ends are read.
    assert!(judged[0] * 10 < judged[1] * 7, "the index saved nothing: {judged:?}");
    eprintln!("packets looked at, and without an index: {judged:?}");
}

#[test]
fn who_began_earlier_sees_less() {
    let mut chance = Chance(0x5eed_0012);
    let packets: Vec<_> = (0..PACKETS).map(|n| packet(n, &mut chance)).collect();
    let mut test = TestStore::default();
    let extractor = test.extractor();
    // Backwards: as for a query that took its snapshot before others, and comes to read after them.
    for committed in [20_000, 19_000, 12_000, 10_000] {
        test.open(name(1, 0), packets.clone(), committed);
        let (answer, _) = extract(&extractor, &Query::of("host 10.0.1.7")).unwrap();
        let expected = packets[..committed].iter().filter(|packet| packet.bytes[30..34] == [10, 0, 1, 7]);
        assert_eq!(answer.len(), expected.count(), "{committed}");
    }
}
