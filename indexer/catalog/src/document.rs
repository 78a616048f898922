//! Numbers, bytes and lists as the files of the catalog hold them. Nothing that is read is trusted.

/// Entries of a list that are allocated at once: more are allocated as their bytes are read.
const RESERVED_MAX: u64 = 1 << 16;

/// Bytes that are being written.
#[derive(Debug, Default)]
pub struct DocumentWriter(pub Vec<u8>);

impl DocumentWriter {
    /// Seven bits a byte, the lowest first.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Writes something behind its length.
    pub fn part<R>(&mut self, write: impl FnOnce(&mut Self) -> R) -> R {
        let mut part = Self::default();
        let written = write(&mut part);
        self.bytes(&part.0);
        written
    }

    /// Bytes behind their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Writes entries behind their number.
    pub fn list<T>(
        &mut self,
        entries: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.number(entries.len() as u64);
        entries.for_each(|entry| write(self, entry));
    }
}

/// Bytes that have not been read.
#[derive(Debug)]
pub struct DocumentReader<'d>(pub &'d [u8]);

impl<'d> DocumentReader<'d> {
    /// The next bytes; `None` where there are fewer.
    pub fn bytes(&mut self, count: usize) -> Option<&'d [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next bytes, as many as the array has.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, if it is at most this.
    pub fn count(&mut self, max: u64) -> Option<u64> {
        self.number().filter(|&count| count <= max)
    }

    /// Bytes behind their number.
    pub fn part(&mut self) -> Option<&'d [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.bytes(count)
    }

    /// Reads entries behind their number.
    pub fn list<T>(&mut self, read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut entries = Vec::new();
        self.list_into(&mut entries, read)?;
        Some(entries)
    }

    /// Likewise, adding the entries to others.
    pub fn list_into<T>(
        &mut self,
        to: &mut Vec<T>,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<()> {
        let count = self.count(self.0.len() as u64)?;
        to.reserve(usize::try_from(count.min(RESERVED_MAX)).ok()?);
        for _ in 0..count {
            to.push(read(self)?);
        }
        Some(())
    }
}
