//! State of a file system in memory.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

use netrewind_store::locked;

use super::fault::{FaultRule, FileFault, FileOperation};
use super::tree::FileTree;

#[derive(Default)]
pub(super) struct SimState {
    pub(super) tree: Mutex<FileTree>,
    pub(super) unlocked: Condvar,
    pub(super) faults: Mutex<Option<FaultRule>>,
}

impl fmt::Debug for SimState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimState").field(&self.tree().used_bytes()).finish()
    }
}

impl SimState {
    /// The state of a file system with these files, on which everything succeeds.
    pub(super) fn of(tree: FileTree) -> Self {
        Self { tree: Mutex::new(tree), ..Self::default() }
    }

    pub(super) fn tree(&self) -> MutexGuard<'_, FileTree> {
        locked(&self.tree)
    }

    pub(super) fn rule(&self) -> MutexGuard<'_, Option<FaultRule>> {
        locked(&self.faults)
    }

    pub(super) fn fault(&self, operation: FileOperation, path: &Path) -> Option<FileFault> {
        self.rule().as_mut().and_then(|rule| rule(operation, path))
    }

    /// Fails if it is the operation's turn to.
    pub(super) fn attempt(&self, operation: FileOperation, path: &Path) -> io::Result<()> {
        self.fault(operation, path).map_or(Ok(()), |fault| Err(fault.error()))
    }
}
