//! A decapsulated answer has the packets that tunnels carried in fragments as they were before they were wrapped: in any
//! order of arrival, with some fragments twice and some lost, of both IP versions, in tunnels inside of tunnels.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::collections::BTreeSet;

use netrewind_extractor::{Answer, AnswerLimits, NoControl, Query, ViewMode};
use netrewind_store::Timestamp;
use support::tunnelled::{Kind, Path, random_frame, random_path, received};
use support::{Chance, Libpcap, Stored, TestStore, extract, name, seed};

const STORES: usize = 12;
const FRAMES: usize = 150;
/// All fragments of a frame arrive within this, so that a second copy is known as one.
const JITTER_NS: u64 = 4_000_000;
const SPAN_NS: u64 = 1_500_000_000;

/// A store of these packets, in two lanes and three segments each.
fn store(chance: &mut Chance, mut packets: Vec<Stored>) -> TestStore {
    packets.sort_by_key(Stored::at);
    let mut lanes = [Vec::new(), Vec::new()];
    packets.into_iter().for_each(|packet| lanes[chance.below(2)].push(packet));
    let mut test = TestStore::default();
    for (lane, packets) in lanes.into_iter().enumerate() {
        let part = packets.len().div_ceil(3).max(1);
        for (number, packets) in packets.chunks(part).enumerate() {
            test.seal_indexed(name(number as u32, lane as u16), packets.to_vec());
        }
    }
    test
}

/// The decapsulated answer, which is in order, and the same when it is only counted.
fn decapsulated(test: &TestStore, query: &Query) -> (Vec<Stored>, Answer) {
    let query = Query { decapsulate: true, ..query.clone() };
    let extractor = test.extractor();
    let (found, answer) = extract(&extractor, &query).unwrap();
    assert!(found.is_sorted_by_key(Stored::at));
    let counted = extractor.count(&query, &mut NoControl).unwrap();
    let counts = |answer: &Answer| (answer.packets, answer.bytes, answer.reassembly);
    assert_eq!(counts(&counted), counts(&answer));
    let estimate = extractor.estimate(&query).unwrap();
    assert!((estimate.packets_min..=estimate.packets_max).contains(&answer.packets), "{estimate:?}");
    assert!(estimate.bytes_max >= answer.bytes, "{estimate:?}, {answer:?}");
    (found, answer)
}

fn assert_same(found: &[Stored], wanted: &[Stored], what: &str) {
    for (number, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!(found == wanted, "{what}: packet {number} is {found:02x?}, not {wanted:02x?}");
    }
    assert_eq!(found.len(), wanted.len(), "{what}");
}

/// What a frame becomes in one tunnel, or in one inside of another; with the number of times it is cut.
fn carried(chance: &mut Chance, frame: &[u8], id: u32, parts: &[usize]) -> (Vec<Vec<u8>>, u64) {
    let path = random_path(chance, id, parts);
    let inside = path.wrap(frame);
    let mut cuts = u64::from(inside.len() > 1);
    if !chance.one_in(3) {
        return (inside, cuts);
    }
    let mut outside = Vec::new();
    let path = random_path(chance, 0, parts);
    for (number, packet) in inside.iter().enumerate() {
        let packets = Path { id: id * 400 + number as u32, ..path }.wrap(packet);
        cuts += u64::from(packets.len() > 1);
        outside.extend(packets);
    }
    (outside, cuts)
}

/// Packets whose every fragment arrives, in any order and some twice; the frames, each at the time of its last fragment;
/// and how often something has to be put together.
fn whole(chance: &mut Chance, parts: &[usize]) -> (Vec<Stored>, Vec<Stored>, u64) {
    let (mut packets, mut frames, mut cuts) = (Vec::new(), Vec::new(), 0);
    let mut times = BTreeSet::new();
    for id in 1..=FRAMES as u32 {
        let payload_bytes = chance.below([10, 700, 3000][id as usize % 3]);
        let frame = random_frame(chance, payload_bytes);
        let begun = chance.next() % SPAN_NS;
        let mut time = |chance: &mut Chance| loop {
            let at = begun + chance.next() % JITTER_NS;
            if times.insert(at) {
                return at;
            }
        };
        let (sent, cut) = carried(chance, &frame, id, parts);
        let is_cut = cut > 0;
        cuts += cut;
        let mut last = 0;
        for bytes in sent {
            let first_copy = time(chance);
            let mut at = first_copy;
            packets.push(received(&bytes, at));
            // What is no fragment is written as often as it comes.
            if is_cut && chance.one_in(6) && is_fragment(&bytes) {
                let again = time(chance);
                packets.push(received(&bytes, again));
                at = at.min(again);
            }
            last = last.max(at);
        }
        frames.push(received(&frame, last));
    }
    frames.sort_by_key(Stored::at);
    (packets, frames, cuts)
}

