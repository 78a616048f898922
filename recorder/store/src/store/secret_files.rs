//! The folder of secrets: TLS key logs that imported captures came with.
//!
//! A file is a key log as browsers write it (`SSLKEYLOGFILE`), of one import: its first line, a comment, says which packets it is
//! for, and its name is the checksum of all of it.
//!
//! **Invariant:** only the owner of the store may read these files, whoever may read its packets.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{Store, at, names_in};
use crate::files::{OpenMode, unless_missing};
use crate::seal::{is_summed, summed};
use crate::{StoreError, Timestamp};

/// Bytes of the key log of one import: Wireshark reads blocks of up to 16 MiB.
pub const KEY_LOG_BYTES_MAX: usize = 16_777_152;
/// Bytes of all key logs of a store.
pub const KEY_LOGS_BYTES_MAX: u64 = 256 << 20;
/// Key logs of a store.
pub const KEY_LOGS_MAX: usize = 4096;

/// Name of the folder.
pub(super) const SECRETS: &str = "secrets";
const EXTENSION: &str = ".keys";
const UNFINISHED_EXTENSION: &str = ".keys.new";
/// Mode of a file: nobody else reads it.
const FILE_MODE: u32 = 0o600;
/// Mode of the folder.
const FOLDER_MODE: u32 = 0o700;
/// What the first line of a file begins with: a comment of a key log.
const COMMENT: &[u8] = b"# ";
/// Bytes of the first line: a name of a capture file has at most 4,096.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Version of the files that this version writes.
const VERSION: u32 = 1;
/// Hexadecimal digits of a name.
const NAME_DIGITS: usize = 32;

/// The secrets of a store.
#[derive(Clone, Copy, Debug)]
pub struct SecretFiles<'s>(&'s Store);

/// The packets that a key log is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsHead {
    /// Version of the file.
    version: u32,
    /// The capture file, as the logbook names it.
    pub file: String,
    /// Time of the earliest packet that was imported with it.
    pub first: Timestamp,
    /// Time of the latest.
    pub last: Timestamp,
    /// Time at which the first segment of the import was opened.
    pub opened_from: Timestamp,
    /// The same of the last one.
    pub opened_to: Timestamp,
}

/// A key log that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSecrets {
    /// Its name in the folder.
    name: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// The packets that it is for; or the reason why they are not known.
    pub head: Result<SecretsHead, SecretsFault>,
    /// Time of the last change to the file.
    changed: Timestamp,
}

/// Reason why secrets cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsFault {
    /// This user may not.
    #[error("this user may not read it")]
    Forbidden,
    /// It has changed since it was written.
    #[error("it is damaged: import the capture again to have its secrets")]
    Damaged,
    /// The file system refused.
    #[error("{0}")]
    Unreadable(String),
}

impl From<io::Error> for SecretsFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// Result of keeping a key log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptSecrets {
    /// It is in the store.
    Kept,
    /// There is no room for it: see [`KEY_LOG_BYTES_MAX`], [`KEY_LOGS_BYTES_MAX`] and [`KEY_LOGS_MAX`].
    NoRoom,
}

impl SecretsHead {
    /// Of a capture file, by the times of its packets and the openings of its segments, each from the first to the last.
    pub fn new(file: &str, packets: (Timestamp, Timestamp), opened: (Timestamp, Timestamp)) -> Self {
        let file = file.chars().take(HEAD_BYTES_MAX / 16).collect();
        let ((first, last), (opened_from, opened_to)) = (packets, opened);
        Self { version: VERSION, file, first, last, opened_from, opened_to }
    }

    /// True if packets with `from <= timestamp < to` may need it; an absent end is open.
    pub fn overlaps(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> bool {
        from.is_none_or(|from| from <= self.last) && to.is_none_or(|to| self.first < to)
    }

    fn line(&self) -> Vec<u8> {
        let object = summed(&serde_json::to_string(self).unwrap_or_default());
        [COMMENT, object.as_bytes(), b"\n"].concat()
    }

    fn read(begun: &[u8]) -> Option<Self> {
        let line = begun.split(|byte| *byte == b'\n').next()?.strip_prefix(COMMENT)?;
        let text = std::str::from_utf8(line).ok().filter(|text| is_summed(text) == Some(true))?;
        serde_json::from_str(text).ok()
    }
}

impl<'s> SecretFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// Their folder.
    pub fn folder(&self) -> PathBuf {
        self.0.root().join(SECRETS)
    }

