//! Flow records and summaries against a model that looks at every packet.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::sync::atomic::AtomicBool;

use netrewind_extractor::flows::{FlowQuery, FlowSort, Search, SummaryQuery};
use netrewind_extractor::{ExtractError, Extractor, NoControl, Query};
use netrewind_store::Timestamp;
use support::{Stored, TestStore, name, packet};

/// Three segments on two lanes, one of them open; some have no index. 40 conversations a lane.
fn store() -> TestStore {
    let mut store = TestStore::default();
    let one = |n: u32, lane: u32| {
        let mut packet = packet(n, lane, 60 + n % 200);
        packet.bytes[36..38].copy_from_slice(&[0x10, (n % 40) as u8]); // the destination port
        packet
    };
    let packets = |from: u32, to: u32, lane: u32| (from..to).map(|n| one(n, lane)).collect();
    store.seal_indexed(name(0, 0), packets(0, 3000, 0));
    store.seal(name(1, 1), packets(500, 4000, 1));
    store.open(name(4, 0), packets(3000, 5000, 0), 1500);
    store
}

fn all(store: &TestStore) -> Vec<Stored> {
    store.segments.iter().flat_map(|(_, packets)| packets.clone()).collect()
}

fn ranges() -> [Query; 3] {
    let from = Some(packet(700, 0, 60).at());
    let to = Some(packet(4100, 0, 60).at());
    [Query::default(), Query { from, ..Query::default() }, Query { from, to, ..Query::of("greater 150") }]
}

#[test]
fn a_summary_counts_each_packet_once_and_in_its_time() {
    let store = store();
    for query in ranges() {
        let longer = |packet: &Stored| query.filter.is_empty() || packet.header.len >= 150;
        let wanted: Vec<Stored> = all(&store)
            .into_iter()
            .filter(|packet| query.range().contains(packet.at()) && longer(packet))
            .collect();
        for use_index in [true, false] {
            let query = Query { use_index, ..query.clone() };
            let asked = SummaryQuery { buckets: 100, top: 1000, ..SummaryQuery::default() };
            let summary = store.extractor().summary(&query, &asked, &mut NoControl).unwrap();
            let bytes: u64 = wanted.iter().map(|packet| u64::from(packet.header.len)).sum();
            assert_eq!((summary.totals.packets, summary.totals.bytes), (wanted.len() as u64, bytes));
            assert_eq!(summary.bucket_seconds, 1);
            assert_eq!(summary.series.iter().map(|point| point.bytes).sum::<u64>(), bytes);
            for point in summary.series.iter().filter(|_| summary.series_exact) {
                let end = point.at.plus_ns(1_000_000_000);
                let inside = wanted.iter().filter(|packet| (point.at..end).contains(&packet.at()));
                assert_eq!(point.packets, inside.count() as u64, "{:?}", point.at);
            }
            assert!(summary.series_exact || !query.filter.is_empty());
            assert_eq!(summary.top.hosts.iter().map(|host| host.sent_bytes).sum::<u64>(), bytes);
            assert_eq!(summary.edges.iter().map(|edge| edge.bytes).sum::<u64>(), bytes);
            let listed: u64 = summary.top.conversations.iter().map(|found| found.packets()).sum();
            assert!(listed <= wanted.len() as u64 && !summary.approximate);
        }
    }
}

#[test]
fn a_conversation_is_found_again_by_its_id() {
    let store = store();
    let extractor = store.extractor();
    let query = Query::default();
    let flows = FlowQuery { sort: FlowSort::Start, limit: 1000, ..FlowQuery::default() };
    let listed = extractor.flows(&query, &flows, &mut NoControl).unwrap();
    assert!(listed.flows.len() > 50 && listed.next.is_none());
    for flow in listed.flows.iter().step_by(7) {
        let id = flow.id.to_string().parse().unwrap();
        assert_eq!(extractor.flow(&query, id, &mut NoControl).unwrap().as_ref(), Some(flow));
    }
    let mut missing = listed.flows[0].id;
    missing.first = Timestamp(missing.first.ns() + 1);
    assert_eq!(extractor.flow(&query, missing, &mut NoControl).unwrap(), None);
    assert!("xyz".parse::<netrewind_extractor::flows::FlowId>().is_err());
}

#[test]
fn whoever_waits_can_give_up() {
    let stopped = AtomicBool::new(true);
    let answer = store().extractor().flows(&Query::default(), &FlowQuery::default(), &mut &stopped);
    assert!(matches!(answer, Err(ExtractError::Cancelled)));
}

/// What is told of flows, without what it took to find them.
fn told(extractor: &Extractor, query: &Query) -> [serde_json::Value; 2] {
    found(extractor, query, None)
}

