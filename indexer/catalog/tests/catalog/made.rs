//! Two hours of conversations, always the same ones.

use std::collections::BTreeMap;

use netrewind_catalog::Catalog;
use netrewind_catalog::build::{Catalogued, HourBuilder};
use netrewind_catalog::condition::{CatalogRecord, Condition};
use netrewind_catalog::settle::boundary_of;
use netrewind_catalog::short::shorten;
use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_texts::LabelTexts;
use netrewind_flows::part::{DirectionCounters, FlowCounters, FlowPart, tcp};
use netrewind_flows::template_facts::FlowKeyKind;
use netrewind_flows::tunnel_record::{TunnelRecord, tunnel_kind, tunnel_name};
use netrewind_index::LabelKey;
use netrewind_store::catalog::{CATALOG_VERSION, CataloguedSegment, Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::time::{HOUR_NS, SECOND_NS};
use netrewind_store::{SegmentName, Store, Timestamp};

/// Start of the first of the two hours.
const START_NS: u64 = 498_705 * HOUR_NS;

/// An hour: its manifest, the documents of its records, their short forms, and its rollup.
pub struct MadeHour {
    pub manifest: Manifest,
    pub documents: Vec<Vec<u8>>,
    pub shorts: Vec<Vec<u8>>,
    pub rollup: Vec<u8>,
}

/// Two hours, and the boundary between them.
pub struct Made {
    pub hours: [MadeHour; 2],
    pub boundary: Vec<u8>,
}

/// Numbers that look like chance, the same in every version of everything.
struct Mixed(u64);

impl Mixed {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

const KINDS: [(FlowKeyKind, u8); 6] = [
    (FlowKeyKind::Ports, 6),
    (FlowKeyKind::Ports, 17),
    (FlowKeyKind::Icmp, 1),
    (FlowKeyKind::Ip, 89),
    (FlowKeyKind::Fragment, 17),
    (FlowKeyKind::Other, 0),
];

/// The part of conversation `number` in the hour that starts then.
fn part(number: u64, start: u64, encapsulations: &Encapsulations) -> FlowPart {
    let mut mixed = Mixed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ start);
    let (kind, protocol) = KINDS[usize::try_from(number % 6).expect("few kinds")];
    let has_addresses = kind != FlowKeyKind::Other;
    let is_ipv6 = has_addresses && number.is_multiple_of(7);
    let host = |host: u64| {
        if is_ipv6 { 0x2001_0db8 << 96 | u128::from(host) } else { u128::from(0x0a00_0000 + host) }
    };
    let low = |number: u64| u16::try_from(number % 60_000).expect("below 60,000");
    let mut key = FlowKey {
        addresses: if has_addresses { [host(number % 5), host(100 + number)] } else { [0; 2] },
        ports: if kind == FlowKeyKind::Ports { [443, 1024 + low(number)] } else { [0; 2] },
        detail: match kind {
            FlowKeyKind::Icmp => 0x0800,
            FlowKeyKind::Other => 0x0806 + low(number),
            _ => 0,
        },
        protocol,
        kind,
        is_ipv6,
        carrier: 0,
    };
    // Those at the ends of the hour may go on beside it, and one reaches through it.
    let (from, length) = match number % 20 {
        1 => (mixed.below(200), 10),
        2 => (3590 - mixed.below(200), 9),
        3 if number == 3 => (1, 3597),
        _ => (600 + mixed.below(2000), mixed.below(300)),
    };
    let (first, last) = (start + from * SECOND_NS + number, start + (from + length) * SECOND_NS + number);
    let mut side = |end: u64| DirectionCounters {
        packets: 1 + mixed.below(90),
        bytes: 60 + mixed.below(100_000),
        first: first + end * (last - first) / 3,
        last: last - (1 - end) * (last - first) / 4,
        ..DirectionCounters::NOTHING
    };
    let mut sides = [side(0), side(1)];
    if key.is_tcp() {
        (sides[1].flags_any, sides[1].flags_all) = (tcp::SYN | tcp::ACK | tcp::FIN, 0);
        (sides[0].flags_any, sides[0].flags_all) = (tcp::SYN | tcp::ACK, tcp::ACK);
        (sides[0].retransmissions, sides[1].out_of_order) = (number % 3, number % 2);
    }
    if number.is_multiple_of(4) {
        let kind = tunnel_name((0..=u8::MAX).find_map(tunnel_kind).expect("a kind"));
        let ends = [Some([192, 0, 2, 1].into()), Some([192, 0, 2, 9].into())];
        let tunnel = TunnelRecord { kind: kind.into(), id: Some(77), source: ends[0], destination: ends[1] };
        let (carrier, stack) = encapsulations.number(vec![tunnel]);
        key.carrier = carrier;
        sides.iter_mut().for_each(|side| side.stack = stack);
    }
    let labels = [(LabelKey::Application, "tls"), (LabelKey::ServerName, "www.example.com")];
    let body = FlowCounters {
        sides,
        vlans: encapsulations.vlan_set(if number.is_multiple_of(5) { vec![7, 100] } else { Vec::new() }),
        segments: 1,
        has_fragments: kind == FlowKeyKind::Fragment,
        round_trip_ns: key.is_tcp().then_some(1_000_000 + number),
        labels: (key.is_tcp() && number.is_multiple_of(2)).then(|| LabelTexts::of(&labels)),
        is_loose: false,
        places: None,
    };
    FlowPart { key, body }
}

fn hour(conversations: u64, start: u64) -> MadeHour {
    let opened = Timestamp(start + 5);
    let segment = CataloguedSegment {
        name: SegmentName { opened, lane: 0 },
        first: Timestamp(start),
        last: Timestamp(start + HOUR_NS - 1),
    };
    let manifest = Manifest {
        version: CATALOG_VERSION,
        hour: Hour::of(opened),
        records: 0,
        packets: 0,
        bytes: 0,
        segments: vec![segment],
        without_packets: Vec::new(),
        link_types: vec![1],
        lacks: Vec::new(),
        is_divided: false,
        files: std::collections::BTreeMap::new(),
    };
    let encapsulations = Encapsulations::default();
    let mut builder = HourBuilder::new(manifest, &encapsulations);
    let parts: Vec<FlowPart> =
        (0..conversations).map(|number| part(number, start, &encapsulations)).collect();
    let mut series = builder.buckets().series();
    for part in &parts {
        series.add(Timestamp(part.body.first()), part.body.packets(), part.body.bytes());
    }
    let (mut documents, mut shorts) = (Vec::new(), Vec::new());
    // Nothing follows, so that each is over at once, and they stay in order.
    let mut take = |record: &CatalogRecord| {
        documents.push(record.document.clone());
        shorts.push(shorten(record, Hour::of(opened).start().ns()));
    };
    builder.add_segment(&parts, &series, Some(u64::MAX), true, &mut take);
    let Catalogued { manifest, rollup } = builder.finish();
    MadeHour { manifest, documents, shorts, rollup: rollup.expect("a rollup") }
}

/// A catalog in memory.
#[derive(Debug)]
struct Held(BTreeMap<Hour, Vec<Vec<u8>>>);

impl Catalog for Held {
    fn visit(
        &self,
        _: &Store,
        manifest: &Manifest,
        _: &Condition,
        _: Timestamp,
        _: Timestamp,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        let mut documents = self.0.get(&manifest.hour).into_iter().flatten();
        let _ = documents.all(|document| take(document));
        Ok(())
    }

    fn visit_open(
        &self,
        store: &Store,
        manifest: &Manifest,
        _: &dyn Fn(u64, u64) -> bool,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        self.visit(store, manifest, &Condition::Nothing, Timestamp::MIN, Timestamp::MAX, take)
    }
}

/// Writes an hour into a store, without the index of its records.
pub fn write(store: &Store, hour: &MadeHour) {
    CatalogFolder::of(store).begin_hour(hour.manifest.hour).expect("a folder");
    CatalogFolder::of(store).write_rollup(hour.manifest.hour, &hour.rollup).expect("a rollup");
    CatalogFolder::of(store).finish_hour(&hour.manifest).expect("an hour");
}

pub fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open_or_create(folder.path(), Timestamp(0), 1).expect("a store");
    (folder, store)
}

/// Two hours with so many conversations each.
pub fn made(conversations: u64) -> Made {
    let hours = [START_NS, START_NS + HOUR_NS].map(|start| hour(conversations, start));
    let (_folder, store) = store();
    hours.iter().for_each(|hour| write(&store, hour));
    let held = Held(hours.iter().map(|hour| (hour.manifest.hour, hour.documents.clone())).collect());
    let [before, after] = &hours;
    let boundary = boundary_of(&held, &store, &before.manifest, &after.manifest, &|| false);
    Made { boundary: boundary.expect("a boundary"), hours }
}
