use std::sync::Arc;

use netrewind_flows::conversation::{RangeEnd, describe};
use netrewind_flows::search::Search;
use proptest::prelude::*;

use super::*;
use crate::build::record_of;
use crate::condition::CatalogRecord;
use crate::edges::Edges;
use crate::search_condition::condition_of;

pub(crate) const BASE_NS: u64 = 1_795_338_000_000_000_000;

fn tunnel() -> impl Strategy<Value = TunnelRecord> {
    let ends = prop_oneof![
        Just((None, None)),
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(one, other)| (Some(one.into()), Some(other.into()))),
        (any::<[u8; 16]>(), any::<[u8; 16]>())
            .prop_map(|(one, other)| (Some(IpAddr::from(one)), Some(IpAddr::from(other)))),
    ];
    let kinds: Vec<_> = (0..=u8::MAX).filter_map(tunnel_kind).map(tunnel_name).collect();
    (prop::sample::select(kinds), prop::option::of(any::<u32>()), ends).prop_map(
        |(kind, id, (source, destination))| TunnelRecord { kind: kind.into(), id, source, destination },
    )
}

fn labels() -> impl Strategy<Value = Option<Arc<LabelTexts>>> {
    let texts = [
        "tls",
        "www.Example.com",
        "example.com",
        "h2",
        "Mozilla/5.0 (X11; Linux x86_64)",
        "curl/8 linux",
        "é..com",
    ];
    let label = (prop::sample::select(LabelKey::ALL.to_vec()), prop::sample::select(texts.to_vec()));
    prop::option::of(prop::collection::vec(label, 0..6))
        .prop_map(|labels| labels.map(|labels| LabelTexts::of(&labels)))
}

fn side(is_tcp: bool, is_icmp: bool) -> impl Strategy<Value = DirectionCounters> {
    let some =
        (1u64..1000, 1u64..1_000_000, 0u64..5_000_000_000, 0u64..5_000_000_000, any::<[u8; 2]>(), 0u64..300)
            .prop_map(move |(packets, bytes, first, length, [flags_any, flags_all], again)| {
                let first = BASE_NS - 1_000_000_000 + first;
                let mut side = DirectionCounters {
                    packets,
                    bytes,
                    first,
                    last: first + length,
                    ..DirectionCounters::NOTHING
                };
                if is_tcp || is_icmp {
                    (side.flags_any, side.flags_all) = (flags_any, flags_all);
                }
                if is_tcp {
                    (side.retransmissions, side.out_of_order) = (again, again / 2);
                }
                side
            });
    prop_oneof![1 => Just(DirectionCounters::NOTHING), 5 => some]
}

pub(crate) type Made = (FlowKey, FlowCounters, bool, [Vec<TunnelRecord>; 2], Vec<u16>);

pub(crate) fn made() -> impl Strategy<Value = Made> {
    let key =
        (prop::sample::select(KINDS.to_vec()), any::<bool>(), prop::sample::select(vec![6u8, 17, 1, 58, 89]));
    key.prop_flat_map(|(kind, is_ipv6, protocol)| {
        let is_tcp = kind == FlowKeyKind::Ports && protocol == 6;
        let sides = [side(is_tcp, kind == FlowKeyKind::Icmp), side(is_tcp, kind == FlowKeyKind::Icmp)];
        let tunnels = || prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(tunnel(), 1..3)];
        (
            (any::<[u32; 2]>(), any::<[u16; 3]>(), sides, labels(), any::<bool>(), any::<bool>()),
            (prop::option::of(any::<u64>()), 1u32..100, [tunnels(), tunnels()]),
            prop::collection::btree_set(0u16..4096, 0..3),
        )
            .prop_filter("some packets", |((_, _, sides, ..), ..)| sides.iter().any(|side| side.packets > 0))
            .prop_map(
                move |(
                    (ends, [one, other, detail], sides, labels, has_fragments, is_open),
                    (round_trip_ns, segments, tunnels),
                    vlans,
                )| {
                    let has = |wanted: &[FlowKeyKind]| wanted.contains(&kind);
                    let key = FlowKey {
                        addresses: if kind == FlowKeyKind::Other { [0; 2] } else { ends.map(u128::from) },
                        ports: if has(&[FlowKeyKind::Ports]) { [one, other] } else { [0; 2] },
                        detail: if has(&[FlowKeyKind::Icmp, FlowKeyKind::Other]) { detail } else { 0 },
                        protocol,
                        kind,
                        is_ipv6,
                        carrier: 0,
                    };
                    let body = FlowCounters {
                        sides,
                        vlans: 0,
                        segments,
                        has_fragments,
                        round_trip_ns,
                        labels,
                        is_loose: false,
                        places: None,
                    };
                    (key, body, is_open, tunnels, vlans.into_iter().collect())
                },
            )
    })
}

