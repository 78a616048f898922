//! The templates of a segment under construction, numbered as they appear.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use netrewind_store::LinkType;

use crate::template::Template;
use netrewind_packet::tunnel::{Layer, LayerKind, id_bytes};
use netrewind_packet::{Dissection, PREFIX_BYTES_MAX, Shape};

/// Templates found recently, by a cheap hash of the most distinctive bytes.
const RECENT: usize = 1024;
/// Most prefixes, all without tunnels, are this short.
const SHORT_PREFIX_BYTES: usize = 64;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// No template.
const NONE: u32 = u32::MAX;

/// A prefix of 8 to 16 bytes: its length, its first and its last eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PrefixEnds(usize, u64, u64);

impl PrefixEnds {
    #[inline]
    fn of(prefix: &[u8]) -> Option<Self> {
        let (first, last) = (prefix.first_chunk()?, prefix.last_chunk()?);
        (prefix.len() <= 16).then_some(Self(
            prefix.len(),
            u64::from_le_bytes(*first),
            u64::from_le_bytes(*last),
        ))
    }
}

#[derive(Clone, Debug)]
pub(super) struct TemplateTable {
    link_type: LinkType,
    templates_max: usize,
    templates: Vec<Template>,
    /// Ends of each template's prefix; `None` if it has layers, or if they are not all of it.
    ends: Vec<Option<PrefixEnds>>,
    table: HashTable<u32>,
    hasher: FixedState,
    recent: Box<[u32; RECENT]>,
    /// The packet's template, put together for looking it up.
    wanted: Template,
}

impl TemplateTable {
    /// `seed` keeps senders from foreseeing which templates collide.
    pub(super) fn new(link_type: LinkType, seed: u64, templates_max: u32) -> Self {
        Self {
            link_type,
            templates_max: templates_max as usize,
            templates: Vec::new(),
            ends: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            recent: Box::new([NONE; RECENT]),
            wanted: Template::opaque(link_type),
        }
    }

    pub(super) fn reset(&mut self) {
        self.templates.clear();
        self.ends.clear();
        self.table.clear();
        self.recent.fill(NONE);
    }

    pub(super) fn len(&self) -> usize {
        self.templates.len()
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter()
    }

    pub(super) fn get(&self, template: u32) -> Option<&Template> {
        self.templates.get(template as usize)
    }

    #[inline]
    pub(super) fn shape(&self, template: u32) -> Shape {
        self.templates[template as usize].shape
    }

    /// The number of the packet's template.
    #[inline]
    pub(super) fn find(&mut self, dissection: &Dissection, packet: &[u8]) -> u32 {
        let prefix = &packet[..dissection.prefix_bytes];
        match prefix.len() {
            _ if dissection.layers().is_empty() => self.find_plain(dissection, prefix),
            0..=SHORT_PREFIX_BYTES => self.find_masked::<SHORT_PREFIX_BYTES>(dissection, prefix),
            _ => self.find_masked::<PREFIX_BYTES_MAX>(dissection, prefix),
        }
    }

    /// Finds the template of a fully known prefix: that of nearly all packets without tunnels.
    #[inline]
    fn find_plain(&mut self, dissection: &Dissection, prefix: &[u8]) -> u32 {
        let recent = self.recent[recent_slot(prefix, &dissection.shape, false)];
        let ends = PrefixEnds::of(prefix);
        if ends.is_some()
            && self.ends.get(recent as usize) == Some(&ends)
            && self.templates[recent as usize].shape == dissection.shape
        {
            return recent;
        }
        self.find_known(dissection, prefix, None)
    }

    /// Finds the template of a prefix of at most `BYTES` bytes, some of which are unknown.
    #[inline]
    fn find_masked<const BYTES: usize>(&mut self, dissection: &Dissection, prefix: &[u8]) -> u32 {
        let mut known = [0xff; BYTES];
        let mut values = [0; BYTES];
        let known = &mut known[..prefix.len()];
        let values = &mut values[..prefix.len()];
        dissection.layers().iter().for_each(|layer| layer.clear_varying(known));
        for ((value, byte), known) in values.iter_mut().zip(prefix).zip(&*known) {
            *value = byte & known;
        }
        self.find_known(dissection, values, Some(known))
    }

    /// Finds the template with this prefix, whose unknown bits are zero. All its bits are known where there is no
    /// `known`.
    fn find_known(&mut self, dissection: &Dissection, prefix: &[u8], known: Option<&[u8]>) -> u32 {
        let slot = recent_slot(prefix, &dissection.shape, known.is_some());
        let recent = self.recent[slot];
        if let Some(template) = self.templates.get(recent as usize)
            && template.prefix == prefix
            && is_of(template, dissection)
        {
            return recent;
        }
        let found = self.find_slowly(dissection, prefix, known);
        self.recent[slot] = found;
        found
    }

