//! Fragments are found with the first of their packet: in any order of arrival, with some lost and some twice, of both IP
//! versions, plain, in tunnels and of tunnels, over lanes and segments, with indexes and without.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]

mod support;

use std::collections::HashMap;

use netrewind_extractor::flows::FlowQuery;
use netrewind_extractor::{Extractor, NoControl, Options, Query, ViewMode};
use netrewind_packet::Series;
use netrewind_store::{LinkType, RecordHeader, Timestamp};
use support::linking::{Own, Parts, linked_model};
use support::{Chance, Libpcap, Stored, TestStore, check_flows, extract, name, seed};

const STORES: usize = 24;
const FLOWS_ONE_IN: usize = 4;
const DATAGRAMS: usize = 120;
const QUERIES: usize = 30;
const FIRST_SECOND: u64 = 1_795_339_862;
const SPAN_NS: u64 = 12_000_000_000;

/// An IP packet, or a frame that carries one, and what is known of it.
#[derive(Clone, Debug)]
struct Built {
    bytes: Vec<u8>,
    /// Offsets of the views, the innermost first, counted from the end.
    views: usize,
    /// Views are counted from the innermost here.
    parts: Vec<(Series, usize, bool)>,
    /// The bytes of the innermost view.
    innermost: Vec<u8>,
    vni: Option<u32>,
}

