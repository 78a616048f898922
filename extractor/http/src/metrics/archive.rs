//! Requests to an archive from which answers come.

use netrewind_store::archived::ArchiveRequests;
use prometheus_client::registry::Registry;

use super::sample::add_counter;

pub(super) fn add_archive_reading(registry: &mut Registry, requests: &ArchiveRequests) {
    let ArchiveRequests { gets, lists, bytes, failed, cache_hits, cache_misses, cache_damaged } = *requests;
    let counters = [
        ("archive_gets", "Requests to the archive for objects and ranges of objects", gets),
        ("archive_lists", "Requests to the archive for lists of objects", lists),
        ("archive_fetched_bytes", "Bytes of objects that came from the archive", bytes),
        ("archive_fetch_failures", "Requests to the archive that failed", failed),
        ("archive_cache_hits", "Objects of the archive that were in the cache", cache_hits),
        ("archive_cache_misses", "Objects of the archive that were not in the cache", cache_misses),
        ("archive_cache_damaged", "Files of the cache that were damaged, and fetched again", cache_damaged),
    ];
    for (name, help, count) in counters {
        add_counter(registry, name, help, count);
    }
}
