//! Second stage of a query: compiles its filter for the link types of the open segments.

use super::engine::Engine;
use super::open::OpenedQuery;
use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::flows::CatalogHours;
use crate::plan::query_filter::QueryFilter;
use crate::query::Query;
use crate::store::snapshot::Snapshot;

/// Query whose segments are open and whose filter is compiled.
pub(crate) struct CompiledQuery<'q> {
    pub(super) engine: &'q Engine,
    pub(super) query: &'q Query,
    pub(super) snapshot: Snapshot,
    pub(super) hours: CatalogHours,
    pub(super) filters: QueryFilter,
}

impl<'q> CompiledQuery<'q> {
    /// Compiles the filter of an opened query.
    pub(crate) fn compile(opened: OpenedQuery<'q>, control: &dyn Control) -> Result<Self, ExtractError> {
        let OpenedQuery { engine, query, snapshot, hours } = opened;
        let mut link_types = snapshot.link_types();
        link_types.extend(hours.link_types());
        link_types.sort_unstable();
        link_types.dedup();
        let filters = engine.compile(query, &link_types, control)?;
        Ok(Self { engine, query, snapshot, hours, filters })
    }
}
