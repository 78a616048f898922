//! Packets of chosen conversations: exactly those that the records count, whatever no filter can tell apart.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use netrewind_extractor::flows::{Conversation, FlowQuery, FlowSort, LIMIT_MAX, Search};
use netrewind_extractor::{
    AnswerLimits, DedupWindow, ExtractError, Extractor, JoinedFilter, NoControl, Query, ViewMode,
};
use netrewind_store::LinkType;
use support::{Chance, Stored, TestStore, captures, extract, name, read_capture, seed};

/// Flows of one store that are extracted at most: of more, some.
const FLOWS_TRIED: usize = 40;
const CAPTURES_TRIED: usize = 40;

fn flows(extractor: &Extractor, query: &Query, search: Option<&str>) -> Vec<Conversation> {
    let search: Option<Search> = search.map(|text| text.parse().unwrap());
    let all = FlowQuery { sort: FlowSort::Start, limit: LIMIT_MAX, search, ..FlowQuery::default() };
    extractor.flows(query, &all, &mut NoControl).unwrap().flows
}

fn bytes(packets: &[Stored]) -> u64 {
    packets.iter().map(|packet| u64::from(packet.header.len)).sum()
}

/// A capture, cut into segments on two lanes: some with an index, some without, the last one open.
fn divided(packets: &[Stored], chance: &mut Chance) -> TestStore {
    let mut store = TestStore::default();
    let share = packets.len() / 5 + 1;
    let parts: Vec<_> = packets.chunks(share).collect();
    for (number, part) in parts.iter().enumerate() {
        let name = name(number as u32 * 10, (number % 2) as u16);
        match number {
            _ if number + 1 == parts.len() => store.open(name, part.to_vec(), part.len()),
            _ if chance.one_in(3) => _ = store.seal(name, part.to_vec()),
            _ => store.seal_indexed(name, part.to_vec()),
        }
    }
    store
}

/// Each conversation has the packets that its record counts, and all of them together have all packets.
fn check(store: &TestStore, query: &Query, context: &str) {
    let extractor = store.extractor();
    let records = flows(&extractor, query, None);
    let (all, _) = extract(&extractor, query).unwrap();
    let step = if query.flow.is_some() { 1 } else { records.len() / FLOWS_TRIED + 1 };
    let mut union = Vec::new();
    for record in records.iter().step_by(step) {
        // To the end of the range: a record is of the range that was asked for.
        let one = Query { flow: Some(record.id), ..query.clone() };
        let (found, answer) = extract(&extractor, &one).unwrap();
        let told = (record.packets(), record.bytes());
        assert_eq!((found.len() as u64, bytes(&found)), told, "{context}: {record:?}");
        assert_eq!((answer.packets, answer.bytes), told, "{context}: {record:?}");
        let counted = extractor.count(&one, &mut NoControl).unwrap();
        assert_eq!((counted.packets, counted.bytes), told, "{context}: {record:?}");
        let estimate = extractor.estimate(&one).unwrap();
        assert_eq!((estimate.packets_min, estimate.packets_max), (told.0, told.0), "{context}");
        union.extend(found);
    }
    if step == 1 {
        let key = |packet: &Stored| (packet.at(), packet.bytes.clone());
        let (mut union, mut all) = (union, all);
        union.sort_by_key(key);
        all.sort_by_key(key);
        assert!(union == all, "{context}: {} packets of {}", union.len(), all.len());
    }
}

