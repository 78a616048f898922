//! What an extraction keeps to: limits, cancellation, order, forms, and segments that change under it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use netrewind_extractor::{
    AnswerLimits, AnswerPacket, Control, CountSink, ExtractError, NoControl, PcapSink, Progress, Query,
    ReachedLimit, Sink, SinkError, ViewMode,
};
use netrewind_store::{LinkType, Records, Timestamp};
use support::{Chance, Collect, Stored, TestStore, extract, name, packet, segment_bytes};

fn times(packets: &[Stored]) -> Vec<u64> {
    packets.iter().map(|packet| packet.at().ns()).collect()
}

/// In order but for some strays far before their time, with many equal times.
fn disordered(count: u32, lane: u16) -> Vec<Stored> {
    let mut chance = Chance(u64::from(lane) + 99);
    let late = |n: u32, chance: &mut Chance| {
        if chance.one_in(500) { chance.below(n as usize + 1) as u32 } else { n }
    };
    (0..count).map(|n| packet(late(n, &mut chance) / 7, u32::from(lane), 60 + n % 900)).collect()
}

#[test]
fn lanes_and_disorder_merge_exactly_whatever_the_helpers() {
    let mut test = TestStore::default();
    for (second, lane) in [(1, 0), (1, 1), (2, 0), (3, 2)] {
        test.seal_indexed(name(second, lane), disordered(20_000, lane));
    }
    test.seal(name(4, 0), disordered(5000, 0));
    let model = test.model(&Query::default(), &mut |_| true);
    for (helpers, segments_held_max) in [(0, 8192), (1, 1), (3, 2)] {
        let options = netrewind_extractor::Options { helpers, segments_held_max, ..Default::default() };
        let extractor = netrewind_extractor::Extractor::new(test.store.clone(), options);
        for use_index in [true, false] {
            let (answer, _) = extract(&extractor, &Query { use_index, ..Query::default() }).unwrap();
            assert!(answer == model, "{helpers} helpers, index {use_index}");
            let estimate = extractor.estimate(&Query { use_index, ..Query::default() }).unwrap();
            assert_eq!(estimate.packets_max, model.len() as u64);
        }
    }
}

#[test]
fn an_answer_stops_exactly_at_its_limits_and_says_so() {
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), (0..50).map(|n| packet(n, 0, 100)).collect());
    let extractor = test.extractor();
    let limited = |packets, bytes| Query { limits: AnswerLimits { packets, bytes }, ..Query::default() };
    let cases = [
        (limited(Some(7), None), 7, Some(ReachedLimit::Packets)),
        (limited(Some(50), None), 50, None),
        (limited(None, Some(250)), 2, Some(ReachedLimit::Bytes)),
        (limited(None, Some(5000)), 50, None),
        (limited(Some(0), None), 0, Some(ReachedLimit::Packets)),
    ];
    for (query, packets, reached) in cases {
        let (answer, found) = extract(&extractor, &query).unwrap();
        assert_eq!((answer.len(), found.completeness.limit_reached), (packets, reached), "{query:?}");
        assert_eq!(found.completeness.is_complete(), reached.is_none());
        assert_eq!(extractor.count(&query, &mut NoControl).unwrap().packets, packets as u64);
        assert!(extractor.estimate(&query).unwrap().packets_max >= packets as u64);
    }
}

#[test]
fn counting_reads_nothing_where_the_index_tells() {
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), (0..50).map(|n| packet(n, 0, 100)).collect());
    let extractor = test.extractor();
    for (filter, packets) in [("", 50), ("ip", 50), ("udp", 0), ("host 10.0.0.1", 50), ("greater 101", 0)] {
        let answer = extractor.count(&Query::of(filter), &mut NoControl).unwrap();
        assert_eq!((answer.packets, answer.work.bytes_read), (packets, 0), "{filter}");
        let estimate = extractor.estimate(&Query::of(filter)).unwrap();
        assert_eq!((estimate.packets_min, estimate.packets_max), (packets, packets), "{filter}");
    }
    let half = Query { to: Some(packet(25, 0, 0).at()), ..Query::default() };
    assert_eq!(extractor.count(&half, &mut NoControl).unwrap().packets, 25);
}

/// Gives up after a while.
struct Impatient(u64);

