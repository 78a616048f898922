//! The head of a file of sums, and the parts and records behind it.

use std::ops::Range;

use netrewind_flows::encapsulation::Encapsulations;
use netrewind_flows::part::FlowPart;
use netrewind_store::catalog::Manifest;
use xxhash_rust::xxh3::xxh3_64;

use super::count_table::TableForm;
use crate::document::{DocumentReader, DocumentWriter};
use crate::record;

/// A number that two manifests share only if they are the same.
pub fn identity(manifest: &Manifest) -> Option<u64> {
    Some(xxh3_64(&serde_json::to_vec(&manifest.without_files()).ok()?))
}

/// Name of a format and its version, and the form that tables have in it.
pub type Magic = (&'static [u8; 8], TableForm);

/// Bytes behind the name of their format, of its first version here, and their checksum.
pub fn checked([(magic, _), _]: &[Magic; 2], bytes: &[u8]) -> Vec<u8> {
    [magic.as_slice(), &xxh3_64(bytes).to_be_bytes(), bytes].concat()
}

/// True if the bytes are of this format, and their checksum is right.
pub fn is_checked(magics: &[Magic], bytes: &[u8]) -> bool {
    behind_magic(magics, bytes).is_some_and(|(rest, _)| {
        let mut from = DocumentReader(rest);
        from.array().map(u64::from_be_bytes) == Some(xxh3_64(from.0))
    })
}

/// Content behind the head of a file with these identities, and the form of its tables.
pub fn after_head<'b>(
    magics: &[Magic],
    bytes: &'b [u8],
    identities: &[u64],
) -> Option<(&'b [u8], TableForm)> {
    let (rest, form) = behind_magic(magics, bytes)?;
    // The checksum between them was verified when the file was opened.
    let mut from = DocumentReader(rest.get(8..)?);
    let is_ours = identities.iter().all(|identity| from.array().map(u64::from_be_bytes) == Some(*identity));
    is_ours.then_some((from.0, form))
}

fn behind_magic<'b>(magics: &[Magic], bytes: &'b [u8]) -> Option<(&'b [u8], TableForm)> {
    magics.iter().find_map(|(magic, form)| Some((bytes.strip_prefix(*magic)?, *form)))
}

/// Positions in a file of the parts that make up its rest.
pub fn parts_of<const N: usize>(file: &[u8], rest: &[u8]) -> Option<[Range<usize>; N]> {
    let mut from = DocumentReader(rest);
    let mut parts = [const { 0..0 }; N];
    for part in &mut parts {
        let length = from.part()?.len();
        let end = file.len() - from.0.len();
        *part = end - length..end;
    }
    from.0.is_empty().then_some(parts)
}

/// The packets and bytes of all seconds.
pub fn sum_of(seconds: &[(u64, u64, u64)]) -> (u64, u64) {
    seconds.iter().fold((0, 0), |sums: (u64, u64), (_, packets, bytes)| {
        (sums.0.saturating_add(*packets), sums.1.saturating_add(*bytes))
    })
}

/// Records one after the other.
#[derive(Debug, Default)]
pub struct RollupRecords {
    /// Their number.
    pub count: u64,
    documents: DocumentWriter,
}

impl RollupRecords {
    /// Adds a record.
    pub fn add(&mut self, document: &[u8]) {
        self.count += 1;
        self.documents.bytes(document);
    }

    /// Likewise, but beyond this many they are only counted.
    pub fn add_up_to(&mut self, count_max: u64, document: impl FnOnce() -> Vec<u8>) {
        match self.count < count_max {
            true => self.add(&document()),
            false => self.count += 1,
        }
    }

    /// As they are read: what has been loose can be joined.
    pub fn parts(&self, encapsulations: &Encapsulations, manifest: &Manifest) -> Option<Vec<FlowPart>> {
        let mut parts = Vec::new();
        records(&self.to_bytes(), encapsulations, manifest.hour.start().ns(), &mut parts)?;
        Some(parts)
    }

    /// Their number, and they.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = DocumentWriter::default();
        to.number(self.count);
        to.0.extend_from_slice(&self.documents.0);
        to.0
    }
}

/// Adds the records that [`RollupRecords`] has written to others.
pub fn records(
    bytes: &[u8],
    encapsulations: &Encapsulations,
    base_ns: u64,
    to: &mut Vec<FlowPart>,
) -> Option<()> {
    let mut from = DocumentReader(bytes);
    from.list_into(to, |from| record::read(from.part()?, encapsulations, base_ns).map(|(part, _)| part))?;
    from.0.is_empty().then_some(())
}
