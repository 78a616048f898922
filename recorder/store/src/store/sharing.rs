//! Read access to a store for users besides its owner, expressed by the modes of its folders alone.
//!
//! **Invariant:** nothing in a store is readable by more users than the folder of its segments is.

use std::io;
use std::path::Path;

use super::secret_files::SECRETS;
use super::{AUDIT, SEGMENTS, at, names_in, unless_missing};
use crate::files::{FileKind, FileStatus, Files, SystemFiles};
use crate::{Store, StoreError};

/// A folder and a file that a group may read. New files in the folder belong to its group.
const SHARED_FOLDER_MODE: u32 = 0o2750;
const SHARED_FILE_MODE: u32 = 0o640;
/// A file that stays its owner's when the store is shared, and is never written again.
pub(super) const PRIVATE_FILE_MODE: u32 = 0o400;
/// The set-group-ID bit, by which new files in a folder belong to its group: inode(7).
const SET_GROUP: u32 = 0o2000;
/// Bits by which a group, and everybody, may read a folder.
const GROUP_READS: u32 = 0o050;
const EVERYBODY_READS: u32 = 0o005;
/// The bits of a mode that say who may read, write and execute.
const MODE_BITS: u32 = 0o777;
/// The bits of a mode that chmod(2) sets.
const ALL_BITS: u32 = 0o7777;

/// Users who may read a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The user who records, alone.
    Owner,
    /// Also the group of this number.
    Group(u32),
    /// Every user of the machine.
    Everybody,
}

impl Readers {
    /// Mode bits that new files and folders must not have: umask(2).
    pub fn umask(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::Group(_) => 0o027,
            Self::Everybody => 0o022,
        }
    }

    /// Readers of the store in `root`; `None` where there is none yet.
    pub fn of(root: &Path) -> Result<Option<Self>, StoreError> {
        let segments = root.join(SEGMENTS);
        let folder = at(&segments, unless_missing(SystemFiles.status(&segments)))?;
        let Some(folder) = folder else { return Ok(None) };
        Ok(Some(match folder.mode {
            mode if mode & EVERYBODY_READS == EVERYBODY_READS => Self::Everybody,
            mode if mode & GROUP_READS == GROUP_READS => Self::Group(folder.group),
            _ => Self::Owner,
        }))
    }
}

/// Lets a group read everything that is stored now and later, and nobody else besides the owner. The audit log and
/// TLS secrets, also those in a case, stay the owner's. Links are not followed, except those to the store's own folders.
pub fn share(store: &Store, group: u32) -> Result<(), StoreError> {
    let root = store.root();
    for name in names_in(&*store.files, root)? {
        let path = root.join(&name);
        // A folder of the store may lie on another disk.
        match at(&path, unless_missing(store.files.canonical(&path)))? {
            Some(path) if !name.starts_with(AUDIT) && name != SECRETS => {
                share_all(&*store.files, &path, group)?
            }
            _ => {}
        }
    }
    // The owner of the folder itself may have given more users access.
    let found = at(root, store.files.status(root))?;
    set(&*store.files, root, &found, group, found.mode | SHARED_FOLDER_MODE)
}

fn share_all(files: &dyn Files, path: &Path, group: u32) -> Result<(), StoreError> {
    // It may have been renamed or expired since the folder was read.
    let Some(found) = at(path, unless_missing(files.link_status(path)))? else { return Ok(()) };
    match found.kind {
        FileKind::File if found.mode & MODE_BITS == PRIVATE_FILE_MODE => Ok(()),
        FileKind::File => set(files, path, &found, group, SHARED_FILE_MODE),
        FileKind::Folder => {
            for name in names_in(files, path)? {
                share_all(files, &path.join(name), group)?;
            }
            set(files, path, &found, group, SHARED_FOLDER_MODE)
        }
        FileKind::Other => Ok(()),
    }
}

/// Gives a file or folder to a group, with this mode.
fn set(files: &dyn Files, path: &Path, found: &FileStatus, group: u32, mode: u32) -> Result<(), StoreError> {
    let mode = mode & ALL_BITS;
    if found.group == group && found.mode & ALL_BITS == mode {
        return Ok(());
    }
    // A service manager may forbid the call, and a service has its group anyway.
    if found.group != group {
        at(path, unless_missing(files.set_group(path, group)))?;
    }
    let change = |mode| unless_missing(files.set_mode(path, mode));
    match change(mode) {
        // A service manager may forbid this bit. What a service makes belongs to its own group anyway.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && mode & SET_GROUP != 0 => {
            at(path, change(mode & !SET_GROUP))?
        }
        changed => at(path, changed)?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::Timestamp;

    fn store(folder: &Path) -> Store {
        Store::open_or_create(&folder.join("store"), Timestamp(0), 1).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & ALL_BITS
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_folder_of_the_segments_says_who_may_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Readers::of(folder.path()).unwrap(), None);
        let store = store(folder.path());
        let segments = store.root().join(SEGMENTS);
        let group = fs::metadata(&segments).unwrap().gid();
        let by_mode = [
            (0o700, Readers::Owner, 0o077),
            (0o710, Readers::Owner, 0o077),
            (0o750, Readers::Group(group), 0o027),
            (0o2750, Readers::Group(group), 0o027),
            (0o755, Readers::Everybody, 0o022),
            (0o777, Readers::Everybody, 0o022),
        ];
        for (mode, readers, umask) in by_mode {
            set_mode(&segments, mode);
            let found = Readers::of(store.root()).unwrap().unwrap();
            assert_eq!((found, found.umask()), (readers, umask), "{mode:o}");
        }
    }

    #[test]
    fn sharing_reaches_what_is_stored_and_what_comes_but_not_the_audit_nor_what_a_link_names() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let day = store.root().join(SEGMENTS).join("2026-11-22");
        fs::create_dir(&day).unwrap();
        let (segment, audit, elsewhere) =
            (day.join("a.pcap"), store.audit_path(0), folder.path().join("other"));
        for path in [&segment, &audit, &elsewhere] {
            fs::write(path, "x").unwrap();
            set_mode(path, 0o600);
        }
        std::os::unix::fs::symlink(&elsewhere, day.join("link.pcap")).unwrap();
        let group = fs::metadata(&day).unwrap().gid();
        share(&store, group).unwrap();
        assert_eq!(Readers::of(store.root()).unwrap(), Some(Readers::Group(group)));
        assert_eq!([mode(&segment), mode(&audit), mode(&elsewhere)], [0o640, 0o600, 0o600]);
        assert_eq!(mode(&day) & 0o777, 0o750);
        share(&store, group).unwrap();
        assert_eq!(mode(&segment), 0o640);
    }
}
