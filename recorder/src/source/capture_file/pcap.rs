//! The pcap format: a file header, then records.
//!
//! Source: draft-ietf-opsawg-pcap and pcap-savefile(5). Parsed here and not by `pcap-file`, which refuses the modified format of
//! old Linux systems and packets longer than the snaplen, and does not know versions before 2.4.

use netrewind_store::layout::{FILE_HEADER_BYTES, MAGIC_NANOSECONDS, RECORD_HEADER_BYTES};
use netrewind_store::{LinkType, RecordHeader};

use super::byte_order::ByteOrder;
use super::halt::Halt;
use super::input::Input;
use super::link_type;
use super::located::{InterfaceDescription, Located, locate};

/// Bytes of a record's header in the modified format: interface index, protocol and packet type follow, then padding.
const MODIFIED_RECORD_HEADER_BYTES: usize = 24;
/// Bytes that the modified format may store beyond the snaplen of Ethernet: a synthetic header.
const MODIFIED_ETHERNET_EXTRA_BYTES: u32 = 14;

/// This many zeros in the place of a pcap record are no record, whatever follows: half of a sector, the least that a disk leaves
/// unwritten.
pub const ZEROS_MIN: usize = 256;

mod magic {
    pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
    /// Alexey Kuznetzov's modified format.
    pub(super) const MODIFIED: u32 = 0xa1b2_cd34;
}

mod file_field {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION_MAJOR: usize = 4;
    pub(super) const VERSION_MINOR: usize = 6;
    pub(super) const ZONE: usize = 8;
    pub(super) const ACCURACY: usize = 12;
    pub(super) const SNAPLEN: usize = 16;
    pub(super) const LINK_TYPE: usize = 20;
}

mod record_field {
    pub(super) const SECONDS: usize = 0;
    pub(super) const FRACTION: usize = 4;
    pub(super) const CAPLEN: usize = 8;
    pub(super) const LEN: usize = 12;
}

/// Greatest plausible time zone (seconds) and clock accuracy (digits) in a header; in practice both are zero.
const ZONE_MAX: u32 = 14 * 3600;
const ACCURACY_MAX: u32 = 9;

/// Order of a record's two lengths: versions before 2.3 had them the other way round, and so did some writers of 2.3.
#[derive(Clone, Copy)]
enum LengthOrder {
    CapturedFirst,
    CapturedLast,
    ShorterIsCaptured,
}

/// Reads the records of a pcap file.
pub(super) struct PcapReader {
    order: ByteOrder,
    ns_per_fraction: u32,
    record_header_bytes: usize,
    lengths: LengthOrder,
    snaplen: u32,
    interface: InterfaceDescription,
}

/// Byte order and magic number of a file with this beginning; `None` if it is not pcap.
fn recognize(begun: &[u8]) -> Option<(ByteOrder, u32)> {
    [ByteOrder::Little, ByteOrder::Big].into_iter().find_map(|order| {
        let magic = order.u32_at(begun, file_field::MAGIC)?;
        matches!(magic, magic::MICROSECONDS | MAGIC_NANOSECONDS | magic::MODIFIED).then_some((order, magic))
    })
}

/// True if a file with this beginning is pcap.
pub(super) fn is_pcap(begun: &[u8]) -> bool {
    recognize(begun).is_some()
}

/// True if bytes in the place of a record, which begin with a magic number, are a header: then another capture begins. Read as a
/// record, a header has no packet, or one that is shorter on the wire than captured. A truncated header counts as one.
pub(super) fn is_header(begun: &[u8]) -> bool {
    let Some((order, _)) = recognize(begun) else { return false };
    let u16_at = |at| order.u16_at(begun, at);
    let u32_at = |at| order.u32_at(begun, at);
    let version = u16_at(file_field::VERSION_MAJOR).zip(u16_at(file_field::VERSION_MINOR));
    let Some(version) = version else { return false };
    let (zone, accuracy) = (u32_at(file_field::ZONE), u32_at(file_field::ACCURACY));
    if zone.is_none_or(|zone| zone == 0) && accuracy.is_none_or(|digits| digits == 0) {
        return true;
    }
    let (zone, accuracy) = (zone.unwrap_or(0), accuracy.unwrap_or(0));
    let exists = u32_at(file_field::LINK_TYPE).is_some_and(|field| link_type::of_pcap(field).is_some());
    let is_plausible = zone.cast_signed().unsigned_abs() <= ZONE_MAX && accuracy <= ACCURACY_MAX;
    lengths_of(version.0, version.1).is_ok() && is_plausible && exists && (zone == 0 || zone > accuracy)
}

impl PcapReader {
    /// Reads the file header.
    pub(super) fn open(input: &mut Input) -> Result<Self, Halt> {
        let offset = input.offset();
        let header = input.peek(FILE_HEADER_BYTES)?;
        let Some(header) = header.first_chunk::<FILE_HEADER_BYTES>().copied() else {
            let reason = format!("the file ends within its header, after {} bytes", header.len());
            return Err(Halt::Damaged { offset, reason });
        };
        let reader = Self::of_header(&header).map_err(Halt::Unsupported)?;
        input.take(FILE_HEADER_BYTES);
        Ok(reader)
    }