/// What is told of the flows that a search finds.
fn found(extractor: &Extractor, query: &Query, search: Option<&str>) -> [serde_json::Value; 2] {
    let search: Option<Search> = search.map(|text| text.parse().unwrap());
    let flows =
        FlowQuery { sort: FlowSort::Start, limit: 1000, search: search.clone(), ..FlowQuery::default() };
    let flows = extractor.flows(query, &flows, &mut NoControl).unwrap();
    let summary = extractor
        .summary(query, &SummaryQuery { search, ..SummaryQuery::default() }, &mut NoControl)
        .unwrap();
    // What it took differs; and with an index the packets that a filter accepts need not be read, and are spread over the series.
    let without_work = |mut answer: serde_json::Value| {
        answer
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !["work", "series", "series_exact"].contains(&key.as_str()));
        answer
    };
    [serde_json::to_value(flows).unwrap(), serde_json::to_value(summary).unwrap()].map(without_work)
}

#[test]
fn an_open_segment_is_told_of_as_it_grows() {
    let mut captures: Vec<Vec<Stored>> = vec![(0..3000).map(|n| packet(n, 0, 60 + n % 200)).collect()];
    let paths = support::captures();
    let read = paths.iter().step_by(3).filter_map(|path| support::read_capture(path, 3000));
    captures.extend(read.filter(|packets| packets.len() > 500).take(12));
    for packets in captures {
        let mut store = TestStore::default();
        let middle = packets[packets.len() / 2].at();
        let extractor = store.extractor();
        // In the end a query that began earlier, and has seen less.
        for tenths in [1, 2, 2, 5, 9, 10, 7] {
            let committed = packets.len() * tenths / 10;
            store.open(name(0, 0), packets.clone(), committed);
            for query in [
                Query::default(),
                Query::of("tcp or udp port 53"),
                Query { from: Some(middle), ..Query::default() },
            ] {
                let plain = Query { use_index: false, ..query.clone() };
                let is_same = told(&extractor, &query) == told(&store.extractor(), &plain);
                assert!(is_same, "{committed} of {} packets, {query:?}", packets.len());
            }
        }
        store.open(name(5, 0), packets.clone(), packets.len() / 3);
        assert_eq!(
            told(&extractor, &Query::default()),
            told(&store.extractor(), &Query { use_index: false, ..Query::default() })
        );
    }
}

/// Captures with labels of all kinds, each in a segment of its own; and one of them cut into segments.
fn labelled() -> Option<TestStore> {
    let paths = support::captures();
    let names = ["tls", "dns", "http", "ssh", "quic"];
    let is_labelled = |path: &&std::path::PathBuf| {
        path.file_name().is_some_and(|file| names.iter().any(|name| file.to_string_lossy().contains(name)))
    };
    let captures: Vec<_> = paths
        .iter()
        .filter(is_labelled)
        .filter_map(|path| support::read_capture(path, 1000))
        .filter(|packets| packets[0].link_type == netrewind_store::LinkType::ETHERNET)
        .take(40)
        .collect();
    let mut store = TestStore::default();
    for (second, packets) in (0..).zip(&captures) {
        store.seal_indexed(name(second * 100, 0), packets.clone());
    }
    let longest = captures.iter().max_by_key(|packets| packets.len())?;
    for (second, packets) in (0..).zip(longest.chunks(longest.len() / 4 + 1)) {
        store.seal_indexed(name(second * 100 + 7, 1), packets.to_vec());
    }
    Some(store)
}

#[test]
fn what_has_a_label_is_found_without_looking_at_the_rest() {
    let Some(mut store) = labelled() else { return };
    let all = FlowQuery { limit: 10_000, ..FlowQuery::default() };
    let all = store.extractor().flows(&Query::default(), &all, &mut NoControl).unwrap();
    let mut labels: Vec<(&str, String)> = Vec::new();
    for flow in &all.flows {
        let others = flow.labels.iter().flat_map(|labels| &labels.others);
        labels.extend(others.map(|(key, value)| (&**key, value.first().to_owned())));
    }
    labels.sort();
    labels.dedup();
    assert!(labels.len() > 50, "{} labels", labels.len());
    let quoted = |(key, text): &(&str, String)| format!("{key}:\"{}\"", text.replace(['\\', '"'], " "));
    let mut searches: Vec<String> = labels.iter().step_by(labels.len() / 25).map(quoted).collect();
    searches.extend(
        ["sni:com", "dns:com OR http_host:com", "alpn:h2 bytes:>3000", "NOT sni:com", "app:tls"]
            .map(str::to_owned),
    );
    let (one, other) = (quoted(&labels[0]), quoted(&labels[labels.len() / 2]));
    searches.extend([
        format!("{one} OR {other}"),
        format!("{one} NOT {other}"),
        format!("({one} OR host:10.0.0.0) {other}"),
    ]);
    // In the end with a segment that has no index, and one that is being written.
    for is_whole in [true, false] {
        if !is_whole {
            let packets = store.segments[3].1.clone();
            store.seal(name(90_000, 0), packets.clone());
            store.open(name(90_001, 0), packets.clone(), packets.len() / 2);
        }
        let extractor = store.extractor();
        for search in &searches {
            for query in [Query::default(), Query::of("not port 53 and greater 80")] {
                let plain = Query { use_index: false, ..query.clone() };
                let (found, wanted) = (
                    found(&extractor, &query, Some(search)),
                    found(&store.extractor(), &plain, Some(search)),
                );
                assert!(found == wanted, "{search}: {found:?} and not {wanted:?}");
            }
        }
    }
}
