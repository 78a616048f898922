//! A disk that can lose power: a file system in an image whose every write and flush the test sees.
//!
//! ```text
//! ext4, xfs, btrfs -> loop device -> the one file of a FUSE file system -> Image: what is durable, and what was written since
//! ```
//!
//! A power cut leaves everything that was flushed, and any part of what was not: whole writes, or single sectors of them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fastrand::Rng;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};

/// The one file of the FUSE file system.
const IMAGE: &str = "image";
const IMAGE_NUMBER: INodeNo = INodeNo(2);
/// Unit that a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// Bytes of an image that are left out together if they are zeros.
const HOLE_BYTES: usize = 64 << 10;
/// Attributes may be remembered: nothing changes but the contents.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The disk's contents.
struct Image {
    /// As the file system reads it back.
    now: Vec<u8>,
    /// What a flush has made durable.
    durable: Vec<u8>,
    /// Writes since the last flush, in their order.
    unflushed: Vec<(usize, Vec<u8>)>,
}

impl Image {
    fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(place) = self.now.get_mut(at..at + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.unflushed.push((at, bytes.to_vec()));
        true
    }

    fn flush(&mut self) {
        for (at, bytes) in self.unflushed.drain(..) {
            self.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Contents after a power cut at this moment.
    fn after_a_cut(&self, chance: &mut Rng) -> Vec<u8> {
        let mut left = self.durable.clone();
        // Each cut has its own luck: nothing, everything, or any part of what was not flushed.
        let odds = [0.0, 0.1, 0.5, 0.9, 1.0][chance.usize(..5)];
        for (at, bytes) in &self.unflushed {
            let unit = if chance.u8(..4) == 0 { SECTOR_BYTES } else { bytes.len().max(1) };
            for (number, part) in bytes.chunks(unit).enumerate() {
                if chance.f64() < odds {
                    let begin = at + number * unit;
                    left[begin..begin + part.len()].copy_from_slice(part);
                }
            }
        }
        left
    }
}

/// The FUSE file system: a folder with one file.
struct OneFile {
    image: Arc<Mutex<Image>>,
    bytes: usize,
}

impl OneFile {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().expect("nobody panics while holding it")
    }

    fn attributes(&self, number: INodeNo) -> FileAttr {
        let is_image = number == IMAGE_NUMBER;
        let bytes = if is_image { self.bytes as u64 } else { 0 };
        FileAttr {
            ino: number,
            size: bytes,
            blocks: bytes / SECTOR_BYTES as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_image { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == IMAGE {
            true => reply.entry(&FOR_EVER, &self.attributes(IMAGE_NUMBER), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(number));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let begin = (offset as usize).min(self.bytes);
        let end = (begin + bytes as usize).min(self.bytes);
        reply.data(&self.image().now[begin..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.image().write(offset as usize, bytes) {
            true => reply.written(bytes.len() as u32),
            false => reply.error(Errno::ENOSPC),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.image().flush();
        reply.ok();
    }
}

/// A mounted file system on such a disk; everything is taken away when dropped.
pub struct PowerDisk {
    image: Arc<Mutex<Image>>,
    kind: &'static str,
    folder: tempfile::TempDir,
    device: PathBuf,
    /// Ends when dropped, after the loop device.
    _session: fuser::BackgroundSession,
    _fuse_folder: tempfile::TempDir,
}

impl PowerDisk {
    /// A file system of this kind; `None`, having said so, if it cannot be had here.
    pub fn new(kind: &'static str, mib: usize) -> Option<Self> {
        let bytes = mib << 20;
        let image = Image { now: vec![0; bytes], durable: vec![0; bytes], unflushed: Vec::new() };
        let image = Arc::new(Mutex::new(image));
        let (folder, fuse_folder) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let one_file = OneFile { image: Arc::clone(&image), bytes };
        let session = fuser::spawn_mount(one_file, fuse_folder.path(), &fuser::Config::default());
        let session = or_skip("FUSE", session)?;
        let attached = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(fuse_folder.path().join(IMAGE))
            .output()
            .and_then(succeeded);
        let device = or_skip("a loop device", attached)?;
        let device = PathBuf::from(String::from_utf8_lossy(&device.stdout).trim());
        let disk = Self { image, kind, folder, device, _session: session, _fuse_folder: fuse_folder };
        let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&disk.device).output();
        or_skip(&format!("mkfs.{kind}"), made.and_then(succeeded))?;
        let mounted = Command::new("mount").arg(&disk.device).arg(disk.path()).output();
        or_skip(&format!("mounting {kind}"), mounted.and_then(succeeded))?;
        Some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts what a power cut at this moment would leave. The disk itself goes on.
    pub fn cut(&self, chance: &mut Rng) -> CutDisk {
        let left = self.image.lock().expect("nobody panics while holding it").after_a_cut(chance);
        let holder = tempfile::tempdir().expect("a folder");
        let path = holder.path().join(IMAGE);
        write_sparse(&path, &left).expect("room for an image");
        let folder = tempfile::tempdir().expect("a folder");
        // The same file system is mounted already: xfs has to be told that this is meant.
        let options = if self.kind == "xfs" { "loop,nouuid" } else { "loop" };
        let mounted = Command::new("mount").args(["-o", options]).arg(&path).arg(folder.path()).output();
        mounted.and_then(succeeded).unwrap_or_else(|error| panic!("after a power cut: {error}"));
        CutDisk { folder, _holder: holder }
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

/// A file system after a power cut; unmounted when dropped.
pub struct CutDisk {
    folder: tempfile::TempDir,
    _holder: tempfile::TempDir,
}

impl CutDisk {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

fn write_sparse(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (number, part) in bytes.chunks(HOLE_BYTES).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, (number * HOLE_BYTES) as u64)?;
        }
    }
    Ok(())
}

fn succeeded(output: Output) -> io::Result<Output> {
    match output.status.success() {
        true => Ok(output),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn or_skip<T>(what: &str, result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| eprintln!("skipped: {what} is not to be had here: {error}")).ok()
}
