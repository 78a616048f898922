//! The bytes of an index file: header, table of sections, checksums. `FORMAT.md` is normative and a test holds it against
//! this module, the only one that knows offsets in the file.

use netrewind_store::{LinkType, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::IndexError;
use netrewind_packet::tunnel::TunnelPorts;

/// First bytes of an index.
pub const MAGIC: [u8; 8] = *b"NRWINDEX";
/// Version of the format.
pub const VERSION: u32 = 3;
/// The longest segment that an index describes, so that records and granules are counted in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 36;
/// The longest section, so that directories hold 32-bit offsets.
pub const SECTION_BYTES_MAX: u64 = u32::MAX as u64;
/// Granules of 2^9 to 2^20 bytes can be read.
pub const GRANULE_SHIFTS: std::ops::RangeInclusive<u8> = 9..=20;
/// Bit of [`field::SECOND_SHIFT`]: the checksums of granules were taken later than the segment was recorded.
pub const LATE_FLAG: u8 = 1 << 7;
/// Bytes from the beginning of the segment that the header holds a hash of.
pub const HEAD_BYTES: usize = 4096;
/// Bytes of the checksum at the front of each block.
pub const BLOCK_CHECKSUM_BYTES: usize = 4;

/// The fields of the header.
pub mod field {
    use std::ops::Range;
    pub const MAGIC: Range<usize> = 0..8;
    pub const VERSION: Range<usize> = 8..12;
    pub const LINK_TYPE: Range<usize> = 12..14;
    pub const GRANULE_SHIFT: Range<usize> = 14..15;
    pub const SECOND_SHIFT: Range<usize> = 15..16;
    pub const FILE_BYTES: Range<usize> = 16..24;
    pub const SEGMENT_BYTES: Range<usize> = 24..32;
    pub const RECORDS: Range<usize> = 32..40;
    pub const WIRE_BYTES: Range<usize> = 40..48;
    pub const FIRST: Range<usize> = 48..56;
    pub const LAST: Range<usize> = 56..64;
    pub const DISORDER_NS: Range<usize> = 64..72;
    pub const HEAD_HASH: Range<usize> = 72..80;
    pub const LAST_RECORD: Range<usize> = 80..88;
    pub const LAST_HEADER: Range<usize> = 88..104;
    pub const FLOWS: Range<usize> = 104..108;
    pub const GRANULES: Range<usize> = 108..112;
    pub const ADDRESSES_V4: Range<usize> = 112..116;
    pub const ADDRESSES_V6: Range<usize> = 116..120;
    pub const PORTS: Range<usize> = 120..124;
    pub const TEMPLATES: Range<usize> = 124..128;
    pub const TUNNEL_PORTS: Range<usize> = 128..136;
    pub const OBSERVATIONS: Range<usize> = 136..140;
    pub const STRINGS: Range<usize> = 140..144;
}

/// Offset of the table of sections, which has an entry for each of [`Section::ALL`].
pub const SECTION_TABLE: usize = 144;
/// Bytes of an entry: length and checksum, 64 bits each.
pub const SECTION_ENTRY_BYTES: usize = 16;
/// Offset of the checksum of everything before it.
pub const HEADER_CHECKSUM: usize = SECTION_TABLE + Section::ALL.len() * SECTION_ENTRY_BYTES;
/// Bytes of that checksum.
pub(crate) const HEADER_CHECKSUM_BYTES: usize = 8;
/// Bytes before the first section.
pub const HEADER_BYTES: usize = HEADER_CHECKSUM + HEADER_CHECKSUM_BYTES;

/// The sections, in the order in which they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Section {
    Templates,
    Rankings,
    Seconds,
    GranuleDirectory,
    AddressV4Directory,
    AddressV6Directory,
    PortDirectory,
    KeyDirectory,
    DetailDirectory,
    PositionDirectory,
    ObservationDirectory,
    StringDirectory,
    ChecksumDirectory,
    Granules,
    AddressesV4,
    AddressesV6,
    Ports,
    Keys,
    Details,
    Positions,
    Observations,
    Strings,
    Checksums,
}

