//! Faults of operations.

use std::io;
use std::path::Path;

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
    pub(super) fn error(self) -> io::Error {
        let (Self::Fails(number) | Self::Torn(_, number)) = self;
        io::Error::from_raw_os_error(number)
    }
}

/// Decides which operations fail. The path is the one that was asked for, or by which the file was opened.
pub(super) type FaultRule = Box<dyn FnMut(FileOperation, &Path) -> Option<FileFault> + Send>;
