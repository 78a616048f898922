//! Hours against records in memory: what a condition finds is what it accepts, and what a crash or damage leaves is no hour.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_catalog::condition::{CatalogRecord, Condition, NumberColumn, as_ipv6};
use netrewind_catalog_tantivy::{HourReader, HourWriter, Range};
use netrewind_store::catalog::{CATALOG_VERSION, Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, Timestamp};
use proptest::prelude::*;

const START_NS: u64 = 1_795_338_000_000_000_000;
const WORDS: [&str; 5] =
    ["protocol=tcp", "server_name=example.com", "server_name=www.example.com", "é=\u{1F600}", ""];

fn hour() -> Hour {
    Hour::of(Timestamp(START_NS))
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
    (folder, store)
}

fn manifest(records: &[CatalogRecord]) -> Manifest {
    Manifest {
        version: CATALOG_VERSION,
        hour: hour(),
        records: records.len() as u64,
        packets: 0,
        bytes: 0,
        segments: Vec::new(),
        without_packets: Vec::new(),
        link_types: Vec::new(),
        lacks: Vec::new(),
        is_divided: false,
        files: std::collections::BTreeMap::new(),
    }
}

fn write(store: &Store, records: &[CatalogRecord]) -> HourReader {
    let mut writer = HourWriter::new(store, hour()).unwrap();
    records.iter().for_each(|record| writer.add(record).unwrap());
    assert_eq!(writer.records(), records.len() as u64);
    writer.finish(&manifest(records)).unwrap();
    HourReader::open(store, &CatalogFolder::of(store).manifest(hour()).unwrap().unwrap()).unwrap()
}

fn found(hour: &HourReader, condition: &Condition, range: Range) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    hour.visit(condition, range, &mut |document| {
        found.push(document.to_vec());
        true
    })
    .unwrap();
    found
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..3, 0u8..4).prop_map(|(c, d)| IpAddr::V4(Ipv4Addr::new(10, 0, c, d))),
        (0u16..3).prop_map(|d| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, d))),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..5, any::<u64>(), Just(u64::MAX)]
}

