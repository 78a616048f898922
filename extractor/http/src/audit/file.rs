//! The file of the audit, and the full ones before it.

use std::io;
use std::path::{Path, PathBuf};

use netrewind_store::Store;
use netrewind_store::seal::{last_number, sealed};

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
    /// Number of the last line; they go on from file to file.
    last: u64,
    /// True if the last line was cut short, as by a crash.
    is_cut: bool,
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
        let (file, bytes) =
            LineFile::append_to(&path).map_err(|source| AuditError { path: path.clone(), source })?;
        let text = files::read(&path).map_err(|source| AuditError { path, source })?;
        let before = || paths.get(1).and_then(|path| files::read(path).ok());
        let last = last_number(&text).or_else(|| last_number(&before()?)).unwrap_or(0);
        let is_cut = text.last().is_some_and(|last| *last != b'\n');
        Ok(Self { paths, file, bytes, bytes_max, last, is_cut })
    }

    /// Adds a JSON object as a line, with its number and its checksum.
    pub(super) fn append(&mut self, object: &str) -> io::Result<()> {
        let end = if self.is_cut { "\n" } else { "" };
        let line = format!("{end}{}\n", sealed(object, self.last + 1));
        let bytes = line.len() as u64;
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            self.begin_another()?;
        }
        // What has become of a line that could not be written is not known.
        self.is_cut = true;
        self.file.append(line.as_bytes())?;
        self.is_cut = false;
        self.last += 1;
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
