//! Properties of conversations taken from templates: VLANs, tunnels, and the tunnels that are the same in both directions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use netrewind_index::Template;
use netrewind_packet::tunnel::{Tunnel, TunnelKind};
use netrewind_packet::{TransportKey, TypePlace, is_vlan_tpid};
use xxhash_rust::xxh3::xxh3_64;

use super::key::FlowKeyKind;
use super::record::TunnelRecord;

/// Maximum number of distinct stacks of tunnels, and of distinct sets of VLANs, in one answer.
pub(super) const CARRIERS_MAX: usize = 1 << 18;
/// VLANs of one conversation that are listed.
pub(super) const VLANS_LISTED_MAX: usize = 16;
/// Templates whose facts a thread remembers from segment to segment.
const REMEMBERED_TEMPLATES_MAX: usize = 1 << 15;

const VLAN_ID_MASK: u16 = 0x0fff;
/// Lower numbers in the place of an EtherType are a length (IEEE 802.3).
const ETHER_TYPE_MIN: u16 = 0x0600;

/// The part of a tunnel that is the same for both ways of a conversation, see [`Tunnel::both_ways`].
type TunnelIdentity = (TunnelKind, Option<u32>, Option<(IpAddr, IpAddr)>);

/// Numbers for the tunnels and VLANs of conversations. Zero means no tunnel, no VLAN. Shared between threads.
#[derive(Debug, Default)]
pub(super) struct Encapsulations(Mutex<EncapsulationTables>);

#[derive(Debug, Default)]
struct EncapsulationTables {
    is_full: bool,
    identities: Numbered<Vec<TunnelIdentity>>,
    hashes: Vec<u64>,
    stacks: Numbered<Vec<TunnelRecord>>,
    vlans: Numbered<Vec<u16>>,
}

/// Values and their numbers from one on. Beyond [`CARRIERS_MAX`] all have number zero.
#[derive(Debug)]
struct Numbered<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn number(&mut self, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        if self.values.len() >= CARRIERS_MAX {
            return 0;
        }
        self.values.push(value.clone());
        let number = u32::try_from(self.values.len()).unwrap_or(0);
        self.numbers.insert(value, number);
        number
    }

    fn value(&self, number: u32) -> Option<&T> {
        self.values.get((number as usize).checked_sub(1)?)
    }
}

impl EncapsulationTables {
    fn carrier(&mut self, identity: Vec<TunnelIdentity>) -> u32 {
        let hash = stable_hash(&identity);
        let carrier = self.identities.number(identity);
        self.is_full |= carrier == 0;
        if self.hashes.len() < self.identities.values.len() {
            self.hashes.push(hash);
        }
        carrier
    }
}

impl Encapsulations {
    fn lock(&self) -> MutexGuard<'_, EncapsulationTables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tunnels of a stack.
    pub(super) fn tunnels(&self, stack: u32) -> Vec<TunnelRecord> {
        self.lock().stacks.value(stack).cloned().unwrap_or_default()
    }

    /// The VLANs of a set.
    pub(super) fn vlans(&self, set: u32) -> Vec<u16> {
        self.lock().vlans.value(set).cloned().unwrap_or_default()
    }

    /// The set of these VLANs.
    pub(super) fn vlan_set(&self, vlans: Vec<u16>) -> u32 {
        if vlans.is_empty() { 0 } else { self.lock().vlans.number(vlans) }
    }

    /// Numbers of the carrier and the stack that these tunnels are.
    pub(super) fn number(&self, tunnels: Vec<TunnelRecord>) -> (u32, u32) {
        if tunnels.is_empty() {
            return (0, 0);
        }
        let identity = tunnels.iter().filter_map(TunnelRecord::tunnel).map(|tunnel| tunnel.both_ways());
        let mut inner = self.lock();
        (inner.carrier(identity.collect()), inner.stacks.number(tunnels))
    }