fn ipv4(series: &Series, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(((20 + payload.len()) as u16).to_be_bytes());
    header.extend((series.id as u16).to_be_bytes());
    header.extend(((offset / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
    header.extend([64, series.protocol, 0, 0]);
    header.extend((series.source as u32).to_be_bytes());
    header.extend((series.destination as u32).to_be_bytes());
    header.extend(payload);
    header
}

fn ipv6(series: &Series, protocol: u8, part: Option<Part>, payload: &[u8]) -> Vec<u8> {
    let extension = if part.is_some() { 8 } else { 0 };
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(((extension + payload.len()) as u16).to_be_bytes());
    header.extend([if part.is_some() { 44 } else { protocol }, 64]);
    header.extend(series.source.to_be_bytes());
    header.extend(series.destination.to_be_bytes());
    if let Some((offset, more)) = part {
        header.extend([protocol, 0]);
        header.extend((offset as u16 | u16::from(more)).to_be_bytes());
        header.extend(series.id.to_be_bytes());
    }
    header.extend(payload);
    header
}

/// Offset, and whether more follow.
type Part = (usize, bool);

/// An IP packet with this payload, perhaps in fragments. Each comes with its offset, where it is one.
fn ip_packets(
    chance: &mut Chance,
    series: &Series,
    protocol: u8,
    payload: &[u8],
) -> Vec<(Vec<u8>, Option<Part>)> {
    let whole = |part: Option<Part>, payload: &[u8]| match series.is_ipv6 {
        true => ipv6(series, protocol, part, payload),
        false => {
            let (offset, more) = part.unwrap_or((0, false));
            ipv4(series, offset, more, payload)
        }
    };
    if chance.one_in(3) {
        return vec![(whole(None, payload), None)];
    }
    // Now and then so short that not even a header fits.
    let part_bytes = 8 * [1, 3, 7, 20, 60][chance.below(5)];
    let parts: Vec<&[u8]> = payload.chunks(part_bytes).collect();
    let last = parts.len() - 1;
    parts
        .iter()
        .enumerate()
        .map(|(number, bytes)| {
            let part = (number * part_bytes, number < last);
            (whole(Some(part), bytes), Some(part).filter(|part| *part != (0, false)))
        })
        .collect()
}

fn series(chance: &mut Chance, protocol: u8, net: u8) -> Series {
    let is_ipv6 = chance.one_in(3);
    let address = |chance: &mut Chance| {
        let host = chance.below(3) as u128 + 1;
        let v6 = 0x2001_0db8_u128 << 96 | u128::from(net) << 16 | host;
        if is_ipv6 { v6 } else { u128::from(u32::from_be_bytes([10, 0, net, host as u8])) }
    };
    Series {
        view: 0,
        is_ipv6,
        protocol: if is_ipv6 { 0 } else { protocol },
        id: chance.below(12) as u32,
        source: address(chance),
        destination: address(chance),
    }
}

fn ethernet(chance: &mut Chance, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if chance.one_in(4) {
        frame.extend([0x81, 0, 0, chance.below(3) as u8]);
    }
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// The packets that a datagram between two hosts becomes.
fn plain(chance: &mut Chance) -> Vec<Built> {
    let payload: Vec<u8> = (0..chance.below(300)).map(|_| chance.next() as u8).collect();
    let (from, to) = (1000 + chance.below(3) as u16, 2000 + chance.below(3) as u16);
    let series = series(chance, 17, 0);
    let packets = ip_packets(chance, &series, 17, &udp(from, to, &payload));
    let built = packets.into_iter().map(|(packet, part)| {
        let bytes = ethernet(chance, &packet);
        let parts = part.map(|(offset, more)| (series, offset, more)).into_iter().collect();
        Built { innermost: bytes.clone(), bytes, views: 1, parts, vni: None }
    });
    built.collect()
}

/// The packets that a frame becomes on its way through a tunnel: VXLAN, or Ethernet in GRE.
fn wrapped(chance: &mut Chance, frame: &Built) -> Vec<Built> {
    let vni = chance.one_in(2).then(|| chance.below(3) as u32);
    let (protocol, payload) = match vni {
        Some(vni) => {
            let header = [[8, 0, 0, 0], (vni << 8).to_be_bytes()].concat();
            (17, udp(50_000 + chance.below(2) as u16, 4789, &[header, frame.bytes.clone()].concat()))
        }
        None => (47, [&[0, 0, 0x65, 0x58][..], &frame.bytes].concat()),
    };
    let tunnel_bytes = payload.len() - frame.bytes.len();
    let series = series(chance, protocol, 9);
    let packets = ip_packets(chance, &series, protocol, &payload);
    let outer = packets.into_iter().map(|(packet, part)| {
        let bytes = ethernet(chance, &packet);
        let own = part.map(|(offset, more)| (series, offset, more));
        let headers = bytes.len() - packet.len()
            + if !series.is_ipv6 {
                20
            } else if part.is_some() || packet[6] == 44 {
                48
            } else {
                40
            };
        let shown = bytes.len().saturating_sub(headers + tunnel_bytes);
        // An inner frame shows from its whole Ethernet header on.
        if part.is_some_and(|(offset, _)| offset > 0) || shown < 14 {
            return Built {
                innermost: bytes.clone(),
                bytes,
                views: 1,
                parts: Vec::from_iter(own),
                vni: None,
            };
        }
        let shown = &frame.bytes[..shown.min(frame.bytes.len())];
        let inner = Parts::dissected(&stored(shown, 0));
        let mut parts = inner.parts.clone();
        parts.iter_mut().for_each(|(series, ..)| series.view += 1);
        Built {
            innermost: shown.to_vec(),
            bytes,
            views: 2,
            parts: own.into_iter().chain(parts).collect(),
            vni,
        }
    });
    outer.collect()
}

fn stored(bytes: &[u8], at_ns: u64) -> Stored {
    let at = Timestamp(FIRST_SECOND * 1_000_000_000 + at_ns);
    let len = bytes.len() as u32;
    let header = RecordHeader {
        seconds: (at.ns() / 1_000_000_000) as u32,
        nanoseconds: (at.ns() % 1_000_000_000) as u32,
        caplen: len,
        len,
    };
    Stored { header, bytes: bytes.to_vec(), link_type: LinkType::ETHERNET }
}

type Known = HashMap<Vec<u8>, Built>;

/// Packets of many datagrams: shuffled a little, some late, lost or doubled.
fn packets(chance: &mut Chance, known: &mut Known) -> Vec<Stored> {
    let mut packets = Vec::new();
    for _ in 0..DATAGRAMS {
        let at = chance.next() % SPAN_NS;
        let frames = plain(chance);
        let is_wrapped = chance.one_in(2);
        for frame in frames {
            let sent = if is_wrapped { wrapped(chance, &frame) } else { vec![frame] };
            for built in sent {
                let late = match chance.below(12) {
                    0 => continue,
                    1 => chance.next() % 1_300_000_000,
                    2..5 => 0,
                    _ => chance.next() % 3_000_000,
                };
                let copies = if chance.one_in(12) { 2 } else { 1 };
                for _ in 0..copies {
                    packets.push(stored(&built.bytes, at + late));
                }
                known.insert(built.bytes.clone(), built);
            }
        }
    }
    packets.sort_by_key(Stored::at);
    packets
}

/// Spreads them over lanes and segments; some segments have no index, and the last ones are open.
fn build(chance: &mut Chance) -> (TestStore, Known) {
    let (mut test, mut known) = (TestStore::default(), Known::new());
    let all = packets(chance, &mut known);
    let lanes = 1 + chance.below(3);
    let mut of_lanes = vec![Vec::new(); lanes];
    all.into_iter().for_each(|packet| of_lanes[chance.below(lanes)].push(packet));
    for (lane, packets) in of_lanes.into_iter().enumerate().filter(|(_, packets)| !packets.is_empty()) {
        let parts: Vec<_> = packets.chunks(1 + chance.below(packets.len())).map(<[_]>::to_vec).collect();
        let last = parts.len() - 1;
        for (number, part) in parts.into_iter().enumerate() {
            let name = name(number as u32, lane as u16);
            match chance.below(10) {
                0 => _ = test.seal(name, part),
                1..4 if number == last => {
                    let committed = part.len();
                    test.open(name, part, committed);
                }
                _ => test.seal_indexed(name, part),
            }
        }
    }
    (test, known)
}

fn filter(chance: &mut Chance) -> String {
    let (host, net) = (chance.below(4) + 1, *chance.pick(&[0, 0, 9]));
    match chance.below(12) {
        0 => format!("host 10.0.{net}.{host}"),
        1 => format!("src host 10.0.{net}.{host} and udp"),
        2 => format!("ip6 host 2001:db8::{net:x}:{host}"),
        3 | 4 => format!("udp port {}", 1000 + chance.below(3)),
        5 => format!("udp dst port {}", 2000 + chance.below(3)),
        6 => "ip[6:2] & 0x1fff != 0".to_owned(),
        7 => "udp port 4789".to_owned(),
        8 => format!("udp[8] & 7 = {}", chance.below(8)),
        9 => "ip".to_owned(),
        10 => "ip6 and not udp port 1001".to_owned(),
        _ => String::new(),
    }
}

fn random_query(chance: &mut Chance) -> Query {
    let mut query = Query::of(&filter(chance));
    query.view =
        *chance.pick(&[ViewMode::Inner, ViewMode::Inner, ViewMode::Inner, ViewMode::Any, ViewMode::Outer]);
    query.tunnels.vni = chance.one_in(5).then(|| chance.below(3) as u32);
    let instant = |chance: &mut Chance| Timestamp(FIRST_SECOND * 1_000_000_000 + chance.next() % SPAN_NS);
    if chance.one_in(2) {
        query.from = Some(instant(chance));
    }
    if chance.one_in(2) {
        query.to = Some(instant(chance));
    }
    query
}

fn accepts(query: &Query, built: &Built, packet: &Stored, libpcap: &mut Libpcap) -> bool {
    if query.tunnels.vni.is_some() && built.vni != query.tunnels.vni {
        return false;
    }
    let innermost = Stored { bytes: built.innermost.clone(), ..packet.clone() };
    match query.view {
        ViewMode::Outer => libpcap.accepts(packet),
        ViewMode::Inner => libpcap.accepts(&innermost),
        ViewMode::Any => libpcap.accepts(packet) || libpcap.accepts(&innermost),
    }
}

fn compare(test: &TestStore, known: &Known, query: &Query, context: &str) -> usize {
    let mut libpcap = Libpcap::new(&query.filter);
    let parts = |packet: &Stored| {
        let built = &known[&packet.bytes];
        Parts { parts: built.parts.clone(), views: built.views }
    };
    let model = linked_model(test, query, &parts, &mut |packet| {
        let is_accepted = accepts(query, &known[&packet.bytes], packet, &mut libpcap);
        Own { is_accepted, by_outer: query.view != ViewMode::Outer || is_accepted }
    });
    let extractor = test.extractor();
    for use_index in [false, true] {
        let query = Query { use_index, ..query.clone() };
        let (found, answer) = extract(&extractor, &query).unwrap();
        let context = format!("{context}, {query:?}");
        for (at, (found, wanted)) in found.iter().zip(&model).enumerate() {
            assert!(found == wanted, "{context}: packet {at} is {found:02x?}, not {wanted:02x?}");
        }
        assert_eq!(found.len(), model.len(), "{context}");
        assert!(answer.completeness.notes.is_empty(), "{context}: {:?}", answer.completeness.notes);
        let count = extractor.count(&query, &mut NoControl).unwrap();
        assert_eq!((count.packets, count.bytes), (answer.packets, answer.bytes), "{context}, count");
        // Flows take longer than all the rest: some queries, as they come.
        if model.len().is_multiple_of(FLOWS_ONE_IN) {
            check_flows(&extractor, &query, (answer.packets, answer.bytes), &context);
        }
        let estimate = extractor.estimate(&query).unwrap();
        assert!(
            (estimate.packets_min..=estimate.packets_max).contains(&answer.packets),
            "{context}: {estimate:?}, and {} packets",
            answer.packets
        );
    }
    model.len()
}

#[test]
fn fragments_are_found_with_the_first_of_their_packet() {
    let mut chance = Chance(seed());
    let mut packets = 0;
    for number in 0..STORES {
        let (test, known) = build(&mut chance);
        for _ in 0..QUERIES {
            packets += compare(&test, &known, &random_query(&mut chance), &format!("store {number}"));
        }
    }
    eprintln!("{packets} packets compared");
    assert!(packets > 10_000);
}

/// Looking for a fragment's first costs nothing where there are no fragments.
#[test]
fn what_has_no_fragments_costs_what_it_did() {
    let mut test = TestStore::default();
    for second in 0..4 {
        let packets = (0..3000).map(|n| support::packet(second * 1000 + n % 1000, n % 40, 300)).collect();
        test.seal_indexed(name(second, 0), packets);
    }
    let work = |test: &TestStore, view| {
        let query = Query { view, ..Query::of("host 10.9.0.7") };
        let (found, answer) = extract(&test.extractor(), &query).unwrap();
        assert!(!found.is_empty());
        answer.work
    };
    assert_eq!(work(&test, ViewMode::Inner), work(&test, ViewMode::Outer));
}

#[test]
fn what_is_too_much_to_read_for_fragments_is_told() {
    let (test, _) = build(&mut Chance(seed()));
    let options = Options { fragmented_bytes_max: 0, ..Options::default() };
    let hasty = Extractor::new(test.store.clone(), options);
    let query = Query { view: ViewMode::Inner, ..Query::of("udp port 2000") };
    let flows = |extractor: &Extractor| {
        let answer = extractor.flows(&query, &FlowQuery::default(), &mut NoControl).unwrap();
        (answer.totals.packets, answer.completeness.notes)
    };
    let (alone, notes) = flows(&hasty);
    assert!(matches!(&notes[..], [note] if note.contains("fragments")), "{notes:?}");
    let (linked, notes) = flows(&test.extractor());
    assert!(notes.is_empty() && alone < linked, "{alone} of {linked}, {notes:?}");
}