prop_compose! {
    fn record()(
        times in (0u64..4_000_000_000_000, prop_oneof![Just(0), 0u64..4_000_000_000_000]),
        is_open in prop::bool::weighted(0.1),
        addresses in prop::array::uniform2(prop::option::weighted(0.9, address())),
        ports in prop::array::uniform2(prop::option::of(0u16..5)),
        packets in number(),
        bytes in number(),
        vlans in prop::collection::vec(0u16..5, 0..3),
        tunnel_ids in prop::collection::vec(0u32..5, 0..2),
        words in prop::sample::subsequence(WORDS.map(str::to_owned).to_vec(), 0..5),
        document in prop::collection::vec(any::<u8>(), 1..40),
    ) -> CatalogRecord {
        let first_ns = START_NS + times.0;
        CatalogRecord { first_ns, last_ns: first_ns + times.1, is_open, addresses, ports, packets, bytes, vlans, tunnel_ids, words, document }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let column = prop::sample::select(vec![
        NumberColumn::ClientPort,
        NumberColumn::ServerPort,
        NumberColumn::Packets,
        NumberColumn::Bytes,
        NumberColumn::Vlan,
        NumberColumn::TunnelId,
    ]);
    let one = prop_oneof![
        Just(Condition::Everything),
        Just(Condition::Nothing),
        (column, number(), number()).prop_map(|(column, from, to)| Condition::Number(column, from, to)),
        (0usize..2, address(), address()).prop_map(|(end, from, to)| Condition::Address(
            end,
            as_ipv6(from),
            as_ipv6(to)
        )),
        prop::sample::select(WORDS.to_vec()).prop_map(|word| Condition::Word(word.to_owned())),
    ];
    one.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::Any),
            inner.prop_map(|one| Condition::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_hour_finds_what_a_condition_accepts(
        records in prop::collection::vec(record(), 0..80),
        conditions in prop::collection::vec(condition(), 12),
        from in 0u64..4_000_000_000_000,
        length in 0u64..2_000_000_000_000,
    ) {
        let (_folder, store) = store();
        let hour = write(&store, &records);
        let all: Vec<_> = records.iter().map(|record| record.document.clone()).collect();
        prop_assert_eq!(found(&hour, &Condition::Everything, Range::EVERYTHING), all);
        hour.verify().unwrap();
        for condition in conditions {
            let accepted = records.iter().filter(|record| record.is_open || condition.accepts(record));
            let accepted: Vec<_> = accepted.map(|record| record.document.clone()).collect();
            prop_assert_eq!(found(&hour, &condition, Range::EVERYTHING), accepted, "{:?}", &condition);
        }
        // Times are rounded outwards: nothing of the range is missed, and nothing that is a unit away is found.
        let (from_ns, last_ns) = (START_NS + from, START_NS + from + length);
        let in_range = found(&hour, &Condition::Everything, Range { from_ns, last_ns });
        let meets = |record: &&CatalogRecord, by: u64| record.is_open || record.first_ns <= last_ns + by && record.last_ns + by >= from_ns;
        let count = |by: u64| records.iter().filter(|record| meets(record, by)).count();
        prop_assert!((count(0)..=count(2_000_000_000)).contains(&in_range.len()));
        let mut documents = in_range.into_iter();
        for record in records.iter().filter(|record| meets(record, 0)) {
            prop_assert!(documents.any(|document| document == record.document), "in order");
        }
    }
}

fn some_records(count: u32) -> Vec<CatalogRecord> {
    let record = |number: u32| CatalogRecord {
        first_ns: START_NS + u64::from(number),
        last_ns: START_NS + u64::from(number),
        addresses: [Some(Ipv4Addr::from(number).into()), Some(Ipv4Addr::new(192, 0, 2, 1).into())],
        packets: 1,
        bytes: 60,
        words: vec![format!("server_name=host-{number}.{}.example.com", "x".repeat(120))],
        document: number.to_be_bytes().to_vec(),
        ..CatalogRecord::default()
    };
    (0..count).map(record).collect()
}

#[test]
fn records_keep_their_order_where_they_do_not_fit_into_memory_at_once() {
    let (_folder, store) = store();
    let records = some_records(120_000);
    let mut writer = HourWriter::with_memory(&store, hour(), 15_000_000).unwrap();
    records.iter().for_each(|record| writer.add(record).unwrap());
    assert!(writer.parts() > 1, "they fitted into memory");
    writer.finish(&manifest(&records)).unwrap();
    let hour = HourReader::open(&store, &manifest(&records)).unwrap();
    let all = found(&hour, &Condition::Everything, Range::EVERYTHING);
    assert!(all.iter().eq(records.iter().map(|record| &record.document)));
    let word = Condition::Word(records[77_777].words[0].clone());
    assert_eq!(found(&hour, &word, Range::EVERYTHING), [records[77_777].document.clone()]);
}

/// Leaves of a writer what kill -9 would: nothing is tidied up.
fn kill(store: &Store, writer: HourWriter<'_>) {
    let path = CatalogFolder::of(store).unfinished_hour_path(hour());
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    let left: Vec<_> = files.iter().map(|file| (file, std::fs::read(file).unwrap_or_default())).collect();
    drop(writer);
    left.iter().for_each(|(file, bytes)| std::fs::write(file, bytes).unwrap());
}

#[test]
fn what_a_crash_has_left_is_no_hour_and_is_written_again() {
    let (_folder, store) = store();
    let records = some_records(100);
    for added in [0, 1, 99] {
        let mut writer = HourWriter::new(&store, hour()).unwrap();
        records.iter().take(added).for_each(|record| writer.add(record).unwrap());
        kill(&store, writer);
        assert!(CatalogFolder::of(&store).unfinished_hour_path(hour()).exists());
        assert_eq!(
            (CatalogFolder::of(&store).hours().unwrap(), CatalogFolder::of(&store).manifest(hour()).unwrap()),
            (vec![], None)
        );
        CatalogFolder::of(&store).remove_unfinished_hours().unwrap();
    }
    let whole = write(&store, &records);
    // An hour that is written again is there until the new one is whole.
    let mut again = HourWriter::new(&store, hour()).unwrap();
    again.add(&records[0]).unwrap();
    kill(&store, again);
    assert_eq!(found(&whole, &Condition::Everything, Range::EVERYTHING).len(), 100);
    assert_eq!(
        CatalogFolder::of(&store).manifest(hour()).unwrap().map(|manifest| manifest.records),
        Some(100)
    );
    // Everything is there but what says that it is whole.
    let (path, unfinished) =
        (CatalogFolder::of(&store).hour_path(hour()), CatalogFolder::of(&store).unfinished_hour_path(hour()));
    std::fs::remove_dir_all(&unfinished).unwrap();
    std::fs::rename(&path, &unfinished).unwrap();
    std::fs::remove_file(unfinished.join("manifest.json")).unwrap();
    assert_eq!(CatalogFolder::of(&store).hours().unwrap(), []);
    assert_eq!(found(&write(&store, &records[..7]), &Condition::Everything, Range::EVERYTHING).len(), 7);
    assert!(!unfinished.exists());
}

#[test]
fn damage_is_found_and_never_a_panic_for_who_asks() {
    let (_folder, store) = store();
    let records = some_records(300);
    drop(write(&store, &records));
    let manifest = CatalogFolder::of(&store).manifest(hour()).unwrap().unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut refused, mut files) = (0, 0);
    for entry in std::fs::read_dir(CatalogFolder::of(&store).hour_path(hour())).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if bytes.is_empty() || path.ends_with("manifest.json") || path.ends_with(".managed.json") {
            continue;
        }
        files += 1;
        for _ in 0..20 {
            let mut damaged = bytes.clone();
            match rng.bool() {
                true => damaged[rng.usize(..bytes.len())] ^= 1 << rng.u32(..8),
                false => damaged.truncate(rng.usize(..bytes.len())),
            }
            std::fs::write(&path, &damaged).unwrap();
            let verified = HourReader::open(&store, &manifest).and_then(|hour| {
                let word = Condition::Word(records[9].words[0].clone());
                let _ = hour.visit(&word, Range::EVERYTHING, &mut |_| true);
                let _ = hour.visit(&Condition::Everything, Range::EVERYTHING, &mut |_| true);
                hour.verify()
            });
            refused += usize::from(verified.is_err());
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    // Of the description in JSON a changed blank or comma says the same.
    assert!(files > 4 && refused >= (files - 1) * 20, "{refused} of {files} files");
    assert!(HourReader::open(&store, &Manifest { records: 299, ..manifest }).is_err());
}
