//! Expected contents of a segment's index, found the slow way: packet by packet, in ordinary collections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netrewind_index::{Flow, Index, IndexLimits, TcpFlags, Template};
use netrewind_packet::{Dissection, Shape, dissect};
use netrewind_store::{LinkType, Record, Records, Timestamp};

use crate::medium;

/// A flow's template and key.
pub type Identity = (Template, Option<IpAddr>, Option<IpAddr>, u16, u16);

/// A flow of the model, and the granules of its packets.
#[derive(Debug)]
pub struct ModelFlow {
    pub flow: Flow,
    pub granules: BTreeSet<u32>,
    pub records: Vec<usize>,
}

pub fn template_of(dissection: &Dissection, packet: &[u8]) -> Template {
    let mut known = vec![0xff; dissection.prefix_bytes];
    dissection.layers().iter().for_each(|layer| layer.clear_varying(&mut known));
    let prefix = packet.iter().zip(&known).map(|(byte, known)| byte & known).collect();
    Template {
        prefix,
        known,
        views: dissection.views().iter().map(|view| view.view).collect(),
        layers: dissection.layers().to_vec(),
        shape: dissection.shape,
    }
}

pub fn identity(link_type: LinkType, packet: &[u8], len: u32) -> (Identity, Dissection) {
    let dissection = dissect(link_type, packet, len);
    let template = template_of(&dissection, packet);
    let key = dissection.key;
    let address = |value: u128| match dissection.shape {
        Shape::None => None,
        Shape::Ipv4 { .. } => Some(IpAddr::V4(Ipv4Addr::from_bits(value as u32))),
        Shape::Ipv6 { .. } => Some(IpAddr::V6(Ipv6Addr::from_bits(value))),
    };
    let identity =
        (template, address(key.source), address(key.destination), key.source_port, key.destination_port);
    (identity, dissection)
}

fn widen<T: Copy + Ord>(range: &mut std::ops::RangeInclusive<T>, value: T) {
    *range = (*range.start()).min(value)..=(*range.end()).max(value);
}

fn add(
    flows: &mut HashMap<Identity, ModelFlow>,
    link_type: LinkType,
    number: usize,
    record: &Record<'_>,
    shift: u8,
) {
    let (identity, dissection) = identity(link_type, record.packet, record.header.len);
    let header = record.header;
    let model = flows.entry(identity).or_insert_with_key(|identity| ModelFlow {
        flow: Flow {
            template: 0,
            source: identity.1,
            destination: identity.2,
            source_port: identity.3,
            destination_port: identity.4,
            first: Timestamp::MAX,
            last: Timestamp::MIN,
            packets: 0,
            bytes: 0,
            len: header.len..=header.len,
            caplen: header.caplen..=header.caplen,
            tcp_flags: None,
            has_fragments: false,
            granules: 0,
        },
        granules: BTreeSet::new(),
        records: Vec::new(),
    });
    let flow = &mut model.flow;
    flow.first = flow.first.min(header.timestamp());
    flow.last = flow.last.max(header.timestamp());
    flow.packets += 1;
    flow.bytes += u64::from(header.len);
    widen(&mut flow.len, header.len);
    widen(&mut flow.caplen, header.caplen);
    flow.has_fragments |= dissection.fragment;
    if let Some(flags) = dissection.tcp_flags {
        let before = flow.tcp_flags.unwrap_or(TcpFlags { all: 0xff, any: 0 });
        flow.tcp_flags = Some(TcpFlags { all: before.all & flags, any: before.any | flags });
    }
    model.granules.insert((record.offset >> shift) as u32);
    model.records.push(number);
    flow.granules = model.granules.len() as u32;
}

/// All flows of a segment.
pub fn flows(link_type: LinkType, segment: &[u8], shift: u8) -> HashMap<Identity, ModelFlow> {
    let mut flows = HashMap::new();
    for (number, record) in Records::of_segment(segment).enumerate() {
        add(&mut flows, link_type, number, &record, shift);
    }
    flows
}

/// Holds everything that an index says against the model.
pub fn check(link_type: LinkType, segment: &[u8], index: &[u8], limits: IndexLimits) {
    let model = flows(link_type, segment, limits.granule_shift);
    let records: Vec<Record<'_>> = Records::of_segment(segment).collect();
    let index = Index::open(index).unwrap();
    index.matches_segment(&medium(segment)).unwrap();
    index.verify().unwrap();
    assert_eq!(index.link_type(), link_type);
    assert_eq!(index.records(), records.len() as u64);
    assert_eq!(index.segment_bytes(), segment.len() as u64);
    let templates = index.templates().unwrap();
    let mut cursor = index.cursor();
    let mut seen = 0;
    for item in index.flows() {
        let (id, mut flow) = item.unwrap();
        assert_eq!(index.flow(id).unwrap(), flow);
        let template = &templates[flow.template as usize];
        let identity =
            (template.clone(), flow.source, flow.destination, flow.source_port, flow.destination_port);
        let expected = &model[&identity];
        flow.template = 0;
        assert_eq!(flow, expected.flow);
        let mut granules = Vec::new();
        cursor.granules_of(id, &mut granules).unwrap();
        assert!(granules.iter().eq(&expected.granules), "{granules:?} {:?}", expected.granules);
        for &number in &expected.records {
            check_law(template, &flow, &records[number]);
        }
        seen += 1;
    }
    assert_eq!(seen, model.len());
    check_granules(&index, &records);
    check_time(&index, &records);
}

