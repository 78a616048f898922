//! Indexes of packets in tunnels: they hold for every packet, and bits that vary within a flow make no other flow.

use netrewind_index::{Builder, Description, Flow, Index, IndexLimits, Template};
use netrewind_packet::dissect;
use netrewind_store::{LinkType, PcapWriter, RecordHeader, Records};
use proptest::prelude::*;

use crate::generate::{Chance, packet};

const DEPTH: usize = 4;

/// A segment of packets, a second between one and the next.
fn segment(packets: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET).unwrap();
    for (seconds, (packet, len)) in packets.iter().enumerate() {
        let header =
            RecordHeader { seconds: seconds as u32, nanoseconds: 0, caplen: packet.len() as u32, len: *len };
        writer.write(&header, packet).unwrap();
    }
    writer.finish().unwrap()
}

fn index(segment: &[u8], limits: IndexLimits) -> Index<Vec<u8>> {
    let mut builder = Builder::with_limits(LinkType::ETHERNET, 1, limits);
    Records::of_segment(segment).for_each(|record| builder.push(&record));
    Index::open(builder.finish().unwrap()).unwrap()
}

/// True if everything known of a flow holds for a packet, in each of its views.
fn holds(template: &Template, flow: &Flow, packet: &[u8], header: &RecordHeader) -> bool {
    let mut description = Description::default();
    template.describe(flow, &mut description);
    let bits_hold = description
        .bytes
        .iter()
        .zip(&description.known)
        .zip(packet)
        .all(|((value, known), byte)| byte & known == *value);
    let views = dissect(LinkType::ETHERNET, packet, header.len);
    let is_opaque = template.prefix.is_empty();
    let views_hold =
        is_opaque || template.views.iter().copied().eq(views.views().iter().map(|view| view.view));
    let lengths_hold = views.views().iter().zip(0..template.views.len()).all(|(view, number)| {
        let lengths = template.lengths_of(number, flow);
        lengths.len.contains(&view.len) && lengths.caplen.contains(&view.caplen)
    });
    let is_within = (flow.first..=flow.last).contains(&header.timestamp());
    bits_hold && views_hold && lengths_hold && is_within
}

fn check(packets: &[(Vec<u8>, u32)], limits: IndexLimits) {
    let segment = segment(packets);
    let index = index(&segment, limits);
    let templates = index.templates().unwrap();
    let flows: Vec<Flow> = index.flows().map(|flow| flow.unwrap().1).collect();
    for record in Records::of_segment(&segment) {
        let found = flows.iter().any(|flow| {
            let template = &templates[flow.template as usize];
            holds(template, flow, record.packet, &record.header)
        });
        assert!(found, "no flow holds for {:02x?}", record.packet);
    }
    assert_eq!(flows.iter().map(|flow| flow.packets).sum::<u64>(), packets.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_known_of_a_flow_holds_for_its_packets_in_every_view(
        seeds in prop::collection::vec((0u64..30, any::<u64>(), 0.0f64..1.5, any::<bool>()), 1..60),
        templates_max in prop::sample::select(vec![1, 3, 16 << 10]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let packets: Vec<(Vec<u8>, u32)> = seeds.iter().map(|&(flow, varying, cut, is_damaged)| {
            let mut bytes = packet(&mut Chance::new(flow, varying), DEPTH).bytes;
            if is_damaged {
                damage.iter().for_each(|(at, value)| *at.get_mut(&mut bytes) = *value);
            }
            let len = bytes.len() as u32;
            bytes.truncate((f64::from(len) * cut) as usize);
            (bytes, len)
        }).collect();
        check(&packets, IndexLimits { templates_max, ..IndexLimits::default() });
    }

    #[test]
    fn what_varies_makes_no_other_flow(seed in any::<u64>(), varying in prop::collection::vec(any::<u64>(), 2..10)) {
        let packets: Vec<(Vec<u8>, u32)> = varying.iter().map(|&varying| {
            let bytes = packet(&mut Chance::new(seed, varying), DEPTH).bytes;
            let len = bytes.len() as u32;
            (bytes, len)
        }).collect();
        let segment = segment(&packets);
        let index = index(&segment, IndexLimits::default());
        prop_assert_eq!(index.flow_count(), 1, "{:#?}", index.templates());
    }
}

#[test]
fn the_ids_of_tunnels_are_found_in_templates() {
    for seed in 0..500 {
        let packet = packet(&mut Chance::new(seed, seed), 2);
        let segment = segment(&[(packet.bytes.clone(), packet.bytes.len() as u32)]);
        let whole = index(&segment, IndexLimits::default());
        let ids: Vec<_> =
            whole.templates().unwrap()[0].tunnels().map(|tunnel| (tunnel.kind, tunnel.id)).collect();
        assert_eq!(ids, packet.tunnels);
        let general = index(&segment, IndexLimits { templates_max: 0, ..IndexLimits::default() });
        assert!(
            general
                .templates()
                .unwrap()
                .iter()
                .all(|template| template.tunnels().all(|tunnel| tunnel.id.is_none()))
        );
    }
}
