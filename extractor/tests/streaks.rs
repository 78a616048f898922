//! Packets that are given out together are those that are given out one by one: over random stores with damage in the middle,
//! disorder, overlapping segments, several link types, ranges that cut segments, and limits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::io::{self, Write};

use netrewind_extractor::{
    Answer, AnswerLimits, AnswerPacket, AnswerRecords, Extractor, NoControl, Options, PcapSink, Query, Sink,
    SinkError, ViewMode,
};
use netrewind_store::{LinkType, Timestamp};
use support::{Chance, Collect, Stored, TestStore, name, packet, segment_bytes};

const STORES: usize = 40;
const QUERIES: usize = 12;

/// Times of a segment's packets.
#[derive(Clone, Copy)]
enum Order {
    Ascending,
    /// Many packets have the time of their neighbour.
    InSteps,
    /// Some packets come before their time, a little or a lot.
    Disordered,
}

fn packets(chance: &mut Chance, link_type: LinkType, order: Order, lane: u16) -> Vec<Stored> {
    let begin = chance.below(3000) as u32;
    let count = 1 + chance.below(4000) as u32;
    let caplen_max = *chance.pick(&[20, 200, 1500, 9000]);
    let mut packets: Vec<Stored> = (0..count)
        .map(|n| {
            let n = match order {
                Order::Ascending => n,
                Order::InSteps => n / 5,
                Order::Disordered if chance.one_in(300) => chance.below(n as usize + 1) as u32,
                Order::Disordered if chance.one_in(50) => n.saturating_sub(2),
                Order::Disordered => n,
            };
            packet(begin + n, u32::from(lane), 60 + chance.below(caplen_max) as u32)
        })
        .collect();
    for packet in &mut packets {
        packet.link_type = link_type;
        packet.header.len += if chance.one_in(9) { 70 } else { 0 };
    }
    packets
}

/// Breaks a record somewhere: its header says that it is longer than a packet can be, or than the file is.
fn damage(chance: &mut Chance, bytes: &mut [u8], packets: &[Stored]) {
    let broken = chance.below(packets.len());
    let before: usize = packets[..broken].iter().map(|packet| 16 + packet.bytes.len()).sum();
    let caplen = *chance.pick(&[u32::MAX, 262_145, 262_144, 0]);
    bytes[24 + before + 8..24 + before + 12].copy_from_slice(&caplen.to_le_bytes());
}

/// A store; true if some of it is damaged.
fn build(chance: &mut Chance, link_types: &[LinkType]) -> (TestStore, bool) {
    let mut test = TestStore::default();
    let mut is_damaged = false;
    for second in 0..1 + chance.below(5) as u32 {
        let lane = chance.below(3) as u16;
        let order = *chance.pick(&[Order::Ascending, Order::InSteps, Order::Disordered]);
        let link_type = *chance.pick(link_types);
        let packets = packets(chance, link_type, order, lane);
        let name = name(second, lane);
        match chance.below(6) {
            0 => _ = test.seal(name, packets),
            1 => {
                let mut bytes = segment_bytes(packets[0].link_type, &packets);
                test.seal_indexed(name, packets.clone());
                damage(chance, &mut bytes, &packets);
                fs::write(test.store.sealed_path(&name), bytes).unwrap();
                is_damaged = true;
            }
            2 => {
                let committed = 1 + chance.below(packets.len());
                test.open(name, packets, committed);
            }
            _ => test.seal_indexed(name, packets),
        }
    }
    (test, is_damaged)
}

fn random_query(chance: &mut Chance, test: &TestStore) -> Query {
    let instant = |chance: &mut Chance| {
        let (_, packets) = chance.pick(&test.segments);
        Timestamp(chance.pick(packets).at().ns() + chance.below(3) as u64 - 1)
    };
    let limit = |chance: &mut Chance, max: usize| chance.one_in(4).then(|| chance.below(max) as u64);
    Query {
        from: chance.one_in(3).then(|| instant(chance)),
        to: chance.one_in(3).then(|| instant(chance)),
        limits: AnswerLimits { packets: limit(chance, 9000), bytes: limit(chance, 4_000_000) },
        use_index: chance.one_in(2),
        view: ViewMode::Outer, // then no packets beside the range are read for some filters
        ..Query::default()
    }
}

/// Takes packets together, and puts them down one by one.
#[derive(Default)]
struct Together {
    one_by_one: Collect,
    most: u64,
}

impl Sink for Together {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        self.one_by_one.packet(packet)
    }
    fn records(&mut self, records: &AnswerRecords<'_>) -> Result<(), SinkError> {
        assert_eq!(records.packets().count() as u64, records.packets);
        let captured: usize = records.packets().map(|packet| packet.bytes.len()).sum();
        assert_eq!(captured as u64, records.captured_bytes());
        self.most = self.most.max(records.packets);
        records.packets().try_for_each(|packet| self.packet(&packet))
    }
}