impl Control for Impatient {
    fn cancelled(&self) -> bool {
        self.0 == 0
    }
    fn progress(&mut self, _: &Progress) {
        self.0 = self.0.saturating_sub(1);
    }
}

#[test]
fn whoever_gives_up_is_heard() {
    let mut test = TestStore::default();
    for lane in 0..3 {
        test.seal(name(1, lane), disordered(20_000, lane));
    }
    let extractor = test.extractor();
    for patience in [0, 1, 5] {
        let result = extractor.extract(&Query::default(), &mut CountSink, &mut Impatient(patience));
        assert!(matches!(result, Err(ExtractError::Cancelled)), "{patience}");
    }
    let flag = AtomicBool::new(true);
    assert!(matches!(extractor.count(&Query::default(), &mut &flag), Err(ExtractError::Cancelled)));
    flag.store(false, Ordering::Relaxed);
    assert_eq!(extractor.count(&Query::default(), &mut &flag).unwrap().packets, 60_000);
}

#[derive(Debug)]
struct Gone(usize);

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), (0..50).map(|n| packet(n, 0, 100)).collect());
    for room in [0, 10, 24, 2000] {
        let result =
            test.extractor().extract(&Query::default(), &mut PcapSink::new(Gone(room)), &mut NoControl);
        assert!(matches!(result, Err(ExtractError::ReaderGone)), "{room}: {result:?}");
    }
}

#[test]
fn a_pcap_file_is_a_segment_with_just_these_packets() {
    let mut test = TestStore::default();
    let packets: Vec<_> = (0..50).map(|n| packet(n, 0, 100 + n)).collect();
    test.seal_indexed(name(1, 0), packets.clone());
    let mut file = Vec::new();
    test.extractor().extract(&Query::default(), &mut PcapSink::new(&mut file), &mut NoControl).unwrap();
    assert_eq!(file, segment_bytes(LinkType::ETHERNET, &packets));
    let mut empty = Vec::new();
    test.extractor().extract(&Query::of("udp"), &mut PcapSink::new(&mut empty), &mut NoControl).unwrap();
    assert_eq!(empty, segment_bytes(LinkType::ETHERNET, &[]), "an empty answer is a file too");
}

#[test]
fn a_pcap_file_refuses_several_link_types_before_it_begins() {
    let mut test = TestStore::default();
    let raw = |n| {
        let mut packet = packet(n, 0, 200);
        packet.bytes.drain(..14);
        (packet.header.caplen, packet.link_type) = (186, LinkType::RAW);
        packet
    };
    test.seal_indexed(name(1, 0), (0..5).map(|n| packet(n, 0, 100)).collect());
    test.seal_indexed(name(2, 0), (5..10).map(raw).collect());
    let mut file = Vec::new();
    let result = test.extractor().extract(&Query::default(), &mut PcapSink::new(&mut file), &mut NoControl);
    let error = result.unwrap_err();
    assert!(matches!(&error, ExtractError::Sink(SinkError::SeveralLinkTypes(_))), "{error}");
    assert!(error.to_string().contains("1, 101") && error.to_string().contains("--format pcapng"));
    assert!(file.is_empty());
    // Where the answer has one link type, the others do not matter.
    for (filter, link_type) in
        [("ether[0] = 2", LinkType::ETHERNET), ("less 190 and not ether[0] = 2", LinkType::ETHERNET)]
    {
        let mut file = Vec::new();
        test.extractor().extract(&Query::of(filter), &mut PcapSink::new(&mut file), &mut NoControl).unwrap();
        assert_eq!(file[20], link_type.0 as u8, "{filter}");
    }
}

/// Changes the store when the first packet is out.
struct Meddle<'a>(Collect, Option<Box<dyn FnOnce() + 'a>>);

impl Sink for Meddle<'_> {
    fn packet(&mut self, packet: &AnswerPacket<'_>) -> Result<(), SinkError> {
        if let Some(meddle) = self.1.take() {
            meddle();
        }
        self.0.packet(packet)
    }
}

