//! Packets in tunnels: for every view the answer with indexes is the answer without is libpcap's verdict on the view's
//! bytes. Of generated packets it is known what they carry; of public captures the walk that the index takes tells.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "what fails here fails the test")]
#![allow(dead_code, reason = "the generator has more than is needed here")]

#[path = "../../indexer/packet/tests/tunnels/chance.rs"]
mod chance;
#[path = "../../indexer/packet/tests/tunnels/generate.rs"]
mod generate;
#[path = "../../indexer/packet/tests/tunnels/headers.rs"]
mod headers;
mod support;

use std::collections::HashMap;
use std::net::IpAddr;

use netrewind_extractor::lists::{AddressList, ListDemands, PortList};
use netrewind_extractor::{ExtractError, JoinedFilter, NoControl, Query, TunnelDemands, ViewMode};
use netrewind_packet::tunnel::{TunnelKind, addresses_of};
use netrewind_packet::{PREFIX_BYTES_MAX, Shape, TransportKey, dissect};
use netrewind_store::{LinkType, RecordHeader};
use support::linking::{Own, Parts, linked_model};
use support::{Chance, Libpcap, Stored, TestStore, extract, name, seed};

const STORES: usize = 8;
const PACKETS: usize = 400;
const QUERIES: usize = 60;
const DEPTH: usize = 3;
const CAPTURES: usize = 40;
const CAPTURED_PACKETS_MAX: usize = 300;

/// What is true of a packet.
#[derive(Clone, Debug, Default)]
struct Truth {
    /// From the outermost.
    views: Vec<Stored>,
    tunnels: Vec<(TunnelKind, Option<u32>)>,
}

/// What is known of the packets of a store, by their bytes.
#[derive(Default)]
struct Known(HashMap<Vec<u8>, Truth>);

impl Known {
    fn of(&self, packet: &Stored) -> Truth {
        self.0.get(&packet.bytes).map_or_else(|| dissected(packet), |truth| at_time_of(packet, truth))
    }
}

fn at_time_of(packet: &Stored, truth: &Truth) -> Truth {
    let mut truth = truth.clone();
    for view in &mut truth.views {
        view.header.seconds = packet.header.seconds;
        view.header.nanoseconds = packet.header.nanoseconds;
    }
    truth.views[0] = packet.clone();
    truth
}

fn dissected(packet: &Stored) -> Truth {
    let dissection = dissect(packet.link_type, &packet.bytes, packet.header.len);
    let inner = dissection.views()[1..].iter().map(|view| {
        let header = RecordHeader { caplen: view.caplen, len: view.len, ..packet.header };
        Stored { header, bytes: view.bytes(&packet.bytes).to_vec(), link_type: view.view.link_type }
    });
    let views = [packet.clone()].into_iter().chain(inner).collect();
    let tunnels = dissection.tunnels(&packet.bytes).map(|tunnel| (tunnel.kind, tunnel.id)).collect();
    Truth { views, tunnels }
}

fn generated(seed: u64, varying: u64, n: u32) -> (Stored, Truth) {
    let packet = generate::packet(&mut generate::Chance::new(seed, varying), DEPTH);
    let stored = |bytes: &[u8], link_type| {
        let len = bytes.len() as u32;
        let header = RecordHeader { seconds: 1_795_339_862 + n, nanoseconds: n, caplen: len, len };
        Stored { header, bytes: bytes.to_vec(), link_type }
    };
    let is_within_limits = |view: &&generate::Expected| view.offset + 64 <= PREFIX_BYTES_MAX;
    let views: Vec<_> = packet.views.iter().take_while(is_within_limits).collect();
    let is_whole = views.len() == packet.views.len();
    let truth = Truth {
        views: views.iter().map(|v| stored(&packet.bytes[v.offset..v.offset + v.len], v.link_type)).collect(),
        tunnels: packet.tunnels,
    };
    let outer = stored(&packet.bytes, LinkType::ETHERNET);
    let truth = if is_whole { truth } else { dissected(&outer) };
    (outer, truth)
}

