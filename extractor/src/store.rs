//! The store as queries see it: opened segments, kept open between queries, and the snapshot that one query reads.

pub(crate) mod hour_cache;
pub(crate) mod live_index;
mod opening;
pub(crate) mod scan;
pub(crate) mod scan_cache;
pub(crate) mod segment;
pub(crate) mod segment_cache;
pub(crate) mod snapshot;