#[test]
fn segments_may_expire_and_be_sealed_while_they_are_read() {
    let mut test = TestStore::default();
    let part = |from: u32, to: u32| (from..to).map(|n| packet(n, 0, 900)).collect::<Vec<_>>();
    test.seal_indexed(name(1, 0), part(0, 2000));
    test.seal_indexed(name(2, 0), part(2000, 4000));
    test.open(name(3, 0), part(4000, 6000), 1500);
    let model = test.model(&Query::default(), &mut |_| true);
    let store = test.store.clone();
    let meddle = move || {
        store.remove(&name(1, 0)).unwrap();
        store.remove(&name(2, 0)).unwrap();
        let sealed = segment_bytes(LinkType::ETHERNET, &part(4000, 6000));
        fs::OpenOptions::new()
            .write(true)
            .open(store.open_path(&name(3, 0)))
            .unwrap()
            .set_len(sealed.len() as u64)
            .unwrap();
        store.seal(&name(3, 0)).unwrap();
    };
    let mut sink = Meddle(Collect::default(), Some(Box::new(meddle)));
    test.extractor().extract(&Query::default(), &mut sink, &mut NoControl).unwrap();
    assert_eq!(times(&sink.0.0), times(&model), "all that was committed when it was asked, each once");
}

#[test]
fn what_expires_before_it_is_reached_and_was_not_held_is_no_longer_kept() {
    let mut test = TestStore::default();
    for part in 0..4 {
        test.seal_indexed(
            name(part + 1, 0),
            (part * 12_000..part * 12_000 + 12_000).map(|n| packet(n, 0, 900)).collect(),
        );
    }
    let store = test.store.clone();
    // The first is held for the query, the newest is what stays opened.
    let meddle = move || store.remove(&name(3, 0)).unwrap();
    let mut sink = Meddle(Collect::default(), Some(Box::new(meddle)));
    let options = netrewind_extractor::Options { segments_held_max: 1, helpers: 0, ..Default::default() };
    let extractor = netrewind_extractor::Extractor::new(test.store.clone(), options);
    let answer = extractor.extract(&Query::default(), &mut sink, &mut NoControl).unwrap();
    assert_eq!(sink.0.0.len(), 36_000);
    let gone = answer.completeness.no_longer_kept.unwrap();
    assert_eq!((gone.from, gone.to), (packet(24_000, 0, 0).at(), packet(35_999, 0, 0).at().plus_ns(1)));
}

#[test]
fn an_open_segment_is_read_up_to_its_mark_again_and_again() {
    let mut test = TestStore::default();
    let packets: Vec<_> = (0..3000).map(|n| packet(n, 0, 300)).collect();
    test.open(name(1, 0), packets.clone(), 1);
    let extractor = test.extractor();
    for committed in [1, 2, 700, 2999, 3000] {
        test.open(name(1, 0), packets.clone(), committed);
        let (answer, found) = extract(&extractor, &Query::of("tcp")).unwrap();
        assert_eq!(answer, packets[..committed]);
        assert!(found.completeness.is_complete(), "{:?}", found.completeness);
    }
    let from = Query { from: Some(packets[2000].at()), ..Query::default() };
    assert_eq!(extract(&extractor, &from).unwrap().0, packets[2000..]);
}

#[test]
fn damage_is_named_and_the_rest_is_answered() {
    let mut test = TestStore::default();
    let packets: Vec<_> = (0..300).map(|n| packet(n, 0, 300)).collect();
    let mut bytes = test.seal(name(1, 0), packets.clone());
    let damaged = Records::of_segment(&bytes).nth(100).unwrap().offset;
    bytes[damaged as usize + 11] = 0x77; // its caplen
    fs::write(test.store.sealed_path(&name(1, 0)), &bytes).unwrap();
    fs::write(test.store.sealed_path(&name(2, 0)), b"no segment at all, but a file of that name").unwrap();
    let (answer, found) = extract(&test.extractor(), &Query::default()).unwrap();
    assert_eq!(answer, packets[..100]);
    let places: Vec<_> = found.completeness.unreadable.iter().map(|at| (at.segment, at.offset)).collect();
    assert_eq!(places, [(name(2, 0), 0), (name(1, 0), damaged)]);
    assert!(!found.completeness.is_complete());
    // An index from before the damage finds the way around it.
    test.store
        .write_index(&name(1, 0), &support::index_of(&segment_bytes(LinkType::ETHERNET, &packets)))
        .unwrap();
    let (answer, found) = extract(&test.extractor(), &Query::default()).unwrap();
    assert!(answer.len() > 200 && answer.len() < 300, "{}", answer.len());
    assert_eq!(found.completeness.unreadable.len(), 2);
}