/// Stores whose packets repeat some flows, whole or cut, and a few bytes that mean nothing.
fn build(chance: &mut Chance) -> (TestStore, Known) {
    let (mut test, mut known) = (TestStore::default(), Known::default());
    let flows: Vec<u64> = (0..30).map(|_| chance.next()).collect();
    for second in 0..4 {
        let mut packets = Vec::new();
        let cuts = second == 3;
        for n in 0..PACKETS as u32 {
            let (mut packet, truth) = generated(*chance.pick(&flows), chance.next(), n);
            match chance.below(40) {
                0 => {
                    let at = chance.below(packet.bytes.len().min(100));
                    packet.bytes[at] ^= 1 << chance.below(8);
                }
                1..6 if cuts => packet.bytes.truncate(chance.below(200)),
                _ => _ = known.0.insert(packet.bytes.clone(), truth),
            }
            packet.header.caplen = packet.bytes.len() as u32;
            packets.push(packet);
        }
        match second {
            1 => _ = test.seal(name(second, 0), packets),
            2 => test.open(name(second, 0), packets, PACKETS / 2),
            _ => test.seal_indexed(name(second, 0), packets),
        }
    }
    (test, known)
}

/// Without the VLAN tags of an Ethernet frame, or behind a cooked header.
fn untagged(view: &Stored) -> Stored {
    const TPIDS: [[u8; 2]; 5] = [[0x81, 0], [0x88, 0xa8], [0x91, 0], [0x92, 0], [0x93, 0]];
    let (type_at, payload_at) = match view.link_type.0 {
        1 => (12, 14),
        113 => (14, 16),
        276 => (0, 20),
        _ => return view.clone(),
    };
    let mut view = view.clone();
    while view.bytes.len() >= payload_at + 4
        && TPIDS.contains(&[view.bytes[type_at], view.bytes[type_at + 1]])
    {
        let kind = [view.bytes[payload_at + 2], view.bytes[payload_at + 3]];
        view.bytes.drain(payload_at..payload_at + 4);
        view.bytes[type_at..type_at + 2].copy_from_slice(&kind);
        view.header.caplen -= 4;
        view.header.len = view.header.len.saturating_sub(4);
    }
    view
}

fn accepts(query: &Query, truth: &Truth, libpcap: &mut Libpcap) -> bool {
    let has = |kinds: &[TunnelKind], wanted: Option<u32>| {
        wanted
            .is_none_or(|id| truth.tunnels.iter().any(|(kind, has)| kinds.contains(kind) && *has == Some(id)))
    };
    use TunnelKind::{Eoip, Erspan2, Erspan3, Geneve, Gre, Vxlan, VxlanGpe};
    if !has(&[Vxlan, VxlanGpe, Geneve], query.tunnels.vni)
        || !has(&[Gre, Eoip], query.tunnels.gre_key)
        || !has(&[Erspan2, Erspan3], query.tunnels.erspan_session)
    {
        return false;
    }
    is_listed(query, &truth.views[0]) && accepts_view(truth, query.view, query.ignore_vlan, libpcap)
}

/// Source and destination of the IP headers that the view shows, and the innermost ports.
fn ends_of(packet: &Stored, view: ViewMode) -> (Vec<IpAddr>, Vec<u16>) {
    let dissection = dissect(packet.link_type, &packet.bytes, packet.header.len);
    let last = dissection.views().len() - 1;
    let mut headers: Vec<(usize, (IpAddr, IpAddr))> = dissection
        .layers()
        .iter()
        .filter_map(|layer| Some((usize::from(layer.view), addresses_of(*layer, &packet.bytes)?)))
        .collect();
    let key = dissection.key;
    let v4 = |number: u128| IpAddr::from(std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap()));
    let v6 = |number: u128| IpAddr::from(std::net::Ipv6Addr::from_bits(number));
    let has_ports = match dissection.shape {
        Shape::None => false,
        Shape::Ipv4 { key: part, .. } => {
            headers.push((last, (v4(key.source), v4(key.destination))));
            part == TransportKey::Ports
        }
        Shape::Ipv6 { key: part, .. } => {
            headers.push((last, (v6(key.source), v6(key.destination))));
            part == TransportKey::Ports
        }
    };
    headers.retain(|(number, _)| match view {
        ViewMode::Outer => *number == 0,
        ViewMode::Inner => *number == last,
        ViewMode::Any => true,
    });
    let addresses = headers.iter().flat_map(|(_, (source, destination))| [*source, *destination]).collect();
    (addresses, if has_ports { vec![key.source_port, key.destination_port] } else { Vec::new() })
}

fn is_listed(query: &Query, packet: &Stored) -> bool {
    let (addresses, ports) = ends_of(packet, query.view);
    let lists = &query.lists;
    lists.hosts.as_ref().is_none_or(|hosts| addresses.iter().any(|address| hosts.contains(*address)))
        && lists.ports.as_ref().is_none_or(|list| ports.iter().any(|port| list.contains(*port)))
}

