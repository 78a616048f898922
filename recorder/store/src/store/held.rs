//! Files that a writer holds open, and checks that their names still lead to them: a folder may be renamed or removed meanwhile.
//!
//! **Invariant:** nothing is created in a folder that has taken the place of the store's own.

use std::io;
use std::path::Path;

use super::{
    IDENTITY, LOCK, LOGBOOK, MARK_EXTENSION, OPEN_EXTENSION, SEALED_EXTENSION, SEGMENTS, Store, StoreLock,
    at, unless_missing, write_identity,
};
use crate::files::{OpenMode, StoreFile};
use crate::{SegmentName, StoreError, Timestamp};

/// Location of the file of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLocation {
    /// At its name.
    AsNamed,
    /// At its name again: it was moved away, with its folder or alone.
    NamedAgain,
    /// Elsewhere, with the folder in which it was made: the store's own folder has been moved away.
    Moved,
    /// Nowhere: it has been removed.
    Gone,
}

impl Store {
    /// Fails if the store's folder is not the one that was opened.
    pub fn is_in_place(&self) -> Result<(), StoreError> {
        let root = self.root();
        let gone = |how: &'static str| Err(StoreError::Gone { path: root.to_owned(), how });
        match at(root, self.files.identity(root))? {
            Some(found) if found == self.root_identity => Ok(()),
            Some(_) => gone("another folder has taken its place"),
            None => gone("it has been removed or renamed"),
        }
    }

    /// Makes sure that the logbook's folder exists, if the store is in place.
    pub fn prepare_logbook(&self) -> Result<(), StoreError> {
        let folder = self.root().join(LOGBOOK);
        if at(&folder, self.files.identity(&folder))?.is_none() {
            self.is_in_place()?;
            at(&folder, self.files.create_folder(&folder))?;
        }
        Ok(())
    }

    /// The folder of a new segment's day, open, so that its files can be found wherever it is moved.
    pub fn open_day_folder(&self, name: &SegmentName) -> Result<Box<dyn StoreFile>, StoreError> {
        let folder = self.day_folder(name);
        at(&folder, self.files.open(&folder, OpenMode::Read))
    }

    /// Makes sure that an open segment and its mark have their names, as far as they still exist.
    pub fn keep_open_segment(
        &self,
        name: &SegmentName,
        segment: &dyn StoreFile,
        mark: &dyn StoreFile,
    ) -> Result<FileLocation, StoreError> {
        let path = self.open_path(name);
        let identity = at(&path, segment.status())?.identity;
        if let Err(error) = self.is_in_place() {
            return match (error, is_removed(segment)) {
                (StoreError::Gone { .. }, Ok(true)) => Ok(FileLocation::Gone),
                (StoreError::Gone { .. }, _) => Ok(FileLocation::Moved),
                (error, _) => Err(error),
            };
        }
        let place = match at(&path, self.files.identity(&path))? {
            Some(found) if found == identity => FileLocation::AsNamed,
            // Sealed by an earlier attempt that failed afterwards.
            None if at(&path, self.files.identity(&self.sealed_path(name)))? == Some(identity) => {
                return Ok(FileLocation::AsNamed);
            }
            Some(_) => FileLocation::Gone,
            None if at(&path, is_removed(segment))? => FileLocation::Gone,
            None => {
                self.prepare_folder(name)?;
                at(&path, self.name_again(segment, &path))?;
                FileLocation::NamedAgain
            }
        };
        if place == FileLocation::Gone {
            return Ok(place);
        }
        let mark_path = self.mark_path(name);
        if at(&mark_path, self.files.identity(&mark_path))?.is_none() && !at(&mark_path, is_removed(mark))? {
            at(&mark_path, self.name_again(mark, &mark_path))?;
        }
        Ok(place)
    }

    /// Gives an open file another name, which must not exist.
    fn name_again(&self, file: &dyn StoreFile, path: &Path) -> io::Result<()> {
        file.link_to(path)?;
        path.parent().map_or(Ok(()), |folder| self.files.sync_folder(folder))
    }

    /// Gives an open segment its sealed name in the folder in which it was created, wherever that is now.
    pub fn seal_in(&self, folder: &dyn StoreFile, name: &SegmentName) -> Result<(), StoreError> {
        let named = |extension: &str| name.stem() + extension;
        let path = self.open_path(name);
        at(&path, folder.rename_within(&named(OPEN_EXTENSION), &named(SEALED_EXTENSION)))?;
        at(&path, unless_missing(folder.remove_within(&named(MARK_EXTENSION))))?;
        at(&path, folder.sync_all())
    }

    /// Time at which a sealed segment was written, as far as known: that of its name, unless a clock that was ahead gave it. Then
    /// it is the file's modification time, limited to `now`.
    pub fn written(&self, name: &SegmentName, now: Timestamp) -> Result<Timestamp, StoreError> {
        if name.opened <= now {
            return Ok(name.opened);
        }
        let path = self.sealed_path(name);
        let Some(file) = self.open_file(&path)? else { return Ok(now) };
        let modified = at(&path, file.status())?.modified();
        if modified <= now {
            return Ok(modified);
        }
        at(&path, file.set_modified(now))?;
        Ok(now)
    }
}