/// The outermost IP header says so.
fn is_fragment(frame: &[u8]) -> bool {
    match frame[14] >> 4 {
        4 => frame[20] & 0x3f != 0 || frame[21] != 0,
        _ => frame[20] == 44 || (frame[20] == 0 && frame[54] == 44),
    }
}

#[test]
fn what_tunnels_cut_is_as_it_was_before() {
    let mut chance = Chance(seed());
    let mut together = 0;
    for number in 0..STORES {
        let (packets, frames, cuts) = whole(&mut chance, &[8, 16, 64, 200, 1480]);
        let stored = packets.len();
        let test = store(&mut chance, packets);
        let what = format!("store {number}");
        let (found, answer) = decapsulated(&test, &Query::default());
        assert_same(&found, &frames, &what);
        let account = answer.reassembly;
        assert_eq!((account.packets, account.incomplete, account.refused), (cuts, 0, 0), "{what}");
        assert_eq!(account.fragments_dropped, 0, "{what}");
        assert!(stored > frames.len());
        together += cuts;
        let limits = AnswerLimits { packets: Some(40), bytes: None };
        let (some, answer) =
            extract(&test.extractor(), &Query { decapsulate: true, limits, ..Query::default() }).unwrap();
        assert_same(&some, &frames[..40], &what);
        assert!(answer.completeness.limit_reached.is_some());
    }
    assert!(together > 1000, "{together}");
}

#[test]
fn a_filter_finds_what_it_finds_before_the_tunnels() {
    let mut chance = Chance(seed());
    for number in 0..STORES {
        // The first fragment shows the inner header, through both tunnels.
        let (packets, frames, _) = whole(&mut chance, &[256, 512, 1480]);
        let test = store(&mut chance, packets);
        for filter in ["", "host 10.0.0.2", "udp port 12345 and not host 10.0.0.1", "tcp"] {
            let mut truth = Libpcap::new(filter);
            let wanted: Vec<Stored> = frames.iter().filter(|frame| truth.accepts(frame)).cloned().collect();
            for use_index in [true, false] {
                let query = Query { use_index, ..Query::of(filter) };
                assert_same(&decapsulated(&test, &query).0, &wanted, &format!("store {number}, {filter}"));
            }
        }
    }
}

/// A frame that came in fragments of which some are lost: as the model has it.
struct Lossy {
    frame: Vec<u8>,
    path: Path,
    parts: usize,
    /// Number and time.
    arrived: Vec<(usize, u64)>,
}

impl Lossy {
    fn contiguous(&self) -> usize {
        (0..self.parts).take_while(|part| self.arrived.iter().any(|(number, _)| number == part)).count()
    }

    /// What is written of it.
    fn wanted(&self) -> Option<Stored> {
        let contiguous = self.contiguous();
        let last = self.arrived.iter().map(|(_, at)| *at).max()?;
        if contiguous == self.parts {
            return Some(received(&self.frame, last));
        }
        let (_, first) = self.arrived.iter().find(|(number, _)| *number == 0)?;
        let shown = contiguous * self.path.part_bytes - self.path.header(&self.frame).len();
        let mut cut = received(&self.frame, *first);
        cut.bytes.truncate(shown);
        cut.header.caplen = shown as u32;
        Some(cut)
    }
}

#[test]
fn what_lacks_fragments_is_written_cut_in_its_place_or_not_at_all() {
    let mut chance = Chance(seed());
    for number in 0..STORES {
        let mut packets = Vec::new();
        let mut all = Vec::new();
        for id in 1..=FRAMES as u32 {
            let payload_bytes = 200 + chance.below(2000);
            let frame = random_frame(&mut chance, payload_bytes);
            let path = random_path(&mut chance, id, &[80, 160, 1480]);
            let sent = path.wrap(&frame);
            let begun = chance.next() % SPAN_NS;
            let mut lossy = Lossy { frame, path, parts: sent.len(), arrived: Vec::new() };
            for (part, bytes) in sent.iter().enumerate() {
                if sent.len() > 1 && chance.one_in(2 * sent.len()) {
                    continue;
                }
                // No two at the same time.
                let at = (begun + chance.next() % JITTER_NS) / 1_000_000 * 1_000_000
                    + u64::from(id) * 1000
                    + part as u64;
                packets.push(received(bytes, at));
                lossy.arrived.push((part, at));
            }
            all.push(lossy);
        }
        let mut wanted: Vec<Stored> = all.iter().filter_map(Lossy::wanted).collect();
        wanted.sort_by_key(Stored::at);
        let test = store(&mut chance, packets);
        let (found, answer) = decapsulated(&test, &Query::default());
        let what = format!("store {number}");
        assert_same(&found, &wanted, &what);
        let has_first = |lossy: &&Lossy| lossy.arrived.iter().any(|(part, _)| *part == 0);
        let is_incomplete = |lossy: &&Lossy| !lossy.arrived.is_empty() && lossy.contiguous() < lossy.parts;
        let incomplete = all.iter().filter(is_incomplete).count() as u64;
        let orphans = all.iter().filter(|lossy| !has_first(lossy)).map(|lossy| lossy.arrived.len() as u64);
        let account = answer.reassembly;
        let counts = (account.incomplete, account.fragments_dropped, account.refused, account.given_up_early);
        assert_eq!(counts, (incomplete, orphans.sum(), 0, 0), "{what}");
        assert!(
            incomplete > 20 && answer.completeness.notes.iter().any(|note| note.contains("lack fragments"))
        );
    }
}

