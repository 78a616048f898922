//! The system's files.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, OFlags, SeekFrom, StatxFlags, statx};

use super::{FileIdentity, FileKind, FileStatus, FileSystemSpace, Files, LockKind, OpenMode, StoreFile};
use crate::time::SECOND_NS;
use crate::{Map, Timestamp};

/// The type that statfs(2) gives for btrfs.
const BTRFS: rustix::fs::FsWord = 0x9123_683e;
/// The unit of the blocks that stat(2) counts, whatever the file system's block size.
const STAT_BLOCK_BYTES: u64 = 512;

/// The file systems of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemFiles;

/// An instant as stat(2) gives it.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    let second_ns = i64::try_from(SECOND_NS).unwrap_or(i64::MAX);
    seconds.saturating_mul(second_ns).saturating_add(nanoseconds)
}

fn status(found: &Metadata) -> FileStatus {
    let kind = match found.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Folder,
        _ => FileKind::Other,
    };
    FileStatus {
        kind,
        identity: FileIdentity { device: found.dev(), inode: found.ino() },
        bytes: found.len(),
        disk_bytes: found.blocks() * STAT_BLOCK_BYTES,
        names: found.nlink(),
        modified_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
        changed_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
        mode: found.mode(),
        group: found.gid(),
    }
}

impl Files for SystemFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::Update => options.read(true).write(true),
            OpenMode::Keep => options.read(true).write(true).create(true).truncate(false),
            OpenMode::Create => options.write(true).create(true).truncate(true),
            OpenMode::Append => options.read(true).append(true).create(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let file = match options.clone().custom_flags(direct).open(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // The file may have been created before its flags were refused: open(2).
                let _ = fs::remove_file(path);
                options.open(path)?
            }
            opened => opened?,
        };
        Ok(Box::new(file))
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        Ok(status(&fs::metadata(path)?))
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        Ok(status(&fs::symlink_metadata(path)?))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn set_group(&self, path: &Path, group: u32) -> io::Result<()> {
        chown(path, None, Some(group))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn space(&self, path: &Path) -> Option<FileSystemSpace> {
        let found = rustix::fs::statvfs(path).ok().filter(|found| found.f_blocks > 0)?;
        Some(FileSystemSpace {
            available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            free_bytes: found.f_bfree.saturating_mul(found.f_frsize),
        })
    }

    fn frees_when_synced(&self, path: &Path) -> bool {
        rustix::fs::statfs(path).is_ok_and(|found| found.f_type == BTRFS)
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }
}

impl StoreFile for File {
    fn status(&self) -> io::Result<FileStatus> {
        Ok(status(&self.metadata()?))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_len(bytes),
            reserved => Ok(reserved?),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn is_direct(&self) -> bool {
        rustix::fs::fcntl_getfl(self).is_ok_and(|flags| flags.contains(OFlags::DIRECT))
    }

    fn use_cache(&self) -> bool {
        let Ok(flags) = rustix::fs::fcntl_getfl(self) else { return false };
        flags.contains(OFlags::DIRECT) && rustix::fs::fcntl_setfl(self, flags - OFlags::DIRECT).is_ok()
    }

    fn set_modified(&self, at: Timestamp) -> io::Result<()> {
        Self::set_modified(self, SystemTime::UNIX_EPOCH + Duration::from_nanos(at.ns()))
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }

    fn map(&self, bytes: u64) -> io::Result<Map> {
        Map::from_file(self, bytes)
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.metadata()?.len();
        match rustix::fs::seek(self, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data..rustix::fs::seek(self, SeekFrom::Hole(data)).unwrap_or(end))),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // The file system does not tell.
            Err(_) => Ok((offset < end).then_some(offset..end)),
        }
    }

    fn lock(&self) -> io::Result<()> {
        Self::lock(self)
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let locked = match kind {
            LockKind::Exclusive => Self::try_lock(self),
            LockKind::Shared => self.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        Self::unlock(self)
    }

    /// Works on any file of which a descriptor is left: linkat(2), proc_pid_fd(5).
    fn link_to(&self, path: &Path) -> io::Result<()> {
        let by_descriptor = format!("/proc/self/fd/{}", self.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, by_descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn rename_within(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(self, from, self, to)?)
    }

    fn remove_within(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, name, AtFlags::empty())?)
    }

    fn status_within(&self, name: &str) -> io::Result<FileStatus> {
        let found = statx(self, name, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Folder,
            _ => FileKind::Other,
        };
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        Ok(FileStatus {
            kind,
            identity: FileIdentity { device, inode: found.stx_ino },
            bytes: found.stx_size,
            disk_bytes: found.stx_blocks * STAT_BLOCK_BYTES,
            names: found.stx_nlink.into(),
            modified_ns: nanoseconds(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec.into()),
            changed_ns: nanoseconds(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec.into()),
            mode: found.stx_mode.into(),
            group: found.stx_gid,
        })
    }
}
