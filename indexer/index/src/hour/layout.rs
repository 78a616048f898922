//! The bytes of the index of an hour: header, table of sections, checksums. `HOUR-FORMAT.md` is normative and a test holds it
//! against this module.

use netrewind_store::catalog::Hour;
use netrewind_store::store::SegmentStamps;
use netrewind_store::{SegmentName, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::segments::HourSegment;
use crate::IndexError;
use crate::layout::{
    HEADER_CHECKSUM_BYTES, SECTION_ENTRY_BYTES, Section, SectionEntry, is_right, number, put_sections,
    seal_header, sections_at,
};

/// First bytes of the index of an hour.
pub(super) const MAGIC: [u8; 8] = *b"NRWHOURS";
/// Version of the format.
pub(super) const VERSION: u32 = 1;

/// The fields of the header.
pub(super) mod field {
    use std::ops::Range;
    pub const MAGIC: Range<usize> = 0..8;
    pub const VERSION: Range<usize> = 8..12;
    pub const SEGMENTS: Range<usize> = 12..16;
    pub const FILE_BYTES: Range<usize> = 16..24;
    pub const HOUR: Range<usize> = 24..32;
    pub const TUNNEL_PORTS: Range<usize> = 32..40;
    pub const TEMPLATES: Range<usize> = 40..44;
    pub const ADDRESSES_V4: Range<usize> = 44..48;
    pub const ADDRESSES_V6: Range<usize> = 48..52;
    pub const PORTS: Range<usize> = 52..56;
}

/// Offset of the table of sections, which has an entry for each of [`HourPart::ALL`].
pub(super) const SECTION_TABLE: usize = 56;
/// Offset of the checksum of everything before it.
pub(super) const HEADER_CHECKSUM: usize = SECTION_TABLE + HourPart::ALL.len() * SECTION_ENTRY_BYTES;
/// Bytes before the first section.
pub(super) const HEADER_BYTES: usize = HEADER_CHECKSUM + HEADER_CHECKSUM_BYTES;

/// The sections, in the order in which they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum HourPart {
    Segments,
    Templates,
    TemplateDirectory,
    AddressV4Directory,
    AddressV6Directory,
    PortDirectory,
    TemplateMembers,
    AddressesV4,
    AddressesV6,
    Ports,
}

impl HourPart {
    /// All sections in the order of the file.
    pub(super) const ALL: [Self; 10] = [
        Self::Segments,
        Self::Templates,
        Self::TemplateDirectory,
        Self::AddressV4Directory,
        Self::AddressV6Directory,
        Self::PortDirectory,
        Self::TemplateMembers,
        Self::AddressesV4,
        Self::AddressesV6,
        Self::Ports,
    ];

    /// Its name in `HOUR-FORMAT.md` and in errors.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Templates => "templates",
            Self::TemplateDirectory => "template directory",
            Self::AddressV4Directory => "IPv4 directory",
            Self::AddressV6Directory => "IPv6 directory",
            Self::PortDirectory => "port directory",
            Self::TemplateMembers => "template members",
            Self::AddressesV4 => "IPv4 addresses",
            Self::AddressesV6 => "IPv6 addresses",
            Self::Ports => "ports",
        }
    }

    /// The section of a segment's index whose number is in the checksums of the blocks; `None` for sections that are not made of
    /// blocks.
    pub(super) const fn blocks(self) -> Option<Section> {
        match self {
            Self::TemplateMembers => Some(Section::Templates),
            Self::AddressesV4 => Some(Section::AddressesV4),
            Self::AddressesV6 => Some(Section::AddressesV6),
            Self::Ports => Some(Section::Ports),
            _ => None,
        }
    }

    /// The error that says that this section is not what was written.
    pub(super) const fn damaged(self) -> IndexError {
        IndexError::Damaged { part: self.name() }
    }
}

/// Fields of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HourHeader {
    pub hour: Hour,
    pub segments: u32,
    /// See [`crate::layout::tunnel_ports_hash`].
    pub tunnel_ports: u64,
    pub templates: u32,
    pub addresses_v4: u32,
    pub addresses_v6: u32,
    pub ports: u32,
}

/// The table of sections.
pub(super) type HourSectionTable = [SectionEntry; HourPart::ALL.len()];

/// The checksum of a section that is not made of blocks: the hash of its bytes, and its number, by exclusive or.
pub(super) fn part_checksum(part: HourPart, bytes: &[u8]) -> u64 {
    xxh3_64(bytes) ^ part as u64
}

