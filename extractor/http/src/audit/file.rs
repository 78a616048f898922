//! The file of the audit, and the full ones before it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use netrewind_store::Store;

/// Bytes of a file; a line that would pass it goes to the next one.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Files that are kept, the one that is being written included. All lie in the store, where its budget counts them, or
/// beside the one that was named.
pub const FILES_MAX: u32 = 8;
/// File mode: extractions are nobody else's business.
const MODE: u32 = 0o600;

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
    file: File,
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
        let opened = open(&path).and_then(locked).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|source| AuditError { path, source })?;
        Ok(Self { paths, file, bytes, bytes_max })
    }

    /// Adds a line, whole.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let bytes = line.len() as u64 + 1;
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            self.begin_another()?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += bytes;
        Ok(())
    }

    fn begin_another(&mut self) -> io::Result<()> {
        for pair in self.paths.windows(2).rev() {
            match fs::rename(&pair[0], &pair[1]) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(self.paths.first().map_or(Path::new(""), PathBuf::as_path)).and_then(locked)?;
        self.bytes = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// One process writes it: another would rename it meanwhile.
fn locked(file: File) -> io::Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
