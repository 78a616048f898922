//! Properties of conversations taken from templates: kind of key, protocol, VLANs and tunnels.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use netrewind_index::Template;
use netrewind_packet::tunnel::Tunnel;
use netrewind_packet::{TransportKey, TypePlace, is_vlan_tpid};

use crate::encapsulation::{Encapsulations, VLANS_LISTED_MAX};

/// Limit on templates whose facts a thread caches between segments.
const REMEMBERED_TEMPLATES_MAX: usize = 1 << 15;

const VLAN_ID_MASK: u16 = 0x0fff;
/// Lower numbers in the place of an EtherType are a length (IEEE 802.3).
const ETHER_TYPE_MIN: u16 = 0x0600;

/// Content of a key besides addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FlowKeyKind {
    /// No IP header is known.
    Other,
    /// IP without ports: another protocol, or cut.
    Ip,
    /// Later fragments.
    Fragment,
    /// Ports.
    Ports,
    /// Type and code of ICMP or ICMPv6.
    Icmp,
}

fn kind_and_detail(template: &Template) -> (FlowKeyKind, u16) {
    let kind = match template.transport_key() {
        _ if template.protocol().is_none() => return (FlowKeyKind::Other, ether_type(template).unwrap_or(0)),
        _ if template.is_later_fragment() => FlowKeyKind::Fragment,
        TransportKey::Ports => FlowKeyKind::Ports,
        TransportKey::TypeAndCode => FlowKeyKind::Icmp,
        TransportKey::None => FlowKeyKind::Ip,
    };
    (kind, 0)
}

/// The EtherType of the innermost view, if that is Ethernet or cooked and the prefix ends with it.
fn ether_type(template: &Template) -> Option<u16> {
    let view = template.views.last()?;
    let mut place = TypePlace::of(view.link_type)?;
    let offset = usize::from(view.offset);
    while is_vlan_tpid(known_u16(template, offset + place.type_at)?) {
        place = place.behind_tag();
    }
    known_u16(template, offset + place.type_at).filter(|&found| found >= ETHER_TYPE_MIN)
}

/// The VLANs of all views that have a place for them, ascending.
fn vlans_of(template: &Template) -> Vec<u16> {
    let mut vlans = Vec::new();
    for view in &template.views {
        let Some(mut place) = TypePlace::of(view.link_type) else { continue };
        let offset = usize::from(view.offset);
        while known_u16(template, offset + place.type_at).is_some_and(is_vlan_tpid) {
            let tag = offset + place.payload_at;
            let Some(tag) = template.prefix.get(tag..tag + 2).and_then(<[u8]>::first_chunk) else { break };
            vlans.push(u16::from_be_bytes(*tag) & VLAN_ID_MASK);
            place = place.behind_tag();
        }
    }
    vlans.sort_unstable();
    vlans.dedup();
    vlans.truncate(VLANS_LISTED_MAX);
    vlans
}

/// Two bytes of the prefix, where all of their bits are known.
fn known_u16(template: &Template, at: usize) -> Option<u16> {
    let known = template.known.get(at..at + 2)? == [0xff; 2];
    let bytes = template.prefix.get(at..at + 2)?.first_chunk()?;
    known.then(|| u16::from_be_bytes(*bytes))
}

/// Properties that a template gives to the conversations of its flows.
#[derive(Clone, Copy, Debug)]
pub struct TemplateTraits {
    /// Content of its flows' keys.
    pub kind: FlowKeyKind,
    /// EtherType of packets without IP.
    pub detail: u16,
    /// IP protocol.
    pub protocol: u8,
    /// True for addresses of IPv6.
    pub is_ipv6: bool,
    /// Its tunnels, as far as they are the same for both ways.
    pub carrier: u32,
    /// Its tunnels.
    pub stack: u32,
    /// Its VLANs.
    pub vlans: u32,
}

impl Default for TemplateTraits {
    fn default() -> Self {
        Self {
            kind: FlowKeyKind::Other,
            detail: 0,
            protocol: 0,
            is_ipv6: false,
            carrier: 0,
            stack: 0,
            vlans: 0,
        }
    }
}

impl TemplateTraits {
    /// Traits of a template, its tunnels and VLANs numbered.
    fn of(template: &Template, encapsulations: &Encapsulations) -> Self {
        let (kind, detail) = kind_and_detail(template);
        let tunnels: Vec<Tunnel> = template.tunnels().collect();
        let vlans = vlans_of(template);
        let mut facts = Self {
            kind,
            detail,
            protocol: template.protocol().unwrap_or(0),
            is_ipv6: matches!(template.shape, netrewind_packet::Shape::Ipv6 { .. }),
            ..Self::default()
        };
        (facts.carrier, facts.stack) = encapsulations.number_of(&tunnels);
        facts.vlans = encapsulations.vlan_set(vlans);
        facts
    }
}

/// Cached facts of templates: the same templates occur in every segment.
pub struct TemplateFacts<'q> {
    encapsulations: &'q Encapsulations,
    known: HashMap<Template, TemplateTraits, RandomState>,
}

impl<'q> TemplateFacts<'q> {
    /// Remembers nothing yet.
    pub fn new(encapsulations: &'q Encapsulations) -> Self {
        Self { encapsulations, known: HashMap::default() }
    }

    /// Facts of each template.
    pub fn of(&mut self, templates: &[Template]) -> Vec<TemplateTraits> {
        templates.iter().map(|template| self.of_one(template)).collect()
    }

    /// Facts of a template.
    pub fn of_one(&mut self, template: &Template) -> TemplateTraits {
        if let Some(facts) = self.known.get(template) {
            return *facts;
        }
        if self.known.len() > REMEMBERED_TEMPLATES_MAX {
            self.known.clear();
        }
        *self.known.entry(template.clone()).or_insert(TemplateTraits::of(template, self.encapsulations))
    }
}
