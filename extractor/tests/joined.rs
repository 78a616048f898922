//! Filters that are joined to whatever is asked: nothing that an asker says reaches beyond them, and no number tells of the
//! packets behind them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use netrewind_extractor::flows::{FlowQuery, SummaryQuery};
use netrewind_extractor::{ExtractError, JoinedFilter, NoControl, PcapngSink, Query, ViewMode};
use support::{Stored, TestStore, extract, name, packet};

/// Packets of a segment: every fifth of them is to 10.9.0.1, the others to 10.9.0.2.
const PACKETS: u32 = 1000;
const VISIBLE_ONE_IN: u32 = 5;

fn lane(n: u32) -> u32 {
    if n.is_multiple_of(VISIBLE_ONE_IN) { 1 } else { 2 }
}

/// A store of segments with an index, without one, and still open.
fn store() -> TestStore {
    let packets = |first: u32| (first..first + PACKETS).map(|n| packet(n, lane(n), 60)).collect::<Vec<_>>();
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), packets(0));
    test.seal(name(2, 0), packets(PACKETS));
    test.open(name(3, 0), packets(2 * PACKETS), PACKETS as usize);
    test
}

fn visible() -> JoinedFilter {
    JoinedFilter { filter: "net 10.9.0.1/32".into(), ..JoinedFilter::default() }
}

fn restricted(filter: &str) -> Query {
    Query { joined: vec![visible()], ..Query::of(filter) }
}

fn is_visible(packet: &Stored) -> bool {
    packet.bytes[33] == 1
}

#[test]
fn every_answer_keeps_to_the_joined_filter() {
    let test = store();
    let extractor = test.extractor();
    let visible = u64::from(3 * PACKETS / VISIBLE_ONE_IN);
    for filter in ["", "ip", "host 10.9.0.1 or host 10.9.0.2", "not host 10.9.0.1 or ip", "host 10.9.0.2"] {
        for view in [ViewMode::Inner, ViewMode::Outer, ViewMode::Any] {
            for (use_index, ignore_vlan) in [(true, false), (false, true)] {
                let query = Query { view, use_index, ignore_vlan, ..restricted(filter) };
                let (packets, _) = extract(&extractor, &query).unwrap();
                let expected = if filter == "host 10.9.0.2" { 0 } else { visible };
                assert_eq!(packets.len() as u64, expected, "{query:?}");
                assert!(packets.iter().all(is_visible), "{query:?}");
                assert_eq!(extractor.count(&query, &mut NoControl).unwrap().packets, expected, "{query:?}");
            }
        }
    }
}

#[test]
fn no_text_of_the_asker_escapes_from_it() {
    let test = store();
    let extractor = test.extractor();
    for trick in
        [") or (", "ip) or (ip", "1 = 1) or (1 = 1", "ip or", "\" or \"", "ip) or", "ip #", "ip\0 or"]
    {
        match extract(&extractor, &restricted(trick)) {
            Ok((packets, _)) => assert!(packets.iter().all(is_visible), "{trick}"),
            Err(error) => assert!(matches!(error, ExtractError::Filter(_)), "{trick}: {error}"),
        }
    }
}

#[test]
fn an_estimate_does_not_tell_what_is_behind_it() {
    let test = store();
    let extractor = test.extractor();
    for filter in
        ["", "host 10.9.0.2", "tcp[tcpflags] & tcp-ack != 0", "greater 60", "len > 10 and ip[2:2] > 5"]
    {
        for use_index in [true, false] {
            let query = Query { use_index, ..restricted(filter) };
            let (answer, _) = extract(&extractor, &query).unwrap();
            let estimate = extractor.estimate(&query).unwrap();
            let visible = u64::from(3 * PACKETS / VISIBLE_ONE_IN);
            assert!(estimate.packets_max <= visible, "{query:?}: {estimate:?}");
            assert!(estimate.bytes_max <= visible * 60, "{query:?}: {estimate:?}");
            assert!((estimate.packets_min..=estimate.packets_max).contains(&(answer.len() as u64)));
        }
    }
    // What the index cannot tell is read, not guessed.
    let payload = JoinedFilter { filter: "tcp[13] & 1 != 0".into(), ..JoinedFilter::default() };
    let nothing = Query { joined: vec![payload], ..Query::default() };
    assert_eq!(extractor.estimate(&nothing).unwrap(), netrewind_extractor::Estimate::default());
}

