//! An open file.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use netrewind_store::files::{FileStatus, LockKind, StoreFile};
use netrewind_store::{Map, Timestamp};

use super::fault::{FileFault, FileOperation};
use super::state::SimState;
use super::tree::{Contents, FileTree, NodeId};

#[derive(Debug)]
pub(super) struct SimHandle {
    files: Arc<SimState>,
    node: NodeId,
    number: u64,
    /// The path by which it was opened.
    path: PathBuf,
}

impl SimHandle {
    pub fn new(files: Arc<SimState>, node: NodeId, path: PathBuf) -> Self {
        let mut tree = files.tree();
        tree.opened(node);
        let number = tree.new_handle();
        drop(tree);
        Self { files, node, number, path }
    }

    fn attempt(&self, operation: FileOperation) -> io::Result<()> {
        self.files.attempt(operation, &self.path)
    }

    /// Locks the file, unless another handle's lock is in the way.
    fn lock_in(&self, tree: &mut FileTree, kind: LockKind) -> io::Result<bool> {
        let node = tree.node_mut(self.node)?;
        let is_shared = kind == LockKind::Shared;
        let is_held = node.locked_by.iter().any(|&other| other != self.number);
        if is_held && !(is_shared && node.is_lock_shared) {
            return Ok(false);
        }
        node.locked_by.insert(self.number);
        node.is_lock_shared = is_shared;
        Ok(true)
    }

    /// Writes, as far as the fault lets it.
    fn write(&self, bytes: &[u8], offset: impl FnOnce(&FileTree) -> io::Result<u64>) -> io::Result<()> {
        let fault = self.files.fault(FileOperation::Write, &self.path);
        let whole = match fault {
            None => bytes,
            Some(FileFault::Fails(_)) => &[],
            Some(FileFault::Torn(count, _)) => bytes.get(..count).unwrap_or(bytes),
        };
        let mut tree = self.files.tree();
        let offset = offset(&tree)?;
        if !whole.is_empty() {
            tree.write(self.node, whole, offset)?;
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn sync(&self) -> io::Result<()> {
        self.attempt(FileOperation::Sync)?;
        self.files.tree().sync(self.node)
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.files.tree().closed(self.node, self.number);
        self.files.unlocked.notify_all();
    }
}

impl StoreFile for SimHandle {
    fn status(&self) -> io::Result<FileStatus> {
        self.attempt(FileOperation::Status)?;
        self.files.tree().status(self.node)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.attempt(FileOperation::Read)?;
        let tree = self.files.tree();
        let Contents::File(file) = &tree.node(self.node)?.contents else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let rest =
            usize::try_from(offset).ok().and_then(|offset| file.bytes().get(offset..)).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, |_| Ok(offset))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, |tree| Ok(tree.status(self.node)?.bytes))
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.attempt(FileOperation::Change)?;
        self.files.tree().set_bytes(self.node, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.set_bytes(bytes)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn use_cache(&self) -> bool {
        false
    }

    fn set_modified(&self, at: Timestamp) -> io::Result<()> {
        self.attempt(FileOperation::Change)?;
        self.files.tree().node_mut(self.node)?.modified_ns = i64::try_from(at.ns()).unwrap_or(i64::MAX);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn map(&self, bytes: u64) -> io::Result<Map> {
        self.attempt(FileOperation::Read)?;
        let tree = self.files.tree();
        let Contents::File(file) = &tree.node(self.node)?.contents else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let held = file.bytes().get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Map::from_bytes(held.to_vec()))
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.status()?.bytes;
        Ok((offset < end).then_some(offset..end))
    }

    fn lock(&self) -> io::Result<()> {
        let mut tree = self.files.tree();
        while !self.lock_in(&mut tree, LockKind::Exclusive)? {
            tree = self.files.unlocked.wait(tree).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.lock_in(&mut self.files.tree(), kind)
    }

    fn unlock(&self) -> io::Result<()> {
        self.files.tree().node_mut(self.node)?.locked_by.remove(&self.number);
        self.files.unlocked.notify_all();
        Ok(())
    }

    fn link_to(&self, path: &Path) -> io::Result<()> {
        self.files.attempt(FileOperation::Create, path)?;
        let mut tree = self.files.tree();
        // As linkat(2): a file that has been removed cannot be had back.
        if tree.status(self.node)?.names == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        tree.link(self.node, path)
    }

    fn rename_within(&self, from: &str, to: &str) -> io::Result<()> {
        self.attempt(FileOperation::Rename)?;
        self.files.tree().rename_in((self.node, from.to_owned()), (self.node, to.to_owned()))
    }

    fn remove_within(&self, name: &str) -> io::Result<()> {
        self.attempt(FileOperation::Remove)?;
        self.files.tree().remove_in(self.node, name)
    }

    fn status_within(&self, name: &str) -> io::Result<FileStatus> {
        self.attempt(FileOperation::Status)?;
        let tree = self.files.tree();
        tree.status(tree.find_in(self.node, name)?)
    }
}