#[test]
fn a_snaplen_cuts_the_packet_where_it_cuts_the_first_of_its_fragments() {
    let mut chance = Chance(seed());
    for kind in support::tunnelled::KINDS {
        let frame = random_frame(&mut chance, 2500);
        let path = Path { kind, is_ipv6: false, has_options: false, id: 7, part_bytes: 1480 };
        let packets = path.wrap(&frame).into_iter().zip(0u64..).map(|(bytes, at)| {
            let mut packet = received(&bytes, at);
            packet.bytes.truncate(200);
            packet.header.caplen = 200;
            packet
        });
        let test = store(&mut chance, packets.collect());
        let (found, answer) = decapsulated(&test, &Query::default());
        let shown = 200 - 34 - path.header(&frame).len();
        let mut wanted = received(&frame, 1);
        wanted.bytes.truncate(shown);
        wanted.header.caplen = shown as u32;
        assert_same(&found, &[wanted], &format!("{kind:?}"));
        assert_eq!((answer.reassembly.packets, answer.reassembly.incomplete), (1, 0));
    }
}

#[test]
fn fragments_of_the_innermost_packet_are_written_as_they_were_sent() {
    let mut chance = Chance(seed());
    let inner = Path { kind: Kind::Vxlan, is_ipv6: false, has_options: false, id: 9, part_bytes: 800 };
    // UDP that is no tunnel.
    let mut payload = inner.header(&[0; 2000]);
    payload[2..4].copy_from_slice(&[0x30, 0x39]);
    payload.resize(2016, 7);
    let parts = [&payload[..800], &payload[800..1600], &payload[1600..]];
    let fragments = |order: &[usize]| -> Vec<Vec<u8>> {
        order.iter().map(|&n| inner.packet(n * 800, n < 2, parts[n], true)).collect()
    };
    for order in [&[0, 1, 2][..], &[2, 0, 1], &[0, 0, 2, 1, 1], &[0, 2], &[1, 2]] {
        let frames = fragments(order);
        let outer = Path { kind: Kind::L2Gre, part_bytes: 512, ..inner };
        let (mut packets, mut wanted, mut at) = (Vec::new(), Vec::new(), 0);
        for (number, frame) in frames.iter().enumerate() {
            for bytes in (Path { id: number as u32, ..outer }).wrap(frame) {
                at += 1000;
                packets.push(received(&bytes, at));
            }
            wanted.push(received(frame, at));
        }
        let test = store(&mut chance, packets);
        assert_same(&decapsulated(&test, &Query::default()).0, &wanted, &format!("{order:?}"));
        // Without a tunnel they are as they are too, unless they could be pieces of one.
        let plain = (0..).zip(&frames).map(|(at, frame)| received(frame, at)).collect::<Vec<_>>();
        let test = store(&mut chance, plain.clone());
        let wanted = if order[0] == 1 { &[][..] } else { &plain[..] };
        assert_same(&decapsulated(&test, &Query::default()).0, wanted, &format!("plain {order:?}"));
    }
}

const PATH: Path = Path { kind: Kind::Vxlan, is_ipv6: false, has_options: false, id: 3, part_bytes: 160 };

