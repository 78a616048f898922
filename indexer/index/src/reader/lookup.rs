//! Finds the flows that satisfy a term, reading only the columns that it needs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use super::sections::IndexSections;
use crate::IndexError;
use crate::blocks::BlockReader;
use crate::column::BLOCK_ROWS;
use crate::dictionary::{DictionaryKey, SortedSet};
use crate::keys::{AddressColumns, KeyBlock, KeyColumns};
use crate::layout::Section;
use crate::template::{KeyField, Template};
use crate::value_set::ValueSet;
use netrewind_packet::Shape;

/// Constraint on a field of the key, as a big-endian number of the field's width (16, 32 or 128 bits).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Constraint {
    /// `field & mask == value`.
    Masked {
        /// Bits that are compared.
        mask: u128,
        /// Value of those bits.
        value: u128,
    },
    /// `low <= field <= high`.
    Range(RangeInclusive<u128>),
    /// The field is in the set.
    AnyOf(ValueSet),
}

impl Constraint {
    /// True where a field with this value satisfies the constraint.
    pub fn accepts(&self, field: u128) -> bool {
        match self {
            Self::Masked { mask, value } => field & mask == *value,
            Self::Range(range) => range.contains(&field),
            Self::AnyOf(set) => set.contains(field),
        }
    }

    /// The values of `bits` bits that satisfy the constraint, where they are one range.
    pub(crate) fn as_range(&self, bits: u32) -> Option<RangeInclusive<u128>> {
        let all = u128::MAX >> (128 - bits);
        #[expect(clippy::reversed_empty_ranges, reason = "nothing satisfies the constraint")]
        let nothing = 1..=0;
        match self {
            Self::Range(range) => Some(range.clone()),
            Self::AnyOf(set) => match set.ranges().len() {
                0 => Some(nothing),
                1 => set.hull(),
                _ => None,
            },
            Self::Masked { mask, value } => {
                let free = all & !mask;
                let is_prefix = free & free.wrapping_add(1) == 0;
                match value & !mask == 0 && *value <= all {
                    true => is_prefix.then(|| *value..=value | free),
                    false => Some(nothing),
                }
            }
        }
    }
}

/// A demand on one field of a flow's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyConstraint {
    /// Constrained field.
    pub field: KeyField,
    /// Constraint on its value.
    pub constraint: Constraint,
}

/// A term after its addresses have been looked up.
enum Resolved<'a> {
    /// `ids` ascend and do not touch each other.
    Address { is_source: bool, ids: Vec<Range<u32>> },
    /// `near` holds every port that satisfies the constraint.
    Port { is_source: bool, constraint: &'a Constraint, near: RangeInclusive<u16> },
}

impl Resolved<'_> {
    fn has_address(&self, id: u32) -> bool {
        let Self::Address { ids, .. } = self else { return false };
        let behind = ids.partition_point(|range| range.end <= id);
        ids.get(behind).is_some_and(|range| range.contains(&id))
    }

    /// True where the lesser end of one of the conversations may satisfy a term on addresses, or either end one on ports, be
    /// it source or destination.
    fn can_hold(&self, keys: &KeyBlock, conversations: usize) -> bool {
        match self {
            Self::Address { ids, .. } => {
                let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return false };
                let ends = keys.lesser_addresses(conversations);
                any_within(ends, first.start, last.end - 1 - first.start)
                    && (ids.len() == 1 || ends.iter().any(|&id| self.has_address(id)))
            }
            Self::Port { constraint, near, .. } => {
                let is_near =
                    |ports: &[u16]| any_within(ports, *near.start(), near.end().wrapping_sub(*near.start()));
                let is_in = |ports: &[u16]| ports.iter().any(|&port| constraint.accepts(port.into()));
                keys.ports(conversations).iter().any(|ports| is_near(ports) && is_in(ports))
            }
        }
    }

    /// True if the same blocks can hold both: a host is looked for as source and as destination.
    fn can_hold_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address { ids, .. }, Self::Address { ids: others, .. }) => ids == others,
            (Self::Port { constraint, near, .. }, Self::Port { constraint: other, near: others, .. }) => {
                constraint == other && near == others
            }
            _ => false,
        }
    }

    fn holds(&self, keys: &KeyBlock, row: usize) -> bool {
        let (source, destination) = keys.row(row).ends();
        match self {
            Self::Address { is_source, .. } => {
                self.has_address(if *is_source { source.1 } else { destination.1 })
            }
            Self::Port { is_source, constraint, .. } => {
                constraint.accepts(u128::from(if *is_source { source.0 } else { destination.0 }))
            }
        }
    }

    fn is_impossible(&self) -> bool {
        matches!(self, Self::Address { ids, .. } if ids.is_empty())
    }
}