#[test]
fn what_has_no_meaning_accepts_nothing() {
    let test = store();
    let senseless = |filter: &str| JoinedFilter { filter: filter.into(), ..visible() };
    for filter in ["ip and and", ") or (", "host nowhere.example"] {
        let query = Query { joined: vec![senseless(filter)], ..Query::default() };
        match extract(&test.extractor(), &query) {
            Ok((packets, _)) => assert!(packets.is_empty(), "{filter}"),
            Err(error) => assert!(matches!(error, ExtractError::Filter(_)), "{filter}: {error}"),
        }
    }
}

#[test]
fn several_all_have_to_accept() {
    let test = store();
    let other = JoinedFilter { filter: "host 10.9.0.2".into(), ..visible() };
    let query = Query { joined: vec![visible(), other], ..Query::default() };
    assert!(extract(&test.extractor(), &query).unwrap().0.is_empty());
}

#[test]
fn a_file_of_the_answer_has_no_numbers_of_what_is_behind_it() {
    use netrewind_store::{Account, Event, LaneLoad, LinkType, Logbook};
    let test = store();
    let mut logbook = Logbook::new(&test.store);
    let start = Event::Start {
        lane: 0,
        interface: "eth7".into(),
        snaplen: None,
        capture_filter: None,
        version: String::new(),
    };
    let at = |seconds: u32| netrewind_store::Timestamp::new(1_795_339_861 + seconds, 0);
    logbook.append(at(0), start).unwrap();
    for second in 1..4 {
        logbook.append(at(0), Event::open(name(second, 0), "eth7", LinkType::ETHERNET)).unwrap();
    }
    let Account { received, written, dropped, bytes, .. } =
        Account { received: 3000, written: 3000, bytes: 180_000, ..Account::default() };
    logbook
        .append(
            at(2),
            Event::Second { lane: 0, received, written, dropped, bytes, pace: LaneLoad::default() },
        )
        .unwrap();
    logbook.sync().unwrap();
    let extractor = test.extractor();
    let accounts = |query: &Query| {
        let mut sink = PcapngSink::new(Vec::new());
        extractor.extract(query, &mut sink, &mut NoControl).unwrap().interfaces
    };
    let is_told = |query: &Query| accounts(query).iter().any(|account| account.received.is_some());
    assert!(is_told(&Query::of("host 10.9.0.1")), "the test would see it");
    assert!(!is_told(&restricted("")));
}

#[test]
fn flows_and_summaries_know_nothing_of_what_is_behind_it() {
    let test = store();
    let extractor = test.extractor();
    let (hidden, visible) = ("10.9.0.2", "10.9.0.1");
    for use_index in [true, false] {
        let query = Query { use_index, ..restricted("") };
        let all = FlowQuery { limit: 1000, ..FlowQuery::default() };
        let flows = extractor.flows(&query, &all, &mut NoControl).unwrap();
        let told = serde_json::to_string(&flows).unwrap();
        assert!(told.contains(visible) && !told.contains(hidden), "{told}");
        let summary = extractor.summary(&query, &SummaryQuery::default(), &mut NoControl).unwrap();
        assert_eq!(summary.totals.packets, u64::from(3 * PACKETS / VISIBLE_ONE_IN));
        let told = serde_json::to_string(&summary).unwrap();
        assert!(told.contains(visible) && !told.contains(hidden), "{told}");
        // One that is known by its id is not found either.
        let free = Query { joined: Vec::new(), ..query.clone() };
        for conversation in extractor.flows(&free, &all, &mut NoControl).unwrap().flows {
            let is_visible = serde_json::to_string(&conversation).unwrap().contains(visible);
            let found = extractor.flow(&query, conversation.id, &mut NoControl).unwrap();
            assert_eq!(found.is_some(), is_visible, "{conversation:?}");
        }
    }
}