impl Section {
    /// All sections in the order of the file.
    pub const ALL: [Self; 23] = [
        Self::Templates,
        Self::Rankings,
        Self::Seconds,
        Self::GranuleDirectory,
        Self::AddressV4Directory,
        Self::AddressV6Directory,
        Self::PortDirectory,
        Self::KeyDirectory,
        Self::DetailDirectory,
        Self::PositionDirectory,
        Self::ObservationDirectory,
        Self::StringDirectory,
        Self::ChecksumDirectory,
        Self::Granules,
        Self::AddressesV4,
        Self::AddressesV6,
        Self::Ports,
        Self::Keys,
        Self::Details,
        Self::Positions,
        Self::Observations,
        Self::Strings,
        Self::Checksums,
    ];

    /// Its name in `FORMAT.md` and in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Templates => "templates",
            Self::Rankings => "rankings",
            Self::Seconds => "seconds",
            Self::GranuleDirectory => "granule directory",
            Self::AddressV4Directory => "IPv4 directory",
            Self::AddressV6Directory => "IPv6 directory",
            Self::PortDirectory => "port directory",
            Self::KeyDirectory => "key directory",
            Self::DetailDirectory => "detail directory",
            Self::PositionDirectory => "position directory",
            Self::ObservationDirectory => "observation directory",
            Self::StringDirectory => "string directory",
            Self::ChecksumDirectory => "checksum directory",
            Self::Granules => "granules",
            Self::AddressesV4 => "IPv4 addresses",
            Self::AddressesV6 => "IPv6 addresses",
            Self::Ports => "ports",
            Self::Keys => "keys",
            Self::Details => "details",
            Self::Positions => "positions",
            Self::Observations => "observations",
            Self::Strings => "strings",
            Self::Checksums => "checksums",
        }
    }

    /// True where the section is made of blocks, each with its own checksum, found through a directory.
    pub const fn is_blocked(self) -> bool {
        self as u8 >= Self::Granules as u8
    }

    /// The error that says that this section is not what was written.
    pub(crate) const fn damaged(self) -> IndexError {
        IndexError::Damaged { part: self.name() }
    }
}

/// Fields of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    pub link_type: LinkType,
    pub granule_shift: u8,
    /// Seconds of a bucket of the graph are 2^this.
    pub second_shift: u8,
    /// See [`LATE_FLAG`].
    pub is_late: bool,
    pub segment_bytes: u64,
    pub records: u64,
    pub wire_bytes: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub disorder_ns: u64,
    pub head_hash: u64,
    pub last_record: u64,
    pub last_header: [u8; 16],
    pub flows: u32,
    pub granules: u32,
    pub addresses_v4: u32,
    pub addresses_v6: u32,
    pub ports: u32,
    pub templates: u32,
    /// See [`tunnel_ports_hash`].
    pub tunnel_ports: u64,
    /// Flows of which something was observed.
    pub observations: u32,
    /// Distinct texts of labels.
    pub strings: u32,
}

/// Length and checksum of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionEntry {
    pub bytes: u64,
    /// Checksum of the whole section; zero if it is made of blocks.
    pub checksum: u64,
}

/// The table of sections.
pub type SectionTable = [SectionEntry; Section::ALL.len()];

/// The checksum of a section that is not made of blocks: the hash of its bytes, and its number, by exclusive or.
pub fn section_checksum(section: Section, bytes: &[u8]) -> u64 {
    xxh3_64(bytes) ^ section as u64
}

/// True if a checksum is right. Fuzzers cannot guess hashes: under a fuzzer every checksum is right, so that the code behind it
/// is reached.
pub fn is_right<T: PartialEq>(found: &T, wanted: &T) -> bool {
    cfg!(fuzzing) || found == wanted
}

/// The checksum of a block, over what follows it: the lower half of the hash, and the block's place, by exclusive or, so that a
/// block is valid only in its place.
pub fn block_checksum(section: Section, block: u32, bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32 ^ block.rotate_left(8) ^ section as u32
}