/// The flows of the `wanted` templates (by their number) that satisfy at least one of the terms, ascending. A term on
/// a field that a template does not have is not satisfied by its flows.
pub(super) fn flows_with_any<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    wanted: &[bool],
    terms: &[KeyConstraint],
) -> Result<Vec<u32>, IndexError> {
    let resolved = resolve_all(index, wanted, terms)?;
    match resolved.is_empty() {
        true => Ok(Vec::new()),
        false => scan(index, wanted, 0..index.keys()?.count(), &resolved),
    }
}

/// Finds of those flows at least the ones with both addresses satisfying one of `ends`, be it as source or destination.
/// Flows are in the order of one of their addresses, so only the few blocks that can hold them are looked at.
pub(super) fn flows_between<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    wanted: &[bool],
    terms: &[KeyConstraint],
    ends: &[KeyConstraint],
) -> Result<Vec<u32>, IndexError> {
    let resolved = resolve_all(index, wanted, terms)?;
    if resolved.is_empty() {
        return Ok(Vec::new());
    }
    let keys = index.keys()?;
    let mut blocks = BTreeSet::new();
    for (_, end) in resolve_all(index, wanted, ends)? {
        match end {
            Resolved::Address { ids, .. } => {
                blocks.extend(ids.iter().flat_map(|ids| blocks_of(&keys, ids)));
            }
            Resolved::Port { .. } => blocks.extend(0..keys.count()),
        }
    }
    scan(index, wanted, blocks, &resolved)
}

/// True if [`flows_with_any`] has to scan the flows, false if it finds nothing. Looks at one block of addresses for
/// each term, and at nothing else.
pub(super) fn may_have_any<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    wanted: &[bool],
    terms: &[KeyConstraint],
) -> Result<bool, IndexError> {
    Ok(!resolve_all(index, wanted, terms)?.is_empty())
}

/// The terms that some flow can satisfy.
fn resolve_all<'t, B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    wanted: &[bool],
    terms: &'t [KeyConstraint],
) -> Result<Vec<(KeyField, Resolved<'t>)>, IndexError> {
    let templates = index.templates()?;
    let chosen: Vec<&Template> =
        templates.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(template, _)| template).collect();
    let mut resolved = Vec::new();
    for term in terms {
        if chosen.iter().any(|template| template.field(term.field).is_some()) {
            resolved.push((term.field, resolve(index, term, &chosen)?));
        }
    }
    resolved.retain(|(_, term)| !term.is_impossible());
    Ok(resolved)
}

