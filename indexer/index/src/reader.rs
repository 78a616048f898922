//! Reading an index from its bytes, which may be a memory map: a section is verified when it is first used, a block each
//! time it is decoded, and nothing else is touched.

mod checksums;
mod cursor;
#[cfg(test)]
mod hostile;
mod lookup;
mod observations;
mod time;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use netrewind_store::{LinkType, Timestamp};

pub use checksums::Comparison;
pub use cursor::{FlowCursor, FlowIter};
pub use lookup::{Constraint, KeyConstraint};
pub use observations::Observations;
pub use time::Second;

use crate::IndexError;
use crate::blocks::BlockReader;
use crate::dictionary::SortedSet;
use crate::granules::GranuleTable;
use crate::layout::{
    HEAD_BYTES, HEADER_BYTES, IndexHeader, Section, SectionTable, head_hash, is_right, section_checksum,
    tunnel_ports_hash,
};
use crate::ranking::Rankings;
use crate::template::Template;
use crate::template_list;
use netrewind_packet::tunnel::TunnelPorts;

/// The index of one segment. Opening reads a few hundred bytes; every other call reads what it needs and verifies it
/// first, so that damage is an error and never a wrong answer.
#[derive(Debug)]
pub struct Index<B> {
    bytes: B,
    header: IndexHeader,
    /// Offset of each section, and the end of the last one.
    offsets: [usize; Section::ALL.len() + 1],
    table: SectionTable,
    /// A bit for each section whose checksum was found right.
    verified: AtomicU32,
    templates: OnceLock<Result<Vec<Template>, IndexError>>,
    rankings: OnceLock<Result<Rankings, IndexError>>,
    /// Earliest timestamp from each block of granules to the end.
    suffix_minima: OnceLock<Result<Vec<u64>, IndexError>>,
}

impl<B: AsRef<[u8]>> Index<B> {
    /// Opens an index after checking its header. Costs the same whatever the index's size.
    pub fn open(bytes: B) -> Result<Self, IndexError> {
        let (header, table) = IndexHeader::read(bytes.as_ref())?;
        let mut offsets = [HEADER_BYTES; Section::ALL.len() + 1];
        for (number, entry) in table.iter().enumerate() {
            // The header's check has seen that the sections end with the file.
            offsets[number + 1] = offsets[number] + entry.bytes as usize;
        }
        Ok(Self {
            bytes,
            header,
            offsets,
            table,
            verified: AtomicU32::new(0),
            templates: OnceLock::new(),
            rankings: OnceLock::new(),
            suffix_minima: OnceLock::new(),
        })
    }

    /// Bytes that the index was opened from.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The segment's link type.
    pub fn link_type(&self) -> LinkType {
        self.header.link_type
    }

    /// Records in the segment.
    pub fn records(&self) -> u64 {
        self.header.records
    }

    /// Bytes of the segment, file header included.
    pub fn segment_bytes(&self) -> u64 {
        self.header.segment_bytes
    }

