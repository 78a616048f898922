//! Reading the index of an hour from its bytes, which may be a memory map: a section is verified when it is first used, a block
//! each time it is decoded.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::SegmentName;
use netrewind_store::catalog::Hour;

use super::layout::{HEADER_BYTES, HourHeader, HourPart, HourSectionTable, part_checksum};
use super::members;
use super::segments::HourSegment;
use super::set::SegmentSet;
use crate::blocks::BlockReader;
use crate::column::{BLOCK_ROWS, take, take_varint};
use crate::dictionary::DictionaryKey;
use crate::layout::{is_right, tunnel_ports_hash};
use crate::template::Template;
use crate::{Constraint, IndexError, ValueSet, template_list};

/// Blocks of values that are looked at for a range of them; with more, every segment may have one.
const BLOCKS_LOOKED_AT_MAX: usize = 256;

/// Kind of a value that an hour lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HourKey {
    /// An IPv4 address of the innermost network header.
    AddressV4,
    /// An IPv6 address of it.
    AddressV6,
    /// A port; type and code of ICMP do not count.
    Port,
}

/// The index of an hour. Opening reads its header and what it says of its segments; every other call reads what it needs and
/// verifies it first, so that damage is an error and never a wrong answer.
#[derive(Debug)]
pub struct HourIndex<B> {
    bytes: B,
    header: HourHeader,
    /// Offset of each section, and the end of the last one.
    offsets: [usize; HourPart::ALL.len() + 1],
    table: HourSectionTable,
    /// A bit for each section whose checksum was found right.
    verified: AtomicU32,
    segments: Vec<HourSegment>,
    /// Segments whose addresses and ports are not listed.
    unlisted: SegmentSet,
    templates: OnceLock<Result<Vec<Template>, IndexError>>,
}

impl<B: AsRef<[u8]>> HourIndex<B> {
    /// Opens the index of an hour after checking its header and segments.
    pub fn open(bytes: B) -> Result<Self, IndexError> {
        let (header, table) = HourHeader::read(bytes.as_ref())?;
        let mut offsets = [HEADER_BYTES; HourPart::ALL.len() + 1];
        for (number, entry) in table.iter().enumerate() {
            // The header's check has seen that the sections end with the file.
            offsets[number + 1] = offsets[number] + entry.bytes as usize;
        }
        let unlisted = SegmentSet::none(0);
        let mut opened = Self {
            bytes,
            header,
            offsets,
            table,
            verified: AtomicU32::new(0),
            segments: Vec::new(),
            unlisted,
            templates: OnceLock::new(),
        };
        let segments = HourSegment::take_all(opened.section(HourPart::Segments)?, opened.header.segments);
        opened.segments = segments.ok_or(HourPart::Segments.damaged())?;
        opened.unlisted = SegmentSet::none(opened.header.segments);
        for (segment, number) in opened.segments.iter().zip(0..) {
            if !segment.is_listed {
                opened.unlisted.insert(number);
            }
        }
        Ok(opened)
    }

    /// Bytes that it was opened from.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The hour.
    pub fn hour(&self) -> Hour {
        self.header.hour
    }

    /// True if the indexes that it was made of were built with these ports.
    pub fn matches_ports(&self, ports: &TunnelPorts) -> bool {
        self.header.tunnel_ports == tunnel_ports_hash(ports)
    }

    /// Its segments, by number, in the order of their names.
    pub fn segments(&self) -> &[HourSegment] {
        &self.segments
    }

    /// The number of a segment.
    pub fn number_of(&self, name: &SegmentName) -> Option<u32> {
        let place = self.segments.binary_search_by_key(name, |segment| segment.name);
        place.ok().and_then(|number| u32::try_from(number).ok())
    }

    /// No segment.
    pub fn none(&self) -> SegmentSet {
        SegmentSet::none(self.header.segments)
    }

    /// All segments.
    pub fn all(&self) -> SegmentSet {
        SegmentSet::all(self.header.segments)
    }

