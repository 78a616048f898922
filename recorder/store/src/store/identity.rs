//! `store.toml`: identity of a store, with a checksum of itself.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::at;
use crate::files::{Files, unless_missing};
use crate::replacing::replace;
use crate::{StoreError, Timestamp};

/// The version of the store's format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

pub(super) const IDENTITY: &str = "store.toml";

/// Text before and after the checksum, which is the last line: XXH3 (64 bits) of all lines before it.
const CHECKSUM: &str = "checksum = \"";
const CHECKSUM_END: &str = "\"\n";
const CHECKSUM_DIGITS: usize = 16;

/// `store.toml`: identity of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    /// The version of the format; see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Unique id of this store: a number in hexadecimal, drawn when it is created.
    pub id: String,
    /// Time at which it was created.
    pub created: Timestamp,
    /// Tunnel ports that differ from the usual ones, as `vxlan=5555`; interpreted by the indexer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnel_ports: Vec<String>,
}

/// Reads and verifies `store.toml`.
pub(super) fn read(files: &dyn Files, root: &Path) -> Result<StoreIdentity, StoreError> {
    let path = root.join(IDENTITY);
    let text =
        at(&path, unless_missing(files.read(&path)))?.ok_or_else(|| StoreError::Missing(root.to_owned()))?;
    let text =
        String::from_utf8(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"));
    let text = at(&path, text)?;
    let damaged = |reason: String| StoreError::Identity { path: path.clone(), reason };
    let identity: StoreIdentity = toml::from_str(&text).map_err(|error| {
        let fault = crate::toml_fault(&text, &error);
        damaged(format!("{fault}: restore the file from a copy"))
    })?;
    let is_vouched_for = match checked(&text) {
        Some(is_sound) => is_sound,
        // Another version may write what it likes.
        None if identity.format_version != FORMAT_VERSION => true,
        // As earlier versions wrote it: otherwise its checksum is what was damaged.
        None => toml::to_string(&identity).is_ok_and(|canonical| canonical == text),
    };
    if !is_vouched_for {
        let lines = text.lines().count();
        return Err(damaged(format!(
            "lines 1 to {lines}: they are not as they were written: restore the file from a copy; if somebody has edited it by hand, remove the line with the checksum"
        )));
    }
    match identity.format_version {
        FORMAT_VERSION => Ok(identity),
        found => Err(StoreError::Version { path, found, known: FORMAT_VERSION }),
    }
}

/// Compares a text with its checksum; `None` if it has none.
fn checked(text: &str) -> Option<bool> {
    let rest = text.strip_suffix(CHECKSUM_END)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM_DIGITS)?)?;
    let covered = rest.strip_suffix(CHECKSUM)?;
    Some(digits == checksum(covered))
}

fn checksum(covered: &str) -> String {
    format!("{:016x}", xxh3_64(covered.as_bytes()))
}

/// Writes `store.toml`, whole or not at all.
pub(super) fn write(files: &dyn Files, root: &Path, identity: &StoreIdentity) -> Result<(), StoreError> {
    let path = root.join(IDENTITY);
    let text = toml::to_string(identity)
        .map_err(|error| StoreError::Identity { path: path.clone(), reason: error.to_string() })?;
    let text = format!("{text}{CHECKSUM}{}{CHECKSUM_END}", checksum(&text));
    let new = root.join(format!("{IDENTITY}.new"));
    replace(files, &new, &path, text.as_bytes())?;
    at(root, files.sync_folder(root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SystemFiles;

    #[test]
    fn every_flipped_bit_is_noticed_and_a_file_of_an_earlier_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let identity = StoreIdentity {
            format_version: FORMAT_VERSION,
            id: "00a1".into(),
            created: Timestamp::new(1_795_339_861, 5),
            tunnel_ports: vec!["vxlan=5555".into()],
        };
        write(&SystemFiles, folder.path(), &identity).unwrap();
        let path = folder.path().join(IDENTITY);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(read(&SystemFiles, folder.path()).unwrap(), identity);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &changed).unwrap();
            let found = read(&SystemFiles, folder.path());
            let is_noticed = matches!(found, Err(StoreError::Identity { .. } | StoreError::Io { .. }));
            assert!(is_noticed, "bit {bit}: {:?}: {found:?}", String::from_utf8_lossy(&changed));
        }
        let earlier = toml::to_string(&identity).unwrap();
        std::fs::write(&path, &earlier).unwrap();
        assert_eq!(read(&SystemFiles, folder.path()).unwrap(), identity);
        std::fs::write(&path, earlier + "colour = 1\n").unwrap();
        assert!(matches!(read(&SystemFiles, folder.path()), Err(StoreError::Identity { .. })));
    }
}
