//! Lookups find exactly the flows that a look at every flow finds.

use std::net::IpAddr;

use netrewind_index::{Constraint, Flow, Index, IndexLimits, KeyConstraint, KeyField, Template};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::{captures, index, segment};

fn value(flow: &Flow, field: KeyField) -> u128 {
    let number = |address: Option<IpAddr>| match address {
        Some(IpAddr::V4(address)) => u128::from(address.to_bits()),
        Some(IpAddr::V6(address)) => address.to_bits(),
        None => 0,
    };
    match field {
        KeyField::SourceAddress => number(flow.source),
        KeyField::DestinationAddress => number(flow.destination),
        KeyField::SourcePort => u128::from(flow.source_port),
        KeyField::DestinationPort => u128::from(flow.destination_port),
    }
}

fn satisfies(templates: &[Template], flow: &Flow, term: &KeyConstraint) -> bool {
    templates[flow.template as usize].field(term.field).is_some()
        && term.constraint.accepts(value(flow, term.field))
}

#[derive(Clone, Debug)]
struct Wish {
    flow: prop::sample::Index,
    field: prop::sample::Index,
    kind: u8,
    mask: u128,
    spread: u128,
}

fn term(flows: &[Flow], wish: &Wish) -> KeyConstraint {
    let field = *wish.field.get(&KeyField::ALL);
    let value = value(wish.flow.get(flows), field);
    let constraint = match wish.kind % 5 {
        0 => Constraint::Range(value..=value),
        1 => Constraint::Range(value.saturating_sub(wish.spread)..=value.saturating_add(wish.spread)),
        2 => Constraint::Masked { mask: wish.mask, value: value & wish.mask },
        3 => Constraint::Masked {
            mask: u128::MAX << (wish.mask % 32),
            value: value & u128::MAX << (wish.mask % 32),
        },
        _ => Constraint::Masked { mask: wish.mask, value: wish.spread },
    };
    KeyConstraint { field, constraint }
}

#[test]
fn lookups_find_what_a_scan_finds() {
    let wishes = proptest::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            any::<u8>(),
            any::<(u128, u128)>(),
            0u32..128,
        )
            .prop_map(|(flow, field, kind, (mask, spread), shift)| Wish {
                flow,
                field,
                kind,
                mask: mask >> shift,
                spread: spread >> shift,
            }),
        1..4,
    );
    let mut runner = proptest::test_runner::TestRunner::default();
    for path in captures::paths().iter().step_by(3) {
        let (link_type, packets) = captures::read(path);
        let bytes = index(link_type, &segment(link_type, &packets), IndexLimits::default());
        let index = Index::open(&bytes[..]).unwrap();
        let templates = index.templates().unwrap();
        let flows: Vec<Flow> = index.flows().map(|item| item.unwrap().1).collect();
        if flows.is_empty() {
            continue;
        }
        for round in 0..20 {
            let wishes = Strategy::new_tree(&wishes, &mut runner).unwrap().current();
            let terms: Vec<KeyConstraint> = wishes.iter().map(|wish| term(&flows, wish)).collect();
            let wanted: Vec<bool> =
                (0..templates.len()).map(|number| round % 2 == 0 || number % 3 > 0).collect();
            let found = index.flows_with_any(&wanted, &terms).unwrap();
            let expected: Vec<u32> = (0..index.flow_count())
                .filter(|&id| {
                    let flow = &flows[id as usize];
                    wanted[flow.template as usize]
                        && terms.iter().any(|term| satisfies(templates, flow, term))
                })
                .collect();
            assert_eq!(found, expected, "{terms:?} in {}", path.display());
            // Of two addresses, and of those that the terms themselves demand.
            let flow = &flows[round * 31 % flows.len()];
            let exactly = |field| Constraint::Range(value(flow, field)..=value(flow, field));
            let two = [KeyField::SourceAddress, KeyField::DestinationAddress]
                .map(|field| KeyConstraint { field, constraint: exactly(field) });
            let is_address = |term: &&KeyConstraint| {
                !matches!(term.field, KeyField::SourcePort | KeyField::DestinationPort)
            };
            let own: Vec<KeyConstraint> = terms.iter().filter(is_address).cloned().collect();
            for ends in [&two[..], &own] {
                let between = index.flows_between(&wanted, &terms, ends).unwrap();
                assert!(between.is_sorted() && between.iter().all(|id| found.binary_search(id).is_ok()));
                let is_end = |flow: &Flow, is: KeyField| {
                    let has_it = templates[flow.template as usize].field(is).is_some();
                    has_it && ends.iter().any(|term| term.constraint.accepts(value(flow, is)))
                };
                let ends_are = |id: &&u32| {
                    let flow = &flows[**id as usize];
                    is_end(flow, KeyField::SourceAddress) && is_end(flow, KeyField::DestinationAddress)
                };
                for id in found.iter().filter(ends_are) {
                    assert!(between.binary_search(id).is_ok(), "flow {id} of {terms:?} between {ends:?}");
                }
            }
            let chosen = index.flows_of(&wanted).map(|item| item.unwrap().0);
            assert!(
                chosen.eq((0..index.flow_count()).filter(|&id| wanted[flows[id as usize].template as usize]))
            );
        }
        for flow in &flows {
            assert!(flow.source.is_none_or(|address| index.contains_address(address).unwrap()));
            assert!(flow.destination.is_none_or(|address| index.contains_address(address).unwrap()));
        }
        let all: Vec<IpAddr> =
            flows.iter().flat_map(|flow| [flow.source, flow.destination]).flatten().collect();
        for address in &all {
            let next = match address {
                IpAddr::V4(address) => IpAddr::V4((address.to_bits().wrapping_add(1)).into()),
                IpAddr::V6(address) => IpAddr::V6((address.to_bits().wrapping_sub(1)).into()),
            };
            assert_eq!(index.contains_address(next).unwrap(), all.contains(&next));
        }
        for port in 0..=u16::MAX {
            let is_used = flows.iter().any(|flow| {
                templates[flow.template as usize].field(KeyField::DestinationPort).is_some()
                    && (flow.source_port == port || flow.destination_port == port)
            });
            if port % 97 == 0 || is_used {
                assert_eq!(index.contains_ports(port..=port).unwrap(), is_used);
            }
        }
    }
}
