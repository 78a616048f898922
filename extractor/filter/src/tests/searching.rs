//! The terms of a filter, against the packets that it accepts.

use netrewind_store::LinkType;

use super::corpus;
use super::expressions;
use super::judging::Set;
use super::random::Random;
use crate::{AbstractPacket, Conjunction, Demand, Term, TermField, Terms};

const EXPRESSIONS: usize = 3000;
const SETS_EACH: usize = 4;
const MEMBERS_EACH: usize = 24;

fn template(version: u8, protocol: u8) -> AbstractPacket {
    let mut template = AbstractPacket::new();
    let addresses = if version == 4 {
        template.describe_exactly(12, &[8, 0, 0x45]);
        template.describe(20, &[0, 0], &[0x1f, 0xff]);
        template.describe_exactly(23, &[protocol]);
        (26, 4)
    } else {
        template.describe_exactly(12, &[0x86, 0xdd, 0x60]);
        template.describe_exactly(20, &[protocol]);
        (22, 16)
    };
    template.place(TermField::SourceAddress, addresses.0, addresses.1);
    template.place(TermField::DestinationAddress, addresses.0 + u32::from(addresses.1), addresses.1);
    let transport = addresses.0 + 2 * u32::from(addresses.1);
    template.place(TermField::SourcePort, transport, 2);
    template.place(TermField::DestinationPort, transport + 2, 2);
    template
}

fn terms(expression: &str, template: &AbstractPacket) -> Terms {
    expressions::filter(expression, LinkType::ETHERNET)
        .unwrap_or_else(|| panic!("{expression}"))
        .program
        .terms(template)
}

fn bits(field: TermField, bytes: u8, prefix_bits: u32, value: u128) -> Term {
    let mask = (u128::MAX << (128 - prefix_bits)) >> (128 - u32::from(bytes) * 8);
    Term { field, demand: Demand::Bits { bytes, mask, value } }
}

fn range(field: TermField, low: u16, high: u16) -> Term {
    Term { field, demand: Demand::Range { low, high } }
}

fn any_of(mut conjunctions: Vec<Conjunction>) -> Terms {
    conjunctions.sort();
    Terms::AnyOf(conjunctions)
}

#[test]
fn a_host_is_one_term_on_either_side() {
    use TermField::{DestinationAddress, SourceAddress};
    let tcp = template(4, 6);
    let host = 0x0a00_0001;
    let expected =
        any_of(vec![vec![bits(SourceAddress, 4, 32, host)], vec![bits(DestinationAddress, 4, 32, host)]]);
    assert_eq!(terms("host 10.0.0.1", &tcp), expected);
    assert_eq!(terms("tcp and host 10.0.0.1 and tcp[13] & 2 != 0", &tcp), expected);
    assert_eq!(terms("udp and host 10.0.0.1", &tcp), any_of(vec![]));
    assert_eq!(
        terms("src net 10.1.0.0/16", &tcp),
        any_of(vec![vec![bits(SourceAddress, 4, 16, 0x0a01_0000)]])
    );
    assert_eq!(terms("tcp", &tcp), Terms::Unconstrained);
    assert_eq!(terms("not host 10.0.0.1", &tcp), Terms::Unconstrained);
}

#[test]
fn an_ipv6_host_is_one_term_of_sixteen_bytes() {
    let host = std::net::Ipv6Addr::from_bits(0x2001_0db8_0000_0001_0000_0000_0000_0042);
    let found = terms(&format!("src host {host} and tcp dst port 443"), &template(6, 6));
    let address = bits(TermField::SourceAddress, 16, 128, host.to_bits());
    assert_eq!(found, any_of(vec![vec![address, range(TermField::DestinationPort, 443, 443)]]));
    let Demand::Bits { .. } = address.demand else { panic!() };
    assert_eq!(address.demand.prefix_bits(), Some(128));
    let net = terms("src net 2001:db8::/33", &template(6, 6));
    assert_eq!(net, any_of(vec![vec![bits(TermField::SourceAddress, 16, 33, 0x2001_0db8 << 96)]]));
}

#[test]
fn ports_are_ranges() {
    use TermField::{DestinationPort, SourcePort};
    let udp = template(4, 17);
    assert_eq!(terms("dst port 53", &udp), any_of(vec![vec![range(DestinationPort, 53, 53)]]));
    // A destination port is only looked at where the source port is outside.
    let either = any_of(vec![
        vec![range(SourcePort, 100, 200)],
        vec![range(SourcePort, 0, 99), range(DestinationPort, 100, 200)],
        vec![range(SourcePort, 201, 65535), range(DestinationPort, 100, 200)],
    ]);
    assert_eq!(terms("udp portrange 100-200", &udp), either);
    assert_eq!(terms("udp[0:2] > 1023", &udp), any_of(vec![vec![range(SourcePort, 1024, 65535)]]));
    assert_eq!(terms("tcp dst port 53", &udp), any_of(vec![]));
}

