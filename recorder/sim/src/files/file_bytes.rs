//! The bytes of a file, and those of them that are durable.

use std::ops::Range;

/// The unit in which unsynced bytes survive a power cut or do not.
const SECTOR_BYTES: usize = 512;

/// The bytes of a file, and those of them that are durable.
#[derive(Clone, Debug, Default)]
pub(super) struct FileBytes {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Covers all places in which the two differ: most syncs follow a short write to a long file.
    unsynced: Range<usize>,
}

impl FileBytes {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Cuts the file, or fills it up with zeros.
    pub fn resize(&mut self, length: usize) {
        let before = self.bytes.len();
        self.bytes.resize(length, 0);
        self.changed(before.min(length)..before.max(length));
    }

    /// Overwrites bytes that are there.
    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        let place = offset..offset + bytes.len();
        if let Some(there) = self.bytes.get_mut(place.clone()) {
            there.copy_from_slice(bytes);
            self.changed(place);
        }
    }

    fn changed(&mut self, place: Range<usize>) {
        self.unsynced = match self.unsynced.is_empty() {
            true => place,
            false => self.unsynced.start.min(place.start)..self.unsynced.end.max(place.end),
        };
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        let end = self.unsynced.end.min(self.bytes.len());
        let place = self.unsynced.start.min(end)..end;
        if let (Some(old), Some(new)) = (self.durable.get_mut(place.clone()), self.bytes.get(place)) {
            old.copy_from_slice(new);
        }
        self.unsynced = 0..0;
    }

    /// The file with some of the sectors that were not synced.
    pub fn after_power_cut(&self, below: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut found = self.durable.clone();
        if self.bytes != self.durable {
            if below(2) > 0 {
                found.resize(self.bytes.len(), 0);
            }
            for (sector, new) in found.chunks_mut(SECTOR_BYTES).zip(self.bytes.chunks(SECTOR_BYTES)) {
                let length = sector.len().min(new.len());
                if sector.get(..length) != new.get(..length) && below(2) > 0 {
                    sector[..length].copy_from_slice(&new[..length]);
                }
            }
        }
        Self { durable: found.clone(), bytes: found, unsynced: 0..0 }
    }
}