#[test]
fn a_conversation_has_the_packets_that_its_record_counts() {
    let mut chance = Chance(seed());
    let paths = captures();
    let wanted = ["ipv6", "icmp", "arp", "vxlan", "gre", "frag", "vlan", "dns", "gtp", "mpls", "ether"];
    let is_odd = |path: &&std::path::PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().to_lowercase();
        wanted.iter().any(|word| file.contains(word))
    };
    let odd: Vec<_> = paths.iter().filter(is_odd).collect();
    let step = odd.len() / CAPTURES_TRIED + 1;
    for path in odd.into_iter().step_by(step) {
        let Some(packets) = read_capture(path, 1500) else { continue };
        let context = path.display().to_string();
        let store = divided(&packets, &mut chance);
        let middle = packets[packets.len() / 2].at();
        for query in [
            Query::default(),
            Query { use_index: false, ..Query::default() },
            Query { from: Some(middle), ..Query::default() },
            Query { view: ViewMode::Outer, ..Query::of("greater 100") },
            Query {
                joined: vec![JoinedFilter {
                    filter: "udp or icmp or arp".to_owned(),
                    ..JoinedFilter::default()
                }],
                ..Query::default()
            },
        ] {
            check(&store, &query, &format!("{context}, {query:?}"));
        }
    }
}

#[test]
fn a_search_has_the_packets_of_what_it_finds() {
    let mut chance = Chance(seed());
    let paths = captures();
    for path in paths.iter().step_by(paths.len() / 12 + 1) {
        let Some(packets) = read_capture(path, 1500) else { continue };
        let store = divided(&packets, &mut chance);
        let extractor = store.extractor();
        for search in ["bytes:>500", "protocol:udp OR protocol:arp", "NOT port:53", "packets:1"] {
            for query in [Query::default(), Query::of("not tcp port 80")] {
                let records = flows(&extractor, &query, Some(search));
                let told = records
                    .iter()
                    .fold((0, 0), |sum, found| (sum.0 + found.packets(), sum.1 + found.bytes()));
                let query = Query { search: Some(search.to_owned()), ..query };
                let (found, _) = extract(&extractor, &query).unwrap();
                let context = format!("{}: {search}", path.display());
                assert_eq!((found.len() as u64, bytes(&found)), told, "{context}");
                let counted = extractor.count(&query, &mut NoControl).unwrap();
                assert_eq!((counted.packets, counted.bytes), told, "{context}");
                let limits = AnswerLimits { packets: Some(3), bytes: None };
                let few = extractor.count(&Query { limits, ..query }, &mut NoControl).unwrap();
                assert_eq!(few.packets, told.0.min(3), "{context}");
            }
        }
    }
}

fn checksum_free_ipv4(protocol: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend_from_slice(payload);
    bytes
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    [&ports[..], &((8 + payload.len()) as u16).to_be_bytes(), &[0, 0], payload].concat()
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), payload].concat()
}

fn stored(n: u32, bytes: Vec<u8>) -> Stored {
    let mut packet = support::packet(n, 0, 60);
    packet.header.caplen = bytes.len() as u32;
    packet.header.len = bytes.len() as u32;
    Stored { bytes, link_type: LinkType::ETHERNET, ..packet }
}

/// Two networks with the same addresses, ports behind an extension header, echo requests of two pairs, and ARP.
fn ambiguous() -> Vec<Stored> {
    let inner = ethernet(0x0800, &checksum_free_ipv4(17, 1, &udp(1000, 2000, b"the same in both")));
    let vxlan = |vni: u32| {
        let header = [&0x0800_0000_u32.to_be_bytes()[..], &(vni << 8).to_be_bytes(), &inner].concat();
        ethernet(0x0800, &checksum_free_ipv4(17, 2, &udp(50_000, 4789, &header)))
    };
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 32, 0, 64];
    ipv6.extend_from_slice(&[&[0xfd; 15][..], &[1], &[0xfd; 15], &[2]].concat());
    ipv6.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
    ipv6.extend_from_slice(&udp(32_780, 8000, &[b'x'; 16]));
    let echo = |kind: u8| ethernet(0x0800, &checksum_free_ipv4(1, 3, &[kind, 0, 0, 0, 0, 1, 0, 1]));
    let arp = ethernet(
        0x0806,
        &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2],
    );
    let kinds = [
        vxlan(5),
        vxlan(6),
        ethernet(0x86dd, &ipv6),
        echo(8),
        echo(13),
        arp,
        ethernet(0x88cc, &[2, 7, 4, 2]),
    ];
    (0..70).map(|n| stored(n, kinds[n as usize % kinds.len()].clone())).collect()
}