#[test]
fn terms_of_both_sides_stand_together() {
    use TermField::{DestinationAddress, SourceAddress};
    let (one, two) = (0x0a00_0001, 0x0a00_0002);
    let found = terms("host 10.0.0.1 and host 10.0.0.2", &template(4, 6));
    let there = vec![bits(SourceAddress, 4, 32, one), bits(DestinationAddress, 4, 32, two)];
    let back = vec![bits(SourceAddress, 4, 32, two), bits(DestinationAddress, 4, 32, one)];
    assert_eq!(found, any_of(vec![there, back]));
}

#[test]
fn long_lists_keep_their_terms() {
    let list = |kind: &str, count: u32, base: u32| {
        let hosts: Vec<_> =
            (0..count).map(|i| format!("{kind} {}", std::net::Ipv4Addr::from(base + i))).collect();
        hosts.join(" or ")
    };
    let Terms::AnyOf(hosts) = terms(&list("host", 60, 0x0a00_0000), &template(4, 6)) else { panic!() };
    assert_eq!(hosts.len(), 120);
    // 40 times 40 pairs on two sides are too many: each path keeps one of its addresses.
    let pairs =
        format!("({}) and ({})", list("src host", 40, 0x0a00_0000), list("dst host", 40, 0x0b00_0000));
    let Terms::AnyOf(pairs) = terms(&pairs, &template(4, 6)) else { panic!() };
    assert!(pairs.len() <= 80 && pairs.iter().all(|conjunction| conjunction.len() == 1), "{}", pairs.len());
}

#[test]
fn an_accepted_packet_satisfies_a_conjunction() {
    let mut random = Random::new("terms");
    let packets = corpus::packets();
    let (mut unconstrained, mut constrained, mut satisfied) = (0, 0, 0);
    for _ in 0..EXPRESSIONS {
        let about = random.pick(&packets).clone();
        let expression = expressions::random(&mut random, &about.bytes);
        let Some(filter) = expressions::filter(&expression, about.link_type) else { continue };
        for _ in 0..SETS_EACH {
            let mut set = Set::around(&mut random, &about);
            let places =
                if random.one_in(4) { random_places(&mut random) } else { usual_places(&about.bytes) };
            for (field, offset, bytes) in places {
                set.description.place(field, offset as u32, bytes as u8);
                set.description.forget(offset, bytes);
                let end = (offset + bytes).min(set.known.len());
                set.known[offset.min(end)..end].fill(0);
            }
            let Terms::AnyOf(conjunctions) = filter.program.terms(&set.description) else {
                unconstrained += 1;
                continue;
            };
            constrained += 1;
            for _ in 0..MEMBERS_EACH {
                let packet = set.draw(&mut random, &filter.program);
                if filter.program.accepts(&packet.bytes, packet.wire_len) {
                    satisfied += 1;
                    let found = conjunctions
                        .iter()
                        .any(|terms| terms.iter().all(|term| holds(term, &set.description, &packet.bytes)));
                    assert!(
                        found,
                        "`{expression}` accepts {packet:02x?} of {:02x?} but {conjunctions:x?}",
                        set.description
                    );
                }
            }
        }
    }
    println!("{constrained} with terms, {unconstrained} without; {satisfied} accepted packets");
    assert!(constrained > 100 && unconstrained > 100 && satisfied > 100);
}

fn holds(term: &Term, description: &AbstractPacket, packet: &[u8]) -> bool {
    let place = description.key_place(term.field).expect("a place");
    // Of a field that the packet's end cuts, only bytes inside the packet can have been compared.
    let field: Vec<_> = (0..usize::from(place.bytes))
        .map(|at| packet.get(place.offset as usize + at).copied().unwrap_or(0))
        .collect();
    term.demand.admits(&field)
}

fn usual_places(bytes: &[u8]) -> Vec<(TermField, usize, usize)> {
    let (start, address) = if bytes.get(12..14) == Some(&[0x86, 0xdd]) { (22, 16) } else { (26, 4) };
    let ports = start + 2 * address;
    vec![
        (TermField::SourceAddress, start, address),
        (TermField::DestinationAddress, start + address, address),
        (TermField::SourcePort, ports, 2),
        (TermField::DestinationPort, ports + 2, 2),
    ]
}

fn random_places(random: &mut Random) -> Vec<(TermField, usize, usize)> {
    let mut at = random.below(30);
    TermField::ALL
        .into_iter()
        .map(|field| {
            let place = (field, at, *random.pick(&[1, 2, 3, 4, 6, 16]));
            at += place.2 + random.below(4);
            place
        })
        .collect()
}
