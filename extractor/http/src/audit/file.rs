//! The file of the audit, and the full ones before it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use netrewind_store::Store;
use netrewind_store::seal::{last_number, sealed};

use crate::files::{self, File, LineFile};

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

/// Opens the files of an audit, and gives the full ones other names: this process, or one that may.
pub trait AuditFiles: fmt::Debug + Send {
    /// The file that lines are added to.
    fn path(&self) -> PathBuf;

    /// The file that was full last.
    fn path_before(&self) -> Option<PathBuf>;

    /// Opens it, and creates it if there is none.
    fn open(&self) -> io::Result<File>;

    /// Gives full files their next names, and opens another.
    fn open_another(&self) -> io::Result<File>;
}

/// Paths of the files of an audit: the one being written, then the full ones, the youngest first.
#[derive(Clone, Debug)]
pub struct AuditPaths(Vec<PathBuf>);

impl AuditPaths {
    /// Those in a store.
    pub fn in_store(store: &Store) -> Self {
        Self((0..FILES_MAX).map(|number| store.audit_path(number)).collect())
    }

    /// Elsewhere: full files have a number added to their name.
    pub fn at(path: &Path) -> Self {
        let numbered = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        Self((0..FILES_MAX).map(numbered).collect())
    }

    /// All of them.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl From<Vec<PathBuf>> for AuditPaths {
    fn from(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }
}

impl AuditFiles for AuditPaths {
    fn path(&self) -> PathBuf {
        self.0.first().cloned().unwrap_or_default()
    }

    fn path_before(&self) -> Option<PathBuf> {
        self.0.get(1).cloned()
    }

    fn open(&self) -> io::Result<File> {
        files::open_to_append(&self.path())
    }

    fn open_another(&self) -> io::Result<File> {
        for pair in self.0.windows(2).rev() {
            files::rename_if_there(&pair[0], &pair[1])?;
        }
        self.open()
    }
}

/// A file that is added to, and renamed when it is full.
#[derive(Debug)]
pub struct AuditFile {
    files: Box<dyn AuditFiles>,
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
        Self::open(Box::new(AuditPaths::in_store(store)))
    }

    /// Elsewhere.
    pub fn at(path: &Path) -> Result<Self, AuditError> {
        Self::open(Box::new(AuditPaths::at(path)))
    }

    /// Opens an audit.
    pub fn open(files: Box<dyn AuditFiles>) -> Result<Self, AuditError> {
        Self::of_size(files, FILE_BYTES_MAX)
    }

    pub(super) fn of_size(files: Box<dyn AuditFiles>, bytes_max: u64) -> Result<Self, AuditError> {
        let failed = |source: io::Error| AuditError { path: files.path(), source: explained(source) };
        let (file, bytes) = files.open().and_then(LineFile::of).map_err(failed)?;
        let text = crate::files::read(&files.path()).map_err(failed)?;
        let before = || files.path_before().and_then(|path| crate::files::read(&path).ok());
        let last = last_number(&text).or_else(|| last_number(&before()?)).unwrap_or(0);
        let is_cut = text.last().is_some_and(|last| *last != b'\n');
        Ok(Self { files, file, bytes, bytes_max, last, is_cut })
    }

    /// Adds a JSON object as a line, with its number and its checksum.
    pub(super) fn append(&mut self, object: &str) -> io::Result<()> {
        let end = if self.is_cut { "\n" } else { "" };
        let line = format!("{end}{}\n", sealed(object, self.last + 1));
        let bytes = line.len() as u64;
        if self.bytes > 0 && self.bytes + bytes > self.bytes_max {
            (self.file, self.bytes) = LineFile::of(self.files.open_another()?)?;
        }
        // What has become of a line that could not be written is not known.
        self.is_cut = true;
        self.file.append(line.as_bytes())?;
        self.is_cut = false;
        self.last += 1;
        self.bytes += bytes;
        Ok(())
    }
}

/// An error with words for what the system has only a number for.
fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ResourceBusy => io::Error::new(error.kind(), "another process is writing it"),
        _ => error,
    }
}
