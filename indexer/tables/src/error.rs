//! Errors of exporting an hour.

use std::io;
use std::path::{Path, PathBuf};

use netrewind_store::catalog::Hour;
use parquet::errors::ParquetError;

/// An hour cannot be exported. What was exported of it before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: {source}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: ParquetError,
    },
    /// The hour cannot be read.
    #[error("hour {hour} of the catalog cannot be read: {reason}: run netrewind index --catalog")]
    Unreadable {
        /// The hour.
        hour: Hour,
        /// Reason, in words.
        reason: String,
    },
    /// Another process is exporting the same hour.
    #[error("{}: another process is writing it", .0.display())]
    Busy(PathBuf),
    /// It was told to stop.
    #[error("interrupted")]
    Stopped,
}

impl TablesError {
    /// Error of a file or folder.
    pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), source }
    }

    /// Error of a file that is being written.
    pub(crate) fn writing(path: &Path) -> impl Fn(ParquetError) -> Self {
        move |source| match source {
            // The system's own words, without those of the library around them.
            ParquetError::External(source) => match source.downcast::<io::Error>() {
                Ok(source) => Self::File { path: path.to_owned(), source: *source },
                Err(source) => {
                    Self::Parquet { path: path.to_owned(), source: ParquetError::External(source) }
                }
            },
            source => Self::Parquet { path: path.to_owned(), source },
        }
    }
}
