//! Searches that only conversations with certain labels can satisfy: the indexes know which segments and flows have such labels.
//! Other conversations are not joined.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use netrewind_index::{Constraint, Index, IndexError, KeyConstraint, KeyField, LabelKey};

use crate::encapsulation::Encapsulations;
use crate::key::FlowKey;
use crate::template_facts::TemplateTraits;

/// Maximum number of conversations looked up in an index one by one. With more, all flows are examined, which costs less.
const LOOKED_UP_MAX: usize = 64;
/// Conversations that are remembered. Of more all are joined.
const KEYS_MAX: usize = 1 << 20;

/// Labels of which a conversation needs at least one.
pub struct LabelLookup<'s>(pub Vec<SoughtLabel<'s>>);

/// A label, and which texts of it are meant.
pub type SoughtLabel<'s> = (LabelKey, Box<dyn Fn(&str) -> bool + Sync + 's>);

impl LabelLookup<'_> {
    /// The keys of an index's conversations that have such a label.
    pub fn keys_in<B: AsRef<[u8]>>(
        &self,
        index: &Index<B>,
        facts: &[TemplateTraits],
    ) -> Result<Vec<FlowKey>, IndexError> {
        let mut rows = index.observations()?;
        let mut meant: HashSet<(LabelKey, u32), RandomState> = HashSet::default();
        rows.visit_texts(|number, text| {
            let found = self.0.iter().filter(|(_, is_meant)| is_meant(text));
            meant.extend(found.map(|&(key, _)| (key, number)));
        })?;
        let mut keys = Vec::new();
        if meant.is_empty() {
            return Ok(keys);
        }
        let mut cursor = index.cursor();
        rows.visit(|_, row| {
            if row.labels().any(|label| meant.contains(&label)) {
                let flow = cursor.flow(row.flow)?;
                let facts = facts.get(flow.template as usize);
                keys.extend(facts.map(|facts| FlowKey::of(&flow, facts).0));
            }
            Ok(())
        })?;
        Ok(keys)
    }
}

/// The only conversations that are wanted.
#[derive(Debug, Default)]
pub struct Keys {
    keys: HashSet<FlowKey, RandomState>,
    /// Their ends, as long as there are few.
    pairs: BTreeSet<(IpAddr, IpAddr)>,
}

impl Keys {
    /// Adds keys; false where they get too many.
    pub fn add(&mut self, keys: &[FlowKey]) -> bool {
        self.keys.extend(keys);
        if self.keys.len() <= LOOKED_UP_MAX {
            self.pairs.extend(keys.iter().filter_map(|key| Some((key.address(0)?, key.address(1)?))));
        }
        self.keys.len() <= KEYS_MAX
    }

    /// Adds a key; false where it was there.
    pub fn add_one(&mut self, key: &FlowKey) -> bool {
        if !self.keys.insert(*key) {
            return false;
        }
        if self.keys.len() <= LOOKED_UP_MAX {
            self.pairs.extend(key.address(0).zip(key.address(1)));
        }
        true
    }

    /// Memory in bytes that they take, about.
    pub fn bytes(&self) -> u64 {
        // While a table grows there are two.
        (self.keys.capacity() * (size_of::<FlowKey>() + 1)) as u64 / 2 * 3
    }

    /// Number of conversations.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// True if a conversation is wanted.
    pub fn has(&self, key: &FlowKey) -> bool {
        self.keys.contains(key)
    }

    /// The numbers of their flows in an index, ascending, and perhaps of some others; `None` if there are too many to look up.
    pub fn flows_in<B: AsRef<[u8]>>(&self, index: &Index<B>) -> Result<Option<Vec<u32>>, IndexError> {
        // Records without an address are found by none.
        let is_found = |key: &FlowKey| key.address(0).is_some() && key.address(1).is_some();
        if self.keys.len() > LOOKED_UP_MAX || !self.keys.iter().all(is_found) {
            return Ok(None);
        }
        let templates = vec![true; index.templates()?.len()];
        let mut flows = BTreeSet::new();
        for &(one, other) in &self.pairs {
            let [one, other] = [one, other].map(either_end);
            let ends = [one.clone(), other].concat();
            flows.extend(index.flows_between(&templates, &one, &ends)?);
        }
        Ok(Some(flows.into_iter().collect()))
    }
}

/// Terms for flows from an address or to it.
fn either_end(address: IpAddr) -> Vec<KeyConstraint> {
    let number = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let of = |field| KeyConstraint { field, constraint: Constraint::Range(number..=number) };
    [KeyField::SourceAddress, KeyField::DestinationAddress].map(of).into()
}

/// Selection of a query's flows to gather.
#[derive(Clone, Copy)]
pub enum Wanted<'q> {
    /// All.
    All,
    /// Conversations whose key has this hash, see [`FlowKey::stable_hash`].
    Hash(u64),
    /// These.
    Keys(&'q Keys),
}

impl Wanted<'_> {
    /// True if a conversation with this key is wanted.
    pub fn has(self, key: &FlowKey, encapsulations: &Encapsulations) -> bool {
        match self {
            Self::All => true,
            Self::Hash(hash) => key.stable_hash(encapsulations) == hash,
            Self::Keys(keys) => keys.has(key),
        }
    }

    /// True if every conversation is wanted.
    pub fn is_all(self) -> bool {
        matches!(self, Self::All)
    }
}
