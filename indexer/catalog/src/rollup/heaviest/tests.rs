use netrewind_flows::totals::Totals;
use std::collections::BTreeMap;
use std::net::IpAddr;

use fastrand::Rng;

use super::*;
use crate::rollup::count_table::{self, HEAVY_MIN, TableForm};

fn address(rng: &mut Rng, hosts: u16) -> IpAddr {
    let host = rng.u16(..hosts);
    match host % 5 {
        0 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, host / 7, host]),
        _ => IpAddr::from([10, 0, (host >> 8) as u8, host as u8]),
    }
}

fn totals(rng: &mut Rng) -> Totals {
    // A few weigh much, and many the same.
    let bytes = 60 << if rng.u8(..40) == 0 { rng.u32(..20) } else { rng.u32(..3) };
    Totals { packets: rng.u64(1..9), bytes, conversations: 1 }
}

type Pair = (IpAddr, IpAddr);

fn counts(rng: &mut Rng, count: usize, hosts: u16) -> BTreeMap<Pair, Totals> {
    (0..count).map(|_| ((address(rng, hosts), address(rng, hosts)), totals(rng))).collect()
}

fn written(counts: &BTreeMap<Pair, Totals>) -> Vec<u8> {
    let entries: Vec<(Pair, Totals)> = counts.iter().map(|(pair, totals)| (*pair, *totals)).collect();
    let mut to = DocumentWriter::default();
    count_table::write(&mut to, &entries).expect("few entries");
    to.0
}

#[test]
fn a_table_gives_back_what_was_written() {
    let mut rng = Rng::with_seed(7);
    for count in [0, 1, 31, 32, 33, 1000, 2 * HEAVY_MAX] {
        let counts = counts(&mut rng, count, 2000);
        let bytes = written(&counts);
        let table = Table::<Pair, Totals>::read(&bytes, TableForm::Packed).expect("a table");
        let mut all = BTreeMap::new();
        table.for_each(|pair, totals| _ = all.insert(pair, totals)).expect("whole");
        assert_eq!(all, counts);
        for _ in 0..1000 {
            let pair = (address(&mut rng, 2000), address(&mut rng, 2000));
            let mut key = DocumentWriter::default();
            pair.write(&mut key);
            assert_eq!(table.find(&key.0), counts.get(&pair).copied(), "{pair:?}");
        }
        let heavy: Vec<(Pair, Totals)> = table.heavy().collect();
        assert_eq!(heavy.len(), (counts.len() / 8).clamp(HEAVY_MIN, HEAVY_MAX).min(counts.len()));
        assert!(heavy.is_sorted_by_key(|(pair, totals)| (Reverse(totals.bytes), *pair)));
        // Bytes that are none do no harm.
        for _ in 0..200 {
            let mut bytes = bytes.clone();
            if let Some(at) = bytes.len().checked_sub(1).map(|last| rng.usize(..=last)) {
                bytes[at] ^= 1 << rng.u8(..8);
                bytes.truncate(rng.usize(at..=bytes.len()));
            }
            if let Some(table) = Table::<Pair, Totals>::read(&bytes, TableForm::Packed) {
                let _ = (table.for_each(|_, _| ()), table.heavy().count(), table.find(&[4, 10, 0, 0, 1]));
            }
        }
    }
}

#[test]
fn the_heaviest_are_those_of_all_tables_added_up() {
    let mut rng = Rng::with_seed(11);
    let mut known = 0;
    for _ in 0..60 {
        let (tables, hosts) = (rng.usize(1..12), [30, 300, 3000][rng.usize(..3)]);
        let size = [10, 300, 4000][rng.usize(..3)];
        let counted: Vec<_> = (0..tables).map(|_| counts(&mut rng, size, hosts)).collect();
        let beside = counts(&mut rng, size / 2, hosts);
        let mut held = HeavyHitters::<Pair, Totals>::new(size);
        beside.iter().for_each(|(pair, totals)| *held.of(*pair) = *totals);
        let mut sums: BTreeMap<Pair, Totals> = BTreeMap::new();
        for (pair, totals) in counted.iter().flatten().chain(&beside) {
            sums.entry(*pair).or_default().add_all(totals);
        }
        let bytes: Vec<_> = counted.iter().map(written).collect();
        let tables: Vec<_> =
            bytes.iter().map(|bytes| Table::read(bytes, TableForm::Packed).expect("a table")).collect();
        for count in [0, 1, 10, 100] {
            let mut wanted: Vec<(Pair, Totals)> = sums.iter().map(|(pair, sum)| (*pair, *sum)).collect();
            wanted.sort_by_key(|(pair, sum)| (Reverse(sum.bytes), *pair));
            wanted.truncate(count);
            let Some(found) = heaviest(&tables, &held, count) else { continue };
            known += 1;
            assert_eq!(found, wanted, "{count} of {} tables of {size}", tables.len());
        }
    }
    assert_eq!(known, 240, "all are listed by weight");
}

#[test]
fn where_too_little_is_listed_by_weight_nothing_is_claimed() {
    let flat = |from: u32| -> BTreeMap<Pair, Totals> {
        let address = |host: u32| IpAddr::from((from + host).to_be_bytes());
        let totals = Totals { packets: 1, bytes: 60, conversations: 1 };
        (0..HEAVY_MAX as u32 + 10).map(|host| ((address(host), address(host)), totals)).collect()
    };
    let bytes = [flat(0), flat(5)].map(|counts| written(&counts));
    let tables =
        bytes.each_ref().map(|bytes| Table::<Pair, Totals>::read(bytes, TableForm::Packed).expect("a table"));
    assert!(heaviest(&tables, &HeavyHitters::new(1), 10).is_none());
}
