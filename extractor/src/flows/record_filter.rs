//! Catalog records under a packet filter, evaluated by the record's facts about the packets of either side.
//!
//! A record does not know MAC addresses, lengths, options or single flags. A filter on these may or may not accept, and the
//! packets are gone.

use std::collections::HashMap;

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::key::FlowKey;
use netrewind_flows::part::{DirectionCounters, FlowCounters, REPLIES, REQUESTS};
use netrewind_flows::template_facts::FlowKeyKind;
use netrewind_flows::tunnel_record::TunnelRecord;
use netrewind_index::{Flow, TcpFlags, Template};
use netrewind_packet::{INNER_LINK_TYPES, Shape, TransportKey, View, ipv4_field, ipv6_field, protocol};
use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::{LinkType, Timestamp};

use crate::plan::judge::{Judged, Verdicts};
use crate::plan::query_filter::{LinkTypeVerdict, QueryFilter};
use netrewind_filter::Verdict;

/// Templates whose judgement is remembered.
const REMEMBERED_MAX: usize = 1 << 12;
/// Length of the outer headers of a packet in a tunnel, all of them unknown bits.
const OUTER_BYTES: usize = 64;
/// VLAN tags that a tagged packet may have.
const TAGS_MAX: usize = 2;
const MAC_ADDRESSES_BYTES: usize = 12;
const VLAN_TAG: [u8; 4] = [0x81, 0, 0, 0];
const VLAN_TAG_KNOWN: [u8; 4] = [0xff, 0xff, 0, 0];
const IPV4_FIRST_BYTE: u8 = 0x45;

/// Filters of a query, held against records of the catalog.
pub(super) struct RecordFilter<'q> {
    filters: &'q QueryFilter,
    /// The same without demands on tunnels, which are evaluated separately.
    of_packets: QueryFilter,
    link_types: Vec<LinkType>,
    is_everything: bool,
    remembered: HashMap<Template, Judged>,
}

/// Share of a record that the filters leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// As many of its packets as the filter accepts.
    Exactly,
    /// Perhaps too much.
    Perhaps,
}

impl<'q> RecordFilter<'q> {
    /// Filter of records from segments of these link types.
    pub(super) fn new(filters: &'q QueryFilter, link_types: &[LinkType]) -> Self {
        let is_everything = link_types
            .iter()
            .all(|&link_type| filters.link_type_verdict(link_type) == LinkTypeVerdict::Everything);
        Self {
            filters,
            of_packets: filters.without_tunnels(),
            link_types: link_types.to_vec(),
            is_everything,
            remembered: HashMap::new(),
        }
    }

    /// True if every record is accepted as it is.
    pub(super) fn accepts_everything(&self) -> bool {
        self.is_everything
    }

    /// Removes from a record the packets that are not accepted; what a joined filter may not accept counts as not accepted.
    pub(super) fn restrict(
        &mut self,
        key: &FlowKey,
        body: &mut FlowCounters,
        encapsulations: &Encapsulations,
    ) -> Left {
        if self.is_everything {
            return Left::Exactly;
        }
        let (mut left, mut is_hidden) = (Left::Nothing, false);
        for end in 0..body.sides.len() {
            if body.sides[end].packets == 0 {
                continue;
            }
            let Verdicts { all, joined } = self.judge(key, body, end, encapsulations);
            is_hidden |= joined != Verdict::Always;
            if joined != Verdict::Always || all == Verdict::Never {
                body.sides[end] = DirectionCounters::NOTHING;
            } else if all == Verdict::Maybe {
                left = Left::Perhaps;
            } else if left == Left::Nothing {
                left = Left::Exactly;
            }
        }
        if is_hidden {
            // These are of packets that the asker may not know of.
            (body.labels, body.round_trip_ns) = (None, None);
            body.sides.iter_mut().for_each(|side| (side.retransmissions, side.out_of_order) = (0, 0));
        }
        left
    }