/// What the recording of another interface and the store's own troubles leave in the logbook.
fn log_troubles(test: &TestStore) {
    use netrewind_store::{Account, Drops, Event, LaneLoad, LinkType, Logbook};
    let mut logbook = Logbook::new(&test.store);
    let start = |lane, interface: &str| Event::Start {
        lane,
        interface: interface.into(),
        snaplen: None,
        capture_filter: None,
        version: String::new(),
    };
    let dropped = Drops { kernel: 7, disk: 0 };
    let second =
        Event::Second { lane: 0, received: 7, written: 0, dropped, bytes: 0, pace: LaneLoad::default() };
    let worked_until = Some(netrewind_store::Timestamp::new(1_795_339_862, 0));
    let down = Event::Down { lane: 1, reason: "secret9: the interface is down".into(), worked_until };
    let events = [
        (0, start(0, "eth7")),
        (0, start(1, "secret9")),
        (0, Event::open(name(1, 0), "eth7", LinkType::ETHERNET)),
        (1, down),
        (2, Event::Up { lane: 1 }),
        (2, Event::DiskError { lane: 1, reason: "/secret/path: no space".into(), lost: None }),
        (2, second),
        (4, Event::Stop { lane: 0, account: Account::default() }),
        (4, Event::Stop { lane: 1, account: Account::default() }),
    ];
    for (second, event) in events {
        logbook.append(netrewind_store::Timestamp::new(1_795_339_861 + second, 0), event).unwrap();
    }
    logbook.sync().unwrap();
    std::fs::write(test.store.index_path(&name(2, 0)), b"damaged").unwrap();
}

#[test]
fn a_chosen_interface_tells_nothing_of_which_there_are() {
    let test = store();
    log_troubles(&test);
    let extractor = test.extractor();
    let of = |interface: &str| Query { interfaces: vec![interface.into()], ..restricted("") };
    let told = |interface: &str| {
        let answer = extractor.count(&of(interface), &mut NoControl).unwrap();
        (answer.packets, answer.completeness.lines())
    };
    let (free, nowhere) = (Query { joined: Vec::new(), ..of("eth7") }, told("nowhere"));
    assert!(extractor.count(&free, &mut NoControl).unwrap().packets > 0);
    assert!(told("eth7").0 > 0, "what may be seen is given");
    assert_eq!(nowhere, told("secret9"), "an interface that there is, and one that there is not");
    assert_eq!(nowhere.1, told("eth7").1);
    // Whoever may know of all packets is told what there is.
    let error = extractor.count(&Query { joined: Vec::new(), ..of("nowhere") }, &mut NoControl);
    let everything_is_known = |error: &ExtractError| error.to_string().contains("eth7");
    assert!(error.as_ref().err().is_none_or(everything_is_known), "{error:?}");
}

#[test]
fn what_is_missing_is_told_but_not_where() {
    let test = store();
    log_troubles(&test);
    let extractor = test.extractor();
    let told = |query: &Query| {
        let mut sink = PcapngSink::new(Vec::new());
        let answer = extractor.extract(query, &mut sink, &mut NoControl).unwrap();
        let count = extractor.count(query, &mut NoControl).unwrap();
        let flows = extractor.flows(query, &FlowQuery::default(), &mut NoControl).unwrap();
        let summary = extractor.summary(query, &SummaryQuery::default(), &mut NoControl).unwrap();
        let texts = [
            serde_json::to_string(&(answer, &count)).unwrap(),
            serde_json::to_string(&(&flows.completeness, &flows.rejected_indexes)).unwrap(),
            serde_json::to_string(&(&summary.completeness, &summary.rejected_indexes)).unwrap(),
        ];
        (texts, count.completeness)
    };
    let (free, of_free) = told(&Query::default());
    let (veiled, of_veiled) = told(&restricted(""));
    let second_segment = name(2, 0).to_string();
    for word in ["secret9", "/secret/", &second_segment] {
        assert!(free.iter().all(|text| text.contains(word)), "the test would see {word}: {free:?}");
        assert!(veiled.iter().all(|text| !text.contains(word)), "{word}: {veiled:?}");
    }
    // Packets tell of their ends, which are therefore told to the second.
    let gaps = |of: &netrewind_extractor::Completeness| -> Vec<_> {
        let seconds = |gap: &netrewind_extractor::Gap| {
            (gap.from.ns() / 1_000_000_000, gap.to.ns().div_ceil(1_000_000_000))
        };
        of.gaps.iter().map(seconds).collect()
    };
    assert!(of_veiled.gaps.iter().all(|gap| (gap.from.ns() + gap.to.ns()) % 1_000_000_000 == 0));
    assert_eq!((gaps(&of_free), of_free.dropped), (gaps(&of_veiled), of_veiled.dropped));
    assert!(!of_veiled.is_complete() && of_veiled.dropped.kernel == 7 && !of_veiled.gaps.is_empty());
}

