//! The header of a packet in the ring.

/// Offsets of the fields of a packet's header in the ring: `struct tpacket3_hdr`.
pub(super) mod packet_field {
    use std::ops::Range;
    pub const NEXT: Range<usize> = 0..4;
    pub const SECONDS: Range<usize> = 4..8;
    pub const NANOSECONDS: Range<usize> = 8..12;
    pub const CAPLEN: Range<usize> = 12..16;
    pub const LEN: Range<usize> = 16..20;
    pub const STATUS: Range<usize> = 20..24;
    pub const MAC: Range<usize> = 24..26;
    pub const NET: Range<usize> = 26..28;
    pub const VLAN_TCI: Range<usize> = 32..36;
    pub const VLAN_TPID: Range<usize> = 36..38;
    pub const BYTES: usize = 48;
}

pub(super) fn word(header: &[u8; packet_field::BYTES], field: std::ops::Range<usize>) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[field]);
    u32::from_ne_bytes(bytes)
}

pub(super) fn half(header: &[u8; packet_field::BYTES], field: std::ops::Range<usize>) -> u16 {
    let mut bytes = [0; 2];
    bytes.copy_from_slice(&header[field]);
    u16::from_ne_bytes(bytes)
}