    fn judge(
        &mut self,
        key: &FlowKey,
        body: &FlowCounters,
        end: usize,
        encapsulations: &Encapsulations,
    ) -> Verdicts {
        let side = &body.sides[end];
        let tunnels = encapsulations.tunnels(side.stack);
        let flow = flow_of(key, side, end);
        let tags = if body.vlans == 0 { 0 } else { TAGS_MAX };
        let mut all: Option<Verdicts> = None;
        for template in self.templates(key, side, !tunnels.is_empty(), tags) {
            let one = self.judge_as(template, flow.clone());
            all = Some(match all {
                None => one,
                Some(all) => Verdicts { all: same(all.all, one.all), joined: same(all.joined, one.joined) },
            });
        }
        let found = all.unwrap_or(Verdicts { all: Verdict::Maybe, joined: Verdict::Maybe });
        let known: Vec<_> = tunnels.iter().filter_map(TunnelRecord::tunnel).collect();
        Verdicts { all: found.all.and(self.filters.tunnels().judge_known(&known)), ..found }
    }

    fn judge_as(&mut self, template: Template, mut flow: Flow) -> Verdicts {
        let captured_min = captured_min(&template, &flow);
        flow.caplen = captured_min..=CAPLEN_MAX;
        if flow.len.start() < flow.len.end() {
            flow.len = captured_min.min(*flow.len.end())..=*flow.len.end();
        }
        if self.remembered.len() > REMEMBERED_MAX {
            self.remembered.clear();
        }
        let filters = &self.of_packets;
        let judged = match self.remembered.get(&template) {
            Some(judged) => judged,
            None => self.remembered.entry(template.clone()).or_insert(Judged::new(&template, filters)),
        };
        if judged.verdicts.all != Verdict::Maybe && judged.verdicts.joined != Verdict::Maybe {
            return judged.verdicts;
        }
        judged.judge(&template, &flow, filters, &mut judged.scratch())
    }

    /// Whatever the side's packets may look like.
    fn templates(
        &self,
        key: &FlowKey,
        side: &DirectionCounters,
        is_in_tunnel: bool,
        tags_max: usize,
    ) -> Vec<Template> {
        let inner = if is_in_tunnel { &INNER_LINK_TYPES[..] } else { &self.link_types };
        let mut templates = Vec::new();
        for &link_type in inner {
            for tags in 0..=if link_type == LinkType::ETHERNET { tags_max } else { 0 } {
                templates.push(template(
                    key,
                    side,
                    link_type,
                    tags,
                    is_in_tunnel.then_some(&self.link_types),
                ));
            }
        }
        templates
    }
}

/// Verdict that holds for both alternatives.
fn same(one: Verdict, other: Verdict) -> Verdict {
    if one == other { one } else { Verdict::Maybe }
}

/// Template of a side's packets, according to the record. For a packet in a tunnel an outer header of the store's first link
/// type is put around it.
fn template(
    key: &FlowKey,
    side: &DirectionCounters,
    link_type: LinkType,
    tags: usize,
    around: Option<&Vec<LinkType>>,
) -> Template {
    let Some((mut prefix, mut known)) = prefix_of(key, link_type, tags) else {
        return Template::opaque(link_type);
    };
    let mut views = vec![View { offset: 0, link_type }];
    if let Some(around) = around {
        prefix.splice(0..0, [0; OUTER_BYTES]);
        known.splice(0..0, [0; OUTER_BYTES]);
        let outer = around.first().copied().unwrap_or(LinkType::ETHERNET);
        views = vec![View { offset: 0, link_type: outer }, View { offset: OUTER_BYTES as u16, link_type }];
    }
    Template { prefix, known, views, layers: Vec::new(), shape: shape_of(key, side) }
}

