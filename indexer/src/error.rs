//! Errors of writing indexes and hours.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use netrewind_catalog_tantivy::CatalogError;
use netrewind_index::BuildError;
use netrewind_store::{SegmentError, StoreError};

/// An index or an hour cannot be written, or is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// The store's tunnel ports make no sense.
    #[error("the store's tunnel ports cannot be read: {0}; run netrewind index --tunnel-port default")]
    TunnelPorts(String),
    /// A segment cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The segment.
        path: PathBuf,
        /// The fault.
        error: SegmentError,
    },
    /// A segment cannot be indexed.
    #[error("{}: {error}", .path.display())]
    Unindexable {
        /// The segment.
        path: PathBuf,
        /// The fault.
        error: BuildError,
    },
    /// The index of a segment that was counted while it was recorded cannot be laid out.
    #[error(transparent)]
    Index(#[from] BuildError),
    /// The records of an hour cannot be made.
    #[error(transparent)]
    Records(Box<dyn Error + Send + Sync>),
    /// The catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An hour is not as it should be.
    #[error("{0}")]
    Unsound(String),
}
