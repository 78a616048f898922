//! Pseudo-headers in the capturing host's byte order, converted to that of segments: little endian.
//!
//! Some link types begin with a header that the kernel of the capturing host filled in. A file of the other byte order holds it
//! swapped; libpcap swaps it while reading, and so do we, because the packets go into a little-endian file.
//!
//! Source: pcap-usb-linux, tcpdump.org/linktypes (USB_LINUX, NFLOG, PFLOG, LINUX_SLL), libpcap 1.10.

use std::ops::Range;

use netrewind_store::{LinkType, RecordHeader};

use super::byte_order::ByteOrder;
use super::link_type;

/// Converts the fields that depend on the host that captured the packet.
pub(super) fn normalize(link_type: LinkType, order: ByteOrder, header: &mut RecordHeader, packet: &mut [u8]) {
    if order == ByteOrder::Big {
        to_little_endian(link_type, header.len, packet);
    }
    if link_type.0 == link_type::USB_LINUX_MMAPPED {
        usb::mend_isochronous_len(header, packet);
    }
}

fn to_little_endian(link_type: LinkType, len: u32, packet: &mut [u8]) {
    // A field counts only where both lengths reach over it. The USB headers go by the captured length alone.
    let both = packet.len().min(len as usize);
    match link_type.0 {
        link_type::PFLOG => pflog_to_little_endian(&mut packet[..both]),
        link_type::LINUX_SLL => can_id_to_little_endian(&mut packet[..both], 14, 16),
        link_type::LINUX_SLL2 => can_id_to_little_endian(&mut packet[..both], 0, 20),
        link_type::USB_LINUX => usb::to_little_endian(packet, false),
        link_type::USB_LINUX_MMAPPED => usb::to_little_endian(packet, true),
        link_type::NFLOG => nflog_to_little_endian(packet, len),
        _ => {}
    }
}

fn swap(packet: &mut [u8], field: Range<usize>) {
    if let Some(field) = packet.get_mut(field) {
        field.reverse();
    }
}

fn pflog_to_little_endian(packet: &mut [u8]) {
    const UID: usize = 44;
    const RULE_PID_END: usize = 60;
    let Some(header_bytes) = packet.first().map(|&length| usize::from(length)) else { return };
    for field in (UID..RULE_PID_END).step_by(4).take_while(|field| field + 4 <= header_bytes) {
        swap(packet, field..field + 4);
    }
}

/// A cooked packet of a CAN bus holds the CAN identifier in host order behind the cooked header.
fn can_id_to_little_endian(packet: &mut [u8], protocol: usize, payload: usize) {
    const CAN: u16 = 0x000c;
    const CAN_FD: u16 = 0x000d;
    if packet.len() >= payload && matches!(ByteOrder::Big.u16_at(packet, protocol), Some(CAN | CAN_FD)) {
        swap(packet, payload..payload + 4);
    }
}

/// The types and lengths of the attributes are in host order, their values are not.
fn nflog_to_little_endian(packet: &mut [u8], len: u32) {
    const HEADER_BYTES: usize = 4;
    const VERSION: usize = 1;
    const ATTRIBUTE_BYTES: u16 = 4;
    if packet.get(VERSION) != Some(&0) || packet.len() < HEADER_BYTES || (len as usize) < HEADER_BYTES {
        return;
    }
    let reach = packet.len().min(len as usize);
    let mut at = HEADER_BYTES;
    while at + usize::from(ATTRIBUTE_BYTES) <= packet.len() {
        swap(packet, at..at + 2);
        swap(packet, at + 2..at + 4);
        let Some(length) = ByteOrder::Little.u16_at(packet, at) else { return };
        let padded = length.wrapping_add((4 - length % 4) % 4);
        if padded < ATTRIBUTE_BYTES || at + usize::from(padded) > reach {
            return;
        }
        at += usize::from(padded);
    }
}

mod usb {
    use super::{ByteOrder, Range, RecordHeader, swap};

