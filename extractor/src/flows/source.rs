//! Source of the parts of conversations: an engine's segments, in a range and by filters.

use crate::extract::engine::Engine;
use crate::plan::query_filter::QueryFilter;
use crate::query::TimeRange;
use crate::store::live_index::LiveIndexes;
use crate::store::scan_cache::ScanCache;
use crate::store::segment_cache::SegmentCache;

/// Source of parts.
#[derive(Clone, Copy)]
pub(super) struct FlowSource<'q> {
    pub(super) range: TimeRange,
    pub(super) filters: &'q QueryFilter,
    pub(super) scans: &'q ScanCache,
    pub(super) live_indexes: &'q LiveIndexes,
    pub(super) segment_cache: &'q SegmentCache,
    pub(super) use_index: bool,
    pub(super) helpers: usize,
    /// Parts of a segment that are handed over together.
    pub(super) piece_parts: usize,
    /// Flows of a segment whose packets are counted together.
    pub(super) counted_flows: usize,
}

impl<'q> FlowSource<'q> {
    /// Segments of the engine's store, in this range and by these filters.
    pub(super) fn new(
        engine: &'q Engine,
        use_index: bool,
        range: TimeRange,
        filters: &'q QueryFilter,
    ) -> Self {
        let Engine { scans, live_indexes, segment_cache, workers, piece_parts, counted_flows, .. } = engine;
        let (helpers, piece_parts, counted_flows) = (workers.helpers, *piece_parts, *counted_flows);
        Self {
            range,
            filters,
            scans,
            live_indexes,
            segment_cache,
            use_index,
            helpers,
            piece_parts,
            counted_flows,
        }
    }
}