    /// The distinct templates of the segments, by number.
    pub fn templates(&self) -> Result<&[Template], IndexError> {
        let templates = self.templates.get_or_init(|| {
            let bytes = self.section(HourPart::Templates)?;
            template_list::take_all(bytes, self.header.templates).ok_or(HourPart::Templates.damaged())
        });
        templates.as_deref().map_err(Clone::clone)
    }

    /// The segments that have flows of a template.
    pub fn with_template(&self, number: usize) -> Result<SegmentSet, IndexError> {
        let mut found = self.none();
        if number < self.header.templates as usize {
            let blocks = self.blocks::<0>(HourPart::TemplateMembers)?;
            let (block, row) = (number / BLOCK_ROWS, number % BLOCK_ROWS);
            let rows = blocks.rows_of(block);
            members::add(blocks.block(block)?, rows, row..row + 1, self.header.segments, &mut found)
                .ok_or(HourPart::TemplateMembers.damaged())?;
        }
        Ok(found)
    }

    /// The segments that may have a flow with a value that satisfies the constraint, be it the source's or the destination's.
    pub fn with_value(&self, key: HourKey, constraint: &Constraint) -> Result<SegmentSet, IndexError> {
        match key {
            HourKey::AddressV4 => self.with_value_of::<4, u32>(HourPart::AddressesV4, u32::BITS, constraint),
            HourKey::AddressV6 => {
                self.with_value_of::<16, u128>(HourPart::AddressesV6, u128::BITS, constraint)
            }
            HourKey::Port => self.with_value_of::<4, u32>(HourPart::Ports, u16::BITS, constraint),
        }
    }

    fn with_value_of<const BYTES: usize, T: DictionaryKey<BYTES> + Into<u128> + TryFrom<u128>>(
        &self,
        part: HourPart,
        bits: u32,
        constraint: &Constraint,
    ) -> Result<SegmentSet, IndexError> {
        let range = match (constraint.as_range(bits), constraint) {
            (Some(range), _) => range,
            (None, Constraint::AnyOf(values)) => return self.with_any_of::<BYTES, T>(part, values),
            // Values that are no range are scattered over all blocks.
            (None, _) => return Ok(self.all()),
        };
        let (low, high) = (*range.start(), (*range.end()).min(u128::MAX >> (u128::BITS - bits)));
        match (T::try_from(low), T::try_from(high)) {
            (Ok(low), Ok(high)) if low <= high => self.with_any(part, low..=high),
            // No value is in the range; of unlisted segments none is either.
            _ => Ok(self.none()),
        }
    }

    fn with_any<const BYTES: usize, T: DictionaryKey<BYTES>>(
        &self,
        part: HourPart,
        range: RangeInclusive<T>,
    ) -> Result<SegmentSet, IndexError> {
        let blocks = self.blocks::<BYTES>(part)?;
        let mut found = self.unlisted.clone();
        // The block that begins at or before the first value may have it; later ones begin behind it.
        let first = blocks.find(|key| T::from_key(key) > *range.start()).unwrap_or(0);
        let end = blocks.find(|key| T::from_key(key) > *range.end()).map_or(0, |last| last + 1);
        if end.saturating_sub(first) > BLOCKS_LOOKED_AT_MAX {
            return Ok(self.all());
        }
        for block in first..end {
            if found.is_all() {
                break;
            }
            self.add_block(part, &blocks, block, &range, &mut found)?;
        }
        Ok(found)
    }

    /// Every block is looked at: of a long list, nearly every one has a value between its first and its last.
    fn with_any_of<const BYTES: usize, T: DictionaryKey<BYTES> + Into<u128>>(
        &self,
        part: HourPart,
        wanted: &ValueSet,
    ) -> Result<SegmentSet, IndexError> {
        let blocks = self.blocks::<BYTES>(part)?;
        let mut found = self.unlisted.clone();
        let mut at = 0;
        for block in 0..blocks.count() {
            if found.is_all() {
                break;
            }
            let (values, members) = Self::decode_block::<BYTES, T>(part, &blocks, block)?;
            let rows = blocks.rows_of(block);
            for (row, &value) in values[..rows].iter().enumerate() {
                let is_wanted;
                (at, is_wanted) = wanted.contains_from(at, value.into());
                if is_wanted {
                    members::add(members, rows, row..row + 1, self.header.segments, &mut found)
                        .ok_or(part.damaged())?;
                }
            }
        }
        Ok(found)
    }

