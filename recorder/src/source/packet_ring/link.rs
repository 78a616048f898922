//! Link types of interfaces, and a header for packets whose own link-layer header is of no use.

use netrewind_store::{LinkType, RecordHeader};

use super::super::Packet;
use super::ring_header::{half, packet_field, word};
use crate::sys::packet_socket::{Framing, RingBlock};

/// Offset of a VLAN tag in an Ethernet frame: after the two addresses.
pub(super) const TAG_OFFSET: usize = 12;
/// Bytes of a VLAN tag.
pub(super) const TAG_BYTES: u32 = 4;
/// TPID if the kernel does not give one: IEEE 802.1Q.
const TPID_DEFAULT: u16 = 0x8100;

/// An `ARPHRD_` number that libc does not have: linux/if_arp.h.
const ARPHRD_RAWIP: u16 = 519;

/// Link type and framing of an interface with this ARPHRD_ number, as in libpcap (`map_arphrd_to_dlt`). Packets of unknown types
/// come without their link-layer header, as with libpcap: PPP, GRE, and any future type.
pub(super) fn of_hardware(hardware_type: u16) -> (LinkType, Framing) {
    match hardware_type {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK | libc::ARPHRD_METRICOM => {
            (LinkType::ETHERNET, Framing::Raw)
        }
        libc::ARPHRD_NONE | ARPHRD_RAWIP | libc::ARPHRD_TUNNEL | libc::ARPHRD_TUNNEL6 | libc::ARPHRD_SIT => {
            (LinkType::RAW, Framing::Raw)
        }
        libc::ARPHRD_IEEE80211 => (LinkType(105), Framing::Raw),
        libc::ARPHRD_IEEE80211_PRISM => (LinkType(119), Framing::Raw),
        libc::ARPHRD_IEEE80211_RADIOTAP => (LinkType(127), Framing::Raw),
        _ => (LinkType::LINUX_SLL2, Framing::Cooked),
    }
}

/// The VLAN tag that was stripped from the frame, priority bits included.
#[inline]
pub(super) fn stripped_tag(header: &[u8; packet_field::BYTES]) -> Option<[u8; 4]> {
    let status = word(header, packet_field::STATUS);
    let tci = word(header, packet_field::VLAN_TCI);
    if tci == 0 && status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = match status & libc::TP_STATUS_VLAN_TPID_VALID {
        0 => TPID_DEFAULT,
        _ => half(header, packet_field::VLAN_TPID),
    };
    let [tpid_high, tpid_low] = tpid.to_be_bytes();
    let [_, _, tci_high, tci_low] = tci.to_be_bytes();
    Some([tpid_high, tpid_low, tci_high, tci_low])
}

/// Offsets of the fields of the address behind a packet's header in the ring: `struct sockaddr_ll`.
pub(super) mod address_field {
    use std::ops::Range;
    pub const PROTOCOL: Range<usize> = 2..4;
    pub const INTERFACE: Range<usize> = 4..8;
    pub const HARDWARE_TYPE: Range<usize> = 8..10;
    pub const PACKET_TYPE: usize = 10;
    pub const ADDRESS_BYTES: usize = 11;
    pub const ADDRESS: Range<usize> = 12..20;
    pub const BYTES: usize = 20;
}

/// Bytes of a cooked header.
pub(super) const SLL2_BYTES: usize = 20;

/// Link-layer address (`struct sockaddr_ll`) of the packet whose header is at `offset`.
pub(super) fn address<'a>(block: &'a RingBlock<'_>, offset: usize) -> Option<&'a [u8; address_field::BYTES]> {
    block.bytes(offset + packet_field::BYTES, address_field::BYTES)?.first_chunk()
}

/// A LINKTYPE_LINUX_SLL2 header: tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html. Its numbers are big endian.
pub(super) fn cooked_header(address: &[u8; address_field::BYTES]) -> [u8; SLL2_BYTES] {
    let mut interface = [0; 4];
    interface.copy_from_slice(&address[address_field::INTERFACE]);
    let mut hardware_type = [0; 2];
    hardware_type.copy_from_slice(&address[address_field::HARDWARE_TYPE]);
    let mut header = [0; SLL2_BYTES];
    header[SLL2_PROTOCOL].copy_from_slice(&address[address_field::PROTOCOL]); // big endian already
    header[4..8].copy_from_slice(&u32::from_ne_bytes(interface).to_be_bytes());
    header[8..10].copy_from_slice(&u16::from_ne_bytes(hardware_type).to_be_bytes());
    header[10] = address[address_field::PACKET_TYPE];
    header[11] = address[address_field::ADDRESS_BYTES];
    header[12..20].copy_from_slice(&address[address_field::ADDRESS]);
    header
}

/// Offset of a cooked header's protocol field.
const SLL2_PROTOCOL: std::ops::Range<usize> = 0..2;

/// Hands over a packet without its link-layer header, with a cooked header of the fields that the kernel knows in its place. A
/// stripped tag is restored behind the cooked header, as in packets whose tag was not stripped.
pub(super) fn hand_over_cooked(
    block: &RingBlock<'_>,
    offset: usize,
    header: &[u8; packet_field::BYTES],
    link_type: LinkType,
    take: &mut dyn FnMut(Packet<'_>),
) {
    let Some(address) = address(block, offset) else { return };
    let mut cooked = cooked_header(address);
    let tag = stripped_tag(header).map(|[tpid_high, tpid_low, tci_high, tci_low]| {
        let [inner_high, inner_low] = [cooked[0], cooked[1]];
        cooked[SLL2_PROTOCOL].copy_from_slice(&[tpid_high, tpid_low]);
        [tci_high, tci_low, inner_high, inner_low]
    });
    let made_up = SLL2_BYTES as u32 + tag.map_or(0, |_| TAG_BYTES);
    let caplen = word(header, packet_field::CAPLEN);
    let start = offset + usize::from(half(header, packet_field::NET));
    let record = RecordHeader {
        seconds: word(header, packet_field::SECONDS),
        nanoseconds: word(header, packet_field::NANOSECONDS),
        caplen: caplen + made_up,
        len: word(header, packet_field::LEN).saturating_add(made_up),
    };
    let tail = block.bytes(start, caplen as usize).unwrap_or_default();
    take(Packet { header: record, link_type, head: &cooked, tag, tail, interface: None });
}
