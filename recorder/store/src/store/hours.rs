//! The folders of the catalog's hours.
//!
//! **Invariant:** a folder with an hour's name is whole: it is written under another name, synced, and renamed; it is renamed
//! before anything of it is removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{CATALOG, at, file_bytes, folder_disk_bytes, names_in, unless_missing};
use crate::catalog::{CATALOG_VERSION, CATALOG_VERSION_MIN, FileSum, Hour, Manifest};
use crate::files::{OpenMode, StoreFile};
use crate::seal::{is_summed, summed};
use crate::{Store, StoreError};

const MANIFEST: &str = "manifest.json";
/// File name of an hour's totals.
const ROLLUP: &str = "rollup";
/// File name of the flows that cross the boundary to the hour before.
const SEAM: &str = "seam";
/// Prefix and suffixes of an hour's folder while it is written or removed.
const UNFINISHED_PREFIX: &str = ".";
const NEW_EXTENSION: &str = ".new";
const OLD_EXTENSION: &str = ".old";
/// End of the names of tantivy's locks, which say nothing and may come and go.
const LOCK_EXTENSION: &str = ".lock";

/// True for a file of an hour that never changes.
fn is_listed(name: &str) -> bool {
    name != MANIFEST && name != SEAM && !name.ends_with(LOCK_EXTENSION)
}

/// An hour as the folder lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedHour {
    /// The hour.
    pub hour: Hour,
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
}

/// The folder of a store's catalog.
#[derive(Clone, Copy, Debug)]
pub struct CatalogFolder<'s>(&'s Store);

impl<'s> CatalogFolder<'s> {
    /// The catalog of this store.
    pub fn of(store: &'s Store) -> Self {
        Self(store)
    }

    fn catalog_path(&self) -> PathBuf {
        self.0.root().join(CATALOG)
    }

    /// The folder of an hour of the catalog.
    pub fn hour_path(&self, hour: Hour) -> PathBuf {
        self.catalog_path().join(hour.to_string())
    }

    fn beside(&self, hour: Hour, extension: &str) -> PathBuf {
        self.catalog_path().join(format!("{UNFINISHED_PREFIX}{hour}{extension}"))
    }

    /// The folder in which an hour is written.
    pub fn unfinished_hour_path(&self, hour: Hour) -> PathBuf {
        self.beside(hour, NEW_EXTENSION)
    }

    /// Creates an empty folder for an hour that is to be written.
    pub fn begin_hour(&self, hour: Hour) -> Result<PathBuf, StoreError> {
        let path = self.unfinished_hour_path(hour);
        self.remove_folder(&path)?;
        at(&path, self.0.files.create_folders(&path))?;
        Ok(path)
    }

    /// Writes the totals of an unfinished hour beside it.
    pub fn write_rollup(&self, hour: Hour, rollup: &[u8]) -> Result<(), StoreError> {
        let path = self.unfinished_hour_path(hour).join(ROLLUP);
        at(&path, self.0.files.write(&path, rollup))
    }

