//! Facts of an archive that is read, for those who watch over it.

/// Requests to an archive so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveRequests {
    /// Requests for objects and ranges of objects.
    pub gets: u64,
    /// Requests for lists of objects; each page of a thousand is one.
    pub lists: u64,
    /// Bytes of objects that came.
    pub bytes: u64,
    /// Requests of both kinds that failed.
    pub failed: u64,
    /// Objects that were in the cache.
    pub cache_hits: u64,
    /// Objects that were not, and were fetched.
    pub cache_misses: u64,
    /// Files of the cache that were not as they had been written, and were fetched again.
    pub cache_damaged: u64,
}

/// An archive that is read, and what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Its URL.
    pub url: String,
    /// True if there is no folder beside it.
    pub is_alone: bool,
    /// The requests so far.
    pub requests: ArchiveRequests,
}
