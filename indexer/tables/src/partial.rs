//! A file that is being written beside the one that it is to become.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use netrewind_store::Store;
use netrewind_store::files::{LockKind, OpenMode, StoreFile};

use crate::TablesError;

/// Bytes that are compared at once.
const COMPARED_BYTES: usize = 1 << 20;
/// Attempts to open the file while others finish with it.
const TRIES: u32 = 8;

/// File under a name of its own, which no other process writes to meanwhile.
#[derive(Debug)]
pub(crate) struct PartialFile {
    file: Box<dyn StoreFile>,
    path: PathBuf,
    bytes: u64,
}

impl PartialFile {
    /// Begins a file; what a process that was killed has left of it is overwritten.
    pub(crate) fn begin(store: &Store, path: &Path) -> Result<Self, TablesError> {
        let failed = TablesError::at(path);
        for _ in 0..TRIES {
            let file = store.files().open(path, OpenMode::Keep).map_err(&failed)?;
            if !file.try_lock(LockKind::Exclusive).map_err(&failed)? {
                return Err(TablesError::Busy(path.to_owned()));
            }
            // Another process may have renamed it before this one had the lock.
            let found = store.files().identity(path).map_err(&failed)?;
            if found == Some(file.status().map_err(&failed)?.identity) {
                file.set_bytes(0).map_err(&failed)?;
                return Ok(Self { file, path: path.to_owned(), bytes: 0 });
            }
        }
        Err(TablesError::Busy(path.to_owned()))
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if another file has the same bytes.
    pub(crate) fn is_same_as(&self, store: &Store, other: &Path) -> io::Result<bool> {
        let other = match store.files().open(other, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        if other.status()?.bytes != self.bytes {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
        let mut offset = 0;
        while offset < self.bytes {
            let read = self.file.read_at_most(&mut ours, offset)?;
            if read == 0 || other.read_at_most(&mut theirs, offset)? != read || ours[..read] != theirs[..read]
            {
                return Ok(false);
            }
            offset += read as u64;
        }
        Ok(true)
    }

    /// Makes its contents survive a power cut, and gives it the name.
    pub(crate) fn publish(self, store: &Store, path: &Path) -> Result<(), TablesError> {
        self.file.sync_all().map_err(TablesError::at(&self.path))?;
        store.files().rename(&self.path, path).map_err(TablesError::at(path))
    }

    /// Removes it.
    pub(crate) fn give_up(self, store: &Store) {
        // The next attempt overwrites what stays.
        let _ = store.files().remove_file(&self.path);
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