    /// An hour's totals, as written; `None` where there are none. The file never changes.
    pub fn rollup(&self, hour: Hour) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        self.open_of_hour(hour, ROLLUP)
    }

    /// Writes the seam between an hour and the one before, replacing any earlier one.
    pub fn write_seam(&self, hour: Hour, seam: &[u8]) -> Result<(), StoreError> {
        let path = self.hour_path(hour).join(SEAM);
        let new = path.with_extension(NEW_EXTENSION.trim_start_matches('.'));
        at(&new, self.0.files.write(&new, seam))?;
        at(&path, self.0.files.rename(&new, &path))
    }

    /// The seam between an hour and the one before; `None` where there is none. The file never changes, but another may replace
    /// it.
    pub fn seam(&self, hour: Hour) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        self.open_of_hour(hour, SEAM)
    }

    /// Removes the seam between an hour and the one before: it is only made of the two.
    pub fn remove_seam(&self, hour: Hour) -> Result<(), StoreError> {
        let path = self.hour_path(hour).join(SEAM);
        at(&path, unless_missing(self.0.files.remove_file(&path)))?;
        Ok(())
    }

    fn open_of_hour(&self, hour: Hour, name: &str) -> Result<Option<Box<dyn StoreFile>>, StoreError> {
        let path = self.hour_path(hour).join(name);
        let Some(file) = self.0.open_file(&path)? else { return Ok(None) };
        at(&path, file_bytes(&*file))?;
        Ok(Some(file))
    }

    /// Writes the manifest last, and gives the folder the hour's name, replacing the hour that had it.
    pub fn finish_hour(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let (new, path) = (self.unfinished_hour_path(manifest.hour), self.hour_path(manifest.hour));
        let path_of_manifest = new.join(MANIFEST);
        let mut manifest = manifest.clone();
        manifest.files = self.sums_of(&new)?;
        let text = serde_json::to_string(&manifest).map_err(io::Error::other);
        let text = summed(&at(&path_of_manifest, text)?);
        at(&path_of_manifest, self.0.files.write_durably(&path_of_manifest, text.as_bytes()))?;
        // Some files are made for their owner alone: whoever may read the store may read them.
        let mode = at(&new, self.0.files.status(&new.join(MANIFEST)))?.mode;
        for name in names_in(&*self.0.files, &new)? {
            let file = new.join(name);
            at(&file, self.0.files.set_mode(&file, mode))?;
            at(&file, self.0.files.open(&file, OpenMode::Read).and_then(|file| file.sync_all()))?;
        }
        at(&new, self.0.files.sync_folder(&new))?;
        self.retire(manifest.hour)?;
        at(&path, self.0.files.rename(&new, &path))?;
        let catalog = self.catalog_path();
        at(&catalog, self.0.files.sync_folder(&catalog))?;
        self.remove_folder(&self.beside(manifest.hour, OLD_EXTENSION))
    }

    /// Lengths and checksums of the files in an hour's folder that never change, but for the manifest.
    fn sums_of(&self, folder: &Path) -> Result<BTreeMap<String, FileSum>, StoreError> {
        let mut sums = BTreeMap::new();
        for name in names_in(&*self.0.files, folder)? {
            let path = folder.join(&name);
            let found = at(&path, self.0.files.link_status(&path))?;
            if found.is_file() && is_listed(&name) {
                let file = at(&path, self.0.files.open(&path, OpenMode::Read))?;
                sums.insert(name, at(&path, FileSum::of(&*file))?);
            }
        }
        Ok(sums)
    }

    /// Faults of an hour's files, compared with what its manifest says of them: each with the path of the file.
    pub fn changed_files(&self, manifest: &Manifest) -> Vec<(PathBuf, String)> {
        let folder = self.hour_path(manifest.hour);
        let fault = |(name, sum): (&String, &FileSum)| {
            let path = folder.join(name);
            let found = self.0.files.open(&path, OpenMode::Read).and_then(|file| FileSum::of(&*file));
            let reason = match found {
                Ok(found) if found == *sum => return None,
                Ok(found) if found.bytes != sum.bytes => {
                    format!("it has {} bytes, but had {} when it was written", found.bytes, sum.bytes)
                }
                Ok(found) => format!("bytes 0 to {} differ from those written", found.bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
                Err(error) => error.to_string(),
            };
            Some((path, reason))
        };
        manifest.files.iter().filter_map(fault).collect()
    }

    /// Takes an hour's name from its folder.
    fn retire(&self, hour: Hour) -> Result<(), StoreError> {
        let (path, old) = (self.hour_path(hour), self.beside(hour, OLD_EXTENSION));
        self.remove_folder(&old)?;
        at(&path, unless_missing(self.0.files.rename(&path, &old)))?;
        Ok(())
    }

    /// Removes an hour. A reader that has it open can go on.
    pub fn remove_hour(&self, hour: Hour) -> Result<(), StoreError> {
        self.retire(hour)?;
        self.remove_folder(&self.beside(hour, OLD_EXTENSION))
    }

    /// Removes hours whose writing or removal was interrupted by the end of its process.
    pub fn remove_unfinished_hours(&self) -> Result<(), StoreError> {
        let catalog = self.catalog_path();
        for name in names_in(&*self.0.files, &catalog)? {
            let hour = name.strip_prefix(UNFINISHED_PREFIX);
            let hour =
                hour.and_then(|name| name.strip_suffix(NEW_EXTENSION).or(name.strip_suffix(OLD_EXTENSION)));
            if hour.is_some_and(|hour| hour.parse::<Hour>().is_ok()) {
                self.remove_folder(&catalog.join(name))?;
            }
        }
        Ok(())
    }

    /// The hours of the catalog, earliest first.
    pub fn hours(&self) -> Result<Vec<Hour>, StoreError> {
        let names = names_in(&*self.0.files, &self.catalog_path())?;
        let mut hours: Vec<Hour> = names.iter().filter_map(|name| name.parse().ok()).collect();
        hours.sort_unstable();
        Ok(hours)
    }

    /// The hours of the catalog with their disk usage, earliest first.
    pub fn listed_hours(&self) -> Result<Vec<ListedHour>, StoreError> {
        let listed = |hour| {
            Ok(ListedHour { hour, disk_bytes: folder_disk_bytes(&*self.0.files, &self.hour_path(hour))? })
        };
        self.hours()?.into_iter().map(listed).collect()
    }

    /// Bytes that an hour takes on the disk.
    pub fn hour_disk_bytes(&self, hour: Hour) -> Result<u64, StoreError> {
        folder_disk_bytes(&*self.0.files, &self.hour_path(hour))
    }

    /// Stamp that changes when an hour is written again: inode and modification time of its manifest; `None` where there is none.
    pub fn hour_stamp(&self, hour: Hour) -> Result<Option<(u64, i64)>, StoreError> {
        let path = self.hour_path(hour).join(MANIFEST);
        let found = at(&path, unless_missing(self.0.files.status(&path)))?;
        Ok(found.map(|file| (file.identity.inode, file.modified_ns)))
    }

    /// Manifest of an hour; `None` where there is no such hour (any more). A missing or invalid manifest of an hour that exists
    /// is an error.
    pub fn manifest(&self, hour: Hour) -> Result<Option<Manifest>, StoreError> {
        let path = self.hour_path(hour).join(MANIFEST);
        let text = match self.0.files.read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.0.files.link_status(&self.hour_path(hour)) {
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(None),
                    _ => Err(self.manifest_fault(hour, "it is missing".to_owned())),
                };
            }
            Err(error) => return Err(self.manifest_fault(hour, error.to_string())),
        };
        let is_sound = std::str::from_utf8(&text).ok().and_then(is_summed);
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| self.manifest_fault(hour, format!("it is not valid ({error})")))?;
        match manifest {
            // Hours of earlier versions have neither.
            Manifest { files, .. } if is_sound != Some(true) && (is_sound.is_some() || !files.is_empty()) => {
                let reason =
                    format!("its checksum is wrong: bytes 0 to {} are not as they were written", text.len());
                Err(self.manifest_fault(hour, reason))
            }
            Manifest { version, .. } if !(CATALOG_VERSION_MIN..=CATALOG_VERSION).contains(&version) => {
                Err(self.manifest_fault(hour, format!("it has the unknown version {version}")))
            }
            Manifest { hour: other, .. } if other != hour => {
                Err(self.manifest_fault(hour, format!("it belongs to another hour, {other}")))
            }
            manifest => Ok(Some(manifest)),
        }
    }

    fn manifest_fault(&self, hour: Hour, reason: String) -> StoreError {
        StoreError::Manifest { path: self.hour_path(hour).join(MANIFEST), reason }
    }

    fn remove_folder(&self, path: &Path) -> Result<(), StoreError> {
        at(path, unless_missing(self.0.files.remove_tree(path)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Timestamp;

    fn manifest(hour: Hour, records: u64) -> Manifest {
        Manifest {
            version: CATALOG_VERSION,
            hour,
            records,
            packets: 0,
            bytes: 0,
            segments: Vec::new(),
            without_packets: Vec::new(),
            link_types: Vec::new(),
            lacks: Vec::new(),
            is_divided: false,
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn an_hour_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(folder.path(), Timestamp(0), 1).unwrap();
        let hour = Hour::of(Timestamp::new(1_795_339_861, 0));
        assert_eq!(CatalogFolder::of(&store).hours().unwrap(), []);
        let path = CatalogFolder::of(&store).begin_hour(hour).unwrap();
        fs::write(path.join("part"), "x").unwrap();
        assert_eq!(
            (CatalogFolder::of(&store).hours().unwrap(), CatalogFolder::of(&store).manifest(hour).unwrap()),
            (vec![], None)
        );
        CatalogFolder::of(&store).begin_hour(hour).unwrap();
        assert!(!path.join("part").exists(), "what a crash has left is gone");
        let mut last_stamp = None;
        for records in [1, 2] {
            CatalogFolder::of(&store).begin_hour(hour).unwrap();
            CatalogFolder::of(&store).finish_hour(&manifest(hour, records)).unwrap();
            assert_eq!(CatalogFolder::of(&store).manifest(hour).unwrap(), Some(manifest(hour, records)));
            let stamp = CatalogFolder::of(&store).hour_stamp(hour).unwrap();
            assert!(stamp.is_some() && stamp != last_stamp, "an hour that is written again is another");
            last_stamp = stamp;
        }
        assert!(CatalogFolder::of(&store).listed_hours().unwrap()[0].disk_bytes > 0);
        CatalogFolder::of(&store).begin_hour(hour).unwrap();
        CatalogFolder::of(&store).remove_unfinished_hours().unwrap();
        assert_eq!((path.exists(), CatalogFolder::of(&store).hours().unwrap()), (false, vec![hour]));
        fs::write(CatalogFolder::of(&store).hour_path(hour).join(MANIFEST), "{").unwrap();
        assert!(
            matches!(CatalogFolder::of(&store).manifest(hour), Err(StoreError::Manifest { .. })),
            "damaged is not absent"
        );
        fs::remove_file(CatalogFolder::of(&store).hour_path(hour).join(MANIFEST)).unwrap();
        assert!(
            matches!(CatalogFolder::of(&store).manifest(hour), Err(StoreError::Manifest { .. })),
            "nor is an hour without one"
        );
        CatalogFolder::of(&store).remove_hour(hour).unwrap();
        assert_eq!(
            (CatalogFolder::of(&store).hours().unwrap(), CatalogFolder::of(&store).manifest(hour).unwrap()),
            (vec![], None)
        );
    }
}