fn asked(extractor: &Extractor, query: &Query) -> (Vec<Stored>, Answer, u64) {
    let mut sink = Together::default();
    let answer = extractor.extract(query, &mut sink, &mut NoControl).unwrap();
    (sink.one_by_one.0, answer, sink.most)
}

fn assert_same(found: &(Vec<Stored>, Answer, u64), wanted: &(Vec<Stored>, Answer, u64), context: &str) {
    let differs = found.0.iter().zip(&wanted.0).position(|(found, wanted)| found != wanted);
    assert_eq!((found.0.len(), differs), (wanted.0.len(), None), "{context}");
    let account = |answer: &Answer| (answer.packets, answer.bytes, answer.completeness.clone());
    assert_eq!(account(&found.1), account(&wanted.1), "{context}");
}

#[test]
fn packets_given_out_together_are_those_given_out_one_by_one() {
    let seed = support::seed();
    let mut chance = Chance(seed);
    let (mut compared, mut most) = (0, 0);
    for number in 0..STORES {
        let link_types = if chance.one_in(3) {
            &[LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL2][..]
        } else {
            &[LinkType::ETHERNET]
        };
        let (test, is_damaged) = build(&mut chance, link_types);
        let helpers = chance.below(3);
        let extractor = Extractor::new(test.store.clone(), Options { helpers, ..Options::default() });
        for _ in 0..QUERIES {
            let query = random_query(&mut chance, &test);
            let context = format!("store {number}, {query:?}");
            let together = asked(&extractor, &query);
            // A filter that accepts all packets is put to each of them.
            let filtered = |filter: &str| Query { filter: filter.into(), ..query.clone() };
            let examined = asked(&extractor, &filtered("len >= 0"));
            assert_same(&together, &examined, &context);
            // The same question in two forms: the first one is put to several packets at once.
            if link_types.len() == 1 {
                let [at_once, examined] = ["ether[37] & 1 = 0", "ether[37] % 2 = 0"]
                    .map(|filter| asked(&extractor, &filtered(filter)));
                assert_same(&at_once, &examined, &context);
            }
            // Where packets may be taken out of tunnels they are written one by one; here are none.
            let one_by_one = asked(&extractor, &Query { decapsulate: true, ..query.clone() });
            assert_eq!(one_by_one.2, 0);
            assert_same(&together, &one_by_one, &context);
            if !is_damaged && !query.limits.are_set() {
                assert!(together.0 == test.model(&query, &mut |_| true), "{context}");
            }
            if link_types.len() == 1 {
                let mut file = Vec::new();
                extractor.extract(&query, &mut PcapSink::new(&mut file), &mut NoControl).unwrap();
                assert!(file == segment_bytes(LinkType::ETHERNET, &together.0), "{context}");
            }
            compared += together.0.len();
            most = most.max(together.2);
        }
    }
    eprintln!("{compared} packets compared, {most} together");
    assert!(compared > 100_000 && most > 1000);
}

/// Shortens a segment when so many bytes were written.
struct Shortening<'a>(usize, Option<Box<dyn FnOnce() + 'a>>, Vec<u8>);

impl Write for Shortening<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.2.extend_from_slice(bytes);
        if self.2.len() >= self.0
            && let Some(shorten) = self.1.take()
        {
            shorten();
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn of_a_segment_that_is_shortened_meanwhile_only_whole_packets_come_that_it_had() {
    // In whole pages: of a page that is cut the kernel gives zeros, and does not say so.
    for (helpers, pages) in [(0, 1), (0, 500), (1, 122), (2, 10)] {
        let cut = pages * 4096;
        let mut test = TestStore::default();
        let all: Vec<_> = (0..4000).map(|n| packet(n, 0, 60 + n % 2000)).collect();
        test.seal_indexed(name(1, 0), all.clone());
        let path = test.store.sealed_path(&name(1, 0));
        let extractor = Extractor::new(test.store.clone(), Options { helpers, ..Options::default() });
        let shorten = || fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let mut file = Shortening(600_000, Some(Box::new(shorten)), Vec::new());
        let mut sink = PcapSink::new(&mut file);
        let answer = extractor.extract(&Query::default(), &mut sink, &mut NoControl).unwrap();
        let given = all.len().min(answer.packets as usize);
        assert!((1..all.len()).contains(&given), "{given} packets");
        assert!(file.2 == segment_bytes(LinkType::ETHERNET, &all[..given]), "cut at {cut}: {given} packets");
        assert!(!answer.completeness.is_complete(), "{:?}", answer.completeness);
    }
}
