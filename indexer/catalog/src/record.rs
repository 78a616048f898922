//! Record of the catalog: a conversation, or the part of it in one hour, to bytes and back.
//!
//! `FORMAT.md` beside this crate describes the bytes. They are not trusted: bytes that do not fit are not a record.

use std::net::IpAddr;

use netrewind_flows::encapsulation::{Encapsulations, VLANS_LISTED_MAX};
use netrewind_flows::key::FlowKey;
use netrewind_flows::label_texts::LabelTexts;
use netrewind_flows::part::{DirectionCounters, FlowCounters, FlowPart};
use netrewind_flows::template_facts::FlowKeyKind;
use netrewind_flows::tunnel_record::{TunnelRecord, tunnel_kind, tunnel_name};
use netrewind_index::LabelKey;

use crate::document::{DocumentReader, DocumentWriter};
use netrewind_packet::tunnel::LayerKind;

/// Bits of the head that say what kind of key it is, by [`KINDS`]; the last two numbers mean nothing.
pub(crate) const KIND_BITS: u8 = 7;
pub(crate) const KIND_OTHER: u8 = 0;
pub(crate) const KIND_PORTS: u8 = 3;
const KIND_ICMP: u8 = 4;
/// Kinds with two bytes of their own in the key.
pub(crate) const HAS_DETAIL: [u8; 2] = [KIND_OTHER, KIND_ICMP];
pub(crate) const IPV6: u8 = 1 << 3;
const FRAGMENTS: u8 = 1 << 4;
const ROUND_TRIP: u8 = 1 << 5;
const LABELS: u8 = 1 << 6;
/// VLANs or tunnels.
const CARRIED: u8 = 1 << 7;
const KINDS: [FlowKeyKind; 5] =
    [FlowKeyKind::Other, FlowKeyKind::Ip, FlowKeyKind::Fragment, FlowKeyKind::Ports, FlowKeyKind::Icmp];
/// Of tunnels: an id follows; addresses of IPv4 follow; of IPv6.
const TUNNEL_ID: u8 = 1;
const TUNNEL_IPV4: u8 = 2;
const TUNNEL_IPV6: u8 = 4;
/// Tunnels one inside the other, and labels, of one record: netrewind writes no more.
const TUNNELS_MAX: u64 = 16;
const LABELS_MAX: u64 = 4096;

/// Relation of a record to those of the neighbouring hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It may be a part of a conversation that goes on in another record.
    pub is_open: bool,
    /// True if that may be a record of the same hour, see [`FlowCounters::is_loose`].
    pub is_loose: bool,
}

/// Writes a record whose hour begins at `base_ns`.
pub fn write(
    key: &FlowKey,
    body: &FlowCounters,
    is_open: bool,
    encapsulations: &Encapsulations,
    base_ns: u64,
) -> Vec<u8> {
    let vlans = encapsulations.vlans(body.vlans);
    let tunnels = body.sides.each_ref().map(|side| encapsulations.tunnels(side.stack));
    let is_carried = !vlans.is_empty() || tunnels.iter().any(|tunnels| !tunnels.is_empty());
    let kind = KINDS.iter().position(|&kind| kind == key.kind).unwrap_or(0) as u8;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let mut to = DocumentWriter(Vec::with_capacity(64));
    to.0.push(
        kind | flag(key.is_ipv6, IPV6)
            | flag(body.has_fragments, FRAGMENTS)
            | flag(body.round_trip_ns.is_some(), ROUND_TRIP)
            | flag(body.labels.is_some(), LABELS)
            | flag(is_carried, CARRIED),
    );
    to.0.push(key.protocol);
    write_key(&mut to, key);
    to.number(zigzag(body.first().wrapping_sub(base_ns).cast_signed()));
    to.number(u64::from(body.segments) << 2 | u64::from(body.is_loose) << 1 | u64::from(is_open));
    to.number(body.last() - body.first());
    body.sides.iter().for_each(|side| write_side(&mut to, side, key, body));
    body.round_trip_ns.into_iter().for_each(|round_trip| to.number(round_trip));
    if let Some(labels) = &body.labels {
        to.number(labels.iter().count() as u64);
        for (label, text) in labels.iter() {
            to.0.push(label as u8);
            to.number(text.len() as u64);
            to.0.extend_from_slice(text.as_bytes());
        }
    }
    if is_carried {
        to.number(vlans.len() as u64);
        vlans.iter().for_each(|&vlan| to.number(u64::from(vlan)));
        tunnels.iter().for_each(|tunnels| write_tunnels(&mut to, tunnels));
    }
    to.0
}