/// Lists that have to do with a packet.
fn lists_near(chance: &mut Chance, packet: &Stored, view: ViewMode) -> ListDemands {
    let (addresses, ports) = ends_of(packet, view);
    let mut entries = vec!["192.0.2.77".to_owned(), "2001:db8:77::/48".to_owned()];
    for address in addresses {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        entries.push(match chance.below(5) {
            0 => format!("{address}/{}", bits - 8),
            1 => format!("!{address}"),
            2 => format!("{address}-{address}"),
            _ => address.to_string(),
        });
    }
    let hosts = AddressList::parse(&entries.join("\n")).unwrap().0;
    let port = ports.first().copied().unwrap_or(53);
    let text = [format!("{port}\n7-9"), format!("!{port}"), "1024-65535".to_owned()];
    let ports = PortList::parse(chance.pick(&text[..]).as_str()).unwrap().0;
    match chance.below(3) {
        0 if view == ViewMode::Inner => ListDemands { ports: Some(ports), ..ListDemands::default() },
        1 if view == ViewMode::Inner => {
            ListDemands { hosts: Some(hosts), ports: Some(ports), ..ListDemands::default() }
        }
        _ => ListDemands { hosts: Some(hosts), ..ListDemands::default() },
    }
}

fn accepts_view(truth: &Truth, view: ViewMode, ignore_vlan: bool, libpcap: &mut Libpcap) -> bool {
    let views = match view {
        ViewMode::Outer => &truth.views[..1],
        ViewMode::Inner => &truth.views[truth.views.len() - 1..],
        ViewMode::Any => &truth.views,
    };
    views.iter().any(|view| match ignore_vlan {
        true => libpcap.accepts(&untagged(view)),
        false => libpcap.accepts(view),
    })
}

/// A filter that has to do with a view.
fn filter_near(chance: &mut Chance, view: &Stored, asks_length: bool) -> String {
    let bytes = untagged(view).bytes;
    let network = match view.link_type {
        LinkType::RAW => 0,
        LinkType::LINUX_SLL => 16,
        LinkType::LINUX_SLL2 => 20,
        _ => 14,
    };
    let byte = |at: usize| bytes.get(network + at).copied().unwrap_or(0);
    let word = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
    let is_ipv6 = byte(0) >> 4 == 6;
    let address = |second: bool| match is_ipv6 {
        true => {
            let start = if second { 24 } else { 8 };
            let address: [u8; 16] = std::array::from_fn(|i| byte(start + i));
            std::net::Ipv6Addr::from(address).to_string()
        }
        false => {
            let start = if second { 16 } else { 12 };
            std::net::Ipv4Addr::new(byte(start), byte(start + 1), byte(start + 2), byte(start + 3))
                .to_string()
        }
    };
    let transport = if is_ipv6 { 40 } else { usize::from(byte(0) & 15) * 4 };
    let (source_port, port) = (word(transport), word(transport + 2));
    let id = bytes.get(14..16).map_or(1, |id| u16::from_be_bytes([id[0], id[1]]) & 0xfff);
    let mac: Vec<_> = bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    match chance.below(18) {
        0 | 1 => format!("host {}", address(chance.one_in(2))),
        2 => format!("src host {} and dst host {}", address(false), address(true)),
        3 => format!("not host {}", address(true)),
        4 => format!("port {port}"),
        5 => format!("src portrange {}-{}", source_port.saturating_sub(5), source_port.saturating_add(5)),
        6 => format!("host {} and not port {port}", address(false)),
        7 => "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0".to_owned(),
        8 => format!("ether host {}", if mac.len() == 6 { mac.join(":") } else { "1:2:3:4:5:6".to_owned() }),
        9 => format!("vlan {id}"),
        10 => format!("vlan and host {}", address(false)),
        11 => "icmp or ip6".to_owned(),
        12 => format!("net 10.0.{}.0/24 and udp", byte(18)),
        13 => "ip proto 47 or udp".to_owned(),
        14 if asks_length => format!("greater {} and ip", view.bytes.len().saturating_sub(chance.below(3))),
        15 if asks_length => format!("less {}", view.bytes.len() + chance.below(3)),
        16 => format!("ether[{}] = {}", network + 9, byte(9)),
        _ => ["", "ip", "ip6", "tcp", "udp", "ip[9] = 6", "mpls", "not ip"][chance.below(8)].to_owned(),
    }
}

