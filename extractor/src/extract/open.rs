//! First stage of a query: opens the segments of the store, and for flows the catalog's hours.

use std::sync::atomic::{AtomicBool, Ordering};

use super::engine::Engine;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::flows::CatalogHours;
use crate::query::Query;
use crate::store::snapshot::Snapshot;

/// Query whose segments are open.
pub(crate) struct OpenedQuery<'q> {
    pub(super) engine: &'q Engine,
    pub(super) query: &'q Query,
    pub(super) snapshot: Snapshot,
    /// Hours of the catalog that replace expired segments: only for flows.
    pub(super) hours: CatalogHours,
}

impl<'q> OpenedQuery<'q> {
    /// Opens the segments of a query for packets.
    pub(crate) fn open(
        engine: &'q Engine,
        query: &'q Query,
        control: &dyn Control,
    ) -> Result<Self, ExtractError> {
        let Engine { segment_cache, scans, workers, logbook_cache, .. } = engine;
        let take = || Snapshot::take(segment_cache, query, scans, *workers, control);
        // The first query of a process reads days of the logbook, meanwhile.
        let stop = AtomicBool::new(false);
        let reads_ahead = workers.helpers > 0 && logbook_cache.is_empty();
        let snapshot = match reads_ahead {
            false => take()?,
            true => std::thread::scope(|scope| {
                scope.spawn(|| logbook_cache.read_ahead(engine.store(), query.range(), &stop));
                take().inspect_err(|_| stop.store(true, Ordering::Relaxed))
            })?,
        };
        Ok(Self { engine, query, snapshot, hours: CatalogHours::default() })
    }

    /// Opens the segments of a query for flows: expired hours come from the catalog. If it `adds_up`, and the query has no
    /// filter, whole hours come from there in any case.
    pub(crate) fn open_for_flows(
        engine: &'q Engine,
        query: &'q Query,
        control: &dyn Control,
        adds_up: bool,
    ) -> Result<Self, ExtractError> {
        let mut opened = Self::open(engine, query, control)?;
        // The catalog does not know where packets came from.
        if engine.catalog().is_some() && query.interfaces.is_empty() {
            let Self { snapshot, hours, .. } = &mut opened;
            let adds_up = adds_up && wants_all(query);
            *hours = CatalogHours::of(engine.store(), &engine.manifests, snapshot, query.range(), adds_up);
            snapshot.segments.retain(|segment| !hours.names().contains(&segment.name));
        }
        Ok(opened)
    }
}

/// True if the answer holds every packet of the range, and indexes may be used.
fn wants_all(query: &Query) -> bool {
    query.use_index
        && query.filter.trim().is_empty()
        && query.joined.is_empty()
        && query.dedup.is_none()
        && query.tunnels.are_none()
        && query.lists.are_none()
}
