//! Sealed segments that become cold.
//!
//! **Invariant:** at every moment one of a segment's two files is whole: the cold one gets its name when it is durable, and only
//! then the other goes.

use super::listing::is_date;
use super::{
    COLD_EXTENSION, SEALED_EXTENSION, SEGMENTS, Store, UNFINISHED_COLD_EXTENSION, at, names_in,
    unless_missing,
};
use crate::cold::{self, ColdFile, Compression};
use crate::files::{LockKind, OpenMode};
use crate::{SegmentName, StoreError};

/// The cold segments of a store.
#[derive(Clone, Copy, Debug)]
pub struct ColdFiles<'s>(&'s Store);

impl<'s> ColdFiles<'s> {
    /// Those of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    /// Compresses a sealed segment, and removes what was compressed. `goes_on` is asked before each frame.
    pub fn compress(
        &self,
        name: &SegmentName,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Compression, StoreError> {
        let store = self.0;
        let (sealed, new) = (store.sealed_path(name), store.path(name, UNFINISHED_COLD_EXTENSION));
        let Some(segment) = store.open_file(&sealed)? else { return Ok(Compression::Stopped) };
        let found = at(&sealed, segment.status())?;
        let written = at(&new, store.files.open(&new, OpenMode::Create)).and_then(|file| {
            let written = at(&new, cold::compress(&*segment, found.bytes, &*file, goes_on))?;
            at(&new, file.set_modified(found.modified()))?;
            Ok(written)
        });
        // Whoever removes or holds the segment meanwhile has a lock on it: `CaseFiles`.
        let is_free = || segment.try_lock(LockKind::Exclusive).unwrap_or(true);
        match written {
            Ok(Compression::Written(_)) if is_free() => {}
            Ok(Compression::Written(_)) => {
                let _ = store.files.remove_file(&new);
                return Ok(Compression::Stopped);
            }
            other => {
                // On a full disk, a partial file would only take space.
                let _ = store.files.remove_file(&new);
                return other;
            }
        }
        let cold = store.cold_path(name);
        at(&new, store.files.rename(&new, &cold))?;
        self.sync_folder(name)?;
        self.drop_sealed(name)?;
        written
    }

    /// Ends what a crash has interrupted, for a writer that holds the lock: removes files that are not finished, and of two files of a
    /// segment the plain one, if they read the same. Otherwise the cold one goes: the plain one was never to be removed before.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let root = self.0.root.join(SEGMENTS);
        for date in names_in(&*self.0.files, &root)?.iter().filter(|name| is_date(name)) {
            let names = names_in(&*self.0.files, &root.join(date))?;
            for file in &names {
                if file.ends_with(UNFINISHED_COLD_EXTENSION) {
                    let path = root.join(date).join(file);
                    at(&path, unless_missing(self.0.files.remove_file(&path)))?;
                }
                let stem = file.strip_suffix(COLD_EXTENSION);
                let is_twice =
                    |stem: &&str| names.binary_search(&format!("{stem}{SEALED_EXTENSION}")).is_ok();
                if let Some(name) = stem.filter(is_twice).and_then(|stem| SegmentName::parse(date, stem)) {
                    self.keep_one(&name)?;
                }
            }
        }
        Ok(())
    }

    fn keep_one(&self, name: &SegmentName) -> Result<(), StoreError> {
        let store = self.0;
        let (sealed, cold) = (store.sealed_path(name), store.cold_path(name));
        let Some(segment) = store.open_file(&sealed)? else { return Ok(()) };
        let Some(file) = store.open_file(&cold)? else { return Ok(()) };
        let bytes = at(&sealed, segment.status())?.bytes;
        let file = at(&cold, ColdFile::new(file))?;
        if is_same(&*segment, bytes, &file) {
            return self.drop_sealed(name);
        }
        at(&cold, unless_missing(store.files.remove_file(&cold)))?;
        Ok(())
    }

    fn drop_sealed(&self, name: &SegmentName) -> Result<(), StoreError> {
        let sealed = self.0.sealed_path(name);
        at(&sealed, unless_missing(self.0.files.remove_file(&sealed)))?;
        self.sync_folder(name)
    }

    fn sync_folder(&self, name: &SegmentName) -> Result<(), StoreError> {
        let folder = self.0.day_folder(name);
        at(&folder, self.0.files.sync_folder(&folder))
    }
}

/// True if two files read the same.
fn is_same(segment: &dyn crate::files::StoreFile, bytes: u64, cold: &ColdFile) -> bool {
    use crate::files::StoreFile;
    if cold.segment_bytes() != bytes {
        return false;
    }
    let length = usize::try_from(cold::FRAME_BYTES).unwrap_or(usize::MAX);
    let (mut ours, mut theirs) = (vec![0; length], vec![0; length]);
    let mut at = 0;
    while at < bytes {
        let read = segment.read_at_most(&mut ours, at).and_then(|read| {
            let same = cold.read_at_most(&mut theirs, at)?;
            Ok((read, same))
        });
        match read {
            Ok((read, same)) if read > 0 && read == same && ours[..read] == theirs[..read] => {
                at += read as u64
            }
            _ => return false,
        }
    }
    true
}