fn scan<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    wanted: &[bool],
    blocks: impl IntoIterator<Item = usize>,
    terms: &[(KeyField, Resolved<'_>)],
) -> Result<Vec<u32>, IndexError> {
    let templates = index.templates()?;
    let keys = index.keys()?;
    let rankings = index.rankings()?;
    let needs_addresses = terms.iter().any(|(_, term)| matches!(term, Resolved::Address { .. }));
    let needs_ports = terms.iter().any(|(_, term)| matches!(term, Resolved::Port { .. }));
    // Flows are in the order of their greater ends: in which blocks those can be, the directory tells.
    let mut has_greater_ends = vec![false; keys.count()];
    let mut distinct: Vec<&Resolved<'_>> = Vec::new();
    for (_, term) in terms {
        if distinct.iter().any(|known| known.can_hold_as(term)) {
            continue;
        }
        if let Resolved::Address { ids, .. } = term {
            for blocks in ids.iter().map(|ids| blocks_of(&keys, ids)) {
                has_greater_ends.get_mut(blocks).into_iter().for_each(|blocks| blocks.fill(true));
            }
        }
        distinct.push(term);
    }
    let mut decoded = Box::<KeyBlock>::default();
    let mut found = Vec::new();
    for block in blocks {
        let first = u32::from_le_bytes(keys.key(block));
        let begin = (block * BLOCK_ROWS) as u32;
        let mut visit = || {
            let (bytes, rows) = (keys.block(block).ok()?, keys.rows_of(block));
            if has_greater_ends.get(block) != Some(&true) {
                let addresses = AddressColumns::take(&mut &*bytes)?;
                if needs_addresses {
                    decoded.decode_lesser_addresses(&addresses)?;
                }
                if needs_ports {
                    decoded.decode_ports(&KeyColumns::take(bytes, rows)?, &rankings.lesser_port)?;
                }
                if !distinct.iter().any(|term| term.can_hold(&decoded, addresses.conversations)) {
                    return Some(());
                }
            }
            let columns = KeyColumns::take(bytes, rows)?;
            decoded.decode_all(&columns, first, &rankings.lesser_port, &rankings.code)?;
            let holds = |row: &usize| {
                let number = decoded.row(*row).template() as usize;
                wanted.get(number) == Some(&true)
                    && terms.iter().any(|(field, term)| {
                        term.holds(&decoded, *row)
                            && templates.get(number).is_some_and(|template| template.field(*field).is_some())
                    })
            };
            found.extend((0..decoded.rows).filter(holds).map(|row| begin + row as u32));
            Some(())
        };
        visit().ok_or(Section::Keys.damaged())?;
    }
    Ok(found)
}

fn resolve<'t, B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    term: &'t KeyConstraint,
    templates: &[&Template],
) -> Result<Resolved<'t>, IndexError> {
    let constraint = &term.constraint;
    Ok(match term.field {
        KeyField::SourcePort | KeyField::DestinationPort => {
            let is_source = term.field == KeyField::SourcePort;
            let range = match constraint {
                Constraint::AnyOf(set) => set.hull(),
                _ => constraint.as_range(16),
            };
            let range = range.unwrap_or(0..=u128::MAX);
            let port = |value: u128| u16::try_from(value).unwrap_or(u16::MAX);
            Resolved::Port { is_source, constraint, near: port(*range.start())..=port(*range.end()) }
        }
        KeyField::SourceAddress | KeyField::DestinationAddress => {
            let has = |is_shape: fn(&Shape) -> bool| templates.iter().any(|t| is_shape(&t.shape));
            let v4_count = index.header.addresses_v4;
            let mut ids = Vec::new();
            if has(|shape| matches!(shape, Shape::Ipv4 { .. })) {
                ids_of::<4, u32>(&index.v4()?, constraint, 1, v4_count, &mut ids)?;
            }
            if has(|shape| matches!(shape, Shape::Ipv6 { .. })) {
                let base = v4_count.saturating_add(1);
                ids_of::<16, u128>(&index.v6()?, constraint, base, index.header.addresses_v6, &mut ids)?;
            }
            Resolved::Address { is_source: term.field == KeyField::SourceAddress, ids }
        }
    })
}

/// True where a packet of the segment has a source or destination address of the range, of one family.
pub(super) fn contains_addresses<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    range: RangeInclusive<IpAddr>,
) -> Result<bool, IndexError> {
    match range.into_inner() {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            let (set, members) = (index.v4()?, index.header.addresses_v4);
            Ok(!ranks(&set, low.to_bits()..=high.to_bits(), u32::MAX, members)?.is_empty())
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            let (set, members) = (index.v6()?, index.header.addresses_v6);
            Ok(!ranks(&set, low.to_bits()..=high.to_bits(), u128::MAX, members)?.is_empty())
        }
        _ => Ok(false),
    }
}