#[test]
fn a_file_names_interfaces_of_its_packets_alone() {
    let test = store();
    log_troubles(&test);
    let extractor = test.extractor();
    let file = |query: &Query| {
        let mut file = Vec::new();
        extractor.extract(query, &mut PcapngSink::new(&mut file), &mut NoControl).unwrap();
        String::from_utf8_lossy(&file).into_owned()
    };
    let nothing = "host 192.0.2.200";
    assert!(file(&Query::of(nothing)).contains("eth7") && file(&restricted("")).contains("eth7"));
    assert!(!file(&restricted(nothing)).contains("eth7"), "none of its packets is in the answer");
}

/// A store of packets that the asker may see, in the first second, and of others', a minute later and half a minute before.
fn store_with_others(are_there: bool) -> TestStore {
    let mut test = TestStore::default();
    test.seal_indexed(name(1, 0), (0..PACKETS).map(|n| packet(n, 1, 60)).collect());
    if are_there {
        let shifted = |n: u32, seconds: u32| {
            let mut other = packet(n, 2, 60);
            other.header.seconds = other.header.seconds.wrapping_add(seconds);
            other
        };
        test.seal_indexed(name(2, 0), (0..PACKETS).map(|n| shifted(n, 60)).collect());
        test.seal_indexed(name(3, 0), (0..PACKETS).map(|n| shifted(n, 30u32.wrapping_neg())).collect());
    }
    test
}

#[test]
fn nothing_tells_when_the_packets_of_others_arrived() {
    let now = netrewind_store::Timestamp::new(1_795_400_000, 5);
    let told = |asked_at| {
        [true, false].map(|are_there| {
            let test = store_with_others(are_there);
            let extractor = test.extractor();
            let query = Query { asked_at, ..restricted("") };
            let listing = FlowQuery { limit: 1, ..FlowQuery::default() };
            let flows = extractor.flows(&query, &listing, &mut NoControl).unwrap();
            let mut summary = extractor.summary(&query, &SummaryQuery::default(), &mut NoControl).unwrap();
            summary.work = Default::default();
            let completeness = extractor.count(&query, &mut NoControl).unwrap().completeness;
            assert_eq!(completeness.covered, extractor.completeness(&query).unwrap().covered);
            let texts = (flows.flows, flows.next, flows.completeness, summary, completeness);
            serde_json::to_string(&texts).unwrap()
        })
    };
    for asked_at in [Some(now), None] {
        let [with_others, without] = told(asked_at);
        assert_eq!(with_others, without, "asked at {asked_at:?}");
    }
    let of_free = store_with_others(true).extractor().completeness(&Query::default()).unwrap().covered;
    assert_ne!(
        of_free,
        store_with_others(false).extractor().completeness(&Query::default()).unwrap().covered
    );
}

#[test]
fn a_host_that_others_have_takes_as_long_as_one_that_nobody_has() {
    const ROUNDS: usize = 60;
    let mut test = TestStore::default();
    // Each of others' packets is a flow of its own, of one host.
    let packets = (0..40_000).map(|n| {
        let mut stored = packet(n, lane(n), 60);
        stored.bytes[34..36].copy_from_slice(&(n as u16).to_be_bytes());
        stored
    });
    test.seal_indexed(name(1, 0), packets.collect());
    let extractor = test.extractor();
    let medians = |query: &dyn Fn(&str) -> Query| {
        let mut took = [Vec::new(), Vec::new()];
        for round in 0..2 * ROUNDS {
            let which = round % 2;
            let query = query(["host 10.9.0.2", "host 10.9.0.3"][which]);
            let begun = std::time::Instant::now();
            assert!(query.joined.is_empty() || extractor.count(&query, &mut NoControl).unwrap().packets == 0);
            extractor.estimate(&query).unwrap();
            took[which].push(begun.elapsed());
        }
        took.map(|mut took| {
            took.sort_unstable();
            took[took.len() / 2].as_secs_f64()
        })
    };
    let ratio = |[there, nowhere]: [f64; 2]| there / nowhere;
    assert!(ratio(medians(&|filter| Query::of(filter))) > 2.0, "the test would see it");
    let restricted = medians(&restricted);
    assert!((0.7..1.4).contains(&ratio(restricted)), "{restricted:?}");
}