/// With its tunnels and VLANs known to `encapsulations`.
pub(crate) fn carried(
    (mut key, mut body, _, tunnels, vlans): Made,
    encapsulations: &Encapsulations,
) -> (FlowKey, FlowCounters) {
    for (side, tunnels) in body.sides.iter_mut().zip(tunnels).filter(|(side, _)| side.packets > 0) {
        let (carrier, stack) = encapsulations.number(tunnels);
        if stack != 0 {
            (key.carrier, side.stack) = (carrier, stack);
        }
    }
    body.vlans = encapsulations.vlan_set(vlans);
    (key, body)
}

fn kept(key: &FlowKey, body: &FlowCounters, encapsulations: &Encapsulations) -> CatalogRecord {
    record_of(key, body, encapsulations, Edges { base: BASE_NS, begins: 0, ends: u64::MAX })
}

const SEARCHES: [&str; 22] = [
    "protocol:TCP",
    "app:tls",
    "NOT app:tls",
    "sni:example.com",
    "sni:com",
    "NOT sni:COM",
    "ua:linux",
    "ua:\"linux x86_64\"",
    "NOT ua:\"linux x86_64\"",
    "ua:\"...\"",
    "alpn:H2",
    "bytes:>1000",
    "NOT bytes:>1000",
    "packets:[2 TO 500]",
    "port:<1000",
    "server_port:443",
    "host:\"0.0.0.0/1\"",
    "NOT client:\"128.0.0.0/1\"",
    "vlan:<100",
    "vni:>5",
    "state:finished OR rtt:>1s",
    "NOT (state:finished OR rtt:>1s) AND example.com",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_comes_back_as_it_was(made in made()) {
        let (before, after) = (Encapsulations::default(), Encapsulations::default());
        let is_open = made.2;
        let (key, body) = carried(made, &before);
        let bytes = write(&key, &body, is_open, &before, BASE_NS);
        let (part, read_open) = read(&bytes, &after, BASE_NS).expect("a record");
        prop_assert_eq!(read_open.is_open, is_open);
        let told = |key, body, encapsulations| describe(key, body, encapsulations, RangeEnd::NEVER);
        prop_assert_eq!(told(&part.key, &part.body, &after), told(&key, &body, &before));
        let again = write(&part.key, &part.body, is_open, &after, BASE_NS);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn what_a_search_finds_the_catalog_finds(made in made()) {
        let encapsulations = Encapsulations::default();
        let (key, body) = carried(made, &encapsulations);
        let (flow, told) = (kept(&key, &body, &encapsulations), describe(&key, &body, &encapsulations, RangeEnd::NEVER));
        for text in SEARCHES {
            let search: Search = text.parse().expect("a search");
            let is_found = condition_of(&search).accepts(&flow);
            prop_assert!(is_found || !search.accepts(&told), "{} of {:?}", text, flow);
            if !text.contains("state") && !text.contains("\"linux") {
                prop_assert_eq!(is_found, search.accepts(&told), "{} of {:?}", text, flow);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), made in made(), at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let encapsulations = Encapsulations::default();
        let _ = read(&bytes, &encapsulations, BASE_NS);
        let (key, body) = carried(made, &encapsulations);
        let whole = write(&key, &body, false, &encapsulations, BASE_NS);
        prop_assert!(read(&whole[..at.index(whole.len())], &encapsulations, BASE_NS).is_none());
        let mut changed = whole.clone();
        changed[at.index(whole.len())] ^= 1 << bit;
        if let Some((part, _)) = read(&changed, &encapsulations, BASE_NS) {
            let _ = describe(&part.key, &part.body, &encapsulations, RangeEnd::NEVER);
        }
    }
}