#[test]
fn what_no_filter_can_tell_apart_is_told_apart() {
    for is_indexed in [true, false] {
        let mut store = TestStore::default();
        let packets = ambiguous();
        for (number, part) in packets.chunks(30).enumerate() {
            match is_indexed {
                true => store.seal_indexed(name(number as u32, 0), part.to_vec()),
                false => _ = store.seal(name(number as u32, 0), part.to_vec()),
            }
        }
        let extractor = store.extractor();
        let records = flows(&extractor, &Query::default(), None);
        assert_eq!(records.len(), 7);
        for record in &records {
            let (found, _) =
                extract(&extractor, &Query { flow: Some(record.id), ..Query::default() }).unwrap();
            assert_eq!((found.len(), record.packets()), (10, 10), "{record:?}");
            assert!(found.iter().all(|packet| packet.bytes == found[0].bytes), "{record:?}");
        }
        let of_vni = Query { search: Some("vni:5".to_owned()), ..Query::default() };
        assert_eq!(extractor.count(&of_vni, &mut NoControl).unwrap().packets, 10);
        let (inner, _) = extract(&extractor, &Query { decapsulate: true, ..of_vni }).unwrap();
        assert!(inner.len() == 10 && inner.iter().all(|packet| packet.bytes.ends_with(b"the same in both")));
    }
}

#[test]
fn duplicates_are_left_out_as_the_record_does() {
    let mut store = TestStore::default();
    let packets = ambiguous();
    store.seal_indexed(name(0, 0), packets.clone());
    store.seal_indexed(name(1, 1), packets);
    let window: DedupWindow = std::time::Duration::from_millis(1).try_into().unwrap();
    check(&store, &Query { dedup: Some(window), ..Query::default() }, "duplicates");
}

#[test]
fn an_id_of_no_conversation_is_refused() {
    let mut store = TestStore::default();
    store.seal_indexed(name(0, 0), ambiguous());
    let extractor = store.extractor();
    let mut id = flows(&extractor, &Query::default(), None)[0].id;
    id.first.0 += 1;
    let query = Query { flow: Some(id), ..Query::default() };
    assert!(matches!(extract(&extractor, &query), Err(ExtractError::NoSuchFlow(found)) if found == id));
    let wrong = Query { search: Some("colour:red".to_owned()), ..Query::default() };
    assert!(matches!(extract(&extractor, &wrong), Err(ExtractError::Search(_))));
}

/// Where nothing looks different in another way, no flow is looked at: a hint costs next to nothing then.
#[test]
fn a_hint_does_not_go_through_flows_that_look_the_same() {
    let mut store = TestStore::default();
    let packets: Vec<Stored> = (0..4000).map(|n| support::packet(n, 0, 60)).collect();
    for (number, part) in packets.chunks(1000).enumerate() {
        store.seal_indexed(name(number as u32 * 10, 0), part.to_vec());
    }
    let extractor = store.extractor();
    let asked = std::cell::Cell::new(0);
    let query = Query::of("greater 5000");
    let stop = || {
        asked.set(asked.get() + 1);
        false
    };
    assert_eq!(extractor.hint(&query, &stop), None);
    assert!(asked.get() < 40, "asked {} times whether to stop", asked.get());
    // And it ends at once where its time is over.
    let tagged: Vec<Stored> = ambiguous()
        .into_iter()
        .map(|mut packet| {
            packet.bytes.splice(12..12, [0x81, 0, 0, 5]);
            packet.header.caplen += 4;
            packet.header.len += 4;
            packet
        })
        .collect();
    store.seal_indexed(name(100, 0), tagged);
    assert!(
        extractor.hint(&Query::of("arp"), &|| false).is_some_and(|hint| hint.ignore_vlan && hint.certain)
    );
    assert_eq!(extractor.hint(&Query::of("arp"), &|| true), None);
}