    /// Path of a key log.
    pub fn path(&self, secrets: &ListedSecrets) -> PathBuf {
        self.folder().join(&secrets.name)
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let (folder, files) = (self.folder(), &*self.0.files);
        if at(&folder, files.identity(&folder))?.is_none() {
            self.0.is_in_place()?;
            match files.create_folder(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => at(&folder, created)?,
            }
            at(&folder, files.set_mode(&folder, FOLDER_MODE))?;
            at(self.0.root(), files.sync_folder(self.0.root()))?;
        }
        Ok(())
    }

    /// Keeps a key log, durably. The same one of the same import is kept once.
    pub fn keep(&self, head: &SecretsHead, key_log: &[u8]) -> Result<KeptSecrets, StoreError> {
        let listed = self.list()?;
        let taken: u64 = listed.iter().map(|secrets| secrets.bytes).sum();
        let bytes = [&head.line(), key_log].concat();
        if key_log.len() > KEY_LOG_BYTES_MAX
            || listed.len() >= KEY_LOGS_MAX
            || taken.saturating_add(bytes.len() as u64) > KEY_LOGS_BYTES_MAX
        {
            return Ok(KeptSecrets::NoRoom);
        }
        self.prepare()?;
        let (folder, files, name) = (self.folder(), &*self.0.files, name_of(&bytes));
        let new = folder.join(format!("{name}{UNFINISHED_EXTENSION}"));
        let path = folder.join(name + EXTENSION);
        let write = || {
            let file = files.open(&new, OpenMode::Create)?;
            // Before it holds anything.
            files.set_mode(&new, FILE_MODE)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()
        };
        let written = at(&new, write()).and_then(|()| at(&path, files.rename(&new, &path)));
        written.inspect_err(|_| {
            // On a full disk, a partial file would only take space.
            let _ = files.remove_file(&new);
        })?;
        at(&folder, files.sync_folder(&folder))?;
        Ok(KeptSecrets::Kept)
    }

    /// The key logs that there are, in the order of their names. What else is in the folder is left alone.
    pub fn list(&self) -> Result<Vec<ListedSecrets>, StoreError> {
        let names = names_in(&*self.0.files, &self.folder())?;
        let names = names.into_iter().filter(|name| is_name(name));
        let mut listed = Vec::new();
        for name in names.take(KEY_LOGS_MAX) {
            let path = self.folder().join(&name);
            let Some(found) = at(&path, unless_missing(self.0.files.status(&path)))? else { continue };
            let changed = Timestamp(u64::try_from(found.changed_ns).unwrap_or(u64::MAX));
            let head = match self.0.open_file(&path) {
                Ok(None) => continue, // it has expired
                Ok(Some(file)) => {
                    let mut begun = vec![0; HEAD_BYTES_MAX];
                    let read = file.read_at_most(&mut begun, 0).map_err(SecretsFault::from);
                    read.and_then(|read| {
                        SecretsHead::read(begun.get(..read).unwrap_or_default()).ok_or(SecretsFault::Damaged)
                    })
                }
                Err(error) => Err(fault_of(error)),
            };
            listed.push(ListedSecrets { name, bytes: found.bytes, head, changed });
        }
        Ok(listed)
    }

    /// The lines of a key log, compared with its name; `None` if it has expired.
    pub fn read(&self, secrets: &ListedSecrets) -> Result<Option<Vec<u8>>, SecretsFault> {
        let file = match self.0.open_file(&self.path(secrets)) {
            Ok(None) => return Ok(None),
            Ok(Some(file)) => file,
            Err(error) => return Err(fault_of(error)),
        };
        if file.status()?.bytes > (HEAD_BYTES_MAX + KEY_LOG_BYTES_MAX) as u64 {
            return Err(SecretsFault::Damaged);
        }
        let mut bytes = file.read_all()?;
        if secrets.name.strip_suffix(EXTENSION) != Some(&name_of(&bytes)) {
            return Err(SecretsFault::Damaged);
        }
        let head = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        Ok(Some(bytes.split_off(head)))
    }