    /// The number of the template that knows as much of the prefix as `template` and nothing behind it.
    pub(super) fn without_key(&mut self, template: u32) -> u32 {
        if self.shape(template) == Shape::None {
            return template;
        }
        self.wanted.clone_from(&self.templates[template as usize]);
        self.wanted.shape = Shape::None;
        self.find_wanted()
    }

    #[cold]
    fn find_slowly(&mut self, dissection: &Dissection, prefix: &[u8], known: Option<&[u8]>) -> u32 {
        let wanted = &mut self.wanted;
        wanted.prefix.clear();
        wanted.prefix.extend_from_slice(prefix);
        wanted.known.clear();
        match known {
            Some(known) => wanted.known.extend_from_slice(known),
            None => wanted.known.resize(prefix.len(), 0xff),
        }
        wanted.views.clear();
        wanted.views.extend(dissection.views().iter().map(|view| view.view));
        wanted.layers.clear();
        wanted.layers.extend_from_slice(dissection.layers());
        wanted.shape = dissection.shape;
        self.find_wanted()
    }

    /// Finds or adds `wanted`, or its substitute if there is no room.
    fn find_wanted(&mut self) -> u32 {
        if let Some(found) = self.find_or_add(self.templates_max) {
            return found;
        }
        generalise(&mut self.wanted);
        if let Some(found) = self.find_or_add(2 * self.templates_max) {
            return found;
        }
        self.wanted = Template::opaque(self.link_type);
        self.find_or_add(usize::MAX).unwrap_or(0)
    }

    fn find_or_add(&mut self, templates_max: usize) -> Option<u32> {
        let hash = hash_of(&self.hasher, &self.wanted);
        let templates = &self.templates;
        if let Some(&found) = self.table.find(hash, |&number| templates[number as usize] == self.wanted) {
            return Some(found);
        }
        if self.templates.len() >= templates_max {
            return None;
        }
        let number = self.templates.len() as u32;
        self.templates.push(self.wanted.clone());
        let is_plain = self.wanted.layers.is_empty() && self.wanted.views.len() == 1;
        self.ends.push(is_plain.then(|| PrefixEnds::of(&self.wanted.prefix)).flatten());
        let (templates, hasher) = (&self.templates, &self.hasher);
        self.table.insert_unique(hash, number, |&number| hash_of(hasher, &templates[number as usize]));
        Some(number)
    }
}

/// Hash of the parts that tell nearly all templates apart.
fn hash_of(hasher: &FixedState, template: &Template) -> u64 {
    hasher.hash_one((&template.prefix, template.shape))
}

/// True if a packet with the template's prefix and this dissection belongs to the template.
#[inline]
fn is_of(template: &Template, dissection: &Dissection) -> bool {
    let views = dissection.views();
    template.shape == dissection.shape
        && template.layers == dissection.layers()
        && template.views.len() == views.len()
        && template.views.iter().zip(views).all(|(of_template, view)| *of_template == view.view)
}

/// Makes the most varying fields unknown: link-layer addresses and tunnel ids, of which a mobile network has one for each user.
fn generalise(template: &mut Template) {
    let varying = |view: usize, offset: usize, bytes: usize| Layer {
        kind: LayerKind::Varying,
        view: view as u8,
        offset: offset as u16,
        bytes: bytes as u16,
    };
    let ids = template.layers.iter().filter_map(|layer| {
        id_bytes(layer, &template.prefix)
            .map(|bytes| varying(usize::from(layer.view), bytes.start, bytes.len()))
    });
    let addresses = template.views.iter().enumerate().filter_map(|(number, view)| {
        let (offset, bytes) = link_addresses(view.link_type)?;
        Some(varying(number, usize::from(view.offset) + offset, bytes))
    });
    let forgotten: Vec<Layer> = addresses.chain(ids).collect();
    forgotten.into_iter().for_each(|layer| template.forget(layer));
}

/// Offset and length of the link layer's addresses.
fn link_addresses(link_type: LinkType) -> Option<(usize, usize)> {
    match link_type {
        LinkType::ETHERNET => Some((0, 12)),
        LinkType::LINUX_SLL => Some((6, 8)),
        LinkType::LINUX_SLL2 => Some((12, 8)),
        _ => None,
    }
}

#[inline]
fn recent_slot(prefix: &[u8], shape: &Shape, is_layered: bool) -> usize {
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
    let mut mixed =
        word(prefix.first_chunk()) ^ word(prefix.last_chunk()).rotate_left(29) ^ shape.rotate_left(47);
    if is_layered {
        // Fields that distinguish tunnels can be anywhere in the prefix.
        mixed = prefix.as_chunks().0.iter().fold(mixed, |mixed, chunk| {
            (mixed ^ u64::from_le_bytes(*chunk)).wrapping_mul(MULTIPLIER).rotate_left(29)
        });
    }
    (mixed.wrapping_mul(MULTIPLIER) >> 54) as usize % RECENT
}