/// The checksum of a granule of the segment, whose bytes have this hash: the lower half of it, and the granule's number, by
/// exclusive or, so that a granule is valid only in its place.
pub fn granule_checksum(granule: u32, hash: u64) -> u32 {
    hash as u32 ^ granule
}

/// The hash that [`field::HEAD_HASH`] holds of the segment's first [`HEAD_BYTES`] (or all, where it is shorter).
pub fn head_hash(head: &[u8]) -> u64 {
    xxh3_64(head)
}

/// The hash that [`field::TUNNEL_PORTS`] holds of the ports that the segment's packets were taken apart with.
pub fn tunnel_ports_hash(ports: &TunnelPorts) -> u64 {
    xxh3_64(&ports.list())
}

/// A number of `N` bytes at a place.
pub(crate) fn number<const N: usize>(bytes: &[u8], field: std::ops::Range<usize>) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[field]);
    number
}

impl IndexHeader {
    /// The bytes of header and table.
    pub fn to_bytes(&self, table: &SectionTable) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        let file_bytes = HEADER_BYTES as u64 + table.iter().map(|entry| entry.bytes).sum::<u64>();
        let mut put = |field: std::ops::Range<usize>, value: &[u8]| bytes[field].copy_from_slice(value);
        put(field::MAGIC, &MAGIC);
        put(field::VERSION, &VERSION.to_le_bytes());
        put(field::LINK_TYPE, &self.link_type.0.to_le_bytes());
        put(field::GRANULE_SHIFT, &[self.granule_shift]);
        put(field::SECOND_SHIFT, &[self.second_shift | if self.is_late { LATE_FLAG } else { 0 }]);
        put(field::FILE_BYTES, &file_bytes.to_le_bytes());
        put(field::SEGMENT_BYTES, &self.segment_bytes.to_le_bytes());
        put(field::RECORDS, &self.records.to_le_bytes());
        put(field::WIRE_BYTES, &self.wire_bytes.to_le_bytes());
        put(field::FIRST, &self.first.ns().to_le_bytes());
        put(field::LAST, &self.last.ns().to_le_bytes());
        put(field::DISORDER_NS, &self.disorder_ns.to_le_bytes());
        put(field::HEAD_HASH, &self.head_hash.to_le_bytes());
        put(field::LAST_RECORD, &self.last_record.to_le_bytes());
        put(field::LAST_HEADER, &self.last_header);
        put(field::FLOWS, &self.flows.to_le_bytes());
        put(field::GRANULES, &self.granules.to_le_bytes());
        put(field::ADDRESSES_V4, &self.addresses_v4.to_le_bytes());
        put(field::ADDRESSES_V6, &self.addresses_v6.to_le_bytes());
        put(field::PORTS, &self.ports.to_le_bytes());
        put(field::TEMPLATES, &self.templates.to_le_bytes());
        put(field::TUNNEL_PORTS, &self.tunnel_ports.to_le_bytes());
        put(field::OBSERVATIONS, &self.observations.to_le_bytes());
        put(field::STRINGS, &self.strings.to_le_bytes());
        put_sections(&mut bytes[SECTION_TABLE..], table);
        seal_header(&mut bytes);
        bytes
    }

    /// Reads header and table of an index whose bytes are `file`; checks them and the file's length.
    pub fn read(file: &[u8]) -> Result<(Self, SectionTable), IndexError> {
        const DAMAGED: IndexError = IndexError::Damaged { part: "header" };
        if file.get(field::MAGIC) != Some(&MAGIC) || file.len() < HEADER_BYTES {
            return Err(DAMAGED);
        }
        let bytes = &file[..HEADER_BYTES];
        let u32_at = |field| u32::from_le_bytes(number(bytes, field));
        let u64_at = |field| u64::from_le_bytes(number(bytes, field));
        let version = u32_at(field::VERSION);
        let is_whole = is_right(&u64_at(HEADER_CHECKSUM..HEADER_BYTES), &xxh3_64(&bytes[..HEADER_CHECKSUM]));
        if version != VERSION {
            // Another version may keep its checksum elsewhere: trust the number.
            return Err(IndexError::Version { found: version, known: VERSION });
        }
        if !is_whole || u64_at(field::FILE_BYTES) != file.len() as u64 {
            return Err(DAMAGED);
        }
        let table: SectionTable = sections_at(&bytes[SECTION_TABLE..]);
        let sections = table.iter().try_fold(HEADER_BYTES as u64, |sum, entry| sum.checked_add(entry.bytes));
        if sections != Some(file.len() as u64) || table.iter().any(|entry| entry.bytes > SECTION_BYTES_MAX) {
            return Err(DAMAGED);
        }
        let header = Self {
            link_type: LinkType(u16::from_le_bytes(number(bytes, field::LINK_TYPE))),
            granule_shift: bytes[field::GRANULE_SHIFT.start],
            second_shift: bytes[field::SECOND_SHIFT.start] & !LATE_FLAG,
            is_late: bytes[field::SECOND_SHIFT.start] & LATE_FLAG != 0,
            segment_bytes: u64_at(field::SEGMENT_BYTES),
            records: u64_at(field::RECORDS),
            wire_bytes: u64_at(field::WIRE_BYTES),
            first: Timestamp(u64_at(field::FIRST)),
            last: Timestamp(u64_at(field::LAST)),
            disorder_ns: u64_at(field::DISORDER_NS),
            head_hash: u64_at(field::HEAD_HASH),
            last_record: u64_at(field::LAST_RECORD),
            last_header: number(bytes, field::LAST_HEADER),
            flows: u32_at(field::FLOWS),
            granules: u32_at(field::GRANULES),
            addresses_v4: u32_at(field::ADDRESSES_V4),
            addresses_v6: u32_at(field::ADDRESSES_V6),
            ports: u32_at(field::PORTS),
            templates: u32_at(field::TEMPLATES),
            tunnel_ports: u64_at(field::TUNNEL_PORTS),
            observations: u32_at(field::OBSERVATIONS),
            strings: u32_at(field::STRINGS),
        };
        let is_plausible = GRANULE_SHIFTS.contains(&header.granule_shift)
            && header.second_shift < 64
            && header.segment_bytes <= SEGMENT_BYTES_MAX
            && u64::from(header.granules) == header.segment_bytes.div_ceil(1 << header.granule_shift);
        if is_plausible { Ok((header, table)) } else { Err(DAMAGED) }
    }
}