#[test]
fn overlapping_fragments_are_refused() {
    let mut chance = Chance(seed());
    for is_ipv6 in [false, true] {
        let path = Path { is_ipv6, ..PATH };
        let frame = random_frame(&mut chance, 500);
        let mut sent = path.wrap(&frame);
        let last = sent.pop().unwrap();
        // Eight bytes into the one before.
        sent.push(path.packet(312, true, &[0xee; 16], true));
        sent.push(last);
        let bystander = random_frame(&mut chance, 300);
        sent.push(bystander.clone());
        let packets = sent.iter().zip(0u64..).map(|(bytes, at)| received(bytes, at * 1000));
        let test = store(&mut chance, packets.collect());
        let (found, answer) = decapsulated(&test, &Query::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bytes, bystander);
        assert_eq!((answer.reassembly.packets, answer.reassembly.refused), (0, 1));
        assert_eq!(answer.reassembly.fragments_dropped, sent.len() as u64 - 2, "{:?}", answer.reassembly);
        assert!(
            answer.completeness.notes.iter().any(|note| note.contains("overlap with different contents"))
        );
    }
}

#[test]
fn an_id_that_comes_again_is_another_packet() {
    let mut chance = Chance(seed());
    let frames: Vec<_> = (0..20).map(|_| random_frame(&mut chance, 400)).collect();
    let mut packets = Vec::new();
    for (frame, round) in frames.iter().zip(0u64..) {
        for (bytes, part) in PATH.wrap(frame).iter().zip(0u64..) {
            // In the middle one is lost.
            if (round, part) != (10, 1) {
                packets.push(received(bytes, round * 20_000_000 + part));
            }
        }
    }
    let test = store(&mut chance, packets);
    let (found, answer) = decapsulated(&test, &Query::default());
    assert_eq!((found.len(), answer.reassembly.packets, answer.reassembly.incomplete), (20, 19, 1));
    for (number, (found, frame)) in found.iter().zip(&frames).enumerate() {
        assert_eq!(found.header.len as usize, frame.len());
        assert!(frame.starts_with(&found.bytes));
        assert_eq!(found.bytes.len() < frame.len(), number == 10);
    }
}

#[test]
fn fragments_beyond_the_range_are_missing_ones() {
    let mut chance = Chance(seed());
    let frame = random_frame(&mut chance, 400);
    let packets: Vec<_> =
        PATH.wrap(&frame).iter().zip(0u64..).map(|(bytes, at)| received(bytes, at)).collect();
    let middle = packets[1].at();
    let test = store(&mut chance, packets);
    let (found, answer) = decapsulated(&test, &Query { to: Some(middle), ..Query::default() });
    assert_eq!((found.len(), answer.reassembly.incomplete), (1, 1));
    assert!(frame.starts_with(&found[0].bytes) && found[0].header.len as usize == frame.len());
    let (found, answer) = decapsulated(&test, &Query { from: Some(middle), ..Query::default() });
    assert_eq!((found.len(), answer.reassembly.incomplete), (0, 1));
    assert_eq!(answer.reassembly.fragments_dropped, 2);
}

/// Whatever comes, the answer is in order, and no longer than what was stored.
#[test]
fn hostile_fragments_do_no_harm() {
    let mut chance = Chance(seed());
    for round in 0..40 {
        let mut packets = Vec::new();
        for _ in 0..300 {
            let id = chance.below(3) as u32;
            let path = random_path(&mut chance, id, &[64]);
            let offset = match chance.below(4) {
                0 => 0,
                1 => 65_528,
                2 => 8 * chance.below(6),
                _ => chance.next() as usize & 0xfff8,
            };
            let bytes = [0, 1, 7, 8, 48, 1400][chance.below(6)];
            let frame = random_frame(&mut chance, bytes);
            let part = [path.header(&frame), frame].concat();
            let mut bytes = path.packet(offset, chance.one_in(2), &part[..bytes.min(part.len())], true);
            for _ in 0..chance.below(3) {
                let at = 14 + chance.below(bytes.len() - 14);
                bytes[at] = chance.next() as u8;
            }
            let mut packet = received(&bytes, chance.next() % 1_200_000_000);
            if chance.one_in(4) {
                packet.bytes.truncate(14 + chance.below(bytes.len() - 13));
                packet.header.caplen = packet.bytes.len() as u32;
            }
            packets.push(packet);
        }
        let stored = packets.len() as u64;
        let test = store(&mut chance, packets);
        for view in [ViewMode::Inner, ViewMode::Outer] {
            let (found, answer) = decapsulated(&test, &Query { view, ..Query::default() });
            assert!(answer.packets <= stored, "round {round}");
            assert!(found.iter().all(|packet| packet.header.caplen as usize == packet.bytes.len()));
            assert!(found.iter().all(|packet| packet.header.caplen <= packet.header.len));
            assert!(found.iter().all(|packet| packet.at() >= Timestamp(1_795_339_862_000_000_000)));
            let account = answer.reassembly;
            assert!(account.refused > 0 && account.incomplete > 0, "round {round}: {account:?}");
        }
    }
}