/// Reads a record and its standing; `None` if the bytes are not a record. Loose pieces may have been joined.
pub fn read(bytes: &[u8], encapsulations: &Encapsulations, base_ns: u64) -> Option<(FlowPart, Standing)> {
    let mut from = DocumentReader(bytes);
    let head = from.byte()?;
    let kind = *KINDS.get(usize::from(head & KIND_BITS))?;
    let protocol = from.byte()?;
    let mut key = read_key(&mut from, kind, protocol, head & IPV6 != 0)?;
    let first = base_ns.wrapping_add(unzigzag(from.number()?).cast_unsigned());
    let segments = from.number()?;
    let last = first.checked_add(from.number()?)?;
    let mut sides = [read_side(&mut from, &key, first, last)?, read_side(&mut from, &key, first, last)?];
    let round_trip_ns = if head & ROUND_TRIP != 0 { Some(from.number()?) } else { None };
    let labels = if head & LABELS != 0 { Some(read_labels(&mut from)?) } else { None };
    let mut vlans = 0;
    if head & CARRIED != 0 {
        let mut ids = Vec::new();
        for _ in 0..from.count(VLANS_LISTED_MAX as u64)? {
            ids.push(u16::try_from(from.number()?).ok()?);
        }
        vlans = encapsulations.vlan_set(ids);
        for side in &mut sides {
            let (carrier, stack) = encapsulations.number(read_tunnels(&mut from)?);
            if stack != 0 {
                (key.carrier, side.stack) = (carrier, stack);
            }
        }
    }
    let is_there = sides.iter().any(|side| side.packets > 0) && from.0.is_empty();
    let has_fragments = head & FRAGMENTS != 0;
    let standing = Standing { is_open: segments & 1 == 1, is_loose: segments & 2 == 2 };
    let segments = u32::try_from(segments >> 2).ok()?;
    let body = FlowCounters {
        sides,
        vlans,
        segments,
        has_fragments,
        round_trip_ns,
        labels,
        is_loose: false,
        places: None,
    };
    is_there.then_some((FlowPart { key, body }, standing))
}

/// True if the sides of a document of this kind have flags.
pub(crate) fn has_flags(kind: u8, protocol: u8) -> bool {
    is_tcp(kind, protocol) || kind == KIND_ICMP
}

/// True if a document of this kind is of TCP with ports.
pub(crate) fn is_tcp(kind: u8, protocol: u8) -> bool {
    kind == KIND_PORTS && protocol == netrewind_packet::protocol::TCP
}

pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn write_key(to: &mut DocumentWriter, key: &FlowKey) {
    if key.kind != FlowKeyKind::Other {
        for address in key.addresses {
            let from = if key.is_ipv6 { 0 } else { 12 };
            to.0.extend_from_slice(&address.to_be_bytes()[from..]);
        }
    }
    if key.kind == FlowKeyKind::Ports {
        key.ports.iter().for_each(|port| to.0.extend_from_slice(&port.to_be_bytes()));
    }
    if matches!(key.kind, FlowKeyKind::Icmp | FlowKeyKind::Other) {
        to.0.extend_from_slice(&key.detail.to_be_bytes());
    }
}

fn write_side(to: &mut DocumentWriter, side: &DirectionCounters, key: &FlowKey, body: &FlowCounters) {
    to.number(side.packets);
    if side.packets == 0 {
        return;
    }
    to.number(side.bytes);
    to.number(side.first - body.first());
    to.number(body.last() - side.last);
    if key.is_tcp() || key.kind == FlowKeyKind::Icmp {
        to.0.extend_from_slice(&[side.flags_any, side.flags_all]);
    }
    if key.is_tcp() {
        to.number(side.retransmissions);
        to.number(side.out_of_order);
    }
}

