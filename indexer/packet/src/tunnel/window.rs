//! A stretch of a stored packet, as far as it goes on the wire and as far as it was captured.

use crate::bytes::{u16_at, u32_at};

/// Rest of a packet from `at` on. Offsets count from the beginning of the stored packet.
///
/// **Invariant:** `packet.len() <= end` and `at <= end`; `at` can be behind the captured bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// The captured bytes of the stored packet, cut where this window ends on the wire.
    pub packet: &'a [u8],
    /// Start of the window.
    pub at: usize,
    /// End of the window on the wire.
    pub end: usize,
    /// True for the payload of a first fragment, and if a header says that more belongs to it than there is: the rest is in
    /// another packet, or was left out by the sender.
    pub is_incomplete: bool,
}

impl<'a> Window<'a> {
    /// A whole stored packet. A record that claims to be shorter on the wire than what was captured is as long as that.
    #[inline]
    pub fn new(packet: &'a [u8], len: u32) -> Self {
        Self { packet, at: 0, end: packet.len().max(len as usize), is_incomplete: false }
    }

    /// The byte `offset` bytes behind the beginning.
    #[inline]
    pub fn u8(&self, offset: usize) -> Option<u8> {
        self.packet.get(self.at + offset).copied()
    }

    #[inline]
    pub fn u16(&self, offset: usize) -> Option<u16> {
        u16_at(self.captured(), offset)
    }

    #[inline]
    pub fn u32(&self, offset: usize) -> Option<u32> {
        u32_at(self.captured(), offset)
    }

    /// Captured bytes of the window.
    #[inline]
    pub fn captured(&self) -> &'a [u8] {
        self.packet.get(self.at..).unwrap_or_default()
    }

    /// Its length on the wire.
    #[inline]
    pub fn wire_bytes(&self) -> usize {
        self.end - self.at
    }

    /// The window behind a header of `bytes` bytes; `None` where it does not reach that far.
    #[inline]
    pub fn skip(self, bytes: usize) -> Option<Self> {
        (bytes <= self.wire_bytes()).then_some(Self { at: self.at + bytes, ..self })
    }

    /// The window cut to `bytes` bytes; where it is shorter it is incomplete.
    #[inline]
    pub fn limit(self, bytes: usize) -> Self {
        let end = self.end.min(self.at + bytes);
        let is_incomplete = self.is_incomplete || !self.fits(bytes);
        Self { packet: self.packet.get(..end).unwrap_or(self.packet), end, is_incomplete, ..self }
    }

    /// True if `bytes` bytes can be in it: no more than there are, or more if the rest is elsewhere.
    #[inline]
    pub fn fits(&self, bytes: usize) -> bool {
        bytes <= self.wire_bytes() || self.is_incomplete
    }
}
