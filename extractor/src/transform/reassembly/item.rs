//! A packet that waits.

use netrewind_packet::ViewBytes;
use netrewind_store::{LinkType, RecordHeader, SegmentBlock, SegmentName, Timestamp};

use crate::sink::AnswerPacket;

/// A packet on its way to the answer: as stored, or reassembled.
#[derive(Debug)]
pub(crate) struct OutputPacket {
    pub(super) header: RecordHeader,
    pub(super) link_type: LinkType,
    pub(super) interface: u32,
    pub(super) segment: SegmentName,
    pub(super) bytes: PacketBytes,
    /// Bytes on the wire that it came in.
    pub(crate) wire_bytes: u64,
    /// Number of times it was reassembled.
    pub(super) depth: u8,
    /// Views that stood around it, where it was put together.
    pub(super) views: u8,
    /// A hash of the tunnels that did.
    pub(super) tunnels: u64,
}

/// Location of a packet's bytes.
#[derive(Debug)]
pub(super) enum PacketBytes {
    /// As they were read.
    Stored(SegmentBlock),
    /// Put together.
    Own(Vec<u8>),
}

impl OutputPacket {
    /// A stored packet, whose bytes are this block.
    pub(crate) fn stored(packet: &AnswerPacket<'_>, block: SegmentBlock) -> Self {
        Self::of(packet, PacketBytes::Stored(block))
    }

    pub(super) fn of(packet: &AnswerPacket<'_>, bytes: PacketBytes) -> Self {
        let AnswerPacket { header, link_type, interface, segment, .. } = *packet;
        let wire_bytes = header.len.into();
        Self { header, link_type, interface, segment, bytes, wire_bytes, depth: 0, views: 0, tunnels: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            PacketBytes::Stored(block) => block,
            PacketBytes::Own(bytes) => bytes,
        }
    }

    /// Bytes that are held for it alone.
    pub(super) fn own_bytes(&self) -> usize {
        match &self.bytes {
            PacketBytes::Stored(_) => 0,
            PacketBytes::Own(bytes) => bytes.capacity(),
        }
    }

    pub(super) fn view(&self) -> ViewBytes<'_> {
        ViewBytes { link_type: self.link_type, bytes: self.bytes(), len: self.header.len }
    }

    pub(super) fn at(&self) -> Timestamp {
        self.header.timestamp()
    }

    /// In the place of another, at its time.
    pub(super) fn placed_as(mut self, other: &Self) -> Self {
        self.header.seconds = other.header.seconds;
        self.header.nanoseconds = other.header.nanoseconds;
        self.segment = other.segment;
        self
    }

    /// Packet as sinks take it.
    pub(crate) fn packet(&self) -> AnswerPacket<'_> {
        let Self { header, link_type, interface, segment, .. } = *self;
        AnswerPacket { header, bytes: self.bytes(), link_type, interface, segment }
    }
}
