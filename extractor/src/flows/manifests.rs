//! Manifests of the catalog's hours, cached between queries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use netrewind_catalog::cache::Rollups;
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, StoreError, locked};

/// Limit on remembered manifests: those of two years. Beyond it, all are forgotten.
const MANIFESTS_MAX: usize = 17_568;

/// File stamp of an hour when its manifest was read, and that manifest.
type CachedManifest = ((u64, i64), Arc<Manifest>);

/// Manifests, cached between queries: there may be thousands of them.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    known: Mutex<HashMap<Hour, CachedManifest>>,
    pub(super) rollups: Rollups,
}

impl Manifests {
    /// Manifest of an hour, if there is one.
    pub(super) fn of(&self, store: &Store, hour: Hour) -> Result<Option<Arc<Manifest>>, StoreError> {
        // If it cannot be examined it is read, which gives the reason.
        let stamp = CatalogFolder::of(store).hour_stamp(hour).ok().flatten();
        let mut known = locked(&self.known);
        if let Some((_, manifest)) = known.get(&hour).filter(|(known, _)| Some(*known) == stamp) {
            return Ok(Some(Arc::clone(manifest)));
        }
        if known.len() >= MANIFESTS_MAX {
            known.clear();
        }
        let manifest = CatalogFolder::of(store).manifest(hour)?.map(Arc::new);
        if let (Some(stamp), Some(manifest)) = (stamp, &manifest) {
            known.insert(hour, (stamp, Arc::clone(manifest)));
        }
        Ok(manifest)
    }
}
