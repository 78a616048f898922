//! Segments in object storage: their names, uploading, range reads, expiry.
