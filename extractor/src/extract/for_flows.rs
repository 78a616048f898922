//! Access to an extractor for flows, hints and the catalog.

use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::{SegmentName, SegmentState};

use super::{Extractor, Prepared};
use crate::answer::control::Control;
use crate::flows::{Catalog, CatalogHours, Manifests};
use crate::sink::Wants;
use crate::store::segment::ScanCache;
use crate::store::segment_cache::SegmentCache;
use crate::store::snapshot::{Snapshot, Workers};
use crate::{ExtractError, Query};
use netrewind_filter::Compiler;

impl Extractor {
    pub(crate) fn segment_cache(&self) -> &SegmentCache {
        &self.segment_cache
    }

    pub(crate) fn scans(&self) -> &ScanCache {
        &self.scans
    }

    pub(crate) fn workers(&self) -> Workers {
        self.workers
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn manifests(&self) -> &Manifests {
        &self.manifests
    }

    pub(crate) fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_deref()
    }

    /// UDP ports that carry tunnels in the store.
    pub(crate) fn tunnel_ports(&self) -> Result<TunnelPorts, ExtractError> {
        TunnelPorts::written(&self.store().identity().tunnel_ports).map_err(ExtractError::TunnelPorts)
    }

    /// The sealed segments that are wanted.
    pub(crate) fn snapshot_of_sealed(
        &self,
        query: &Query,
        control: &dyn Control,
        is_wanted: &dyn Fn(&SegmentName) -> bool,
    ) -> Result<Snapshot, ExtractError> {
        let is_wanted =
            |name: &SegmentName, state: SegmentState| state == SegmentState::Sealed && is_wanted(name);
        Snapshot::take_those(&self.segment_cache, query, &self.scans, self.workers, control, &is_wanted)
    }

    /// Prepares a query for flows: hours that are no longer kept come from the catalog. If it `adds_up`, and everything is
    /// asked for, whole hours come from there anyway.
    pub(crate) fn prepare_flows(
        &self,
        query: &Query,
        control: &dyn Control,
        adds_up: bool,
    ) -> Result<Prepared, ExtractError> {
        let mut snapshot = Snapshot::take(&self.segment_cache, query, &self.scans, self.workers, control)?;
        let mut archived = CatalogHours::default();
        // The catalog does not know where packets came from.
        if self.catalog.is_some() && query.interfaces.is_empty() {
            archived = CatalogHours::of(
                self.store(),
                &self.manifests,
                &snapshot,
                query.range(),
                adds_up && wants_all(query),
            );
            snapshot.segments.retain(|segment| !archived.names().contains(&segment.name));
        }
        self.prepare_with(query, Wants::default(), snapshot, archived, control)
    }
}

/// True if the answer holds every packet of the range, and indexes may tell of it.
fn wants_all(query: &Query) -> bool {
    query.use_index
        && query.filter.trim().is_empty()
        && query.joined.is_empty()
        && query.dedup.is_none()
        && query.tunnels.are_none()
}
