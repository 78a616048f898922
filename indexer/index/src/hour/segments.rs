//! The section of segments: what a query has to know of each before it opens it.

use netrewind_store::files::FileStamp;
use netrewind_store::store::SegmentStamps;
use netrewind_store::{LinkType, SegmentName, Timestamp};

use crate::layout::number;

/// Bytes of a segment's entry.
pub(super) const SEGMENT_BYTES: usize = 120;
/// Set where the hour does not list the segment's addresses and ports: it may have any.
const IS_UNLISTED: u8 = 1;

/// The fields of an entry.
pub(super) mod field {
    use std::ops::Range;
    pub const OPENED: Range<usize> = 0..8;
    pub const LANE: Range<usize> = 8..10;
    pub const LINK_TYPE: Range<usize> = 10..12;
    pub const FLAGS: Range<usize> = 12..13;
    pub const LATER_VIEWS: Range<usize> = 13..14;
    #[cfg(test)]
    pub const RESERVED: Range<usize> = 14..16;
    pub const FIRST: Range<usize> = 16..24;
    pub const LAST: Range<usize> = 24..32;
    pub const RECORDS: Range<usize> = 32..40;
    pub const WIRE_BYTES: Range<usize> = 40..48;
    #[cfg(test)]
    pub const RESERVED_TOO: Range<usize> = 48..56;
    pub const SEGMENT: Range<usize> = 56..88;
    pub const INDEX: Range<usize> = 88..120;

    /// All of them, for the test that compares them with the document.
    #[cfg(test)]
    pub const ALL: [Range<usize>; 13] = [
        OPENED,
        LANE,
        LINK_TYPE,
        FLAGS,
        LATER_VIEWS,
        RESERVED,
        FIRST,
        LAST,
        RECORDS,
        WIRE_BYTES,
        RESERVED_TOO,
        SEGMENT,
        INDEX,
    ];
}

/// A segment of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourSegment {
    /// Its name.
    pub name: SegmentName,
    /// Its link type.
    pub link_type: LinkType,
    /// Bits of the views in which it can have fragments other than the first of their packet.
    pub later_views: u8,
    /// True if the hour lists its addresses and ports; otherwise it may have any.
    pub is_listed: bool,
    /// The earliest timestamp in it.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
    /// Its packets.
    pub records: u64,
    /// Bytes that they had on the wire.
    pub wire_bytes: u64,
    /// Stamps of its files when the hour was written.
    pub stamps: SegmentStamps,
}

fn put_stamp(bytes: &mut [u8], stamp: &FileStamp) {
    let numbers = [
        stamp.inode.to_le_bytes(),
        stamp.bytes.to_le_bytes(),
        stamp.modified_ns.to_le_bytes(),
        stamp.changed_ns.to_le_bytes(),
    ];
    bytes.copy_from_slice(numbers.as_flattened());
}

fn take_stamp(bytes: &[u8]) -> FileStamp {
    FileStamp {
        inode: u64::from_le_bytes(number(bytes, 0..8)),
        bytes: u64::from_le_bytes(number(bytes, 8..16)),
        modified_ns: i64::from_le_bytes(number(bytes, 16..24)),
        changed_ns: i64::from_le_bytes(number(bytes, 24..32)),
    }
}

impl HourSegment {
    /// Appends its entry.
    pub(super) fn put(&self, section: &mut Vec<u8>) {
        let mut bytes = [0; SEGMENT_BYTES];
        bytes[field::OPENED].copy_from_slice(&self.name.opened.ns().to_le_bytes());
        bytes[field::LANE].copy_from_slice(&self.name.lane.to_le_bytes());
        bytes[field::LINK_TYPE].copy_from_slice(&self.link_type.0.to_le_bytes());
        bytes[field::FLAGS].copy_from_slice(&[if self.is_listed { 0 } else { IS_UNLISTED }]);
        bytes[field::LATER_VIEWS].copy_from_slice(&[self.later_views]);
        bytes[field::FIRST].copy_from_slice(&self.first.ns().to_le_bytes());
        bytes[field::LAST].copy_from_slice(&self.last.ns().to_le_bytes());
        bytes[field::RECORDS].copy_from_slice(&self.records.to_le_bytes());
        bytes[field::WIRE_BYTES].copy_from_slice(&self.wire_bytes.to_le_bytes());
        put_stamp(&mut bytes[field::SEGMENT], &self.stamps.segment);
        put_stamp(&mut bytes[field::INDEX], &self.stamps.index);
        section.extend_from_slice(&bytes);
    }

    /// Reads an entry.
    fn take(bytes: &[u8; SEGMENT_BYTES]) -> Self {
        let u16_at = |field| u16::from_le_bytes(number(bytes, field));
        let u64_at = |field| u64::from_le_bytes(number(bytes, field));
        Self {
            name: SegmentName { opened: Timestamp(u64_at(field::OPENED)), lane: u16_at(field::LANE) },
            link_type: LinkType(u16_at(field::LINK_TYPE)),
            later_views: bytes[field::LATER_VIEWS.start],
            is_listed: bytes[field::FLAGS.start] & IS_UNLISTED == 0,
            first: Timestamp(u64_at(field::FIRST)),
            last: Timestamp(u64_at(field::LAST)),
            records: u64_at(field::RECORDS),
            wire_bytes: u64_at(field::WIRE_BYTES),
            stamps: SegmentStamps {
                segment: take_stamp(&bytes[field::SEGMENT]),
                index: take_stamp(&bytes[field::INDEX]),
            },
        }
    }

    /// Reads the section; `None` where it is not one of so many segments in the order of their names.
    pub(super) fn take_all(section: &[u8], count: u32) -> Option<Vec<Self>> {
        let (entries, rest) = section.as_chunks::<SEGMENT_BYTES>();
        let segments: Vec<Self> = entries.iter().map(Self::take).collect();
        let is_right = rest.is_empty()
            && segments.len() == count as usize
            && segments.is_sorted_by(|one, next| one.name < next.name);
        is_right.then_some(segments)
    }
}