    const EVENT_TYPE: usize = 8;
    const TRANSFER_TYPE: usize = 9;
    const ENDPOINT: usize = 10;
    const DATA_FLAG: usize = 15;
    const URB_LEN: usize = 32;
    const DESCRIPTORS: usize = 60;
    const MMAPPED_HEADER_BYTES: usize = 64;
    const DESCRIPTOR_BYTES: usize = 16;
    /// id, bus, seconds, microseconds, status, URB length, data length.
    const FIELDS: [Range<usize>; 7] = [0..8, 12..14, 16..24, 24..28, 28..32, 32..36, 36..40];
    /// Errors and descriptors of an isochronous transfer; the setup packet of others stands in the same place.
    const ISOCHRONOUS_FIELDS: [Range<usize>; 2] = [40..44, 44..48];
    /// interval, start frame, transfer flags, descriptors.
    const MMAPPED_FIELDS: [Range<usize>; 4] = [48..52, 52..56, 56..60, 60..64];

    const ISOCHRONOUS: u8 = 0;
    const COMPLETE: u8 = b'C';
    const ENDPOINT_IN: u8 = 0x80;

    pub(super) fn to_little_endian(packet: &mut [u8], mmapped: bool) {
        let isochronous = packet.get(TRANSFER_TYPE) == Some(&ISOCHRONOUS);
        FIELDS.into_iter().for_each(|field| swap(packet, field));
        if isochronous {
            ISOCHRONOUS_FIELDS.into_iter().for_each(|field| swap(packet, field));
        }
        if !mmapped {
            return;
        }
        MMAPPED_FIELDS.into_iter().for_each(|field| swap(packet, field));
        if isochronous {
            let count = ByteOrder::Little.u32_at(packet, DESCRIPTORS).unwrap_or(0);
            for at in descriptors(packet.len(), count) {
                [at..at + 4, at + 4..at + 8, at + 8..at + 12]
                    .into_iter()
                    .for_each(|field| swap(packet, field));
            }
        }
    }

    /// Offsets of the descriptors of which at least the first bytes were captured.
    fn descriptors(caplen: usize, count: u32) -> impl Iterator<Item = usize> {
        (MMAPPED_HEADER_BYTES..caplen).step_by(DESCRIPTOR_BYTES).take(count as usize)
    }

    /// Corrects the length of a completed incoming isochronous transfer: captures of old kernels give that of its buffer, though
    /// its data is scattered over it; the descriptors give the real length.
    pub(super) fn mend_isochronous_len(header: &mut RecordHeader, packet: &[u8]) {
        if let Some(len) = isochronous_len(header, packet) {
            if len >= header.caplen {
                header.len = len;
            }
            header.len = header.len.max(header.caplen);
        }
    }

    fn isochronous_len(header: &RecordHeader, packet: &[u8]) -> Option<u32> {
        let pseudo_header = packet.get(..MMAPPED_HEADER_BYTES)?;
        let incoming = pseudo_header[DATA_FLAG] == 0
            && pseudo_header[TRANSFER_TYPE] == ISOCHRONOUS
            && pseudo_header[EVENT_TYPE] == COMPLETE
            && pseudo_header[ENDPOINT] & ENDPOINT_IN != 0;
        let count = ByteOrder::Little.u32_at(packet, DESCRIPTORS)?;
        let before_data = MMAPPED_HEADER_BYTES as u64 + u64::from(count) * DESCRIPTOR_BYTES as u64;
        let urb_len = ByteOrder::Little.u32_at(packet, URB_LEN)?;
        if !incoming || u64::from(header.len) != before_data + u64::from(urb_len) {
            return None;
        }
        let before_data = u32::try_from(before_data).ok()?;
        Some(before_data.wrapping_add(scattered_bytes(packet, count)))
    }

    /// End of the last chunk of data in the buffer.
    fn scattered_bytes(packet: &[u8], count: u32) -> u32 {
        descriptors(packet.len(), count)
            .filter_map(|at| packet.get(at..at + DESCRIPTOR_BYTES))
            .filter_map(|descriptor| {
                let offset = ByteOrder::Little.u32_at(descriptor, 4)?;
                let len = ByteOrder::Little.u32_at(descriptor, 8)?;
                (len != 0).then(|| offset.wrapping_add(len))
            })
            .max()
            .unwrap_or(0)
    }
}
