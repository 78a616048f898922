//! A file system in memory that forgets what was not synced, fills up, and fails where it is told to.
//!
//! What survives a power cut is what POSIX promises and no more: a file's bytes after a sync of the file, and a name after a sync
//! of its folder. Changes of a folder become durable in their order, as in the journal of a file system; sectors of a file in
//! any.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use netrewind_store::Timestamp;
use netrewind_store::files::{FileStatus, FileSystemSpace, Files, OpenMode, StoreFile};

mod handle;
mod tree;

use handle::SimHandle;
use tree::{FileTree, NodeId};

/// The error number of a device that fails: errno(3).
pub const EIO: i32 = 5;
/// The error number of a full device: errno(3).
pub const ENOSPC: i32 = 28;

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// Opening a file that exists, or a folder.
    Open,
    /// Creating a file or folder, or giving a file another name.
    Create,
    /// Asking for facts of a file.
    Status,
    /// Listing a folder.
    List,
    /// Reading or mapping a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or lengthening a file, or changing its facts.
    Change,
    /// Syncing a file or folder.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// Fault of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It fails with this error number, and does nothing.
    Fails(i32),
    /// A write fails with this error number after so many bytes; any other operation does nothing.
    Torn(usize, i32),
}

impl FileFault {
    fn error(self) -> io::Error {
        let (Self::Fails(number) | Self::Torn(_, number)) = self;
        io::Error::from_raw_os_error(number)
    }
}

/// Decides which operations fail. The path is the one that was asked for, or by which the file was opened.
type FaultRule = Box<dyn FnMut(FileOperation, &Path) -> Option<FileFault> + Send>;

/// A file system in memory. Its clones are the same file system.
#[derive(Clone, Default)]
pub struct SimFiles(Arc<SimState>);

#[derive(Default)]
struct SimState {
    tree: Mutex<FileTree>,
    unlocked: Condvar,
    faults: Mutex<Option<FaultRule>>,
}

impl fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimFiles").field(&self.tree().used_bytes()).finish()
    }
}

impl SimFiles {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bytes that there is room for.
    pub fn set_capacity(&self, bytes: u64) {
        self.tree().capacity_bytes = bytes;
    }

    /// Sets the time that files change at from now on; each change is a nanosecond later than the last.
    pub fn set_time(&self, now: Timestamp) {
        self.tree().time_ns = i64::try_from(now.ns()).unwrap_or(i64::MAX);
    }

    /// Asks `rule` before each operation whether it fails.
    pub fn set_faults(&self, rule: impl FnMut(FileOperation, &Path) -> Option<FileFault> + Send + 'static) {
        *self.rule() = Some(Box::new(rule));
    }

    /// Lets everything succeed again.
    pub fn clear_faults(&self) {
        *self.rule() = None;
    }

    /// The file system as it is after a power cut. `below` decides what has survived of what was not synced: given `n`, it
    /// returns a number below it. With 0 each time nothing survives, with `n - 1` everything does.
    pub fn after_power_cut(&self, below: &mut dyn FnMut(u64) -> u64) -> Self {
        let tree = self.tree().after_power_cut(below);
        Self(Arc::new(SimState { tree: Mutex::new(tree), ..SimState::default() }))
    }

    fn tree(&self) -> MutexGuard<'_, FileTree> {
        self.0.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rule(&self) -> MutexGuard<'_, Option<FaultRule>> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, operation: FileOperation, path: &Path) -> Option<FileFault> {
        self.rule().as_mut().and_then(|rule| rule(operation, path))
    }

    /// Fails if it is the operation's turn to.
    fn attempt(&self, operation: FileOperation, path: &Path) -> io::Result<()> {
        self.fault(operation, path).map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn handle(&self, node: NodeId, path: &Path) -> Box<dyn StoreFile> {
        Box::new(SimHandle::new(self.clone(), node, path.to_owned()))
    }
}

impl Files for SimFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>> {
        let found = self.tree().find(path);
        let node = match (found, mode) {
            (Err(error), OpenMode::Keep | OpenMode::Create | OpenMode::Append)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                self.attempt(FileOperation::Create, path)?;
                self.tree().create_file(path)?
            }
            (found, _) => {
                self.attempt(FileOperation::Open, path)?;
                found?
            }
        };
        if mode != OpenMode::Read && self.tree().status(node)?.is_folder() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if mode == OpenMode::Create {
            self.tree().set_bytes(node, 0)?;
        }
        Ok(self.handle(node, path))
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        self.attempt(FileOperation::Status, path)?;
        let tree = self.tree();
        tree.status(tree.find(path)?)
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        self.status(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.attempt(FileOperation::List, folder)?;
        self.tree().names(folder)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.attempt(FileOperation::Create, path)?;
        self.tree().create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.attempt(FileOperation::Rename, from)?;
        self.tree().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.attempt(FileOperation::Remove, path)?;
        self.tree().remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.attempt(FileOperation::Remove, path)?;
        self.tree().remove_folder(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        if !self.status(path)?.is_folder() {
            return self.remove_file(path);
        }
        for name in self.names(path)? {
            self.remove_tree(&path.join(name))?;
        }
        self.remove_folder(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.status(path).map(|_| path.to_owned())
    }

    fn set_group(&self, path: &Path, group: u32) -> io::Result<()> {
        self.attempt(FileOperation::Change, path)?;
        let mut tree = self.tree();
        let node = tree.find(path)?;
        tree.node_mut(node)?.group = group;
        Ok(())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.attempt(FileOperation::Change, path)?;
        let mut tree = self.tree();
        let node = tree.find(path)?;
        tree.node_mut(node)?.mode = mode;
        Ok(())
    }

    fn space(&self, _: &Path) -> Option<FileSystemSpace> {
        let tree = self.tree();
        let free_bytes = tree.capacity_bytes.saturating_sub(tree.used_bytes());
        Some(FileSystemSpace { available_bytes: free_bytes, free_bytes })
    }

    fn frees_when_synced(&self, _: &Path) -> bool {
        false
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.attempt(FileOperation::Sync, path)?;
        self.tree().sync_everything();
        Ok(())
    }
}
