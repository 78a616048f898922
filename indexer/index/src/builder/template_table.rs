//! The templates of a segment under construction, numbered as they appear.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use netrewind_store::LinkType;

use crate::template::Template;
use netrewind_packet::tunnel::{Layer, LayerKind, id_bytes};
use netrewind_packet::{Dissection, Shape, TransportKey};

/// Templates found recently, by a cheap hash of the most distinctive bytes.
const RECENT: usize = 1024;
/// Masks of known bits made recently.
const MASKS: usize = 16;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// No template.
const NONE: u32 = u32::MAX;

/// What tells the templates of packets without tunnels apart, where the prefix has 8 to 16 bytes: its first and its last eight
/// bytes, its length, and the shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PlainKey([u64; 3]);

impl PlainKey {
    #[inline]
    fn of(prefix: &[u8], shape: &Shape) -> Option<Self> {
        let (first, last) = (prefix.first_chunk()?, prefix.last_chunk()?);
        let shape = shape_word(shape) << 8 | prefix.len() as u64;
        (prefix.len() <= 16).then_some(Self([u64::from_le_bytes(*first), u64::from_le_bytes(*last), shape]))
    }

    #[inline]
    fn slot(&self) -> usize {
        let [first, last, shape] = self.0;
        slot_of(first ^ last.rotate_left(29) ^ shape.rotate_left(47))
    }
}

/// The mask of known bits of all prefixes with the same layers.
#[derive(Clone, Debug, Default)]
struct KnownBits {
    /// Its layers, each in a word.
    layers: Vec<u64>,
    known: Vec<u8>,
    /// Tells it from those that stood in its place before.
    number: u64,
}

#[derive(Clone, Debug)]
pub(super) struct TemplateTable {
    link_type: LinkType,
    templates_max: usize,
    templates: Vec<Template>,
    table: HashTable<u32>,
    hasher: FixedState,
    /// Recent templates without tunnels. No packet has the default key.
    plain: Box<[(PlainKey, u32); RECENT]>,
    /// Recent templates with tunnels, and the number of their mask.
    masked: Box<[(u32, u64); RECENT]>,
    masks: [KnownBits; MASKS],
    /// Masks made so far.
    mask_count: u64,
    /// The packet's prefix without the bits that are not known.
    values: Vec<u8>,
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
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            plain: Box::new([(PlainKey::default(), NONE); RECENT]),
            masked: Box::new([(NONE, 0); RECENT]),
            masks: Default::default(),
            mask_count: 0,
            values: Vec::new(),
            wanted: Template::opaque(link_type),
        }
    }

    pub(super) fn reset(&mut self) {
        self.templates.clear();
        self.table.clear();
        self.plain.fill((PlainKey::default(), NONE));
        self.masked.fill((NONE, 0));
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
        if !dissection.layers().is_empty() {
            return self.find_masked(dissection, prefix);
        }
        let Some(key) = PlainKey::of(prefix, &dissection.shape) else {
            return self.find_slowly(dissection, prefix, None);
        };
        let slot = key.slot();
        let (known, recent) = self.plain[slot];
        if known == key {
            return recent;
        }
        let found = self.find_slowly(dissection, prefix, None);
        self.plain[slot] = (key, found);
        found
    }

    /// Finds the template of a prefix some of whose bits are unknown.
    #[inline(never)]
    fn find_masked(&mut self, dissection: &Dissection, prefix: &[u8]) -> u32 {
        let mask = self.mask_of(dissection);
        let KnownBits { known, number, .. } = &self.masks[mask];
        let number = *number;
        self.values.resize(prefix.len(), 0);
        // Fields that distinguish tunnels can be anywhere in the prefix.
        let mut mixed = shape_word(&dissection.shape);
        let (bytes, rest) = prefix.as_chunks::<8>();
        let (known, known_rest) = known.as_chunks::<8>();
        let (values, values_rest) = self.values.as_chunks_mut::<8>();
        for ((value, byte), known) in values.iter_mut().zip(bytes).zip(known) {
            let word = u64::from_le_bytes(*byte) & u64::from_le_bytes(*known);
            *value = word.to_le_bytes();
            mixed = (mixed ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
        }
        for ((value, byte), known) in values_rest.iter_mut().zip(rest).zip(known_rest) {
            *value = byte & known;
            mixed = mixed.rotate_left(8) ^ u64::from(*value);
        }
        let slot = slot_of(mixed);
        let (recent, of_mask) = self.masked[slot];
        if of_mask == number
            && let Some(template) = self.templates.get(recent as usize)
            && template.prefix == self.values
            && template.shape == dissection.shape
            && has_views_of(template, dissection)
        {
            return recent;
        }
        let (values, known) = (std::mem::take(&mut self.values), std::mem::take(&mut self.masks[mask].known));
        let found = self.find_slowly(dissection, &values, Some(&known));
        (self.values, self.masks[mask].known) = (values, known);
        // A substitute has other layers, so it is looked up again.
        let has_layers = self.templates[found as usize].layers == dissection.layers();
        self.masked[slot] = if has_layers { (found, number) } else { (NONE, 0) };
        found
    }

    /// Place among the masks of the one for a packet's layers and the length of its prefix.
    #[inline]
    fn mask_of(&mut self, dissection: &Dissection) -> usize {
        let (layers, prefix_bytes) = (dissection.layer_words(), dissection.prefix_bytes);
        let place = (3 * layers.len() + prefix_bytes) % MASKS;
        let mask = &mut self.masks[place];
        if mask.known.len() != prefix_bytes || mask.layers != layers {
            self.mask_count += 1;
            mask.number = self.mask_count;
            mask.layers.clear();
            mask.layers.extend_from_slice(layers);
            mask.known.clear();
            mask.known.resize(prefix_bytes, 0xff);
            dissection.layers().iter().for_each(|layer| layer.clear_varying(&mut mask.known));
        }
        place
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
        let (templates, hasher) = (&self.templates, &self.hasher);
        self.table.insert_unique(hash, number, |&number| hash_of(hasher, &templates[number as usize]));
        Some(number)
    }
}

/// Hash of the parts that tell nearly all templates apart.
fn hash_of(hasher: &FixedState, template: &Template) -> u64 {
    hasher.hash_one((&template.prefix, template.shape))
}

#[inline]
fn has_views_of(template: &Template, dissection: &Dissection) -> bool {
    let views = dissection.views();
    template.views.len() == views.len()
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

/// All of a shape in 48 bits, of which one is set.
#[inline]
fn shape_word(shape: &Shape) -> u64 {
    let word = |kind: u8, one: u8, protocol: u8, key: TransportKey, later: bool, [low, high]: [u8; 2]| {
        let kind = kind | (key as u8) << 2 | u8::from(later) << 4;
        u64::from_le_bytes([kind, one, protocol, low, high, 0, 0, 0])
    };
    match *shape {
        Shape::None => 1,
        Shape::Ipv4 { first_byte, protocol, later_fragment, key } => {
            word(2, first_byte, protocol, key, later_fragment, [0, 0])
        }
        Shape::Ipv6 { next_header, transport, protocol, later_fragment, key } => {
            word(3, next_header, protocol, key, later_fragment, transport.to_le_bytes())
        }
    }
}

#[inline]
fn slot_of(mixed: u64) -> usize {
    (mixed.wrapping_mul(MULTIPLIER) >> 54) as usize % RECENT
}
