//! Building the index of an hour out of the indexes of its segments.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::SegmentName;
use netrewind_store::catalog::Hour;
use netrewind_store::store::SegmentStamps;

use super::layout::{HourHeader, HourPart, HourSectionTable, part_checksum};
use super::members;
use super::segments::HourSegment;
use crate::blocks::BlockWriter;
use crate::column::{BLOCK_ROWS, put_varint};
use crate::dictionary::DictionaryKey;
use crate::layout::{Section, SectionEntry, tunnel_ports_hash};
use crate::template::Template;
use crate::{Index, IndexError, template_list};

/// Distinct templates of an hour; a segment with a further one is left out.
const TEMPLATES_MAX: usize = 1 << 14;
/// Pairs of an IPv4 address, or of a port, and a segment that has it. Of a segment with further ones neither addresses nor ports
/// are listed.
const PAIRS_MAX: usize = 1 << 23;
/// The same of IPv6 addresses, whose pairs take four times the memory.
const PAIRS_V6_MAX: usize = 1 << 21;

/// A value, and the number of a segment that has it.
type Pairs<T> = Vec<(T, u32)>;

/// Builds the index of an hour.
#[derive(Debug)]
pub struct HourBuilder {
    hour: Hour,
    tunnel_ports: u64,
    segments: Vec<HourSegment>,
    templates: Vec<Template>,
    numbers: HashMap<Template, usize, RandomState>,
    template_members: Vec<Vec<u32>>,
    addresses_v4: Pairs<u32>,
    addresses_v6: Pairs<u128>,
    ports: Pairs<u32>,
}

impl HourBuilder {
    /// For the segments of an hour of a store with these tunnel ports.
    pub fn new(hour: Hour, ports: &TunnelPorts) -> Self {
        Self {
            hour,
            tunnel_ports: tunnel_ports_hash(ports),
            segments: Vec::new(),
            templates: Vec::new(),
            numbers: HashMap::default(),
            template_members: Vec::new(),
            addresses_v4: Vec::new(),
            addresses_v6: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Segments added so far.
    pub fn segments(&self) -> &[HourSegment] {
        &self.segments
    }

    /// Adds the segment of an index that has been found to belong to it, and sound. Segments come in the order of their names. One
    /// with more templates than an hour holds is left out.
    pub fn add<B: AsRef<[u8]>>(
        &mut self,
        name: SegmentName,
        stamps: SegmentStamps,
        index: &Index<B>,
    ) -> Result<(), IndexError> {
        debug_assert!(self.segments.last().is_none_or(|last| last.name < name));
        let templates = index.templates()?;
        let new = templates.iter().filter(|template| !self.numbers.contains_key(*template)).count();
        if self.templates.len() + new > TEMPLATES_MAX {
            return Ok(());
        }
        let (v4, v6, ports) = (index.addresses_v4()?, index.addresses_v6()?, index.ports()?);
        let is_listed = self.addresses_v4.len() + v4.len() <= PAIRS_MAX
            && self.addresses_v6.len() + v6.len() <= PAIRS_V6_MAX
            && self.ports.len() + ports.len() <= PAIRS_MAX;
        let number = self.segments.len() as u32;
        let segment = HourSegment {
            name,
            link_type: index.link_type(),
            later_views: index.later_views()?,
            is_listed,
            first: index.first(),
            last: index.last(),
            records: index.records(),
            wire_bytes: index.wire_bytes(),
            stamps,
        };
        if is_listed {
            self.addresses_v4.extend(v4.into_iter().map(|address| (address, number)));
            self.addresses_v6.extend(v6.into_iter().map(|address| (address, number)));
            self.ports.extend(ports.into_iter().map(|port| (port, number)));
        }
        for template in templates {
            let of_hour = *self.numbers.entry(template.clone()).or_insert_with(|| {
                self.templates.push(template.clone());
                self.template_members.push(Vec::new());
                self.templates.len() - 1
            });
            let members = &mut self.template_members[of_hour];
            if members.last() != Some(&number) {
                members.push(number);
            }
        }
        self.segments.push(segment);
        Ok(())
    }

    /// The bytes of the hour's index.
    pub fn finish(self) -> Vec<u8> {
        let mut segments = Vec::new();
        self.segments.iter().for_each(|segment| segment.put(&mut segments));
        let (addresses_v4, v4_count) = put_rows(Section::AddressesV4, self.addresses_v4);
        let (addresses_v6, v6_count) = put_rows(Section::AddressesV6, self.addresses_v6);
        let (ports, port_count) = put_rows(Section::Ports, self.ports);
        let mut template_members = BlockWriter::new(Section::Templates);
        for rows in self.template_members.chunks(BLOCK_ROWS) {
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            template_members.put(&[], |block| members::put(block, &rows));
        }
        let parts = [
            segments,
            template_list::put(self.templates.iter()),
            template_members.directory,
            addresses_v4.directory,
            addresses_v6.directory,
            ports.directory,
            template_members.blocks,
            addresses_v4.blocks,
            addresses_v6.blocks,
            ports.blocks,
        ];
        let mut table = HourSectionTable::default();
        for ((entry, bytes), part) in table.iter_mut().zip(&parts).zip(HourPart::ALL) {
            let checksum = if part.blocks().is_some() { 0 } else { part_checksum(part, bytes) };
            *entry = SectionEntry { bytes: bytes.len() as u64, checksum };
        }
        let header = HourHeader {
            hour: self.hour,
            segments: self.segments.len() as u32,
            tunnel_ports: self.tunnel_ports,
            templates: self.templates.len() as u32,
            addresses_v4: v4_count,
            addresses_v6: v6_count,
            ports: port_count,
        };
        let mut file = header.to_bytes(&table);
        parts.iter().for_each(|part| file.extend_from_slice(part));
        file
    }
}

/// Writes the blocks of a section of values and their segments, and counts the values.
fn put_rows<const BYTES: usize, T: DictionaryKey<BYTES>>(
    section: Section,
    mut pairs: Pairs<T>,
) -> (BlockWriter, u32) {
    pairs.sort_unstable();
    let mut writer = BlockWriter::new(section);
    let (mut values, mut members) = (Vec::new(), Vec::<Vec<u32>>::new());
    let mut count = 0;
    let mut put = |values: &mut Vec<T>, members: &mut Vec<Vec<u32>>| {
        let Some(first) = values.first() else { return };
        writer.put(&first.to_key(), |block| {
            let mut of_values = Vec::new();
            T::encode(values, &mut of_values);
            put_varint(block, of_values.len() as u64);
            block.extend_from_slice(&of_values);
            members::put(block, &members.iter().map(Vec::as_slice).collect::<Vec<_>>());
        });
        count += values.len() as u32;
        values.clear();
        members.clear();
    };
    for row in pairs.chunk_by(|one, next| one.0 == next.0) {
        values.push(row[0].0);
        members.push(row.iter().map(|(_, segment)| *segment).collect());
        if values.len() == BLOCK_ROWS {
            put(&mut values, &mut members);
        }
    }
    put(&mut values, &mut members);
    (writer, count)
}
