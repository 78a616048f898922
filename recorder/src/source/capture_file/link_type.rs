//! Link types as capture files number them, and the longest packets of each.
//!
//! Source: tcpdump.org/linktypes.html; the checks and conversions of libpcap's savefile reader (pcap-savefile(5)).

use netrewind_store::LinkType;
use netrewind_store::layout::CAPLEN_MAX;

/// The bits of a pcap file header's link type field that hold the number.
const NUMBER: u32 = 0x03ff_ffff;
/// Set if the field also gives the length of the frame check sequence.
const FCS_PRESENT: u32 = 0x0400_0000;
/// Position of that length, in units of 16 bits.
const FCS_SHIFT: u32 = 28;

pub(super) const LINUX_SLL: u16 = LinkType::LINUX_SLL.0;
pub(super) const PFLOG: u16 = 117;
pub(super) const USB_LINUX: u16 = 189;
pub(super) const USB_LINUX_MMAPPED: u16 = 220;
const DBUS: u16 = 231;
pub(super) const NFLOG: u16 = 239;
const USBPCAP: u16 = 249;
pub(super) const LINUX_SLL2: u16 = LinkType::LINUX_SLL2.0;
const EBHSCR: u16 = 279;

/// The link type in a pcap file header's field, without its FCS bits; `None` if no such number exists.
pub(super) fn of_pcap(field: u32) -> Option<LinkType> {
    u16::try_from(field & NUMBER).ok().map(of_pcapng)
}

/// The length of the frame check sequence in a pcap file header's link type field, in bits.
pub(super) fn fcs_bits_of_pcap(field: u32) -> Option<u8> {
    (field & FCS_PRESENT != 0).then(|| u8::try_from((field >> FCS_SHIFT) * 16).unwrap_or(u8::MAX))
}

/// The link type of an interface. Some writers store the DLT_ number of their system instead of the LINKTYPE_ number; those that
/// libpcap accepts on Linux are accepted here too.
pub(super) fn of_pcapng(number: u16) -> LinkType {
    LinkType(match number {
        11 => 100,
        12 => 101,
        15 => 102,
        16 => 103,
        19 => 106,
        other => other,
    })
}

/// The longest packet that libpcap considers valid. Only [`CAPLEN_MAX`] bytes of it fit in a segment.
pub(super) fn caplen_max(link_type: LinkType) -> u32 {
    match link_type.0 {
        DBUS => 128 * 1024 * 1024,
        EBHSCR => 8 * 1024 * 1024,
        USBPCAP => 1024 * 1024,
        _ => CAPLEN_MAX,
    }
}

/// The effective snaplen of a header: none, or an impossible one, stands for the longest possible packet.
pub(super) fn effective_snaplen(link_type: LinkType, stated: u32) -> u32 {
    if stated == 0 || i32::try_from(stated).is_err() { caplen_max(link_type) } else { stated }
}
