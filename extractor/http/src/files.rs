//! Files that an operator names: tokens, certificates, locations of addresses, and the audit. They are no part of a store.
//!
//! **Invariant:** no other file of this crate touches a file.

pub(crate) use std::fs::File;
use std::fs::{self, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Mode of new files: they are nobody else's business.
const MODE: u32 = 0o600;
/// Bits of a file's mode that let others than the owner write: chmod(2).
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Bits of a file's mode that are permissions: inode(7).
const PERMISSIONS: u32 = 0o777;

/// Properties by which a changed file is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    /// The change of the inode, in seconds and nanoseconds: nobody can set it back.
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file as it is now; `None` if it cannot be looked at.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), changed })
    }
}

/// Contents of a file, which others than its owner may perhaps write.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_writable_by_others: bool,
}

/// Reads a file; `None` if it has more bytes than this.
pub(crate) fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Option<Contents>> {
    let file = File::open(path)?;
    let is_writable_by_others = file.metadata()?.mode() & WRITABLE_BY_OTHERS != 0;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= bytes_max).then_some(Contents { bytes, is_writable_by_others }))
}

/// Makes a change while nobody else makes one in the folder of this file, and makes the names in it survive a power cut.
pub(crate) fn alone_in_folder<T, E>(
    path: &Path,
    failed: impl Fn(io::Error) -> E,
    change: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).map_err(&failed)?;
    folder.lock().map_err(&failed)?;
    let changed = change()?;
    folder.sync_all().map_err(&failed)?;
    Ok(changed)
}

/// Writes a file, whole or not at all. An old one's owner, group and permissions are kept, except that nobody else may write it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left behind by a process that was ended.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    if let Ok(before) = fs::metadata(path) {
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
        file.set_permissions(Permissions::from_mode(before.mode() & PERMISSIONS & !WRITABLE_BY_OTHERS))?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// All bytes of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Gives a file another name, if it is there.
pub(crate) fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file to add to, which is created if there is none. Fails while another process has it open: that one would rename it
/// meanwhile.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        // One that keeps its meaning from process to process.
        Err(TryLockError::WouldBlock) => Err(rustix::io::Errno::BUSY.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A file that this process alone adds lines to.
#[derive(Debug)]
pub(crate) struct LineFile(File);

impl LineFile {
    /// A file that has been opened for that; returns its bytes as well.
    pub(crate) fn of(file: File) -> io::Result<(Self, u64)> {
        let bytes = file.metadata()?.len();
        Ok((Self(file), bytes))
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}