    fn of_header(header: &[u8; FILE_HEADER_BYTES]) -> Result<Self, String> {
        let (order, magic) = recognize(header).ok_or("not a pcap file")?;
        let u16_at = |at| order.u16_at(header, at).unwrap_or(0);
        let u32_at = |at| order.u32_at(header, at).unwrap_or(0);
        let lengths = lengths_of(u16_at(file_field::VERSION_MAJOR), u16_at(file_field::VERSION_MINOR))?;
        let link_type_field = u32_at(file_field::LINK_TYPE);
        let link_type = link_type::of_pcap(link_type_field)
            .ok_or_else(|| format!("link type {link_type_field} does not exist"))?;
        let modified = magic == magic::MODIFIED;
        let snaplen = link_type::effective_snaplen(link_type, u32_at(file_field::SNAPLEN));
        let extra =
            if modified && link_type == LinkType::ETHERNET { MODIFIED_ETHERNET_EXTRA_BYTES } else { 0 };
        Ok(Self {
            order,
            ns_per_fraction: if magic == MAGIC_NANOSECONDS { 1 } else { 1000 },
            record_header_bytes: if modified { MODIFIED_RECORD_HEADER_BYTES } else { RECORD_HEADER_BYTES },
            lengths,
            snaplen: snaplen.saturating_add(extra),
            interface: InterfaceDescription {
                link_type,
                name: None,
                description: None,
                known_as: None,
                fcs_bits: link_type::fcs_bits_of_pcap(link_type_field),
            },
        })
    }

    /// The one interface that the packets come from.
    pub(super) fn interfaces(&self) -> &[InterfaceDescription] {
        std::slice::from_ref(&self.interface)
    }

    /// Steps to the next packet; `None` if the file ends behind the last.
    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Located>, Halt> {
        let offset = input.offset();
        let damaged = |reason| Err(Halt::Damaged { offset, reason });
        let record = input.peek(self.record_header_bytes)?;
        if record.is_empty() {
            return Ok(None);
        }
        if record.len() < self.record_header_bytes {
            return damaged(format!("the file ends within a record's header, after {} bytes", record.len()));
        }
        if is_blank(record) && is_unwritten(input.peek(ZEROS_MIN)?) {
            return damaged("there are zeros instead of a record: the capture was cut short".into());
        }
        let header = self.record_header(input.peek(self.record_header_bytes)?);
        let stored = header.caplen;
        if stored > link_type::caplen_max(self.interface.link_type) {
            return damaged(format!("a record claims a packet of {stored} bytes"));
        }
        let record_bytes = self.record_header_bytes + stored as usize;
        let available = input.peek(record_bytes)?.len();
        if available < record_bytes {
            let missing = record_bytes - available;
            return damaged(format!(
                "the file ends within a packet of {stored} bytes, {missing} bytes early"
            ));
        }
        let record = input.take(record_bytes);
        let packet = record.start + self.record_header_bytes..record.end;
        let header = RecordHeader { caplen: stored.min(self.snaplen), ..header };
        Ok(Some(locate(input, 0, self.interface.link_type, self.order, header, packet)))
    }

    fn record_header(&self, record: &[u8]) -> RecordHeader {
        let u32_at = |at| self.order.u32_at(record, at).unwrap_or(0);
        let (first, second) = (u32_at(record_field::CAPLEN), u32_at(record_field::LEN));
        let swapped = match self.lengths {
            LengthOrder::CapturedFirst => false,
            LengthOrder::CapturedLast => true,
            LengthOrder::ShorterIsCaptured => first > second,
        };
        let (caplen, len) = if swapped { (second, first) } else { (first, second) };
        RecordHeader {
            seconds: u32_at(record_field::SECONDS),
            // A damaged file may hold more than a second here. It is kept as tcpdump keeps it: what does not fit wraps.
            nanoseconds: u32_at(record_field::FRACTION).wrapping_mul(self.ns_per_fraction),
            caplen,
            len,
        }
    }
}

/// True if all bytes are zero.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// True if these are as many bytes as a disk leaves unwritten, all zero.
fn is_unwritten(bytes: &[u8]) -> bool {
    bytes.len() == ZEROS_MIN && is_blank(bytes)
}

fn lengths_of(version_major: u16, version_minor: u16) -> Result<LengthOrder, String> {
    match (version_major, version_minor) {
        (2, 4) => Ok(LengthOrder::CapturedFirst),
        (2, 3) => Ok(LengthOrder::ShorterIsCaptured),
        // DG/UX called its version 543.0.
        (2, 0..=2) | (543, 0) => Ok(LengthOrder::CapturedLast),
        _ => Err(format!(
            "pcap of version {version_major}.{version_minor} is not supported; versions 2.0 to 2.4 are"
        )),
    }
}
