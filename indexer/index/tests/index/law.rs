//! Everything that an index says is so, over all captures, whole and mutilated.

use netrewind_index::{Index, IndexLimits, build_from};
use netrewind_store::{LinkType, RecordReader, Records};
use proptest::prelude::*;

use crate::{Packet, captures, index, model, segment};

#[test]
fn captures_are_indexed_as_the_model_says() {
    for path in captures::paths() {
        let (link_type, packets) = captures::read(&path);
        let segment = segment(link_type, &packets);
        for granule_shift in [9, 14] {
            let limits = IndexLimits { granule_shift, ..IndexLimits::default() };
            let index = index(link_type, &segment, limits);
            model::check(link_type, &segment, &index, limits);
        }
    }
}

#[test]
fn live_and_rebuilt_are_the_same_whatever_the_seed() {
    for path in captures::paths().iter().step_by(7) {
        let (link_type, packets) = captures::read(path);
        let segment = segment(link_type, &packets);
        let live = index(link_type, &segment, IndexLimits::default());
        let rebuilt = build_from(RecordReader::new(&segment[..]).unwrap(), 12345).unwrap();
        assert!(live == rebuilt);
        let mut builder = netrewind_index::Builder::new(link_type, 1);
        for _ in 0..2 {
            Records::of_segment(&segment).for_each(|record| builder.push(&record));
            assert!(builder.finish_segment().unwrap() == live);
        }
    }
}

#[test]
fn an_empty_segment_has_an_index() {
    let segment = segment(LinkType::ETHERNET, &[]);
    let bytes = index(LinkType::ETHERNET, &segment, IndexLimits::default());
    model::check(LinkType::ETHERNET, &segment, &bytes, IndexLimits::default());
    let index = Index::open(&bytes[..]).unwrap();
    assert_eq!((index.flow_count(), index.granule_count()), (0, 1));
}

/// Changes to a packet of a capture on its way into a test.
#[derive(Clone, Debug)]
struct Mutilation {
    file: prop::sample::Index,
    packet: prop::sample::Index,
    flips: Vec<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
    padding: usize,
    time: (u32, u32),
    len: Option<u32>,
}

fn mutilation() -> impl Strategy<Value = Mutilation> {
    (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        proptest::option::weighted(0.3, any::<prop::sample::Index>()),
        prop_oneof![8 => Just(0usize), 1 => 1000usize..40_000],
        prop_oneof![4 => (100u32..103, 0u32..2_000_000_000), 1 => (any::<u32>(), any::<u32>())],
        proptest::option::weighted(0.2, any::<u32>()),
    )
        .prop_map(|(file, packet, flips, cut, padding, time, len)| Mutilation {
            file,
            packet,
            flips,
            cut,
            padding,
            time,
            len,
        })
}

fn mutilate(captures: &[(LinkType, Vec<Packet>)], mutilation: &Mutilation) -> Packet {
    let (_, packets) = mutilation.file.get(captures);
    let mut packet = mutilation.packet.get(packets).clone();
    for (at, value) in &mutilation.flips {
        if !packet.bytes.is_empty() {
            // Most of what matters stands at the front.
            let at = at.index(packet.bytes.len().min(80));
            packet.bytes[at] ^= value;
        }
    }
    packet.bytes.extend(std::iter::repeat_n(0xee, mutilation.padding));
    if let Some(cut) = mutilation.cut {
        packet.bytes.truncate(cut.index(packet.bytes.len() + 1));
    }
    (packet.seconds, packet.nanoseconds) = mutilation.time;
    packet.len = mutilation.len.unwrap_or(packet.bytes.len() as u32);
    packet
}

const LINK_TYPES: [u16; 17] = [1, 0, 9, 12, 14, 50, 51, 101, 104, 108, 113, 228, 229, 276, 105, 147, 195];

#[test]
fn mutilated_packets_are_indexed_as_the_model_says() {
    let captures: Vec<_> = captures::paths()
        .iter()
        .map(|path| captures::read(path))
        .filter(|(_, packets)| !packets.is_empty())
        .collect();
    if captures.is_empty() {
        return;
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let input =
        (prop::sample::select(&LINK_TYPES[..]), 9u8..15, proptest::collection::vec(mutilation(), 0..300));
    let outcome = runner.run(&input, |(link_type, granule_shift, mutilations)| {
        let link_type = LinkType(link_type);
        let of_type: Vec<_> = captures.iter().filter(|(found, _)| *found == link_type).cloned().collect();
        let sources = if of_type.is_empty() { &captures } else { &of_type };
        let packets: Vec<Packet> =
            mutilations.iter().map(|mutilation| mutilate(sources, mutilation)).collect();
        let segment = segment(link_type, &packets);
        let limits = IndexLimits { granule_shift, ..IndexLimits::default() };
        model::check(link_type, &segment, &index(link_type, &segment, limits), limits);
        Ok(())
    });
    outcome.unwrap();
}

/// Beyond the limits less is known of a packet, and what is known is still so.
#[test]
fn the_law_holds_beyond_the_limits() {
    let all: Vec<Packet> = captures::paths()
        .iter()
        .map(|path| captures::read(path))
        .filter(|(link_type, _)| *link_type == LinkType::ETHERNET)
        .flat_map(|(_, packets)| packets.into_iter().take(40))
        .collect();
    let segment = segment(LinkType::ETHERNET, &all);
    let records: Vec<_> = Records::of_segment(&segment).collect();
    for (flows_max, templates_max) in [(0, 0), (1, 1), (100, 20), (10_000, 20), (100, 10_000)] {
        let limits = IndexLimits { flows_max, templates_max, ..IndexLimits::default() };
        let bytes = index(LinkType::ETHERNET, &segment, limits);
        let index = Index::open(&bytes[..]).unwrap();
        index.verify().unwrap();
        let templates = index.templates().unwrap();
        assert!(templates.len() <= 2 * templates_max as usize + 1);
        assert!(index.flow_count() as usize <= flows_max as usize + templates.len());
        let mut cursor = index.cursor();
        let mut packets = 0;
        let mut candidates = vec![Vec::new(); records.len()];
        for item in index.flows() {
            let (id, flow) = item.unwrap();
            packets += flow.packets;
            let mut granules = Vec::new();
            cursor.granules_of(id, &mut granules).unwrap();
            let template = &templates[flow.template as usize];
            let mut description = netrewind_index::Description::default();
            template.describe(&flow, &mut description);
            for (record, candidates) in records.iter().zip(&mut candidates) {
                let mut bits = description.bytes.iter().zip(&description.known).enumerate();
                let agrees = bits.all(|(at, (value, known))| {
                    record
                        .packet
                        .get(at)
                        .map_or(*known == 0 || Some(at) == template.tcp_flags_offset(), |byte| {
                            byte & known == *value
                        })
                });
                let granule = (record.offset / index.granule_bytes()) as u32;
                if agrees && granules.contains(&granule) && flow.caplen.contains(&record.header.caplen) {
                    candidates.push(id);
                }
            }
        }
        assert_eq!(packets, records.len() as u64);
        assert!(
            candidates.iter().all(|flows| !flows.is_empty()),
            "every packet is in a flow that says nothing wrong of it"
        );
    }
}
