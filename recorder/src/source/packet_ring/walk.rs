//! Reading of packets from a filled block of the ring.

use netrewind_store::{LinkType, RecordHeader};

use super::super::Packet;
use super::capture_filter::{CompiledFilter, KernelMetadata};
use super::link;
use super::ring_header::{half, packet_field, word};
use crate::sys::packet_socket::{Framing, RingBlock};

/// Packets of a block, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Packets that were handed over.
    pub handed_over: u64,
    /// Packets that the capture filter rejected here, because the kernel did not take it.
    pub rejected: u64,
}

/// Settings for reading the blocks of one socket.
#[derive(Clone, Copy)]
pub(super) struct RingSettings<'a> {
    pub link_type: LinkType,
    pub framing: Framing,
    /// The capture filter, if the kernel does not apply it.
    pub filter: Option<&'a dyn CompiledFilter>,
}

impl RingSettings<'_> {
    /// Hands over every packet of a block that passes the filter. `scratch` is a buffer for packets assembled for the filter.
    pub fn block(
        &self,
        block: &RingBlock<'_>,
        scratch: &mut Vec<u8>,
        take: &mut dyn FnMut(Packet<'_>),
    ) -> Walked {
        let mut offset = block.first_packet();
        let mut walked = Walked::default();
        for _ in 0..block.packets() {
            let Some(header) = block.bytes(offset, packet_field::BYTES).and_then(|it| it.first_chunk())
            else {
                break;
            };
            if self.filter.is_none_or(|filter| self.passes(filter, block, offset, header, scratch)) {
                match self.framing {
                    Framing::Raw => self.hand_over_raw(block, offset, header, take),
                    Framing::Cooked => link::hand_over_cooked(block, offset, header, self.link_type, take),
                }
                walked.handed_over += 1;
            } else {
                walked.rejected += 1;
            }
            offset += word(header, packet_field::NEXT) as usize;
        }
        walked
    }

    /// True if the filter accepts a packet: it sees it as the kernel would show it, without a stripped tag.
    fn passes(
        &self,
        filter: &dyn CompiledFilter,
        block: &RingBlock<'_>,
        offset: usize,
        header: &[u8; packet_field::BYTES],
        scratch: &mut Vec<u8>,
    ) -> bool {
        let caplen = word(header, packet_field::CAPLEN) as usize;
        let len = word(header, packet_field::LEN);
        let tag = link::stripped_tag(header);
        let Some(address) = link::address(block, offset) else { return true };
        let metadata = KernelMetadata::of(address, tag);
        match self.framing {
            Framing::Raw => {
                let start = offset + usize::from(half(header, packet_field::MAC));
                filter.accepts(block.bytes(start, caplen).unwrap_or_default(), len, &metadata)
            }
            Framing::Cooked => {
                let start = offset + usize::from(half(header, packet_field::NET));
                scratch.clear();
                scratch.extend_from_slice(&link::cooked_header(address));
                scratch.extend_from_slice(block.bytes(start, caplen).unwrap_or_default());
                filter.accepts(scratch, len.saturating_add(link::SLL2_BYTES as u32), &metadata)
            }
        }
    }

    #[inline]
    fn hand_over_raw(
        &self,
        block: &RingBlock<'_>,
        offset: usize,
        header: &[u8; packet_field::BYTES],
        take: &mut dyn FnMut(Packet<'_>),
    ) {
        let link_type = self.link_type;
        let caplen = word(header, packet_field::CAPLEN);
        let start = offset + usize::from(half(header, packet_field::MAC));
        let bytes = block.bytes(start, caplen as usize).unwrap_or_default();
        let mut record = RecordHeader {
            seconds: word(header, packet_field::SECONDS),
            nanoseconds: word(header, packet_field::NANOSECONDS),
            caplen,
            len: word(header, packet_field::LEN),
        };
        let tag = link::stripped_tag(header).filter(|_| link_type == LinkType::ETHERNET);
        let (head, tail) = match bytes.split_at_checked(link::TAG_OFFSET) {
            Some((head, tail)) if tag.is_some() => (head, tail),
            _ => {
                return take(Packet {
                    header: record,
                    link_type,
                    head: bytes,
                    tag: None,
                    tail: &[],
                    interface: None,
                });
            }
        };
        record.caplen += link::TAG_BYTES;
        record.len += link::TAG_BYTES;
        take(Packet { header: record, link_type, head, tag, tail, interface: None });
    }
}