    /// Bytes that the packets had on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.header.wire_bytes
    }

    /// Earliest timestamp in the segment; [`Timestamp::MAX`] where there is no record.
    pub fn first(&self) -> Timestamp {
        self.header.first
    }

    /// Latest timestamp in the segment; [`Timestamp::MIN`] where there is no record.
    pub fn last(&self) -> Timestamp {
        self.header.last
    }

    /// The furthest that a record's timestamp stands before the latest of the records before it, in nanoseconds. Zero
    /// where the segment is in time order.
    pub fn disorder_ns(&self) -> u64 {
        self.header.disorder_ns
    }

    /// Bytes of a granule: a power of two.
    pub fn granule_bytes(&self) -> u64 {
        1 << self.header.granule_shift
    }

    /// Number of granules of the segment. A granule's number is its offset in the segment divided by the granule size.
    pub fn granule_count(&self) -> u32 {
        self.header.granules
    }

    /// Number of flows in the index. They are numbered from zero; those of a conversation are neighbours.
    pub fn flow_count(&self) -> u32 {
        self.header.flows
    }

    /// Bytes of the index itself.
    pub fn index_bytes(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    /// Approximate memory that it takes besides those bytes, for decoded parts.
    pub fn decoded_bytes(&self) -> usize {
        let templates = self.templates.get().and_then(|templates| templates.as_ref().ok());
        let minima = self.suffix_minima.get().and_then(|minima| minima.as_ref().ok());
        let rankings = self.rankings.get().and_then(|rankings| rankings.as_ref().ok());
        size_of::<Self>()
            + templates.map_or(0, |templates| templates.iter().map(Template::memory_bytes).sum())
            + minima.map_or(0, |minima| size_of_val(minima.as_slice()))
            + rankings.map_or(0, Rankings::memory_bytes)
    }

    /// Bytes of each section, by its name in `FORMAT.md`.
    pub fn section_bytes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Section::ALL.iter().zip(&self.table).map(|(section, entry)| (section.name(), entry.bytes))
    }

    /// Number of bytes at the beginning of the segment that [`Self::matches`] needs.
    pub fn head_bytes(&self) -> usize {
        self.header.segment_bytes.min(HEAD_BYTES as u64) as usize
    }

    /// Offset of the segment's last record, and its header; `None` if there are no records.
    pub fn last_record(&self) -> Option<(u64, [u8; 16])> {
        (self.header.records > 0).then_some((self.header.last_record, self.header.last_header))
    }

    /// Checks in a microsecond that the index belongs to a segment of `segment_bytes` that begins with `head` (its first
    /// [`Self::head_bytes`], or more).
    pub fn matches(&self, segment_bytes: u64, head: &[u8]) -> Result<(), IndexError> {
        if segment_bytes != self.header.segment_bytes {
            return Err(IndexError::Foreign { reason: "it was built from a segment of a different length" });
        }
        match head.get(..self.head_bytes()) {
            Some(head) if head_hash(head) == self.header.head_hash => Ok(()),
            _ => Err(IndexError::Foreign { reason: "the segment begins with different bytes" }),
        }
    }

    /// Checks that packets were dissected with these ports: other ports give other flows.
    pub fn matches_ports(&self, ports: &TunnelPorts) -> Result<(), IndexError> {
        if self.header.tunnel_ports == tunnel_ports_hash(ports) {
            Ok(())
        } else {
            Err(IndexError::OtherPorts)
        }
    }

    /// Checks as [`Self::matches`], with the segment in memory or mapped: looks at its last record as well.
    pub fn matches_segment(&self, segment: &[u8]) -> Result<(), IndexError> {
        self.matches(segment.len() as u64, segment)?;
        let Some((offset, header)) = self.last_record() else { return Ok(()) };
        let found =
            usize::try_from(offset).ok().and_then(|at| segment.get(at..at.checked_add(header.len())?));
        match found == Some(&header) {
            true => Ok(()),
            false => Err(IndexError::Foreign { reason: "the segment's last record is different" }),
        }
    }

    /// The templates, by number.
    pub fn templates(&self) -> Result<&[Template], IndexError> {
        let templates = self.templates.get_or_init(|| {
            let bytes = self.section(Section::Templates)?;
            template_list::take_all(bytes, self.header.templates).ok_or(Section::Templates.damaged())
        });
        templates.as_deref().map_err(Clone::clone)
    }

    /// The flow with a number. For more than a few, a [`FlowCursor`] is cheaper.
    pub fn flow(&self, id: u32) -> Result<crate::Flow, IndexError> {
        self.cursor().flow(id)
    }

    /// Reads flows, their positions and granules, and remembers what it has decoded.
    pub fn cursor(&self) -> FlowCursor<'_, B> {
        FlowCursor::new(self)
    }

    /// All flows in the order of their numbers.
    pub fn flows(&self) -> FlowIter<'_, B> {
        FlowIter::new(self, None)
    }

    /// The flows of those templates whose place in `wanted` holds true, in the order of their numbers.
    pub fn flows_of<'a>(&'a self, wanted: &'a [bool]) -> FlowIter<'a, B> {
        FlowIter::new(self, Some(wanted))
    }

    /// Reads what was observed of flows.
    pub fn observations(&self) -> Result<Observations<'_>, IndexError> {
        let directory = self.section(Section::ObservationDirectory)?;
        let blocks = self.section(Section::Observations)?;
        let rows = BlockReader::new(Section::Observations, blocks, directory, self.header.observations)?;
        let directory = self.section(Section::StringDirectory)?;
        let blocks = self.section(Section::Strings)?;
        Ok(Observations::new(
            rows,
            BlockReader::new(Section::Strings, blocks, directory, self.header.strings)?,
        ))
    }

    /// Verifies every checksum and decodes everything once.
    pub fn verify(&self) -> Result<(), IndexError> {
        for section in Section::ALL {
            self.section(section)?;
        }
        self.seconds()?;
        self.v4()?.decode_all::<u32>(&mut Vec::new())?;
        self.v6()?.decode_all::<u128>(&mut Vec::new())?;
        self.ports()?.decode_all::<u32>(&mut Vec::new())?;
        self.observations()?.verify(self.flow_count())?;
        self.checksum_blocks()?.as_ref().map_or(Ok(()), crate::checksums::verify)?;
        let mut cursor = self.cursor();
        let mut positions = Vec::new();
        for granule in 0..self.granule_count() {
            cursor.granule(granule)?;
        }
        for flow in 0..self.flow_count() {
            cursor.flow(flow)?;
            positions.clear();
            cursor.granules_of(flow, &mut positions)?;
        }
        Ok(())
    }

    /// The bytes of a section; those that are not made of blocks are verified first.
    fn section(&self, section: Section) -> Result<&[u8], IndexError> {
        let number = section as usize;
        let bytes = self.bytes.as_ref();
        let bytes = bytes.get(self.offsets[number]..self.offsets[number + 1]).ok_or(section.damaged())?;
        let bit = 1 << number;
        if !section.is_blocked() && self.verified.load(Ordering::Relaxed) & bit == 0 {
            if !is_right(&section_checksum(section, bytes), &self.table[number].checksum) {
                return Err(section.damaged());
            }
            self.verified.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    fn rankings(&self) -> Result<&Rankings, IndexError> {
        let rankings = self.rankings.get_or_init(|| {
            Rankings::take(self.section(Section::Rankings)?).ok_or(Section::Rankings.damaged())
        });
        rankings.as_ref().map_err(Clone::clone)
    }

    fn v4(&self) -> Result<SortedSet<'_, 4>, IndexError> {
        let directory = self.section(Section::AddressV4Directory)?;
        let blocks = self.section(Section::AddressesV4)?;
        SortedSet::new(Section::AddressesV4, blocks, directory, self.header.addresses_v4)
    }

    fn v6(&self) -> Result<SortedSet<'_, 16>, IndexError> {
        let directory = self.section(Section::AddressV6Directory)?;
        let blocks = self.section(Section::AddressesV6)?;
        SortedSet::new(Section::AddressesV6, blocks, directory, self.header.addresses_v6)
    }

    fn ports(&self) -> Result<SortedSet<'_, 4>, IndexError> {
        let directory = self.section(Section::PortDirectory)?;
        SortedSet::new(Section::Ports, self.section(Section::Ports)?, directory, self.header.ports)
    }

    fn granule_table(&self) -> Result<GranuleTable<'_>, IndexError> {
        let directory = self.section(Section::GranuleDirectory)?;
        let blocks = self.section(Section::Granules)?;
        GranuleTable::new(blocks, directory, self.header.granules, self.header.granule_shift)
    }

    /// Keyed by the first greater address of a block.
    fn keys(&self) -> Result<BlockReader<'_, 4>, IndexError> {
        let directory = self.section(Section::KeyDirectory)?;
        BlockReader::new(Section::Keys, self.section(Section::Keys)?, directory, self.header.flows)
    }

    fn details(&self) -> Result<BlockReader<'_, 0>, IndexError> {
        let directory = self.section(Section::DetailDirectory)?;
        BlockReader::new(Section::Details, self.section(Section::Details)?, directory, self.header.flows)
    }

    fn positions(&self) -> Result<BlockReader<'_, 0>, IndexError> {
        let directory = self.section(Section::PositionDirectory)?;
        BlockReader::new(Section::Positions, self.section(Section::Positions)?, directory, self.header.flows)
    }
}