#[test]
fn an_index_that_cannot_be_used_is_named() {
    let mut test = TestStore::default();
    let packets: Vec<_> = (0..300).map(|n| packet(n, 0, 300)).collect();
    test.seal_indexed(name(1, 0), packets.clone());
    test.store.write_index(&name(1, 0), b"no index").unwrap();
    let (answer, found) = extract(&test.extractor(), &Query::default()).unwrap();
    assert_eq!(answer, packets);
    assert_eq!(found.rejected_indexes[0].segment, name(1, 0));
    assert!(found.completeness.is_complete() && found.completeness.notes.len() == 1);
}

#[test]
fn an_empty_store_and_a_wrong_filter() {
    let test = TestStore::default();
    let (answer, found) = extract(&test.extractor(), &Query::of("tcp")).unwrap();
    assert!(answer.is_empty() && found.completeness.covered.is_none());
    assert!(matches!(extract(&test.extractor(), &Query::of("tcp and and")), Err(ExtractError::Filter(_))));
}

#[test]
fn tags_are_ignored_where_asked_with_and_without_the_index() {
    let mut test = TestStore::default();
    let tagged = |n: u32| {
        let mut packet = packet(n, 0, 300);
        if !n.is_multiple_of(3) {
            packet.bytes.splice(12..12, [0x81, 0, 0, n as u8]);
            packet.bytes.truncate(300);
        }
        packet
    };
    test.seal_indexed(name(1, 0), (0..300).map(tagged).collect());
    for use_index in [true, false] {
        for (ignore_vlan, count) in [(true, 300), (false, 100)] {
            let filter = "tcp port 443 and host 10.0.0.1".to_owned();
            let query = Query { filter, ignore_vlan, use_index, view: ViewMode::Outer, ..Query::default() };
            assert_eq!(extract(&test.extractor(), &query).unwrap().0.len(), count, "{query:?}");
        }
    }
    assert_eq!(Timestamp::MIN, Query::default().range().from);
}

/// Files of the store that this process has mapped although they were removed, by how their names end.
fn removed_and_mapped(test: &TestStore) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let root = test.store.root().to_str().unwrap();
    let of_store = maps.lines().filter(|line| line.contains(root) && line.ends_with("(deleted)"));
    let mut ends: Vec<_> = of_store
        .map(|line| line.trim_end_matches(" (deleted)").rsplit('.').next().unwrap().to_owned())
        .collect();
    ends.sort();
    ends.dedup();
    ends
}

#[test]
fn segments_stay_opened_between_queries_and_the_disk_gets_back_what_expires() {
    let mut test = TestStore::default();
    for part in 0..2 {
        let packets = (part * 3000..part * 3000 + 3000).map(|n| packet(n, 0, 900));
        test.seal_indexed(name(part + 1, 0), packets.collect());
    }
    let extractor = test.extractor();
    let count = || extractor.count(&Query::default(), &mut NoControl).unwrap();
    assert_eq!(count().packets, 6000);
    test.store.remove(&name(1, 0)).unwrap();
    assert_eq!(removed_and_mapped(&test), ["idx", "pcap"]);
    let answer = count();
    assert_eq!(
        (answer.packets, answer.rejected_indexes.len()),
        (3000, 0),
        "what has expired is not answered"
    );
    // It was used before the first tidying, and not before the second.
    (0..2).for_each(|_| extractor.evict_unused());
    assert_eq!(removed_and_mapped(&test), ["idx"]);
    (0..8).for_each(|_| extractor.evict_unused());
    assert_eq!(removed_and_mapped(&test), [""; 0]);
    assert_eq!(count().packets, 3000, "what is still there is opened again");
}

#[test]
fn an_index_that_is_damaged_while_it_stays_opened_is_found_out() {
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), (0..3000).map(|n| packet(n, 0, 900)).collect());
    let extractor = test.extractor();
    let count = || extractor.count(&Query::default(), &mut NoControl).unwrap();
    assert!(count().rejected_indexes.is_empty());
    let path = test.store.index_path(&name(1, 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..200].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    (0..700).for_each(|_| extractor.evict_unused());
    let answer = count();
    assert_eq!((answer.packets, answer.rejected_indexes.len()), (3000, 1), "{:?}", answer.rejected_indexes);
}