    /// The set of all VLANs of two sets.
    pub(super) fn union(&self, one: u32, other: u32) -> u32 {
        if one == other || other == 0 {
            return one;
        }
        if one == 0 {
            return other;
        }
        let mut inner = self.lock();
        let mut all: Vec<u16> =
            [one, other].iter().filter_map(|&set| inner.vlans.value(set)).flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(VLANS_LISTED_MAX);
        match inner.vlans.number(all) {
            0 => one,
            number => number,
        }
    }

    /// True if there were more than can be told apart: those beyond count as no tunnel.
    pub(super) fn are_full(&self) -> bool {
        self.lock().is_full
    }

    /// Hash of a carrier that is the same everywhere.
    pub(super) fn hash_of(&self, carrier: u32) -> u64 {
        match (carrier as usize).checked_sub(1) {
            None => 0,
            Some(place) => self.lock().hashes.get(place).copied().unwrap_or(0),
        }
    }

    fn facts(&self, template: &Template) -> TemplateTraits {
        let (kind, detail) = kind_and_detail(template);
        let tunnels: Vec<Tunnel> = template.tunnels().collect();
        let vlans = vlans_of(template);
        let mut facts = TemplateTraits {
            kind,
            detail,
            protocol: template.protocol().unwrap_or(0),
            is_ipv6: matches!(template.shape, netrewind_packet::Shape::Ipv6 { .. }),
            ..TemplateTraits::default()
        };
        let mut inner = self.lock();
        if !tunnels.is_empty() {
            let identity: Vec<TunnelIdentity> = tunnels.iter().map(Tunnel::both_ways).collect();
            facts.carrier = inner.carrier(identity);
            facts.stack = inner.stacks.number(tunnels.iter().map(TunnelRecord::of).collect());
        }
        if !vlans.is_empty() {
            facts.vlans = inner.vlans.number(vlans);
        }
        facts
    }
}

/// A hash of the tunnels' numbers and addresses that is the same everywhere.
fn stable_hash(tunnels: &[TunnelIdentity]) -> u64 {
    let mut bytes = Vec::new();
    for (kind, id, ends) in tunnels {
        bytes.push(*kind as u8);
        bytes.push(u8::from(id.is_some()));
        bytes.extend_from_slice(&id.unwrap_or(0).to_be_bytes());
        for end in ends.iter().flat_map(|(one, other)| [one, other]) {
            match end {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
        }
    }
    xxh3_64(&bytes)
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

/// The EtherType of the innermost view, where that is Ethernet or cooked and the prefix ends with it.
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
pub(super) struct TemplateTraits {
    pub(super) kind: FlowKeyKind,
    pub(super) detail: u16,
    pub(super) protocol: u8,
    pub(super) is_ipv6: bool,
    /// Its tunnels, as far as they are the same for both ways.
    pub(super) carrier: u32,
    /// Its tunnels.
    pub(super) stack: u32,
    /// Its VLANs.
    pub(super) vlans: u32,
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

/// The facts of templates, remembered: the same ones come back in every segment.
pub(super) struct TemplateFacts<'q> {
    encapsulations: &'q Encapsulations,
    known: HashMap<Template, TemplateTraits, RandomState>,
}

impl<'q> TemplateFacts<'q> {
    pub(super) fn new(encapsulations: &'q Encapsulations) -> Self {
        Self { encapsulations, known: HashMap::default() }
    }

    /// Facts of each template.
    pub(super) fn of(&mut self, templates: &[Template]) -> Vec<TemplateTraits> {
        templates.iter().map(|template| self.of_one(template)).collect()
    }

    /// Facts of a template.
    pub(super) fn of_one(&mut self, template: &Template) -> TemplateTraits {
        if let Some(facts) = self.known.get(template) {
            return *facts;
        }
        if self.known.len() > REMEMBERED_TEMPLATES_MAX {
            self.known.clear();
        }
        *self.known.entry(template.clone()).or_insert(self.encapsulations.facts(template))
    }
}
