//! The templates of a segment under construction, numbered as they appear.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use netrewind_segment::LinkType;

use crate::packet::{Dissection, Unknown};
use crate::template::{Shape, Template};

/// Templates found lately, by a cheap mix of what distinguishes most.
const RECENT: usize = 256;
/// No template.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    template: Template,
    unknown: Vec<Unknown>,
}

#[derive(Debug)]
pub(super) struct TemplateTable {
    link_type: LinkType,
    templates_max: usize,
    entries: Vec<Entry>,
    table: HashTable<u32>,
    hasher: FixedState,
    recent: Box<[u32; RECENT]>,
    /// The packet's template, put together for looking it up.
    wanted: Template,
}

impl TemplateTable {
    pub(super) fn new(link_type: LinkType, templates_max: u32) -> Self {
        Self {
            link_type,
            templates_max: templates_max as usize,
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::default(),
            recent: Box::new([NONE; RECENT]),
            wanted: Template::opaque(link_type),
        }
    }

    pub(super) fn reset(&mut self) {
        self.entries.clear();
        self.table.clear();
        self.recent.fill(NONE);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.entries.iter().map(|entry| &entry.template)
    }

    #[inline]
    pub(super) fn shape(&self, template: u32) -> Shape {
        self.entries[template as usize].template.shape
    }

    /// The number of the packet's template.
    #[inline]
    pub(super) fn find(&mut self, dissection: &Dissection, packet: &[u8]) -> u32 {
        let prefix = &packet[..dissection.prefix_bytes];
        let slot = recent_slot(prefix, &dissection.shape);
        let recent = self.recent[slot];
        if let Some(entry) = self.entries.get(recent as usize)
            && entry.is_of(dissection, prefix)
        {
            return recent;
        }
        let found = self.find_slowly(dissection, prefix);
        self.recent[slot] = found;
        found
    }

    /// The number of the template that knows as much of the prefix as `template` and nothing behind it.
    #[cold]
    pub(super) fn without_key(&mut self, template: u32) -> u32 {
        let entry = &self.entries[template as usize];
        self.wanted.clone_from(&entry.template);
        self.wanted.shape = Shape::None;
        let unknown = entry.unknown.clone();
        self.find_wanted(&unknown)
    }

    #[cold]
    fn find_slowly(&mut self, dissection: &Dissection, prefix: &[u8]) -> u32 {
        let wanted = &mut self.wanted;
        wanted.prefix.clear();
        wanted.prefix.extend_from_slice(prefix);
        wanted.known.clear();
        wanted.known.resize(prefix.len(), 0xff);
        wanted.views.clear();
        wanted.views.extend_from_slice(dissection.views());
        wanted.shape = dissection.shape;
        for unknown in dissection.unknown() {
            forget(wanted, unknown);
        }
        self.find_wanted(dissection.unknown())
    }

    /// Finds or adds `wanted`, or what stands for it where there is no room.
    fn find_wanted(&mut self, unknown: &[Unknown]) -> u32 {
        if let Some(found) = self.find_or_add(unknown, self.templates_max) {
            return found;
        }
        let mut unknown = unknown.to_vec();
        if let Some(addresses) = link_addresses(self.link_type) {
            forget(&mut self.wanted, &addresses);
            unknown.push(addresses);
        }
        if let Some(found) = self.find_or_add(&unknown, 2 * self.templates_max) {
            return found;
        }
        self.wanted = Template::opaque(self.link_type);
        self.find_or_add(&[], usize::MAX).unwrap_or(0)
    }

    fn find_or_add(&mut self, unknown: &[Unknown], templates_max: usize) -> Option<u32> {
        let hash = self.hasher.hash_one(&self.wanted);
        let entries = &self.entries;
        if let Some(&found) =
            self.table.find(hash, |&number| entries[number as usize].template == self.wanted)
        {
            return Some(found);
        }
        if self.entries.len() >= templates_max {
            return None;
        }
        let number = self.entries.len() as u32;
        self.entries.push(Entry { template: self.wanted.clone(), unknown: unknown.to_vec() });
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.table.insert_unique(hash, number, |&number| hasher.hash_one(&entries[number as usize].template));
        Some(number)
    }
}

impl Entry {
    /// True where a packet that was taken apart so and begins with `prefix` is of this template.
    #[inline]
    fn is_of(&self, dissection: &Dissection, prefix: &[u8]) -> bool {
        self.template.shape == dissection.shape
            && self.unknown == dissection.unknown()
            && self.template.views == dissection.views()
            && match self.unknown.is_empty() {
                true => self.template.prefix == prefix,
                false => self.agrees_with(prefix),
            }
    }

    fn agrees_with(&self, prefix: &[u8]) -> bool {
        let template = &self.template;
        let mut known = template.prefix.iter().zip(&template.known).zip(prefix);
        template.prefix.len() == prefix.len() && known.all(|((&value, &known), &byte)| byte & known == value)
    }
}

/// Makes bits of a template's prefix unknown.
fn forget(template: &mut Template, unknown: &Unknown) {
    let start = usize::from(unknown.offset).min(template.prefix.len());
    let end = (start + usize::from(unknown.bytes)).min(template.prefix.len());
    for at in start..end {
        template.known[at] &= !unknown.mask;
        template.prefix[at] &= template.known[at];
    }
}

/// Where the link layer has addresses.
fn link_addresses(link_type: LinkType) -> Option<Unknown> {
    match link_type {
        LinkType::ETHERNET => Some(Unknown { offset: 0, bytes: 12, mask: 0xff }),
        LinkType::LINUX_SLL => Some(Unknown { offset: 6, bytes: 8, mask: 0xff }),
        LinkType::LINUX_SLL2 => Some(Unknown { offset: 12, bytes: 8, mask: 0xff }),
        _ => None,
    }
}

#[inline]
fn recent_slot(prefix: &[u8], shape: &Shape) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let shape = match *shape {
        Shape::None => 1,
        Shape::Ipv4 { first_byte, protocol, key, .. } => {
            u64::from_le_bytes([2, first_byte, protocol, key as u8, 0, 0, 0, 0])
        }
        Shape::Ipv6 { next_header, protocol, key, .. } => {
            u64::from_le_bytes([3, next_header, protocol, key as u8, 0, 0, 0, 0])
        }
    };
    let mixed =
        (word(prefix.first_chunk()) ^ word(prefix.last_chunk()).rotate_left(29) ^ shape.rotate_left(47))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize % RECENT
}