/// True if no name leads to the file any more.
fn is_removed(file: &dyn StoreFile) -> io::Result<bool> {
    Ok(file.status()?.names == 0)
}

impl StoreLock {
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
            write_identity(store.files(), store.root(), store.identity())?;
            made.push(IDENTITY);
        }
        if self.renew(store)? {
            made.push(LOCK);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};

    use super::*;

    const NAME: SegmentName = SegmentName { opened: Timestamp(1_795_339_861_000_000_005), lane: 0 };

    struct Open {
        _folder: tempfile::TempDir,
        store: Store,
        lock: StoreLock,
        day: Box<dyn StoreFile>,
        segment: File,
        mark: File,
    }

    /// A store with an open segment.
    fn open() -> Open {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("store"), Timestamp(1), 7).unwrap();
        let lock = store.lock("test").unwrap();
        store.prepare_folder(&NAME).unwrap();
        let create = |path: &Path| OpenOptions::new().create_new(true).write(true).open(path).unwrap();
        let (segment, mark) = (create(&store.open_path(&NAME)), create(&store.mark_path(&NAME)));
        let day = store.open_day_folder(&NAME).unwrap();
        Open { _folder: folder, store, lock, day, segment, mark }
    }

    impl Open {
        fn place(&self) -> FileLocation {
            self.store.keep_open_segment(&NAME, &self.segment, &self.mark).unwrap()
        }
    }

    #[test]
    fn a_segment_whose_folder_is_renamed_has_its_name_again() {
        let open = open();
        assert_eq!(open.place(), FileLocation::AsNamed);
        let day = open.store.day_folder(&NAME);
        fs::rename(&day, day.with_extension("old")).unwrap();
        assert_eq!(open.place(), FileLocation::NamedAgain);
        assert_eq!(open.place(), FileLocation::AsNamed);
        assert!(open.store.mark_path(&NAME).exists());
        open.store.seal(&NAME).unwrap();
        assert_eq!(open.place(), FileLocation::AsNamed, "sealed is as it should be");
        fs::remove_dir_all(&day).unwrap();
        assert_eq!(open.place(), FileLocation::NamedAgain, "the other folder still has it");
    }

    #[test]
    fn a_removed_segment_is_gone_and_one_of_a_moved_store_is_sealed_there() {
        let open = open();
        let (root, moved) = (open.store.root().to_owned(), open.store.root().with_extension("moved"));
        fs::rename(&root, &moved).unwrap();
        for _ in 0..2 {
            assert_eq!(open.place(), FileLocation::Moved);
            assert!(matches!(open.lock.keep(&open.store), Err(StoreError::Gone { .. })));
            assert!(matches!(open.store.prepare_folder(&NAME), Err(StoreError::Io { .. })) || root.exists());
            fs::create_dir_all(&root).unwrap();
        }
        open.store.seal_in(&*open.day, &NAME).unwrap();
        let segments = moved.join(SEGMENTS).join(NAME.date());
        assert!(segments.join(NAME.stem() + SEALED_EXTENSION).exists());
        assert!(!segments.join(NAME.stem() + MARK_EXTENSION).exists());
        fs::remove_dir_all(&moved).unwrap();
        assert_eq!(open.place(), FileLocation::Gone);
    }

    #[test]
    fn what_is_removed_of_a_store_is_made_again() {
        let open = open();
        assert_eq!(open.lock.keep(&open.store).unwrap(), Vec::<&str>::new());
        for entry in fs::read_dir(open.store.root()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert_eq!(open.place(), FileLocation::Gone);
        assert_eq!(open.lock.keep(&open.store).unwrap(), [SEGMENTS, LOGBOOK, IDENTITY, LOCK]);
        assert_eq!(open.lock.keep(&open.store).unwrap(), Vec::<&str>::new());
        assert_eq!(Store::open(open.store.root()).unwrap().identity(), open.store.identity());
        assert!(matches!(open.store.lock("another"), Err(StoreError::Locked { .. })));
        // Another recorder was quicker.
        fs::remove_file(open.store.root().join(LOCK)).unwrap();
        let _other = open.store.lock("another").unwrap();
        assert!(
            matches!(open.lock.keep(&open.store), Err(StoreError::Locked { holder, .. }) if holder == "another")
        );
    }

    #[test]
    fn a_segment_named_by_a_clock_that_was_ahead_has_the_time_at_which_that_is_noticed() {
        let open = open();
        open.store.seal(&NAME).unwrap();
        let now = Timestamp(1_700_000_000_000_000_000);
        assert_eq!(open.store.written(&NAME, now).unwrap(), now, "its file's time was ahead as well");
        assert_eq!(open.store.written(&NAME, now.plus_ns(5_000_000_000)).unwrap(), now);
        let later = NAME.opened.plus_ns(1);
        assert_eq!(open.store.written(&NAME, later).unwrap(), NAME.opened);
    }
}
