//! Segments in object storage: their names, uploading, range reads, expiry.
//!
//! `FORMAT.md` beside this crate is the normative description of what stands in a bucket.
//!
//! **Invariant:** callers are blocking code; what is asynchronous stays in [`bucket`], and nobody else knows the clients of the clouds.

pub mod bucket;
pub mod circuit;
mod error;
pub mod objects;
mod profile;
pub mod upload;

pub use bucket::{ArchiveUrl, Bucket, BucketError, BucketFault, CloudEnvironment, ListedObject, Put};
pub use error::ArchiveError;
pub use objects::{ArchiveObject, LogbookPiece, StoreKeys};
