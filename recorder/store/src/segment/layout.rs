//! The bytes of a segment: an ordinary nanosecond pcap file, little endian, one link type.
//!
//! Source: draft-ietf-opsawg-pcap. This is the only module that knows the offsets.

use crate::LinkType;

/// Bytes of the file header, before the first record.
pub const FILE_HEADER_BYTES: usize = 24;
/// Bytes of a record's header, before its packet.
pub const RECORD_HEADER_BYTES: usize = 16;
/// The longest packet that a segment holds, and the snaplen in every file header: libpcap's own limit
/// (`MAXIMUM_SNAPLEN`), above which other tools refuse the file.
pub const CAPLEN_MAX: u32 = 262_144;
/// Magic number of nanosecond pcap, as a little-endian writer stores it.
pub const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

mod file_field {
    use std::ops::Range;
    pub const MAGIC: Range<usize> = 0..4;
    pub const VERSION_MAJOR: Range<usize> = 4..6;
    pub const VERSION_MINOR: Range<usize> = 6..8;
    pub const SNAPLEN: Range<usize> = 16..20;
    pub const LINK_TYPE: Range<usize> = 20..24;
}

mod record_field {
    use std::ops::Range;
    pub const SECONDS: Range<usize> = 0..4;
    pub const NANOSECONDS: Range<usize> = 4..8;
    pub const CAPLEN: Range<usize> = 8..12;
    pub const LEN: Range<usize> = 12..16;
}

#[inline]
fn u32_at(bytes: &[u8], field: std::ops::Range<usize>) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[field]);
    u32::from_le_bytes(word)
}

/// The file header of every segment of this link type.
pub fn file_header(link_type: LinkType) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[file_field::MAGIC].copy_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
    bytes[file_field::VERSION_MAJOR].copy_from_slice(&2u16.to_le_bytes());
    bytes[file_field::VERSION_MINOR].copy_from_slice(&4u16.to_le_bytes());
    bytes[file_field::SNAPLEN].copy_from_slice(&CAPLEN_MAX.to_le_bytes());
    bytes[file_field::LINK_TYPE].copy_from_slice(&u32::from(link_type.0).to_le_bytes());
    bytes
}

/// The link type that a segment's file header names; `None` where the header is not one that we write.
pub fn link_type_of(header: &[u8; FILE_HEADER_BYTES]) -> Option<LinkType> {
    let link_type = LinkType(u16::try_from(u32_at(header, file_field::LINK_TYPE)).ok()?);
    (*header == file_header(link_type)).then_some(link_type)
}

/// The header of one packet record, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Seconds since the Unix epoch.
    pub seconds: u32,
    /// Nanoseconds of that second. A damaged capture may hold a second or more here; it is kept as it came.
    pub nanoseconds: u32,
    /// Bytes of the packet that are stored.
    pub caplen: u32,
    /// Bytes that the packet had on the wire.
    pub len: u32,
}

impl RecordHeader {
    /// Reads the first [`RECORD_HEADER_BYTES`] of `bytes`; `None` where there are fewer.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER_BYTES] = bytes.first_chunk()?;
        Some(Self {
            seconds: u32_at(bytes, record_field::SECONDS),
            nanoseconds: u32_at(bytes, record_field::NANOSECONDS),
            caplen: u32_at(bytes, record_field::CAPLEN),
            len: u32_at(bytes, record_field::LEN),
        })
    }

    /// The bytes to store.
    #[inline]
    pub fn to_bytes(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[record_field::SECONDS].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[record_field::NANOSECONDS].copy_from_slice(&self.nanoseconds.to_le_bytes());
        bytes[record_field::CAPLEN].copy_from_slice(&self.caplen.to_le_bytes());
        bytes[record_field::LEN].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Time at which the packet was received.
    #[inline]
    pub fn timestamp(&self) -> crate::Timestamp {
        crate::Timestamp::new(self.seconds, self.nanoseconds)
    }

    /// Bytes that the whole record takes in the segment.
    #[inline]
    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.caplen as usize
    }
}

/// Fields of an open segment's committed mark: see `FORMAT.md`, "The committed mark".
pub mod mark {
    use std::ops::Range;
    /// Bytes of a mark.
    pub const BYTES: usize = 64;
    /// Place of the published mark in the file: what readers believe.
    pub const PUBLISHED_AT: u64 = 0;
    /// Place of the synced mark: what recovery believes. It is durable before the published one says as much.
    pub const SYNCED_AT: u64 = BYTES as u64;
    /// Bytes of the file.
    pub const FILE_BYTES: usize = 2 * BYTES;
    /// First bytes of a mark; the digit is its version.
    pub const MAGIC: [u8; 8] = *b"NRWMARK1";
    pub(crate) const FIELD_MAGIC: Range<usize> = 0..8;
    pub(crate) const FIELD_COMMITTED_BYTES: Range<usize> = 8..16;
    pub(crate) const FIELD_RECORDS: Range<usize> = 16..24;
    pub(crate) const FIELD_FIRST: Range<usize> = 24..32;
    pub(crate) const FIELD_LAST: Range<usize> = 32..40;
    pub(crate) const FIELD_CHECKSUM: Range<usize> = 56..64;
}
