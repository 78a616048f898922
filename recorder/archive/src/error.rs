//! Faults of uploading.

use std::io;

use netrewind_store::StoreError;

use crate::bucket::BucketError;

/// A fault of uploading.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Of the bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Of a file, or of making room.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A part of the store that cannot be archived, or that differs from what is in the archive.
    #[error("{0}")]
    Part(String),
}
