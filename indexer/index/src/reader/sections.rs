//! The sections of an index: each is verified when it is first used, a block each time it is decoded, and what is decoded
//! whole is kept.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::IndexError;
use crate::blocks::BlockReader;
use crate::dictionary::SortedSet;
use crate::granules::GranuleTable;
use crate::layout::{HEADER_BYTES, IndexHeader, Section, SectionTable, is_right, section_checksum};
use crate::ranking::Rankings;
use crate::template::Template;
use crate::template_list;

/// Bytes of an index, and what has been decoded of them.
#[derive(Debug)]
pub(super) struct IndexSections<B> {
    pub(super) bytes: B,
    pub(super) header: IndexHeader,
    /// Offset of each section, and the end of the last one.
    offsets: [usize; Section::ALL.len() + 1],
    pub(super) table: SectionTable,
    /// A bit for each section whose checksum was found right.
    verified: AtomicU32,
    templates: OnceLock<Result<Vec<Template>, IndexError>>,
    rankings: OnceLock<Result<Rankings, IndexError>>,
    /// Earliest timestamp from each block of granules to the end.
    suffix_minima: OnceLock<Result<Vec<u64>, IndexError>>,
}

impl<B: AsRef<[u8]>> IndexSections<B> {
    /// Opens an index after checking its header. Costs the same whatever the index's size.
    pub(super) fn open(bytes: B) -> Result<Self, IndexError> {
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

    /// Memory that it takes beside its bytes, about: what it has decoded and keeps.
    pub(super) fn decoded_bytes(&self) -> usize {
        let templates = self.templates.get().and_then(|templates| templates.as_ref().ok());
        let minima = self.suffix_minima.get().and_then(|minima| minima.as_ref().ok());
        let rankings = self.rankings.get().and_then(|rankings| rankings.as_ref().ok());
        size_of::<Self>()
            + templates.map_or(0, |templates| templates.iter().map(Template::memory_bytes).sum())
            + minima.map_or(0, |minima| size_of_val(minima.as_slice()))
            + rankings.map_or(0, Rankings::memory_bytes)
    }

    /// The templates, by number.
    pub(super) fn templates(&self) -> Result<&[Template], IndexError> {
        let templates = self.templates.get_or_init(|| {
            let bytes = self.section(Section::Templates)?;
            template_list::take_all(bytes, self.header.templates).ok_or(Section::Templates.damaged())
        });
        templates.as_deref().map_err(Clone::clone)
    }

    /// The bytes of a section; those that are not made of blocks are verified first.
    pub(super) fn section(&self, section: Section) -> Result<&[u8], IndexError> {
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

    pub(super) fn rankings(&self) -> Result<&Rankings, IndexError> {
        let rankings = self.rankings.get_or_init(|| {
            Rankings::take(self.section(Section::Rankings)?).ok_or(Section::Rankings.damaged())
        });
        rankings.as_ref().map_err(Clone::clone)
    }

    pub(super) fn v4(&self) -> Result<SortedSet<'_, 4>, IndexError> {
        let directory = self.section(Section::AddressV4Directory)?;
        let blocks = self.section(Section::AddressesV4)?;
        SortedSet::new(Section::AddressesV4, blocks, directory, self.header.addresses_v4)
    }

    pub(super) fn v6(&self) -> Result<SortedSet<'_, 16>, IndexError> {
        let directory = self.section(Section::AddressV6Directory)?;
        let blocks = self.section(Section::AddressesV6)?;
        SortedSet::new(Section::AddressesV6, blocks, directory, self.header.addresses_v6)
    }

    pub(super) fn ports(&self) -> Result<SortedSet<'_, 4>, IndexError> {
        let directory = self.section(Section::PortDirectory)?;
        SortedSet::new(Section::Ports, self.section(Section::Ports)?, directory, self.header.ports)
    }

    pub(super) fn granule_table(&self) -> Result<GranuleTable<'_>, IndexError> {
        let directory = self.section(Section::GranuleDirectory)?;
        let blocks = self.section(Section::Granules)?;
        GranuleTable::new(blocks, directory, self.header.granules, self.header.granule_shift)
    }

    /// Keyed by the first greater address of a block.
    pub(super) fn keys(&self) -> Result<BlockReader<'_, 4>, IndexError> {
        let directory = self.section(Section::KeyDirectory)?;
        BlockReader::new(Section::Keys, self.section(Section::Keys)?, directory, self.header.flows)
    }

    pub(super) fn details(&self) -> Result<BlockReader<'_, 0>, IndexError> {
        let directory = self.section(Section::DetailDirectory)?;
        BlockReader::new(Section::Details, self.section(Section::Details)?, directory, self.header.flows)
    }

    pub(super) fn positions(&self) -> Result<BlockReader<'_, 0>, IndexError> {
        let directory = self.section(Section::PositionDirectory)?;
        BlockReader::new(Section::Positions, self.section(Section::Positions)?, directory, self.header.flows)
    }

    /// Earliest timestamp from each block of granules to the end.
    pub(super) fn suffix_minima(&self) -> Result<&[u64], IndexError> {
        let minima = self.suffix_minima.get_or_init(|| {
            let table = self.granule_table()?;
            let mut minima: Vec<u64> = (0..table.blocks()).map(|block| table.bounds(block).0).collect();
            for block in (1..minima.len()).rev() {
                minima[block - 1] = minima[block - 1].min(minima[block]);
            }
            Ok(minima)
        });
        minima.as_deref().map_err(Clone::clone)
    }

    /// Checksums of granules; `None` where the index was built without.
    pub(super) fn checksum_blocks(&self) -> Result<Option<BlockReader<'_, 0>>, IndexError> {
        let directory = self.section(Section::ChecksumDirectory)?;
        let blocks = self.section(Section::Checksums)?;
        if directory.is_empty() && blocks.is_empty() {
            return Ok(None);
        }
        BlockReader::new(Section::Checksums, blocks, directory, self.header.granules).map(Some)
    }
}