    /// Removes the key logs of imports of which no segment is left. `kept` are the openings of the segments that are, ascending.
    /// One whose segments are not known goes after all those that were there when it was written.
    pub fn remove_spent(&self, kept: &[Timestamp]) -> Result<(), StoreError> {
        let listed = self.list()?;
        let spent = |secrets: &&ListedSecrets| {
            let (from, to) = match &secrets.head {
                Ok(head) => (head.opened_from, head.opened_to),
                Err(_) => (Timestamp::MIN, secrets.changed),
            };
            let next = kept.partition_point(|opened| *opened < from);
            kept.get(next).is_none_or(|opened| *opened > to)
        };
        for secrets in listed.iter().filter(spent) {
            let path = self.path(secrets);
            at(&path, unless_missing(self.0.files.remove_file(&path)))?;
        }
        Ok(())
    }
}

fn fault_of(error: StoreError) -> SecretsFault {
    match error {
        StoreError::Io { source, .. } => source.into(),
        error => SecretsFault::Unreadable(error.to_string()),
    }
}

fn name_of(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

fn is_name(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_suffix(EXTENSION)
        .is_some_and(|digits| digits.len() == NAME_DIGITS && digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LOG: &[u8] = b"CLIENT_RANDOM 0a 0b\n";

    fn head(first: u64, last: u64, opened: u64) -> SecretsHead {
        let at = |second: u64| Timestamp(second * 1_000_000_000);
        SecretsHead::new("x.pcapng", (at(first), at(last)), (at(opened), at(opened + 1)))
    }

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open_or_create(&folder.path().join("store"), Timestamp(0), 1).unwrap()
    }

    #[test]
    fn a_key_log_comes_back_as_it_was_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let files = SecretFiles::of(&store);
        assert_eq!(files.list().unwrap(), []);
        assert_eq!(files.keep(&head(10, 20, 100), LOG).unwrap(), KeptSecrets::Kept);
        assert_eq!(files.keep(&head(10, 20, 100), LOG).unwrap(), KeptSecrets::Kept);
        let [listed] = &files.list().unwrap()[..] else { panic!("one file") };
        assert_eq!(listed.head.as_ref(), Ok(&head(10, 20, 100)));
        assert_eq!(files.read(listed), Ok(Some(LOG.to_vec())));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.path(listed)), mode(&files.folder())), (0o600, 0o700));
        // It is a key log as it lies there.
        let text = fs::read_to_string(files.path(listed)).unwrap();
        assert!(
            text.lines().all(|line| line.starts_with("# ") || line.starts_with("CLIENT_RANDOM")),
            "{text}"
        );
        let at = |second: u64| Some(Timestamp(second * 1_000_000_000));
        let head = head(10, 20, 100);
        assert!(head.overlaps(None, None) && head.overlaps(at(20), None) && head.overlaps(None, at(11)));
        assert!(!head.overlaps(at(21), None) && !head.overlaps(None, at(10)));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let files = SecretFiles::of(&store);
        files.keep(&head(10, 20, 100), LOG).unwrap();
        let path = files.path(&files.list().unwrap()[0]);
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let listed = &files.list().unwrap()[0];
            let is_of_head = at < sound.len() - LOG.len();
            assert_eq!(listed.head.is_err(), is_of_head, "byte {at}");
            assert_eq!(files.read(listed), Err(SecretsFault::Damaged), "byte {at}");
        }
    }

    #[test]
    fn they_go_with_the_last_segment_of_their_import() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let files = SecretFiles::of(&store);
        for opened in [100, 200, 300] {
            files.keep(&head(10, 20, opened), LOG).unwrap();
        }
        let left = |kept: &[u64]| {
            let kept: Vec<_> = kept.iter().map(|second| Timestamp(second * 1_000_000_000)).collect();
            files.remove_spent(&kept).unwrap();
            let heads = files.list().unwrap().into_iter().filter_map(|secrets| secrets.head.ok());
            let mut opened: Vec<_> = heads.map(|head| head.opened_from.ns() / 1_000_000_000).collect();
            opened.sort_unstable();
            opened
        };
        assert_eq!(left(&[101, 150, 200, 300]), [100, 200, 300], "the last segment of the first is held");
        assert_eq!(left(&[150, 201, 300]), [200, 300]);
        assert_eq!(left(&[250, 400]), [] as [u64; 0]);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let files = SecretFiles::of(&store);
        let log = vec![b'x'; KEY_LOG_BYTES_MAX + 1];
        assert_eq!(files.keep(&head(1, 2, 3), &log).unwrap(), KeptSecrets::NoRoom);
        assert_eq!(files.list().unwrap(), []);
    }
}
