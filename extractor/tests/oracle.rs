//! The answer with indexes is the answer without is the model's, packet by packet: over public captures, random
//! filters and ranges, several lanes, disorder, several link types, and indexes that are missing, damaged or foreign.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::path::PathBuf;

use netrewind_extractor::{ExtractError, Query, ViewMode};
use netrewind_store::Timestamp;
use support::{Chance, Libpcap, Stored, TestStore, corpus, extract, index_of, name, read_capture};

const STORES: usize = 12;
const CAPTURES: usize = 12;
const QUERIES: usize = 40;
const PACKETS_MAX: usize = 2000;

/// Spreads captures over segments and lanes; their times are moved so that many overlap.
fn build(chance: &mut Chance, captures: &[PathBuf]) -> TestStore {
    let mut test = TestStore::default();
    let mut second = 0;
    for _ in 0..CAPTURES {
        let Some(mut packets) = read_capture(chance.pick::<PathBuf>(captures), PACKETS_MAX) else { continue };
        let start = packets.iter().map(|packet| packet.header.seconds).min().unwrap();
        for packet in &mut packets {
            packet.header.seconds = 1_795_339_861 + (packet.header.seconds - start) % 100;
            if chance.one_in(20) {
                packet.header.nanoseconds = chance.below(1_000_000_000) as u32; // disorder, and equal seconds
            }
        }
        let parts = 1 + chance.below(3);
        let part_len = packets.len().div_ceil(parts);
        for part in packets.chunks(part_len) {
            second += 1;
            add(chance, &mut test, second, part.to_vec());
        }
    }
    test
}

fn add(chance: &mut Chance, test: &mut TestStore, second: u32, packets: Vec<Stored>) {
    let name = name(second, chance.below(3) as u16);
    match chance.below(8) {
        0 => _ = test.seal(name, packets),
        1 => {
            let bytes = test.seal(name, packets);
            let mut index = index_of(&bytes);
            let at = chance.below(index.len());
            index[at] ^= 1 << chance.below(8);
            test.store.write_index(&name, &index).unwrap();
        }
        2 => {
            let foreign =
                index_of(&support::segment_bytes(packets[0].link_type, &packets[..packets.len() / 2]));
            test.seal(name, packets);
            test.store.write_index(&name, &foreign).unwrap();
        }
        3 => {
            // The last record is torn.
            let last = packets.last().unwrap().clone();
            let mut bytes = test.seal(name, packets);
            bytes.extend_from_slice(&last.header.to_bytes()[..10]);
            fs::write(test.store.sealed_path(&name), bytes).unwrap();
        }
        4 if packets.len() > 1 => {
            let committed = 1 + chance.below(packets.len() - 1);
            test.open(name, packets, committed);
        }
        _ => test.seal_indexed(name, packets),
    }
}

/// A filter that has to do with a packet of the store.
fn filter_near(chance: &mut Chance, test: &TestStore, expressions: &[String]) -> String {
    let (_, packets) = chance.pick(&test.segments);
    let packet = chance.pick(packets);
    let byte = |at: usize| packet.bytes.get(at).copied().unwrap_or(0);
    let address = |at: usize| format!("{}.{}.{}.{}", byte(at), byte(at + 1), byte(at + 2), byte(at + 3));
    let port = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
    match chance.below(12) {
        0 => String::new(),
        1 => format!("host {}", address(26)),
        2 => format!("src host {} and dst host {}", address(26), address(30)),
        3 => format!("net {}.0.0.0/8 and not port {}", byte(30), port(36)),
        4 => format!("port {}", port(34)),
        5 => format!("tcp and portrange {}-{}", port(34).min(port(36)), port(34).max(port(36))),
        6 => format!("host {} or host {} or arp", address(26), address(12)),
        7 => "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0".to_owned(),
        8 => format!("ip6 or ip[8] = {}", byte(22)),
        9 => format!("ip and udp[8:2] = {}", port(42)),
        _ => chance.pick(expressions).clone(),
    }
}

fn random_query(chance: &mut Chance, test: &TestStore, expressions: &[String]) -> Query {
    let filter = filter_near(chance, test, expressions);
    let mut query = Query { view: ViewMode::Outer, ..Query::of(&filter) };
    let instant = |chance: &mut Chance| {
        let (_, packets) = chance.pick(&test.segments);
        Timestamp(chance.pick(packets).at().ns() + chance.below(3) as u64 - 1)
    };
    if chance.one_in(2) {
        query.from = Some(instant(chance));
    }
    if chance.one_in(2) {
        query.to = Some(instant(chance));
    }
    query
}

#[test]
fn with_index_is_without_is_the_model() {
    let Some(folder) = corpus() else { return };
    let captures = support::captures();
    let text = fs::read_to_string(folder.join("filters.txt")).unwrap();
    // The model asks libpcap, which takes the captured length for the length: those that ask for it are tested elsewhere.
    let asks_length = |line: &&str| ["len", "greater", "less"].iter().any(|word| line.contains(word));
    let expressions: Vec<String> =
        text.lines().filter(|line| !asks_length(line)).map(str::to_owned).collect();
    let seed =
        std::env::var("NETREWIND_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);
    let mut packets = 0;
    for number in 0..STORES {
        let test = build(&mut chance, &captures);
        let extractor = test.extractor();
        for _ in 0..QUERIES {
            let query = random_query(&mut chance, &test, &expressions);
            packets += compare(&test, &extractor, &query, number);
        }
    }
    eprintln!("{packets} packets compared");
    assert!(packets > 1_000);
}

fn compare(
    test: &TestStore,
    extractor: &netrewind_extractor::Extractor,
    query: &Query,
    number: usize,
) -> usize {
    let without = Query { use_index: false, ..query.clone() };
    let (answer, found) = match extract(extractor, query) {
        Ok((packets, answer)) => (packets, answer),
        Err(ExtractError::Filter(_)) => {
            assert!(matches!(extract(extractor, &without), Err(ExtractError::Filter(_))), "{query:?}");
            return 0;
        }
        Err(error) => panic!("store {number}, {query:?}: {error}"),
    };
    let mut libpcap = Libpcap::new(&query.filter);
    let model = test.model(query, &mut |packet| libpcap.accepts(packet));
    same(&answer, &model, &format!("store {number}, with index, {query:?}"));
    let (slow, slow_found) = extract(extractor, &without).unwrap();
    same(&slow, &model, &format!("store {number}, without index, {query:?}"));
    let count = extractor.count(query, &mut netrewind_extractor::NoControl).unwrap();
    assert_eq!(
        (count.packets, count.bytes),
        (found.packets, found.bytes),
        "store {number}, count, {query:?}"
    );
    let estimate = extractor.estimate(query).unwrap();
    assert!(
        (estimate.packets_min..=estimate.packets_max).contains(&found.packets)
            && found.bytes <= estimate.bytes_max,
        "store {number}, {query:?}: {estimate:?}, and {} packets",
        found.packets
    );
    assert_eq!(found.completeness.gaps, slow_found.completeness.gaps);
    model.len()
}

fn same(answer: &[Stored], model: &[Stored], context: &str) {
    for (at, (found, expected)) in answer.iter().zip(model).enumerate() {
        assert!(found == expected, "{context}: packet {at} is {:?}, not {:?}", found.header, expected.header);
    }
    assert_eq!(answer.len(), model.len(), "{context}");
}
