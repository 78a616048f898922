//! Errors of a store and its files.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// A segment's bytes are invalid.
#[derive(Debug, Error)]
pub enum SegmentError {
    /// The file header is not one that we write.
    #[error(
        "not a segment: it does not begin with the header of a nanosecond pcap file written by netrewind"
    )]
    NotASegment,
    /// The bytes end inside a record.
    #[error("the record at byte {offset} is cut short")]
    TornRecord {
        /// Offset of its header.
        offset: u64,
    },
    /// A record claims more bytes than a packet can have.
    #[error("the record at byte {offset} claims a packet of {caplen} bytes, more than {max}", max = crate::layout::CAPLEN_MAX)]
    ImplausibleRecord {
        /// Offset of its header.
        offset: u64,
        /// The caplen that it claims.
        caplen: u32,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no store in this folder.
    #[error("{}: no store here (store.toml is missing): give the folder that `netrewind record` or `netrewind import` wrote", .0.display())]
    Missing(PathBuf),
    /// The store is of another version.
    #[error("{}: the store has format version {found}, this netrewind reads version {known}: use the netrewind that wrote it", .path.display())]
    Version {
        /// Its `store.toml`.
        path: PathBuf,
        /// The version it names.
        found: u32,
        /// The version that is read.
        known: u32,
    },
    /// `store.toml` cannot be understood.
    #[error("{}: {reason}", .path.display())]
    Identity {
        /// Its path.
        path: PathBuf,
        /// Description of the fault.
        reason: String,
    },
    /// An hour of the catalog has no readable manifest.
    #[error(
        "{}: {reason}: run netrewind index --catalog to write the hour again if its segments are kept; otherwise remove its folder to give it up", .path.display()
    )]
    Manifest {
        /// Its manifest.
        path: PathBuf,
        /// Description of the fault.
        reason: String,
    },
    /// Another process writes to the store.
    #[error("{}: another netrewind ({holder}) writes to this store: stop it, or use another folder", .path.display())]
    Locked {
        /// The lock's path.
        path: PathBuf,
        /// The holder, as the lock's file names it.
        holder: String,
    },
    /// The store's folder is not there any more, or is another one.
    #[error("{}: the store's folder is gone: {how}", .path.display())]
    Gone {
        /// Its path.
        path: PathBuf,
        /// The fault: missing, or replaced.
        how: &'static str,
    },
    /// The file system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The result, with the path of the file that the file system refused.
pub(crate) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io { path: path.to_owned(), source })
}