fn write_tunnels(to: &mut DocumentWriter, tunnels: &[TunnelRecord]) {
    to.number(tunnels.len() as u64);
    for tunnel in tunnels {
        let kind = tunnel.kind_of().map_or(u8::MAX, |kind| LayerKind::Tunnel(kind).number());
        let (ends, octets) = match (tunnel.source, tunnel.destination) {
            (Some(IpAddr::V4(one)), Some(IpAddr::V4(other))) => {
                (TUNNEL_IPV4, [one.octets(), other.octets()].concat())
            }
            (Some(IpAddr::V6(one)), Some(IpAddr::V6(other))) => {
                (TUNNEL_IPV6, [one.octets(), other.octets()].concat())
            }
            _ => (0, Vec::new()),
        };
        to.0.extend_from_slice(&[kind, ends | if tunnel.id.is_some() { TUNNEL_ID } else { 0 }]);
        tunnel.id.into_iter().for_each(|id| to.number(u64::from(id)));
        to.0.extend_from_slice(&octets);
    }
}

fn read_address(from: &mut DocumentReader<'_>, is_ipv6: bool) -> Option<u128> {
    if is_ipv6 {
        from.array().map(u128::from_be_bytes)
    } else {
        from.array().map(|octets| u128::from(u32::from_be_bytes(octets)))
    }
}

fn read_key(
    from: &mut DocumentReader<'_>,
    kind: FlowKeyKind,
    protocol: u8,
    is_ipv6: bool,
) -> Option<FlowKey> {
    let (mut addresses, mut ports, mut detail) = ([0; 2], [0; 2], 0);
    if kind != FlowKeyKind::Other {
        addresses = [read_address(from, is_ipv6)?, read_address(from, is_ipv6)?];
    }
    if kind == FlowKeyKind::Ports {
        ports = [u16::from_be_bytes(from.array()?), u16::from_be_bytes(from.array()?)];
    }
    if matches!(kind, FlowKeyKind::Icmp | FlowKeyKind::Other) {
        detail = u16::from_be_bytes(from.array()?);
    }
    Some(FlowKey { addresses, ports, detail, protocol, kind, is_ipv6, carrier: 0 })
}

fn read_side(
    from: &mut DocumentReader<'_>,
    key: &FlowKey,
    first: u64,
    last: u64,
) -> Option<DirectionCounters> {
    let packets = from.number()?;
    if packets == 0 {
        return Some(DirectionCounters::NOTHING);
    }
    let bytes = from.number()?;
    let first = first.checked_add(from.number()?)?;
    let last = last.checked_sub(from.number()?).filter(|&last| last >= first)?;
    let mut side = DirectionCounters { packets, bytes, first, last, ..DirectionCounters::NOTHING };
    if key.is_tcp() || key.kind == FlowKeyKind::Icmp {
        [side.flags_any, side.flags_all] = from.array()?;
    }
    if key.is_tcp() {
        (side.retransmissions, side.out_of_order) = (from.number()?, from.number()?);
    }
    Some(side)
}

fn read_labels(from: &mut DocumentReader<'_>) -> Option<std::sync::Arc<LabelTexts>> {
    let mut labels = Vec::new();
    for _ in 0..from.count(LABELS_MAX)? {
        let key = *LabelKey::ALL.get(usize::from(from.byte()?))?;
        let length = usize::try_from(from.number()?).ok()?;
        labels.push((key, std::str::from_utf8(from.bytes(length)?).ok()?));
    }
    Some(LabelTexts::of(&labels))
}

fn read_tunnels(from: &mut DocumentReader<'_>) -> Option<Vec<TunnelRecord>> {
    let mut tunnels = Vec::new();
    for _ in 0..from.count(TUNNELS_MAX)? {
        let kind = tunnel_name(tunnel_kind(from.byte()?)?);
        let flags = from.byte()?;
        let id = if flags & TUNNEL_ID != 0 { Some(u32::try_from(from.number()?).ok()?) } else { None };
        let mut address = || -> Option<Option<IpAddr>> {
            match flags & (TUNNEL_IPV4 | TUNNEL_IPV6) {
                0 => Some(None),
                TUNNEL_IPV4 => Some(Some(IpAddr::from(from.array::<4>()?))),
                TUNNEL_IPV6 => Some(Some(IpAddr::from(from.array::<16>()?))),
                _ => None,
            }
        };
        let (source, destination) = (address()?, address()?);
        tunnels.push(TunnelRecord { kind: kind.into(), id, source, destination });
    }
    Some(tunnels)
}

#[cfg(test)]
pub(crate) mod tests;