/// Marks an index as one whose checksums of granules were taken later than its segment was recorded, from bytes that nothing vouched
/// for.
pub fn mark_late(index: &mut [u8]) {
    if let Some(header) = index.get_mut(..HEADER_BYTES) {
        header[field::SECOND_SHIFT.start] |= LATE_FLAG;
        seal_header(header);
    }
}

/// Writes a table of sections.
pub(crate) fn put_sections(bytes: &mut [u8], table: &[SectionEntry]) {
    for (entry, place) in table.iter().zip(bytes.chunks_exact_mut(SECTION_ENTRY_BYTES)) {
        place[..8].copy_from_slice(&entry.bytes.to_le_bytes());
        place[8..].copy_from_slice(&entry.checksum.to_le_bytes());
    }
}

/// Reads a table of sections.
pub(crate) fn sections_at<const N: usize>(bytes: &[u8]) -> [SectionEntry; N] {
    std::array::from_fn(|section| {
        let u64_at = |at: usize| u64::from_le_bytes(number(bytes, at..at + 8));
        let at = section * SECTION_ENTRY_BYTES;
        SectionEntry { bytes: u64_at(at), checksum: u64_at(at + 8) }
    })
}

/// Makes the checksums of a section's blocks right, which stand where its directory says.
#[cfg(test)]
pub(crate) fn reseal_blocks(
    bytes: &mut [u8],
    directory: std::ops::Range<usize>,
    blocks: std::ops::Range<usize>,
    entry_bytes: usize,
    section: Section,
) {
    let entries = bytes[directory].chunks(entry_bytes).map(|entry| entry[..4].try_into().unwrap());
    let mut offsets: Vec<usize> = entries.map(|offset| u32::from_le_bytes(offset) as usize).collect();
    let blocks = &mut bytes[blocks];
    offsets.push(blocks.len());
    for (number, pair) in offsets.windows(2).enumerate() {
        let content = pair[0] + BLOCK_CHECKSUM_BYTES..pair[1];
        if let Some(content) = blocks.get(content.clone()).filter(|_| content.start < content.end) {
            let checksum = block_checksum(section, number as u32, content).to_le_bytes();
            blocks[pair[0]..pair[0] + BLOCK_CHECKSUM_BYTES].copy_from_slice(&checksum);
        }
    }
}

