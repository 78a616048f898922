//! The file of the audit, and the full ones before it.

use std::io;
use std::path::{Path, PathBuf};

use netrewind_store::Store;

use crate::files::{self, LineFile};

/// Bytes of a file; a line that would pass it goes to the next one.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Files that are kept, the one that is being written included. All lie in the store, where its budget counts them, or
/// beside the one that was named.
pub const FILES_MAX: u32 = 8;

/// The audit cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "the audit {}: {source}: make it writable, choose another file with --audit FILE, or turn it off with --no-audit",
    path.display()
)]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// Reason given by the system.
    pub source: io::Error,
}

/// A file that is added to, and renamed when it is full.
#[derive(Debug)]
pub struct AuditFile {
    /// The file being written, then the full ones, the youngest first.
    paths: Vec<PathBuf>,
    file: LineFile,
    bytes: u64,
    bytes_max: u64,
}

impl AuditFile {
    /// Opens the audit in the store.
    pub fn in_store(store: &Store) -> Result<Self, AuditError> {
        Self::open((0..FILES_MAX).map(|number| store.audit_path(number)).collect(), FILE_BYTES_MAX)
    }

    /// Elsewhere: full files have a number added to their name.
    pub fn at(path: &Path) -> Result<Self, AuditError> {
        let numbered = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        Self::open((0..FILES_MAX).map(numbered).collect(), FILE_BYTES_MAX)
    }

    pub(super) fn open(paths: Vec<PathBuf>, bytes_max: u64) -> Result<Self, AuditError> {
        let path = paths.first().cloned().unwrap_or_default();
        let (file, bytes) = LineFile::append_to(&path).map_err(|source| AuditError { path, source })?;
        Ok(Self { paths, file, bytes, bytes_max })
    }

    /// Adds a line, whole.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let bytes = line.len() as u64 + 1;
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            self.begin_another()?;
        }
        self.file.append(format!("{line}\n").as_bytes())?;
        self.bytes += bytes;
        Ok(())
    }

    fn begin_another(&mut self) -> io::Result<()> {
        for pair in self.paths.windows(2).rev() {
            files::rename_if_there(&pair[0], &pair[1])?;
        }
        (self.file, self.bytes) =
            LineFile::append_to(self.paths.first().map_or(Path::new(""), PathBuf::as_path))?;
        Ok(())
    }
}
