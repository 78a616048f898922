//! Files that a writer holds open, and checks that their names still lead to them: a folder may be renamed or removed meanwhile.
//!
//! **Invariant:** nothing is created in a folder that has taken the place of the store's own.

use std::io;
use std::path::Path;

use super::{Store, at};
use crate::files::StoreFile;
use crate::{SegmentName, StoreError};

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

impl FileLocation {
    /// Makes sure that an open segment and its mark have their names, as far as they still exist.
    pub fn keep(
        store: &Store,
        name: &SegmentName,
        segment: &dyn StoreFile,
        mark: &dyn StoreFile,
    ) -> Result<Self, StoreError> {
        let path = store.open_path(name);
        let identity = at(&path, segment.status())?.identity;
        if let Err(error) = store.is_in_place() {
            return match (error, is_removed(segment)) {
                (StoreError::Gone { .. }, Ok(true)) => Ok(Self::Gone),
                (StoreError::Gone { .. }, _) => Ok(Self::Moved),
                (error, _) => Err(error),
            };
        }
        let place = match at(&path, store.files.identity(&path))? {
            Some(found) if found == identity => Self::AsNamed,
            // Sealed by an earlier attempt that failed afterwards.
            None if at(&path, store.files.identity(&store.sealed_path(name)))? == Some(identity) => {
                return Ok(Self::AsNamed);
            }
            Some(_) => Self::Gone,
            None if at(&path, is_removed(segment))? => Self::Gone,
            None => {
                store.prepare_folder(name)?;
                at(&path, name_again(store, segment, &path))?;
                Self::NamedAgain
            }
        };
        if place == Self::Gone {
            return Ok(place);
        }
        let mark_path = store.mark_path(name);
        if at(&mark_path, store.files.identity(&mark_path))?.is_none() && !at(&mark_path, is_removed(mark))? {
            at(&mark_path, name_again(store, mark, &mark_path))?;
        }
        Ok(place)
    }
}

/// Gives an open file another name, which must not exist.
fn name_again(store: &Store, file: &dyn StoreFile, path: &Path) -> io::Result<()> {
    file.link_to(path)?;
    path.parent().map_or(Ok(()), |folder| store.files.sync_folder(folder))
}

/// True if no name leads to the file any more.
fn is_removed(file: &dyn StoreFile) -> io::Result<bool> {
    Ok(file.status()?.names == 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};

    use super::super::identity::IDENTITY;
    use super::super::{LOCK, LOGBOOK, MARK_EXTENSION, SEALED_EXTENSION, SEGMENTS, StoreLock};
    use super::*;
    use crate::Timestamp;

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
        let lock = StoreLock::take(&store, "test").unwrap();
        store.prepare_folder(&NAME).unwrap();
        let create = |path: &Path| OpenOptions::new().create_new(true).write(true).open(path).unwrap();
        let (segment, mark) = (create(&store.open_path(&NAME)), create(&store.mark_path(&NAME)));
        let day = store.open_day_folder(&NAME).unwrap();
        Open { _folder: folder, store, lock, day, segment, mark }
    }

    impl Open {
        fn place(&self) -> FileLocation {
            FileLocation::keep(&self.store, &NAME, &self.segment, &self.mark).unwrap()
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
        assert!(matches!(StoreLock::take(&open.store, "another"), Err(StoreError::Locked { .. })));
        // Another recorder was quicker.
        fs::remove_file(open.store.root().join(LOCK)).unwrap();
        let _other = StoreLock::take(&open.store, "another").unwrap();
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
