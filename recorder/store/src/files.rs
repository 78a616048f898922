//! The files of a store, as an argument.
//!
//! **Invariant:** a [`Store`](crate::Store), its logbook, its recovery, its retention and its lanes create, read, write, rename,
//! sync, list and remove only through [`Files`]. Blocks of packets alone may go past it: to a [descriptor](StoreFile::descriptor)
//! that a file of this system has, by io_uring.

use std::fmt::Debug;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archived::{ArchiveFacts, ArchivedObject};
use crate::time::SECOND_NS;
use crate::{Map, Medium, Timestamp};

mod system;

pub use system::SystemFiles;

/// Age of a change whose time is no whole second, beyond which a later one has another time: some ticks of the kernel's clock.
const FINE_TIME_NS: i64 = 100_000_000;
/// The same for a time that may be rounded to seconds.
const COARSE_TIME_NS: i64 = 3_000_000_000;

/// The device of everything that lies in an archive.
pub(crate) const ARCHIVE_DEVICE: u64 = u64::MAX;

/// Device and inode of a file or folder, whatever its name: stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The device.
    pub device: u64,
    /// Number of the file on it.
    pub inode: u64,
}

/// Kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Bytes.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, a device, a socket.
    Other,
}

/// Facts of a file: stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its kind.
    pub kind: FileKind,
    /// Its identity.
    pub identity: FileIdentity,
    /// Its length.
    pub bytes: u64,
    /// Bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// Names that lead to it.
    pub names: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change to its bytes, names, owner or permissions, in nanoseconds since 1970. Nobody can set it.
    pub changed_ns: i64,
    /// Its permissions: inode(7).
    pub mode: u32,
    /// The group that it belongs to.
    pub group: u32,
}

impl FileStatus {
    /// True for a file that lies in an archive.
    pub fn is_archived(&self) -> bool {
        self.identity.device == ARCHIVE_DEVICE
    }

    /// True for a file with bytes.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// True for a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == FileKind::Folder
    }

    /// Its modification time.
    pub fn modified(&self) -> Timestamp {
        Timestamp(u64::try_from(self.modified_ns).unwrap_or(0))
    }

    /// The facts by which it is known again.
    pub fn stamp(&self) -> FileStamp {
        FileStamp {
            inode: self.identity.inode,
            bytes: self.bytes,
            modified_ns: self.modified_ns,
            changed_ns: self.changed_ns,
        }
    }
}

/// Facts by which a file is known to be the one that it was, with the same bytes. Writing to it, cutting it, renaming it or putting
/// another in its place changes them; only a failing disk changes bytes without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// Number of the file on its file system.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// See [`FileStatus::changed_ns`].
    pub changed_ns: i64,
}

impl FileStamp {
    /// True if any later change to the file gives it another stamp: its last change is not of this moment. File systems round
    /// times down to a tick of the kernel's clock, and some to a second or two.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        let second_ns = i64::try_from(SECOND_NS).unwrap_or(i64::MAX);
        let is_fine = self.changed_ns % second_ns != 0;
        let rounded_ns = if is_fine { FINE_TIME_NS } else { COARSE_TIME_NS };
        i64::try_from(now.ns()).is_ok_and(|now| self.changed_ns.saturating_add(rounded_ns) <= now)
    }
}

/// Purpose for which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To read a file, or to hold a folder.
    Read,
    /// To read and write a file that exists.
    Update,
    /// To read and write a file, which is created where it is missing.
    Keep,
    /// To write an empty file: an old one is emptied.
    Create,
    /// To read a file and to append to it. It is created where it is missing.
    Append,
}

/// Lock on an open file, against other holders of a lock: flock(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Held by one alone.
    Exclusive,
    /// Held by many, while nobody holds the other.
    Shared,
}

/// Space of a file system: statvfs(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Bytes that any user may take.
    pub available_bytes: u64,
    /// The same, including those reserved for privileged users.
    pub free_bytes: u64,
}

/// A file system.
pub trait Files: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>>;

    /// Creates a file that must not exist, for writing past the page cache where the file system can: see
    /// [`StoreFile::is_direct`].
    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn StoreFile>>;

    /// Facts of the file that a name leads to; symbolic links are followed.
    fn status(&self, path: &Path) -> io::Result<FileStatus>;

    /// Facts of what has a name; of a symbolic link itself.
    fn link_status(&self, path: &Path) -> io::Result<FileStatus>;

    /// The names in a folder, in any order. Those that are not text are left out.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Creates a folder.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name, taking that from the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name. Whoever has it open can go on.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and everything in it.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;

    /// The path without symbolic links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// Gives a file to a group.
    fn set_group(&self, path: &Path, group: u32) -> io::Result<()>;

    /// Sets a file's permissions.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Space of the file system that a path is on; `None` where it does not say.
    fn space(&self, path: &Path) -> Option<FileSystemSpace>;

    /// True if removed space becomes free only with the next [`Self::sync_file_system`].
    fn frees_when_synced(&self, path: &Path) -> bool;

    /// Makes everything on the path's file system survive a power cut: syncfs(2).
    fn sync_file_system(&self, path: &Path) -> io::Result<()>;

    /// Starts fetching files that are about to be opened, where they have to be, and returns at once.
    fn will_open(&self, _paths: &mut dyn Iterator<Item = PathBuf>) {}

    /// The archive that has what is not in the folder, if there is one.
    fn archive(&self) -> Option<ArchiveFacts> {
        None
    }

    /// Parts of an archive whose contents are not known, each with the reason.
    fn unlisted(&self) -> Vec<(PathBuf, String)> {
        Vec::new()
    }
}