/// Bytes before the network header, and the bits known of them; `None` if the header's position is not known.
fn prefix_of(key: &FlowKey, link_type: LinkType, tags: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let ether_type = match key.kind {
        FlowKeyKind::Other if key.detail == 0 => return None,
        FlowKeyKind::Other => key.detail,
        _ if key.is_ipv6 => 0x86dd,
        _ => 0x0800,
    };
    match link_type {
        LinkType::ETHERNET => {
            let (mut prefix, mut known) = (vec![0; MAC_ADDRESSES_BYTES], vec![0; MAC_ADDRESSES_BYTES]);
            for _ in 0..tags {
                prefix.extend(VLAN_TAG);
                known.extend(VLAN_TAG_KNOWN);
            }
            prefix.extend(ether_type.to_be_bytes());
            known.extend([0xff; 2]);
            Some((prefix, known))
        }
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 if key.kind != FlowKeyKind::Other => {
            Some((Vec::new(), Vec::new()))
        }
        _ => None,
    }
}

fn shape_of(key: &FlowKey, side: &DirectionCounters) -> Shape {
    let is_reply = side.flags_any & REPLIES != 0 && side.flags_any & REQUESTS == 0;
    let transport = match key.kind {
        FlowKeyKind::Other => return Shape::None,
        FlowKeyKind::Ports => TransportKey::Ports,
        // The type of a reply is not that of the key.
        FlowKeyKind::Icmp if !is_reply => TransportKey::TypeAndCode,
        FlowKeyKind::Icmp | FlowKeyKind::Ip | FlowKeyKind::Fragment => TransportKey::None,
    };
    let later_fragment = key.kind == FlowKeyKind::Fragment;
    if key.is_ipv6 {
        let next_header = if later_fragment { protocol::FRAGMENT } else { key.protocol };
        let transport_at = ipv6_field::HEADER_BYTES as u16 + if later_fragment { 8 } else { 0 };
        return Shape::Ipv6 {
            next_header,
            transport: transport_at,
            protocol: key.protocol,
            later_fragment,
            key: transport,
        };
    }
    Shape::Ipv4 { first_byte: IPV4_FIRST_BYTE, protocol: key.protocol, later_fragment, key: transport }
}

/// Minimum captured length of the flow's packets: enough for every field of the record.
fn captured_min(template: &Template, flow: &Flow) -> u32 {
    let header_bytes = match template.shape {
        Shape::None => 0,
        Shape::Ipv4 { .. } => ipv4_field::HEADER_BYTES,
        Shape::Ipv6 { .. } => ipv6_field::HEADER_BYTES,
    };
    let network = template.network_offset() + header_bytes;
    let transport = template.transport_offset().unwrap_or(network);
    let flags = template.tcp_flags_offset().filter(|_| flow.tcp_flags.is_some());
    let captured = match template.transport_key() {
        _ if flags.is_some() => flags.map_or(network, |at| at + 1),
        TransportKey::Ports => transport + 4,
        TransportKey::TypeAndCode => transport + 2,
        TransportKey::None => network,
    };
    u32::try_from(captured).unwrap_or(0)
}

fn flow_of(key: &FlowKey, side: &DirectionCounters, end: usize) -> Flow {
    let (source, destination) = (key.address(end), key.address(1 - end));
    let (source_port, destination_port) = match key.kind {
        FlowKeyKind::Icmp => (key.detail, 0),
        _ => (key.port(end).unwrap_or(0), key.port(1 - end).unwrap_or(0)),
    };
    let longest = u32::try_from(side.bytes).unwrap_or(u32::MAX);
    let knows_flags = key.is_tcp() && (side.flags_any, side.flags_all) != (0, 0xff);
    Flow {
        template: 0,
        source,
        destination,
        source_port,
        destination_port,
        first: Timestamp(side.first),
        last: Timestamp(side.last),
        packets: side.packets,
        bytes: side.bytes,
        // One packet has all of the bytes.
        len: if side.packets == 1 { longest..=longest } else { 0..=longest },
        caplen: 0..=CAPLEN_MAX,
        tcp_flags: knows_flags.then_some(TcpFlags { all: side.flags_all, any: side.flags_any }),
        has_fragments: key.kind == FlowKeyKind::Fragment,
        granules: 1,
    }
}
