//! Numbers for the tunnels and VLANs of conversations, and for the tunnels that are the same in both directions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use netrewind_packet::tunnel::{Tunnel, TunnelKind};
use xxhash_rust::xxh3::xxh3_64;

use crate::tunnel_record::TunnelRecord;
use netrewind_store::locked;

/// Maximum number of distinct stacks of tunnels, and of distinct sets of VLANs, in one answer.
pub const CARRIERS_MAX: usize = 1 << 18;
/// VLANs of one conversation that are listed.
pub const VLANS_LISTED_MAX: usize = 16;
/// The part of a tunnel that is the same for both ways of a conversation, see [`Tunnel::both_ways`].
type TunnelIdentity = (TunnelKind, Option<u32>, Option<(IpAddr, IpAddr)>);

/// Numbers for the tunnels and VLANs of conversations. Zero means no tunnel, no VLAN. Shared between threads.
#[derive(Debug, Default)]
pub struct Encapsulations(Mutex<EncapsulationTables>);

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
        locked(&self.0)
    }

    /// The tunnels of a stack.
    pub fn tunnels(&self, stack: u32) -> Vec<TunnelRecord> {
        self.lock().stacks.value(stack).cloned().unwrap_or_default()
    }

    /// The VLANs of a set.
    pub fn vlans(&self, set: u32) -> Vec<u16> {
        self.lock().vlans.value(set).cloned().unwrap_or_default()
    }

    /// The set of these VLANs.
    pub fn vlan_set(&self, vlans: Vec<u16>) -> u32 {
        if vlans.is_empty() { 0 } else { self.lock().vlans.number(vlans) }
    }

    /// Numbers of the carrier and the stack that these tunnels are.
    pub fn number(&self, tunnels: Vec<TunnelRecord>) -> (u32, u32) {
        if tunnels.is_empty() {
            return (0, 0);
        }
        let identity = tunnels.iter().filter_map(TunnelRecord::tunnel).map(|tunnel| tunnel.both_ways());
        let mut inner = self.lock();
        (inner.carrier(identity.collect()), inner.stacks.number(tunnels))
    }

    /// Likewise, of the tunnels of a template.
    pub fn number_of(&self, tunnels: &[Tunnel]) -> (u32, u32) {
        if tunnels.is_empty() {
            return (0, 0);
        }
        let identity = tunnels.iter().map(Tunnel::both_ways).collect();
        let mut inner = self.lock();
        (inner.carrier(identity), inner.stacks.number(tunnels.iter().map(TunnelRecord::of).collect()))
    }

    /// The set of all VLANs of two sets.
    pub fn union(&self, one: u32, other: u32) -> u32 {
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

    /// True if there were too many to distinguish: those beyond the limit count as no tunnel.
    pub fn are_full(&self) -> bool {
        self.lock().is_full
    }

    /// Hash of a carrier that is the same everywhere.
    pub fn hash_of(&self, carrier: u32) -> u64 {
        match (carrier as usize).checked_sub(1) {
            None => 0,
            Some(place) => self.lock().hashes.get(place).copied().unwrap_or(0),
        }
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
