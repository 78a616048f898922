//! Hours of the segments that are kept, compared with those of the catalog.

use std::collections::BTreeMap;

use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::ListedSegment;
use netrewind_store::{SegmentState, Store, StoreError};

/// The hours in which kept segments were opened, with these segments.
pub fn hours(store: &Store) -> Result<BTreeMap<Hour, Vec<ListedSegment>>, StoreError> {
    let mut hours: BTreeMap<Hour, Vec<ListedSegment>> = BTreeMap::new();
    for segment in ListedSegment::all(store)? {
        hours.entry(Hour::of(segment.name.opened)).or_default().push(segment);
    }
    Ok(hours)
}

/// True if all segments of an hour of the catalog are kept.
pub(crate) fn has_all(manifest: &Manifest, segments: &[ListedSegment]) -> bool {
    let is_kept = |name| segments.iter().any(|segment| segment.name == name);
    manifest.segments.iter().all(|segment| is_kept(segment.name))
}

/// True if the catalog will not write the hour again, as far as its segments show: it was made of all of them, or of some that are
/// no longer kept.
pub fn is_settled(manifest: &Manifest, segments: &[ListedSegment]) -> bool {
    let is_in_it =
        |segment: &ListedSegment| segment.state == SegmentState::Sealed && manifest.knows(&segment.name);
    segments.iter().all(is_in_it) || !has_all(manifest, segments)
}