impl HourHeader {
    /// The bytes of header and table.
    pub(super) fn to_bytes(&self, table: &HourSectionTable) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let file_bytes = HEADER_BYTES as u64 + table.iter().map(|entry| entry.bytes).sum::<u64>();
        let mut put = |field: std::ops::Range<usize>, value: &[u8]| bytes[field].copy_from_slice(value);
        put(field::MAGIC, &MAGIC);
        put(field::VERSION, &VERSION.to_le_bytes());
        put(field::SEGMENTS, &self.segments.to_le_bytes());
        put(field::FILE_BYTES, &file_bytes.to_le_bytes());
        put(field::HOUR, &self.hour.start().ns().to_le_bytes());
        put(field::TUNNEL_PORTS, &self.tunnel_ports.to_le_bytes());
        put(field::TEMPLATES, &self.templates.to_le_bytes());
        put(field::ADDRESSES_V4, &self.addresses_v4.to_le_bytes());
        put(field::ADDRESSES_V6, &self.addresses_v6.to_le_bytes());
        put(field::PORTS, &self.ports.to_le_bytes());
        put_sections(&mut bytes[SECTION_TABLE..], table);
        seal_header(&mut bytes);
        bytes
    }

    /// Reads header and table of an hour's index whose bytes are `file`; checks them and the file's length.
    pub(super) fn read(file: &[u8]) -> Result<(Self, HourSectionTable), IndexError> {
        const DAMAGED: IndexError = IndexError::Damaged { part: "header" };
        if file.get(field::MAGIC) != Some(&MAGIC) || file.len() < HEADER_BYTES {
            return Err(DAMAGED);
        }
        let bytes = &file[..HEADER_BYTES];
        let u32_at = |field| u32::from_le_bytes(number(bytes, field));
        let u64_at = |field| u64::from_le_bytes(number(bytes, field));
        let version = u32_at(field::VERSION);
        if version != VERSION {
            return Err(IndexError::Version { found: version, known: VERSION });
        }
        let is_whole = is_right(&u64_at(HEADER_CHECKSUM..HEADER_BYTES), &xxh3_64(&bytes[..HEADER_CHECKSUM]));
        if !is_whole || u64_at(field::FILE_BYTES) != file.len() as u64 {
            return Err(DAMAGED);
        }
        let table: HourSectionTable = sections_at(&bytes[SECTION_TABLE..]);
        let sections = table.iter().try_fold(HEADER_BYTES as u64, |sum, entry| sum.checked_add(entry.bytes));
        let start = Timestamp(u64_at(field::HOUR));
        let hour = Hour::of(start);
        if sections != Some(file.len() as u64) || hour.start() != start {
            return Err(DAMAGED);
        }
        let header = Self {
            hour,
            segments: u32_at(field::SEGMENTS),
            tunnel_ports: u64_at(field::TUNNEL_PORTS),
            templates: u32_at(field::TEMPLATES),
            addresses_v4: u32_at(field::ADDRESSES_V4),
            addresses_v6: u32_at(field::ADDRESSES_V6),
            ports: u32_at(field::PORTS),
        };
        Ok((header, table))
    }
}

/// The file of an hour with other stamps of its segments: `stamps` gives those of each. A copy elsewhere, whose files have others, gets
/// them so.
pub fn restamped(
    file: &[u8],
    stamps: &dyn Fn(&SegmentName) -> Option<SegmentStamps>,
) -> Result<Vec<u8>, IndexError> {
    let damaged = || HourPart::Segments.damaged();
    let (header, mut table) = HourHeader::read(file)?;
    let entry = &mut table[HourPart::Segments as usize];
    let end = HEADER_BYTES + usize::try_from(entry.bytes).unwrap_or(usize::MAX);
    let section = file.get(HEADER_BYTES..end).ok_or_else(damaged)?;
    if entry.checksum != part_checksum(HourPart::Segments, section) {
        return Err(damaged());
    }
    let mut segments = HourSegment::take_all(section, header.segments).ok_or_else(damaged)?;
    let mut restamped = Vec::with_capacity(section.len());
    for segment in &mut segments {
        segment.stamps = stamps(&segment.name).unwrap_or_default();
        segment.put(&mut restamped);
    }
    entry.checksum = part_checksum(HourPart::Segments, &restamped);
    let rest = file.get(end..).unwrap_or_default();
    Ok([&header.to_bytes(&table), &restamped, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::super::segments::{SEGMENT_BYTES, field as segment_field};
    use super::*;

    const DOCUMENT: &str = include_str!("../../HOUR-FORMAT.md");

    /// Rows of the first table below a heading, without its head.
    fn rows(heading: &str) -> Vec<Vec<&'static str>> {
        let behind = DOCUMENT.split(&format!("\n## {heading}\n")).nth(1).expect("a heading");
        let section = behind.split("\n## ").next().expect("a section");
        let lines = section
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'));
        lines.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    fn places(heading: &str) -> Vec<std::ops::Range<usize>> {
        let place = |row: Vec<&str>| {
            let (at, bytes): (usize, usize) = (row[1].parse().unwrap(), row[2].parse().unwrap());
            at..at + bytes
        };
        rows(heading).into_iter().map(place).collect()
    }

    #[test]
    fn header_and_segments_are_as_documented() {
        let header = [
            field::MAGIC,
            field::VERSION,
            field::SEGMENTS,
            field::FILE_BYTES,
            field::HOUR,
            field::TUNNEL_PORTS,
            field::TEMPLATES,
            field::ADDRESSES_V4,
            field::ADDRESSES_V6,
            field::PORTS,
        ];
        assert_eq!(places("Header"), header);
        assert!(DOCUMENT.starts_with(&format!("# The index of an hour, version {VERSION}\n")));
        assert!(rows("Header")[0][3].contains(std::str::from_utf8(&MAGIC).unwrap()));
        assert_eq!(rows("Header")[1][3], VERSION.to_string());
        assert!(
            DOCUMENT.contains(&format!("from byte {SECTION_TABLE} an entry of {SECTION_ENTRY_BYTES} bytes"))
        );
        assert_eq!(places("Segments"), segment_field::ALL);
        assert!(DOCUMENT.contains(&format!("Each takes {SEGMENT_BYTES} bytes")));
    }

    #[test]
    fn the_sections_are_as_documented() {
        let coded: Vec<Vec<String>> = HourPart::ALL
            .into_iter()
            .map(|part| {
                let blocks = part.blocks().map_or("no".to_owned(), |section| (section as u8).to_string());
                vec![(part as u8).to_string(), part.name().to_owned(), blocks]
            })
            .collect();
        assert_eq!(rows("Sections"), coded);
    }
}