fn random_query(chance: &mut Chance, test: &TestStore, known: &Known, asks_length: bool) -> Query {
    let (_, packets) = chance.pick(&test.segments);
    let truth = known.of(chance.pick(packets));
    let view = chance.pick(&truth.views).clone();
    let mut query = Query::of(&filter_near(chance, &view, asks_length));
    query.view = *chance.pick(&[ViewMode::Inner, ViewMode::Inner, ViewMode::Outer, ViewMode::Any]);
    query.ignore_vlan = chance.one_in(3);
    query.decapsulate = chance.one_in(3);
    if chance.one_in(4) {
        query.tunnels = demands_near(chance, &truth);
    }
    if chance.one_in(3) {
        query.lists = lists_near(chance, &truth.views[0], query.view);
        if chance.one_in(2) {
            query.filter = String::new();
        }
    }
    for _ in 0..chance.below(3) {
        let truth = known.of(chance.pick(packets));
        let view = chance.pick(&truth.views).clone();
        let filter = filter_near(chance, &view, asks_length);
        let view = *chance.pick(&[ViewMode::Inner, ViewMode::Inner, ViewMode::Outer, ViewMode::Any]);
        query.joined.push(JoinedFilter { filter, view, ignore_vlan: chance.one_in(3) });
    }
    query
}

fn demands_near(chance: &mut Chance, truth: &Truth) -> TunnelDemands {
    let mut demands = TunnelDemands::default();
    for (kind, id) in &truth.tunnels {
        let id = id.map(|id| if chance.one_in(10) { id ^ 1 } else { id });
        match kind {
            TunnelKind::Vxlan | TunnelKind::VxlanGpe | TunnelKind::Geneve => demands.vni = id,
            TunnelKind::Gre | TunnelKind::Eoip => demands.gre_key = id,
            TunnelKind::Erspan2 | TunnelKind::Erspan3 => demands.erspan_session = id,
            _ => {}
        }
    }
    if demands.are_none() {
        demands.vni = Some(7);
    }
    demands
}

/// How many packets were found.
fn compare(test: &TestStore, known: &Known, query: &Query, context: &str) -> usize {
    let extractor = test.extractor();
    let without = Query { use_index: false, ..query.clone() };
    let mut libpcap = Libpcap::new(&query.filter);
    let (found, answer) = match extract(&extractor, query) {
        Ok(found) => found,
        Err(ExtractError::Filter(_)) => {
            assert!(matches!(extract(&extractor, &without), Err(ExtractError::Filter(_))), "{query:?}");
            return 0;
        }
        Err(error) => panic!("{context}, {query:?}: {error}"),
    };
    let mut joined: Vec<_> =
        query.joined.iter().map(|joined| (joined, Libpcap::new(&joined.filter))).collect();
    let mut model = linked_model(test, query, &Parts::dissected, &mut |packet| {
        let truth = known.of(packet);
        let is_accepted = accepts(query, &truth, &mut libpcap);
        let mut own = Own { is_accepted, by_outer: query.view != ViewMode::Outer || is_accepted };
        for (joined, libpcap) in &mut joined {
            let is_accepted = accepts_view(&truth, joined.view, joined.ignore_vlan, libpcap);
            own.is_accepted &= is_accepted;
            own.by_outer &= joined.view != ViewMode::Outer || is_accepted;
        }
        own
    });
    if query.decapsulate {
        // Fragments are put together first, which has a model of its own: `tests/reassembly.rs`.
        let is_fragment =
            |packet: &Stored| dissect(packet.link_type, &packet.bytes, packet.header.len).fragment;
        if model.iter().any(is_fragment) {
            return model.len();
        }
        model.iter_mut().for_each(|packet| *packet = known.of(packet).views.pop().unwrap());
    }
    let (slow, _) = extract(&extractor, &without).unwrap();
    same(&slow, &model, &format!("{context}, without index, {query:?}"));
    same(&found, &model, &format!("{context}, with index, {query:?}"));
    let count = extractor.count(query, &mut NoControl).unwrap();
    assert_eq!((count.packets, count.bytes), (answer.packets, answer.bytes), "{context}, count, {query:?}");
    let estimate = extractor.estimate(query).unwrap();
    assert!(
        (estimate.packets_min..=estimate.packets_max).contains(&answer.packets),
        "{context}, {query:?}: {estimate:?}, and {} packets",
        answer.packets
    );
    model.len()
}

fn same(answer: &[Stored], model: &[Stored], context: &str) {
    for (at, (found, expected)) in answer.iter().zip(model).enumerate() {
        assert!(found == expected, "{context}: packet {at} is {found:02x?}, not {expected:02x?}");
    }
    assert_eq!(answer.len(), model.len(), "{context}");
}

