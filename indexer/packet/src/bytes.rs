//! Big-endian numbers in packets, as far as these were captured.

/// The byte at `offset`.
#[inline]
pub fn byte_at(packet: &[u8], offset: usize) -> Option<u8> {
    packet.get(offset).copied()
}

/// The big-endian number of two bytes at `offset`.
#[inline]
pub fn u16_at(packet: &[u8], offset: usize) -> Option<u16> {
    packet.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The big-endian number of four bytes at `offset`.
#[inline]
pub fn u32_at(packet: &[u8], offset: usize) -> Option<u32> {
    packet.get(offset..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// The big-endian number of sixteen bytes at `offset`.
#[inline]
pub(crate) fn u128_at(packet: &[u8], offset: usize) -> Option<u128> {
    packet.get(offset..)?.first_chunk().copied().map(u128::from_be_bytes)
}
