//! A file system in memory that forgets what was not synced, fills up, and fails where it is told to.
//!
//! What survives a power cut is what POSIX promises and no more: a file's bytes after a sync of the file, and a name after a sync
//! of its folder. Changes of a folder become durable in their order, as in the journal of a file system; sectors of a file in
//! any.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use netrewind_store::Timestamp;
use netrewind_store::files::{FileStatus, FileSystemSpace, Files, OpenMode, StoreFile};

mod fault;
mod file_bytes;
mod handle;
mod state;
mod tree;

pub use fault::{EIO, ENOSPC, FileFault, FileOperation};
use handle::SimHandle;
use state::SimState;
use tree::NodeId;

/// A file system in memory. Its clones are the same file system.
#[derive(Clone, Debug, Default)]
pub struct SimFiles(Arc<SimState>);

impl SimFiles {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bytes that there is room for.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.tree().capacity_bytes = bytes;
    }

    /// Sets the time that files change at from now on; each change is a nanosecond later than the last.
    pub fn set_time(&self, now: Timestamp) {
        self.0.tree().time_ns = i64::try_from(now.ns()).unwrap_or(i64::MAX);
    }

    /// Asks `rule` before each operation whether it fails.
    pub fn set_faults(&self, rule: impl FnMut(FileOperation, &Path) -> Option<FileFault> + Send + 'static) {
        *self.0.rule() = Some(Box::new(rule));
    }

    /// Lets everything succeed again.
    pub fn clear_faults(&self) {
        *self.0.rule() = None;
    }

    /// The file system as it is after a power cut. `below` decides what has survived of what was not synced: given `n`, it
    /// returns a number below it. With 0 each time nothing survives, with `n - 1` everything does.
    pub fn after_power_cut(&self, below: &mut dyn FnMut(u64) -> u64) -> Self {
        let tree = self.0.tree().after_power_cut(below);
        Self(Arc::new(SimState::of(tree)))
    }

    fn handle(&self, node: NodeId, path: &Path) -> Box<dyn StoreFile> {
        Box::new(SimHandle::new(self.0.clone(), node, path.to_owned()))
    }
}

impl Files for SimFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StoreFile>> {
        let found = self.0.tree().find(path);
        let node = match (found, mode) {
            (Err(error), OpenMode::Keep | OpenMode::Create | OpenMode::Append)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                self.0.attempt(FileOperation::Create, path)?;
                self.0.tree().create_file(path)?
            }
            (found, _) => {
                self.0.attempt(FileOperation::Open, path)?;
                found?
            }
        };
        if mode != OpenMode::Read && self.0.tree().status(node)?.is_folder() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if mode == OpenMode::Create {
            self.0.tree().set_bytes(node, 0)?;
        }
        Ok(self.handle(node, path))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        self.0.attempt(FileOperation::Create, path)?;
        let node = self.0.tree().create_file(path)?;
        Ok(self.handle(node, path))
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        self.0.attempt(FileOperation::Status, path)?;
        let tree = self.0.tree();
        tree.status(tree.find(path)?)
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        self.status(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.attempt(FileOperation::List, folder)?;
        self.0.tree().names(folder)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.attempt(FileOperation::Create, path)?;
        self.0.tree().create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.attempt(FileOperation::Rename, from)?;
        self.0.tree().rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.attempt(FileOperation::Remove, path)?;
        self.0.tree().remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.0.attempt(FileOperation::Remove, path)?;
        self.0.tree().remove_folder(path)
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
        self.0.attempt(FileOperation::Change, path)?;
        let mut tree = self.0.tree();
        let node = tree.find(path)?;
        tree.node_mut(node)?.group = group;
        Ok(())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.0.attempt(FileOperation::Change, path)?;
        let mut tree = self.0.tree();
        let node = tree.find(path)?;
        tree.node_mut(node)?.mode = mode;
        Ok(())
    }

    fn space(&self, _: &Path) -> Option<FileSystemSpace> {
        let tree = self.0.tree();
        let free_bytes = tree.capacity_bytes.saturating_sub(tree.used_bytes());
        Some(FileSystemSpace { available_bytes: free_bytes, free_bytes })
    }

    fn frees_when_synced(&self, _: &Path) -> bool {
        false
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.0.attempt(FileOperation::Sync, path)?;
        self.0.tree().sync_everything();
        Ok(())
    }
}
