//! Segments in object storage: their names, uploading, range reads, expiry.
//!
//! `FORMAT.md` beside this crate is the normative description of what stands in a bucket.
//!
//! **Invariant:** callers are blocking code; what is asynchronous stays in [`bucket`], and nobody else knows the clients of the clouds.

pub mod bucket;
mod cache;
pub mod circuit;
mod error;
mod fetcher;
mod listing;
mod meter;
pub mod objects;
mod profile;
mod reader;
pub mod upload;

pub use bucket::{ArchiveUrl, Bucket, BucketError, BucketFault, CloudEnvironment, ListedObject, Put};
pub use cache::{CACHE_BYTES_MAX, CacheFolder};
pub use error::ArchiveError;
pub use fetcher::{
    BLOCK_BYTES, FETCHED_BYTES_MAX, GAP_BYTES_MAX, GET_BYTES_MAX, GETS_AT_ONCE, UNREACHABLE_FOR,
};
pub use meter::{ArchiveMeter, DOLLARS_A_MILLION_GETS, DOLLARS_A_MILLION_LISTS, price_of};
pub use objects::{ArchiveObject, LogbookPiece, StoreKeys};
pub use reader::{ArchiveReader, HEAD_BYTES, LINES_BYTES_MAX, LISTED_FOR, WHOLE_BYTES_MAX};
