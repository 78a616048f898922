//! Counters of what was asked of an archive, and what it costs.

use std::sync::atomic::{AtomicU64, Ordering};

use netrewind_store::archived::ArchiveRequests;

/// Price of a million requests for an object, in US dollars: S3 Standard, us-east-1, 2026.
pub const DOLLARS_A_MILLION_GETS: f64 = 0.40;
/// Price of a million pages of a listing.
pub const DOLLARS_A_MILLION_LISTS: f64 = 5.0;

/// Counters of the requests to an archive.
#[derive(Debug, Default)]
pub struct ArchiveMeter {
    pub(crate) gets: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) cache_damaged: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl ArchiveMeter {
    /// The counters as they are now.
    pub fn requests(&self) -> ArchiveRequests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ArchiveRequests {
            gets: read(&self.gets),
            lists: read(&self.lists),
            bytes: read(&self.bytes),
            failed: read(&self.failed),
            cache_hits: read(&self.cache_hits),
            cache_misses: read(&self.cache_misses),
            cache_damaged: read(&self.cache_damaged),
        }
    }
}

/// Price of the requests, without that of the bytes, in US dollars.
pub fn price_of(requests: &ArchiveRequests) -> f64 {
    (requests.gets as f64 * DOLLARS_A_MILLION_GETS + requests.lists as f64 * DOLLARS_A_MILLION_LISTS) / 1e6
}