/// Puts the checksum of a header, which is all of `bytes`, at its end.
pub(crate) fn seal_header(bytes: &mut [u8]) {
    let (checked, checksum) = bytes.split_at_mut(bytes.len() - HEADER_CHECKSUM_BYTES);
    checksum.copy_from_slice(&xxh3_64(checked).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{CONVERSATIONS_MAX, HOLDING_MAX, LABELLING_MAX, TEXT_BYTES_MAX};
    use crate::column::BLOCK_ROWS;
    use crate::observations::LabelKey;
    use crate::ranking::RANKS_MAX;
    use crate::seconds::POINTS_MAX;
    use crate::strings::STRING_BYTES_MAX;
    use crate::{IndexLimits, POSITIONS_WITHOUT_LENGTH_MAX};
    use netrewind_packet::PREFIX_BYTES_MAX;

    const DOCUMENT: &str = include_str!("../FORMAT.md");

    /// The cells of the tables of a section of the document, without heads and rules.
    fn rows(title: &str) -> Vec<Vec<&'static str>> {
        let from = DOCUMENT.split(&format!("# {title}\n")).nth(1).expect(title);
        let body = from.split("\n#").next().unwrap();
        let rows = body.lines().filter(|line| line.starts_with('|'));
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        rows.map(cells).filter(|cells| !cells[0].starts_with("---")).skip(1).collect()
    }

    #[test]
    fn the_header_is_as_documented() {
        let fields = [
            ("magic", field::MAGIC),
            ("version", field::VERSION),
            ("link type", field::LINK_TYPE),
            ("granule shift", field::GRANULE_SHIFT),
            ("second shift", field::SECOND_SHIFT),
            ("file bytes", field::FILE_BYTES),
            ("segment bytes", field::SEGMENT_BYTES),
            ("records", field::RECORDS),
            ("wire bytes", field::WIRE_BYTES),
            ("first", field::FIRST),
            ("last", field::LAST),
            ("disorder", field::DISORDER_NS),
            ("head hash", field::HEAD_HASH),
            ("last record", field::LAST_RECORD),
            ("last header", field::LAST_HEADER),
            ("flows", field::FLOWS),
            ("granules", field::GRANULES),
            ("IPv4 addresses", field::ADDRESSES_V4),
            ("IPv6 addresses", field::ADDRESSES_V6),
            ("ports", field::PORTS),
            ("templates", field::TEMPLATES),
            ("tunnel ports", field::TUNNEL_PORTS),
            ("observations", field::OBSERVATIONS),
            ("strings", field::STRINGS),
        ];
        let documented: Vec<_> =
            rows("Header").iter().map(|row| (row[0], row[1].to_owned(), row[2].to_owned())).collect();
        let coded: Vec<_> = fields
            .iter()
            .map(|(name, field)| (*name, field.start.to_string(), field.len().to_string()))
            .collect();
        assert_eq!(documented, coded);
        assert!(fields.windows(2).all(|pair| pair[0].1.end == pair[1].1.start));
        assert_eq!(fields[fields.len() - 1].1.end, SECTION_TABLE);
        assert!(rows("Header")[0][3].contains(std::str::from_utf8(&MAGIC).unwrap()));
        assert_eq!(rows("Header")[1][3], VERSION.to_string());
        assert!(DOCUMENT.starts_with(&format!("# The index of a segment, version {VERSION}\n")));
        assert!(
            DOCUMENT.contains(&format!("from byte {SECTION_TABLE} an entry of {SECTION_ENTRY_BYTES} bytes"))
        );
        assert!(DOCUMENT.contains(&format!("opening reads {HEADER_BYTES} bytes")));
        assert!(DOCUMENT.contains(&format!("the segment's first {HEAD_BYTES} bytes")));
        let shifts = format!(
            "{} to {}; {} in",
            GRANULE_SHIFTS.start(),
            GRANULE_SHIFTS.end(),
            IndexLimits::default().granule_shift
        );
        assert!(DOCUMENT.contains(&shifts));
    }

    #[test]
    fn the_sections_are_as_documented() {
        let table = rows("Sections");
        let (sections, directories) = table.split_at(Section::ALL.len());
        for ((number, section), row) in Section::ALL.into_iter().enumerate().zip(sections) {
            assert_eq!(number, section as usize);
            let is_blocked = if section.is_blocked() { "yes" } else { "no" };
            assert_eq!(row[..], [number.to_string().as_str(), section.name(), is_blocked]);
        }
        let keys = [crate::granules::KEY_BYTES, 4, 16, 4, 4, 0, 0, 4, 0, 0];
        let names = Section::ALL[3..13].iter().map(|section| section.name());
        let coded: Vec<_> = names.zip(keys.map(|bytes| bytes.to_string())).collect();
        let documented: Vec<_> = directories[1..].iter().map(|row| (row[0], row[2].to_owned())).collect();
        assert_eq!(documented, coded);
        assert!(DOCUMENT.contains(&format!("{BLOCK_ROWS} rows make a block")));
        assert!(DOCUMENT.contains(&format!("A block is {BLOCK_CHECKSUM_BYTES} bytes of checksum")));
        assert!(DOCUMENT.contains(&format!("in more than {POSITIONS_WITHOUT_LENGTH_MAX} granules")));
    }

    #[test]
    fn the_limits_are_as_documented() {
        let limits = IndexLimits::default();
        let power = |number: u64| format!("2^{}", number.ilog2());
        let coded = [
            ("segment bytes", power(SEGMENT_BYTES_MAX)),
            ("granule bytes", power(1 << limits.granule_shift)),
            ("flows with a key", power(limits.flows_max.into())),
            ("templates", power(limits.templates_max.into())),
            ("prefix bytes", PREFIX_BYTES_MAX.to_string()),
            ("points of the graph", POINTS_MAX.to_string()),
            ("ranks of a column", RANKS_MAX.to_string()),
            ("section bytes", "2^32 - 1".to_owned()),
            ("observed conversations", power(CONVERSATIONS_MAX as u64)),
            ("conversations in labelling", power(LABELLING_MAX as u64)),
            ("conversations of which bytes are held", power(HOLDING_MAX as u64)),
            ("bytes of all texts", power(TEXT_BYTES_MAX as u64)),
            ("bytes of a text", power(STRING_BYTES_MAX as u64)),
            ("bytes of a stream that are looked at", power(netrewind_labels::BYTES_MAX as u64)),
            ("datagrams of a direction that are looked at", netrewind_labels::DATAGRAMS_MAX.to_string()),
        ];
        let documented: Vec<_> = rows("Limits").iter().map(|row| (row[0], row[1].to_owned())).collect();
        assert_eq!(documented, coded);
        assert_eq!(SECTION_BYTES_MAX, (1 << 32) - 1);
    }

    #[test]
    fn the_label_keys_are_as_documented() {
        let table = rows("Observations");
        let documented: Vec<_> = table.iter().map(|row| (row[0].to_owned(), row[1])).collect();
        let coded: Vec<_> = LabelKey::ALL.iter().map(|key| ((*key as u8).to_string(), key.name())).collect();
        assert_eq!(documented, coded);
    }
}
