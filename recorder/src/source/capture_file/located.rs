//! Results of reading a capture file: interfaces, and packets in the buffer.

use std::ops::Range;

use netrewind_store::layout::CAPLEN_MAX;
use netrewind_store::{LinkType, RecordHeader};

use super::byte_order::ByteOrder;
use super::input::Input;
use super::pseudo_header;
use crate::source::SourceInterface;

/// An interface as a capture file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceDescription {
    /// The link type of its packets.
    pub link_type: LinkType,
    /// Its name on the capturing system; `None` in pcap.
    pub name: Option<String>,
    /// Its description, if the capturing system gave one.
    pub description: Option<String>,
    /// Name and description that its packets carry; `None` if the file alone names them.
    pub known_as: Option<SourceInterface>,
    /// Bits of frame check sequence at the end of each packet, if the file says. The packets keep them.
    pub fcs_bits: Option<u8>,
}

/// A packet found in the input's buffer.
pub(super) struct Located {
    pub(super) header: RecordHeader,
    pub(super) interface: usize,
    pub(super) packet: Range<usize>,
    pub(super) cut: bool,
}

/// A packet of the input at `packet`, as it will be handed over: host-dependent fields corrected, and no longer than a segment
/// can hold.
pub(super) fn locate(
    input: &mut Input,
    interface: usize,
    link_type: LinkType,
    order: ByteOrder,
    mut header: RecordHeader,
    packet: Range<usize>,
) -> Located {
    let packet = packet.start..packet.start + header.caplen as usize;
    pseudo_header::normalize(link_type, order, &mut header, input.taken_mut(packet.clone()));
    let cut = header.caplen > CAPLEN_MAX;
    header.caplen = header.caplen.min(CAPLEN_MAX);
    Located { header, interface, packet: packet.start..packet.start + header.caplen as usize, cut }
}