/// The law of the index: what a flow says is true of its packets.
pub fn check_law(template: &Template, flow: &Flow, record: &Record<'_>) {
    let mut description = netrewind_index::Description::default();
    template.describe(flow, &mut description);
    assert_eq!(description.bytes.len(), description.known.len());
    for (at, (&value, &known)) in description.bytes.iter().zip(&description.known).enumerate() {
        assert_eq!(value & !known, 0, "unknown bits are zero");
        match record.packet.get(at) {
            Some(byte) => {
                assert_eq!(byte & known, value, "byte {at} of {:02x?}: {template:?} {flow:?}", record.packet)
            }
            None => assert!(
                known == 0 || Some(at) == template.tcp_flags_offset(),
                "known beyond the capture: {at}"
            ),
        }
    }
    assert!(flow.len.contains(&record.header.len));
    assert!(flow.caplen.contains(&record.header.caplen));
    assert!(flow.first <= record.header.timestamp() && record.header.timestamp() <= flow.last);
    if let (Some(offset), Some(flags)) = (template.tcp_flags_offset(), flow.tcp_flags)
        && let Some(byte) = record.packet.get(offset)
    {
        assert!(byte & flags.all == flags.all && byte | flags.any == flags.any);
    }
}

fn check_granules(index: &Index<&[u8]>, records: &[Record<'_>]) {
    let mut cursor = index.cursor();
    let shift = index.granule_bytes().ilog2();
    assert_eq!(u64::from(index.granule_count()), index.segment_bytes().div_ceil(1 << shift));
    let mut total = 0;
    let mut next = 0;
    for number in 0..index.granule_count() {
        let granule = cursor.granule(number).unwrap();
        let within: Vec<_> =
            records[next..].iter().take_while(|record| record.offset >> shift == u64::from(number)).collect();
        assert_eq!(granule.records as usize, within.len());
        assert_eq!(granule.offset, records.get(next).map_or(index.segment_bytes(), |record| record.offset));
        next += within.len();
        assert_eq!(
            cursor.granule_end(number).unwrap(),
            records.get(next).map_or(index.segment_bytes(), |r| r.offset)
        );
        if !within.is_empty() {
            assert_eq!(Some(granule.first), within.iter().map(|record| record.header.timestamp()).min());
            assert_eq!(Some(granule.last), within.iter().map(|record| record.header.timestamp()).max());
        }
        total += within.len();
        let earliest = records[next - within.len()..].iter().map(|record| record.header.timestamp()).min();
        assert_eq!(index.earliest_from(number).unwrap(), earliest.unwrap_or(Timestamp::MAX));
    }
    assert_eq!(total, records.len());
}

fn check_time(index: &Index<&[u8]>, records: &[Record<'_>]) {
    let times: Vec<Timestamp> = records.iter().map(|record| record.header.timestamp()).collect();
    assert_eq!(index.first(), times.iter().min().copied().unwrap_or(Timestamp::MAX));
    assert_eq!(index.last(), times.iter().max().copied().unwrap_or(Timestamp::MIN));
    let (mut latest, mut disorder) = (0, 0);
    for time in &times {
        disorder = disorder.max(u64::saturating_sub(latest, time.ns()));
        latest = latest.max(time.ns());
    }
    assert_eq!(index.disorder_ns(), disorder);
    let seconds = index.seconds().unwrap();
    let width = seconds.first().map_or(1, |second| second.width_seconds);
    let mut expected = BTreeMap::<u64, (u64, u64)>::new();
    for record in records {
        let entry =
            expected.entry(record.header.timestamp().ns() / 1_000_000_000 / width * width).or_default();
        entry.0 += 1;
        entry.1 += u64::from(record.header.len);
    }
    let found: BTreeMap<u64, (u64, u64)> = seconds
        .iter()
        .map(|second| (second.start.ns() / 1_000_000_000, (second.packets, second.bytes)))
        .collect();
    assert_eq!(found, expected);
    let shift = index.granule_bytes().ilog2();
    for range in [
        Timestamp::MIN..Timestamp::MAX,
        index.first()..index.last(),
        times.get(times.len() / 2).map_or(Timestamp::MIN..Timestamp::MIN, |&at| at..at.plus_ns(1)),
    ] {
        let granules = index.granules_in(range.clone()).unwrap();
        assert!(granules.is_sorted());
        for record in records.iter().filter(|record| range.contains(&record.header.timestamp())) {
            assert!(granules.binary_search(&((record.offset >> shift) as u32)).is_ok());
        }
    }
}
