//! The lock that keeps a second writer out. Its file names the holder, and any trouble that keeps the holder from writing.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::identity::{self, IDENTITY, StoreIdentity};
use super::{LOCK, LOGBOOK, SEGMENTS, Store, at};
use crate::StoreError;
use crate::files::{Files, LockKind, OpenMode, StoreFile};
use crate::locked;

/// Limit on the text of the lock's file: a longer text is cut.
const TEXT_BYTES_MAX: usize = 1024;

/// Keeps other writers out of the store until all its copies are dropped.
#[derive(Clone, Debug)]
pub struct StoreLock(Arc<Mutex<HeldLock>>);

#[derive(Debug)]
struct HeldLock {
    file: Box<dyn StoreFile>,
    holder: String,
    trouble: Option<String>,
}

/// The process that writes to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreWriter {
    /// The command, and its process.
    pub holder: String,
    /// Reason that it cannot write at the moment, if it cannot.
    pub trouble: Option<String>,
}

impl StoreWriter {
    /// Present holder of the lock, if any, and its trouble.
    pub fn of(store: &Store) -> Result<Option<Self>, StoreError> {
        let path = store.root.join(LOCK);
        let Some(file) = store.open_file(&path)? else { return Ok(None) };
        if at(&path, file.try_lock(LockKind::Shared))? {
            return Ok(None);
        }
        at(&path, Self::read(&*file)).map(Some)
    }

    /// The lock's text: the first line is the holder, the rest is its trouble.
    fn read(file: &dyn StoreFile) -> io::Result<Self> {
        let bytes = file.read_all()?;
        let text = String::from_utf8_lossy(&bytes);
        let (holder, trouble) = text.split_once('\n').unwrap_or((&text, ""));
        let trouble = Some(trouble.trim()).filter(|trouble| !trouble.is_empty()).map(str::to_owned);
        Ok(Self { holder: holder.trim().to_owned(), trouble })
    }
}

fn lock(files: &dyn Files, path: &Path) -> Result<Box<dyn StoreFile>, StoreError> {
    let file = at(path, files.open(path, OpenMode::Keep))?;
    if at(path, file.try_lock(LockKind::Exclusive))? {
        return Ok(file);
    }
    let holder = at(path, StoreWriter::read(&*file))?.holder;
    Err(StoreError::Locked { path: path.to_owned(), holder })
}

impl HeldLock {
    /// Writes over the previous text: on a full disk, a file that is truncated first may stay empty.
    fn write(&self) {
        let mut text = format!("{}\n", self.holder);
        if let Some(trouble) = &self.trouble {
            text.push_str(trouble);
            text.push('\n');
        }
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        // The lock holds even without a text.
        if self.file.write_all_at(text.as_bytes(), 0).is_ok() {
            let _ = self.file.set_bytes(text.len() as u64);
        }
    }
}

impl StoreLock {
    /// Keeps every other writer out. `holder` names the writer to them.
    pub fn take(store: &Store, holder: &str) -> Result<Self, StoreError> {
        let file = lock(&*store.files, &store.root.join(LOCK))?;
        let held = HeldLock { file, holder: holder.to_owned(), trouble: None };
        held.write();
        Ok(Self(Arc::new(Mutex::new(held))))
    }

    fn lock_state(&self) -> MutexGuard<'_, HeldLock> {
        // Consistent at every moment: a panic elsewhere does no harm.
        locked(&self.0)
    }

    /// Publishes the reason that nothing can be written, or that writing works again.
    pub fn publish_trouble(&self, trouble: Option<&str>) {
        let mut held = self.lock_state();
        if held.trouble.as_deref() != trouble {
            held.trouble = trouble.map(str::to_owned);
            held.write();
        }
    }

    /// Restores the store's own files and folders that were removed while it is written to, and returns their names. Fails for
    /// good ([`StoreError::Gone`], [`StoreError::Locked`]) where the store is not ours any more.
    pub fn keep(&self, store: &Store) -> Result<Vec<&'static str>, StoreError> {
        store.is_in_place()?;
        let mut made = Vec::new();
        for folder in [SEGMENTS, LOGBOOK] {
            let path = store.root().join(folder);
            if at(&path, store.files.identity(&path))?.is_none() {
                at(&path, store.files.create_folder(&path))?;
                made.push(folder);
            }
        }
        let path = store.root().join(IDENTITY);
        if at(&path, store.files.identity(&path))?.is_none() {
            identity::write(store.files(), store.root(), store.identity())?;
            made.push(IDENTITY);
        }
        if self.renew(store)? {
            made.push(LOCK);
        }
        Ok(made)
    }

    /// Changes the UDP ports that are decoded as tunnels.
    pub fn set_tunnel_ports(&self, store: &mut Store, ports: Vec<String>) -> Result<(), StoreError> {
        let identity = StoreIdentity { tunnel_ports: ports, ..store.identity.clone() };
        identity::write(&*store.files, &store.root, &identity)?;
        store.identity = identity;
        Ok(())
    }

    /// Locks the store again where the lock's file has been removed; true if so.
    fn renew(&self, store: &Store) -> Result<bool, StoreError> {
        let path = store.root.join(LOCK);
        let mut held = self.lock_state();
        let identity = at(&path, held.file.status())?.identity;
        if at(&path, store.files.identity(&path))? == Some(identity) {
            return Ok(false);
        }
        held.file = lock(&*store.files, &path)?;
        held.write();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn a_second_writer_is_kept_out_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(1), 7).unwrap();
        assert_eq!(StoreWriter::of(&store).unwrap(), None);
        let lock = StoreLock::take(&store, "record, process 7").unwrap();
        assert!(
            matches!(StoreLock::take(&store, "other"), Err(StoreError::Locked { holder, .. }) if holder == "record, process 7")
        );
        assert_eq!(
            StoreWriter::of(&store).unwrap().map(|writer| writer.holder).as_deref(),
            Some("record, process 7")
        );
        drop(lock);
        StoreLock::take(&store, "other").unwrap();
    }

    #[test]
    fn the_lock_tells_of_trouble_and_of_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(1), 7).unwrap();
        let lock = StoreLock::take(&store, "record, process 7").unwrap();
        let said = |trouble: Option<&str>| {
            lock.publish_trouble(trouble);
            let writer = StoreWriter::of(&store).unwrap().expect("somebody is in");
            assert_eq!(writer.holder, "record, process 7");
            writer.trouble
        };
        assert_eq!(said(None), None);
        assert_eq!(said(Some("the disk is full,\nand more")).as_deref(), Some("the disk is full,\nand more"));
        assert_eq!(said(Some("short")).as_deref(), Some("short"));
        assert!(said(Some(&"é".repeat(TEXT_BYTES_MAX))).is_some_and(|text| text.len() < TEXT_BYTES_MAX));
        assert_eq!(said(None), None);
    }
}
