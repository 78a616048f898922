//! Reads big-endian numbers and length-prefixed vectors from the front of a slice; `None` at the end of the bytes.

#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteCursor<'a>(pub &'a [u8]);

impl<'a> ByteCursor<'a> {
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.number(1).map(|number| number as u8)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.number(2).map(|number| number as u16)
    }

    pub fn u24(&mut self) -> Option<usize> {
        self.number(3).map(|number| number as usize)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.number(4).map(|number| number as u32)
    }

    /// Takes a vector whose length is the byte before it.
    pub fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// Takes a vector whose length is in the two bytes before it.
    pub fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Bytes present of a vector whose end may be missing, and true if it is whole.
    pub fn vector16_cut(&mut self) -> Option<(&'a [u8], bool)> {
        let len = usize::from(self.u16()?);
        let there = len.min(self.0.len());
        Some((self.take(there)?, there == len))
    }

    /// A variable-length integer (RFC 9000, section 16).
    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let len = 1 << (first >> 6);
        Some(self.number(len)? & (u64::MAX >> (66 - 8 * len)))
    }
}

/// The 16-bit numbers of a vector; a last odd byte is left out.
pub(crate) fn u16s(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_the_rfc() {
        // RFC 9000, appendix A.1.
        let varint = |bytes: &[u8]| ByteCursor(bytes).varint();
        assert_eq!(varint(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Some(151_288_809_941_952_652));
        assert_eq!(varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some(494_878_333));
        assert_eq!(varint(&[0x7b, 0xbd]), Some(15_293));
        assert_eq!(varint(&[0x25]), Some(37));
        assert_eq!(varint(&[0x7b]), None);
    }
}