    fn add_block<const BYTES: usize, T: DictionaryKey<BYTES>>(
        &self,
        part: HourPart,
        blocks: &BlockReader<'_, BYTES>,
        block: usize,
        range: &RangeInclusive<T>,
        found: &mut SegmentSet,
    ) -> Result<(), IndexError> {
        let (values, members) = Self::decode_block::<BYTES, T>(part, blocks, block)?;
        let rows = blocks.rows_of(block);
        let begin = values[..rows].partition_point(|value| value < range.start());
        let end = values[..rows].partition_point(|value| value <= range.end());
        if begin < end {
            members::add(members, rows, begin..end, self.header.segments, found).ok_or(part.damaged())?;
        }
        Ok(())
    }

    /// The values of a block, and the bytes of the segments that have them.
    fn decode_block<'b, const BYTES: usize, T: DictionaryKey<BYTES>>(
        part: HourPart,
        blocks: &BlockReader<'b, BYTES>,
        block: usize,
    ) -> Result<([T; BLOCK_ROWS], &'b [u8]), IndexError> {
        let rows = blocks.rows_of(block);
        let mut bytes = blocks.block(block)?;
        let mut decode = || {
            let mut values = [T::default(); BLOCK_ROWS];
            values[0] = T::from_key(blocks.key(block));
            let value_bytes = usize::try_from(take_varint(&mut bytes)?).ok()?;
            T::decode(take(&mut bytes, value_bytes)?, &mut values[..rows])?;
            Some(values)
        };
        let values = decode().ok_or(part.damaged())?;
        Ok((values, bytes))
    }

    /// Verifies every checksum and decodes everything once.
    pub fn verify(&self) -> Result<(), IndexError> {
        for part in HourPart::ALL {
            self.section(part)?;
        }
        for number in (0..self.templates()?.len()).step_by(BLOCK_ROWS) {
            self.with_template(number)?;
        }
        self.verify_values::<4, u32>(HourPart::AddressesV4)?;
        self.verify_values::<16, u128>(HourPart::AddressesV6)?;
        self.verify_values::<4, u32>(HourPart::Ports)
    }

    fn verify_values<const BYTES: usize, T: DictionaryKey<BYTES>>(
        &self,
        part: HourPart,
    ) -> Result<(), IndexError> {
        let blocks = self.blocks::<BYTES>(part)?;
        for block in 0..blocks.count() {
            let first = T::from_key(blocks.key(block));
            self.add_block(part, &blocks, block, &(first..=first), &mut self.none())?;
        }
        Ok(())
    }

    /// The bytes of a section; those that are not made of blocks are verified first.
    fn section(&self, part: HourPart) -> Result<&[u8], IndexError> {
        let number = part as usize;
        let bytes = self.bytes.as_ref().get(self.offsets[number]..self.offsets[number + 1]);
        let bytes = bytes.ok_or(part.damaged())?;
        let bit = 1 << number;
        if part.blocks().is_none() && self.verified.load(Ordering::Relaxed) & bit == 0 {
            if !is_right(&part_checksum(part, bytes), &self.table[number].checksum) {
                return Err(part.damaged());
            }
            self.verified.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// The blocks of a section of values or members, with their directory.
    fn blocks<const BYTES: usize>(&self, part: HourPart) -> Result<BlockReader<'_, BYTES>, IndexError> {
        let (directory, rows) = match part {
            HourPart::AddressesV4 => (HourPart::AddressV4Directory, self.header.addresses_v4),
            HourPart::AddressesV6 => (HourPart::AddressV6Directory, self.header.addresses_v6),
            HourPart::Ports => (HourPart::PortDirectory, self.header.ports),
            _ => (HourPart::TemplateDirectory, self.header.templates),
        };
        let section = part.blocks().ok_or(part.damaged())?;
        BlockReader::new(section, self.section(part)?, self.section(directory)?, rows)
            .map_err(|_| part.damaged())
    }
}