/// An open file, or folder.
pub trait StoreFile: Debug + Send + Sync {
    /// Facts of the file.
    fn status(&self) -> io::Result<FileStatus>;

    /// Reads bytes from an offset on, perhaps fewer than there are; none at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset. After an error, any part may have been written.
    fn write_all_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        only_read()
    }

    /// Writes behind the end of a file opened with [`OpenMode::Append`]. After an error, any part may have been written.
    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        only_read()
    }

    /// Cuts the file, or makes it longer by zeros.
    fn set_bytes(&self, _bytes: u64) -> io::Result<()> {
        only_read()
    }

    /// Reserves space for the first bytes, which become the file's length. Where the file system cannot reserve, the length alone
    /// is set, which a budget counts.
    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        only_read()
    }

    /// Descriptor by which the system knows the file; `None` for a file in memory.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// True if writes go past the page cache: O_DIRECT of open(2). Offset and length of each are whole sectors then.
    fn is_direct(&self) -> bool {
        false
    }

    /// Lets writes go through the page cache from now on; false if they did already, or if that cannot be changed.
    fn use_cache(&self) -> bool {
        false
    }

    /// Sets the modification time.
    fn set_modified(&self, at: Timestamp) -> io::Result<()>;

    /// Makes the file's contents survive a power cut.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file's contents and facts survive a power cut; of a folder, the names in it.
    fn sync_all(&self) -> io::Result<()>;

    /// Maps the first bytes for reading. Fails where the file is shorter.
    fn map(&self, bytes: u64) -> io::Result<Map>;

    /// The first bytes as a segment's, to be read in ranges.
    fn medium(&self, bytes: u64) -> io::Result<Medium> {
        self.map(bytes).map(Medium::mapped)
    }

    /// The object that it is in an archive, of which ranges can be fetched; `None` for any other file.
    fn archived(&self) -> Option<Arc<dyn ArchivedObject>> {
        None
    }

    /// The next bytes at or behind an offset that are not a hole; `None` where there are none. A file system that knows no holes
    /// gives everything.
    fn data_from(&self, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Locks the file for this alone, waiting until nobody else has a lock on it.
    fn lock(&self) -> io::Result<()>;

    /// Locks the file without waiting; false if another's lock is in the way.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;

    /// Releases the lock; closing the file does as well.
    fn unlock(&self) -> io::Result<()>;

    /// Gives the file one more name, which must not exist.
    fn link_to(&self, path: &Path) -> io::Result<()>;

    /// Renames a file of this folder, wherever the folder is.
    fn rename_within(&self, _from: &str, _to: &str) -> io::Result<()> {
        only_read()
    }

    /// Removes a file of this folder, wherever the folder is.
    fn remove_within(&self, _name: &str) -> io::Result<()> {
        only_read()
    }

    /// Facts of the file that a name in this folder leads to; symbolic links are followed.
    fn status_within(&self, name: &str) -> io::Result<FileStatus>;

    /// Reads exactly these bytes.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match read_at_most(self, bytes, offset)? {
            read if read == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads from an offset on until `bytes` is full or the file ends, and returns the number of bytes read.
    fn read_at_most(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at_most(self, bytes, offset)
    }
}

fn read_at_most<F: StoreFile + ?Sized>(file: &F, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl dyn StoreFile + '_ {
    /// A stream of the file's bytes from an offset on.
    pub fn reader(&self, offset: u64) -> FileReader<'_> {
        FileReader { file: self, offset }
    }

    /// All bytes of the file.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.status()?.bytes).unwrap_or(0));
        self.reader(0).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl dyn Files + '_ {
    /// True if the name exists and leads to a file or folder.
    pub fn exists(&self, path: &Path) -> bool {
        self.status(path).is_ok()
    }

    /// Identity of the file that a path leads to, if any.
    pub fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        Ok(unless_missing(self.status(path))?.map(|found| found.identity))
    }

    /// All bytes of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.open(path, OpenMode::Read)?.read_all()
    }

    /// Writes a file whose contents are these.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.open(path, OpenMode::Create)?.write_all_at(bytes, 0)
    }

    /// Writes a file whose contents are these, and makes them survive a power cut.
    pub fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(path, OpenMode::Create)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()
    }

    /// Creates a folder, with the folders that it lies in.
    pub fn create_folders(&self, path: &Path) -> io::Result<()> {
        match self.create_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(above) = path.parent() else { return Err(error) };
                self.create_folders(above)?;
                self.create_folder(path)
            }
            Err(_) if self.status(path).is_ok_and(|found| found.is_folder()) => Ok(()),
            created => created,
        }
    }

    /// Makes the creation, renaming or removal of a file in `folder` survive a power cut.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.open(folder, OpenMode::Read)?.sync_all()
    }
}

/// The error of changing a file that is only read, as a compressed or an archived one.
pub(crate) fn only_read<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it is only read here"))
}

/// The result, or `None` where the file does not exist (any more).
pub(crate) fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A stream of a file's bytes.
#[derive(Debug)]
pub struct FileReader<'f> {
    file: &'f dyn StoreFile,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
