//! What leaves a store for an archive, besides its segments and their indexes.

use std::path::PathBuf;

use super::identity::IDENTITY;
use super::{Store, at, unless_missing};
use crate::StoreError;
use crate::files::{OpenMode, StoreFile};

/// A segment that is compressed on its way to the archive.
const UNFINISHED_UPLOAD: &str = "upload.new";

/// The file of a segment, and true if it is a cold one.
type SegmentFile = (Box<dyn StoreFile>, bool);

/// The files of a store that an archive needs.
#[derive(Clone, Copy, Debug)]
pub struct UploadFiles<'s>(&'s Store);

impl<'s> UploadFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// The bytes of `store.toml`.
    pub fn identity(&self) -> Result<Vec<u8>, StoreError> {
        let path = self.0.root.join(IDENTITY);
        at(&path, self.0.files.read(&path))
    }

    /// The file of a complete segment as it is, and true if it is a cold one; `None` where it is gone.
    pub fn open_segment(&self, name: &crate::SegmentName) -> Result<Option<SegmentFile>, StoreError> {
        // The cold file is there before the other goes.
        for (path, is_cold) in [(self.0.sealed_path(name), false), (self.0.cold_path(name), true)] {
            if let Some(file) = self.0.open_file(&path)? {
                return Ok(Some((file, is_cold)));
            }
        }
        Ok(None)
    }

    /// An empty file for a segment that is compressed on its way. There is one at a time.
    pub fn begin(&self) -> Result<Box<dyn StoreFile>, StoreError> {
        let path = self.unfinished();
        at(&path, unless_missing(self.0.files.remove_file(&path)))?;
        at(&path, self.0.files.open(&path, OpenMode::Create))
    }

    /// The same file, whole, to be read.
    pub fn finished(&self) -> Result<Box<dyn StoreFile>, StoreError> {
        let path = self.unfinished();
        at(&path, self.0.files.open(&path, OpenMode::Read))
    }

    /// Removes that file, also one that a crash has left.
    pub fn end(&self) -> Result<(), StoreError> {
        let path = self.unfinished();
        at(&path, unless_missing(self.0.files.remove_file(&path)))?;
        Ok(())
    }

    fn unfinished(&self) -> PathBuf {
        self.0.root.join(UNFINISHED_UPLOAD)
    }
}