/// True where a flow has a source or destination port in the range (type and code of ICMP do not count).
pub(super) fn contains_ports<B: AsRef<[u8]>>(
    index: &IndexSections<B>,
    range: RangeInclusive<u16>,
) -> Result<bool, IndexError> {
    let range = u32::from(*range.start())..=u32::from(*range.end());
    Ok(!ranks(&index.ports()?, range, u32::MAX, index.header.ports)?.is_empty())
}

/// The blocks of keys in which the greater end of a conversation can have one of these addresses.
fn blocks_of(keys: &BlockReader<'_, 4>, ids: &Range<u32>) -> Range<usize> {
    // The block before the first that begins with one of them may end with it.
    let begin = keys.find(|key| u32::from_le_bytes(key) >= ids.start).unwrap_or(0);
    let end = keys.find(|key| u32::from_le_bytes(key) >= ids.end).map_or(0, |last| last + 1);
    begin..end
}

/// True where one of the numbers is from `low` to `low + span`. Looks at all of them, many at a time.
fn any_within<T: Copy + PartialOrd + WrappingSub>(numbers: &[T], low: T, span: T) -> bool {
    numbers.iter().fold(false, |any, number| any | (number.wrapping_sub(low) <= span))
}

trait WrappingSub {
    fn wrapping_sub(self, other: Self) -> Self;
}

impl WrappingSub for u16 {
    fn wrapping_sub(self, other: Self) -> Self {
        Self::wrapping_sub(self, other)
    }
}

impl WrappingSub for u32 {
    fn wrapping_sub(self, other: Self) -> Self {
        Self::wrapping_sub(self, other)
    }
}

/// The ranks of the members within a range.
fn ranks<const BYTES: usize, T: DictionaryKey<BYTES> + Into<u128> + TryFrom<u128>>(
    set: &SortedSet<'_, BYTES>,
    range: RangeInclusive<T>,
    greatest: T,
    members: u32,
) -> Result<Range<u32>, IndexError> {
    let (low, high) = range.into_inner();
    if low > high {
        return Ok(0..0);
    }
    let start = set.rank(low)?;
    let end = match high == greatest {
        true => members as usize,
        false => T::try_from(high.into() + 1).map_or(Ok(members as usize), |next| set.rank(next))?,
    };
    Ok(start as u32..end as u32)
}

/// Appends the ids of the members that satisfy a constraint, `base` being the id of the first member.
fn ids_of<const BYTES: usize, T: DictionaryKey<BYTES> + Into<u128> + TryFrom<u128>>(
    set: &SortedSet<'_, BYTES>,
    constraint: &Constraint,
    base: u32,
    members: u32,
    ids: &mut Vec<Range<u32>>,
) -> Result<(), IndexError> {
    let bits = BYTES as u32 * 8;
    let all = u128::MAX >> (128 - bits);
    let mut add = |range: Range<u32>| match ids.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ids.push(range),
    };
    if let Some(range) = constraint.as_range(bits) {
        let (low, high) = (*range.start(), (*range.end()).min(all));
        let (Ok(low), Ok(high), Ok(greatest)) = (T::try_from(low), T::try_from(high), T::try_from(all))
        else {
            return Ok(());
        };
        let ranks = ranks(set, low..=high, greatest, members)?;
        add(ranks.start.saturating_add(base)..ranks.end.saturating_add(base));
        return Ok(());
    }
    let mut every: Vec<T> = Vec::new();
    set.decode_all(&mut every)?;
    let mut at = 0;
    for (&member, id) in every.iter().zip(base..) {
        let is_accepted = match constraint {
            Constraint::AnyOf(values) => {
                let found;
                (at, found) = values.contains_from(at, member.into());
                found
            }
            _ => constraint.accepts(member.into()),
        };
        if is_accepted {
            add(id..id + 1);
        }
    }
    Ok(())
}
