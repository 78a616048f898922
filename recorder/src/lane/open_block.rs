//! The buffer that packets are copied into: one bounds check and one copy a packet.

use std::sync::Arc;

use netrewind_store::layout::{FILE_HEADER_BYTES, RECORD_HEADER_BYTES, file_header};
use netrewind_store::{LinkType, RecordHeader, Timestamp};

use crate::buffer_pool::{ALIGNMENT_BYTES, Buffer, Lease};
use crate::source::Packet;

/// Counts of some records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub records: u64,
    /// Bytes of packets, without record headers.
    pub packet_bytes: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Contents {
    pub const NONE: Self = Self { records: 0, packet_bytes: 0, first: Timestamp::MAX, last: Timestamp::MIN };

    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.packet_bytes += other.packet_bytes;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// A buffer of a segment on its way to the disk. Its records are whole in memory; on the disk, the last one may end with the next
/// block, except if `is_rest`.
#[derive(Debug)]
pub(crate) struct Block {
    pub buffer: Lease,
    /// Offset of the buffer in the segment; aligned.
    pub offset: u64,
    /// Bytes of the buffer to write; aligned.
    pub bytes: usize,
    /// Its records in the buffer: those in no earlier block.
    pub records: std::ops::Range<usize>,
    pub contents: Contents,
    /// True if it is written with its unfilled last sector, which the next block overwrites.
    pub is_rest: bool,
    /// Wall-clock time at which the segment got it.
    pub given_at: Timestamp,
}

/// A buffer that is being filled with the records of one segment.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    buffer: Buffer,
    offset: u64,
    /// Start of the records in no earlier block.
    new_from: usize,
    end: usize,
    limit: usize,
    segment_bytes: u64,
    link_type: LinkType,
    contents: Contents,
    /// True if it holds bytes that no block wrote: records, or the end of a record that began in the last full block.
    is_new: bool,
}

fn aligned_down(bytes: usize) -> usize {
    bytes / ALIGNMENT_BYTES * ALIGNMENT_BYTES
}

impl OpenBlock {
    /// The first buffer of a segment of at most `segment_bytes`.
    pub fn first(mut buffer: Buffer, link_type: LinkType, segment_bytes: u64) -> Self {
        buffer[..FILE_HEADER_BYTES].copy_from_slice(&file_header(link_type));
        Self::at(buffer, 0, FILE_HEADER_BYTES, link_type, segment_bytes, true)
    }

    fn at(
        buffer: Buffer,
        offset: u64,
        new_from: usize,
        link_type: LinkType,
        segment_bytes: u64,
        is_new: bool,
    ) -> Self {
        let contents = Contents::NONE;
        let mut open_block = Self {
            buffer,
            offset,
            new_from,
            end: new_from,
            limit: 0,
            segment_bytes,
            link_type,
            contents,
            is_new,
        };
        open_block.limit_to(segment_bytes);
        open_block
    }

    /// Limits the segment to this many bytes from now on; its records stay.
    pub fn limit_to(&mut self, segment_bytes: u64) {
        let segment_room = usize::try_from(segment_bytes.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        self.segment_bytes = segment_bytes;
        self.limit = self.buffer.len().min(segment_room);
    }

    pub fn link_type(&self) -> LinkType {
        self.link_type
    }

    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// True if it holds anything that no earlier block has written.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Bytes of the segment so far.
    pub fn segment_end(&self) -> u64 {
        self.offset + self.end as u64
    }

    /// Appends a packet, cut to `caplen`; false if there is no room for it.
    #[inline]
    pub fn append(&mut self, packet: &Packet<'_>, caplen: usize) -> bool {
        let end = self.end + RECORD_HEADER_BYTES + caplen;
        if end > self.limit {
            return false;
        }
        let Some(record) = self.buffer.get_mut(self.end..end) else { return false };
        let (header_space, packet_space) = record.split_at_mut(RECORD_HEADER_BYTES);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a buffer is smaller than 4 GiB, and it fits in one"
        )]
        let header = RecordHeader { caplen: caplen as u32, ..packet.header };
        header_space.copy_from_slice(&header.to_bytes());
        if packet.tag.is_none() && packet.head.len() == caplen {
            packet_space.copy_from_slice(packet.head);
        } else {
            lay(packet, packet_space);
        }
        self.end = end;
        self.is_new = true;
        let timestamp = header.timestamp();
        self.contents.records += 1;
        self.contents.packet_bytes += caplen as u64;
        self.contents.first = self.contents.first.min(timestamp);
        self.contents.last = self.contents.last.max(timestamp);
        true
    }

    /// Hands the records over as a block, and continues in `next` at the end of the block's last whole sector. The bytes behind
    /// that, fewer than [`ALIGNMENT_BYTES`], are copied into `next`.
    pub fn go_on(self, next: Buffer, is_rest: bool) -> (Block, Self) {
        let carried_from = aligned_down(self.end);
        let carried = self.end - carried_from;
        let offset = self.offset + carried_from as u64;
        let is_new = carried > 0 && !is_rest;
        let mut open_block = Self::at(next, offset, carried, self.link_type, self.segment_bytes, is_new);
        open_block.buffer[..carried].copy_from_slice(&self.buffer[carried_from..self.end]);
        (self.into_block(is_rest), open_block)
    }

    /// Hands the records over as the segment's last block.
    pub fn finish(self) -> Block {
        self.into_block(true)
    }

    fn into_block(mut self, is_rest: bool) -> Block {
        let bytes = match is_rest {
            true => self.end.next_multiple_of(ALIGNMENT_BYTES),
            false => aligned_down(self.end),
        };
        // The last user's bytes after our end would read as records.
        if let Some(unfilled) = self.buffer.get_mut(self.end..bytes) {
            unfilled.fill(0);
        }
        Block {
            buffer: Arc::new(self.buffer),
            offset: self.offset,
            bytes,
            records: self.new_from..self.end,
            contents: self.contents,
            is_rest,
            given_at: Timestamp::MIN,
        }
    }
}

impl Block {
    /// End of its records in the segment.
    pub fn end(&self) -> u64 {
        self.offset + self.records.end as u64
    }
}

/// Copies the packet's parts one after another, as far as there is space.
fn lay(packet: &Packet<'_>, mut space: &mut [u8]) {
    let tag = packet.tag.as_ref().map_or(&[][..], |tag| &tag[..]);
    for part in [packet.head, tag, packet.tail] {
        let bytes = part.len().min(space.len());
        let (here, rest) = space.split_at_mut(bytes);
        here.copy_from_slice(&part[..bytes]);
        space = rest;
    }
}