#[test]
fn generated_nestings_are_found_by_every_view() {
    let mut chance = Chance(seed());
    let mut packets = 0;
    for number in 0..STORES {
        let (test, known) = build(&mut chance);
        for _ in 0..QUERIES {
            let query = random_query(&mut chance, &test, &known, false);
            packets += compare(&test, &known, &query, &format!("store {number}"));
        }
    }
    eprintln!("{packets} packets compared");
    assert!(packets > 10_000);
}

/// A generated packet behind another link-layer header, with tags of every kind, now and then cut.
fn tagged(chance: &mut Chance, link_type: LinkType, flow: u64, n: u32) -> Stored {
    let (mut packet, _) = generated(flow, chance.next(), n);
    let frame = untagged(&packet).bytes;
    let (kind, payload) = (&frame[12..14], &frame[14..]);
    let count = *chance.pick(&[0, 1, 1, 2, 3, 10]);
    let tpids: [[u8; 2]; 5] = [[0x81, 0], [0x88, 0xa8], [0x91, 0], [0x92, 0], [0x93, 0]];
    let mut behind = Vec::new();
    for _ in 0..count {
        behind.extend(*chance.pick(&tpids));
        behind.extend([chance.below(16) as u8 * 16, chance.below(3) as u8]);
    }
    behind.extend(kind);
    let cooked = [0, 1, 0, 6, 2, 0, 0, 0, 0, chance.below(3) as u8, 0, 0];
    packet.bytes = match link_type {
        LinkType::LINUX_SLL => [&[0, 0], &cooked[..], &behind, payload].concat(),
        LinkType::LINUX_SLL2 => {
            let (protocol, behind) = behind.split_at(2);
            [protocol, &[0, 0, 0, 0, 0, 2], &cooked, behind, payload].concat()
        }
        _ => [&frame[..12], &behind, payload].concat(),
    };
    packet.link_type = link_type;
    packet.header.len = packet.bytes.len() as u32;
    if chance.one_in(6) {
        packet.bytes.truncate(chance.below(80));
    }
    packet.header.caplen = packet.bytes.len() as u32;
    packet
}

/// Behind every header in which a tag has a place, with every TPID.
#[test]
fn tags_are_ignored_behind_every_header() {
    let mut chance = Chance(seed() ^ 3);
    let (mut packets, known) = (0, Known::default());
    for link_type in [LinkType::ETHERNET, LinkType::LINUX_SLL, LinkType::LINUX_SLL2] {
        let mut test = TestStore::default();
        let flows: Vec<u64> = (0..20).map(|_| chance.next()).collect();
        for second in 0..2 {
            let stored = (0..PACKETS as u32)
                .map(|n| {
                    let flow = *chance.pick(&flows);
                    tagged(&mut chance, link_type, flow, n)
                })
                .collect();
            test.seal_indexed(name(second, 0), stored);
        }
        for _ in 0..QUERIES {
            let mut query = random_query(&mut chance, &test, &known, false);
            query.ignore_vlan = !chance.one_in(4);
            query.decapsulate = false;
            packets += compare(&test, &known, &query, &format!("{link_type}"));
        }
    }
    eprintln!("{packets} packets compared");
    assert!(packets > 5_000);
}

/// Of whole packets libpcap's length is the length on the wire.
#[test]
fn lengths_are_those_of_the_view() {
    let mut chance = Chance(seed() ^ 1);
    let (mut test, mut known) = (TestStore::default(), Known::default());
    let flows: Vec<u64> = (0..20).map(|_| chance.next()).collect();
    let packets = (0..PACKETS as u32).map(|n| {
        let (packet, truth) = generated(*chance.pick(&flows), chance.next(), n);
        known.0.insert(packet.bytes.clone(), truth);
        packet
    });
    let packets = packets.collect();
    test.seal_indexed(name(1, 0), packets);
    for _ in 0..2 * QUERIES {
        let query = random_query(&mut chance, &test, &known, true);
        compare(&test, &known, &query, "whole packets");
    }
}

#[test]
fn public_captures_are_found_by_every_view() {
    let mut chance = Chance(seed() ^ 2);
    let captures = support::captures();
    if captures.is_empty() {
        return;
    }
    let known = Known::default();
    let mut packets = 0;
    for _ in 0..CAPTURES {
        let capture = chance.pick(&captures);
        let Some(found) = support::read_capture(capture, CAPTURED_PACKETS_MAX) else { continue };
        let mut test = TestStore::default();
        test.seal_indexed(name(1, 0), found);
        for _ in 0..12 {
            let query = random_query(&mut chance, &test, &known, false);
            packets += compare(&test, &known, &query, &capture.display().to_string());
        }
    }
    eprintln!("{packets} packets compared");
}
