//! Resources that all queries over one store share: opened segments, the filter compiler, days of the logbook, memory, threads.

use std::sync::Arc;

use netrewind_catalog::Catalog;
use netrewind_filter::{CompileLimits, Compiler};
use netrewind_packet::tunnel::TunnelPorts;
use netrewind_store::{LinkType, Store};

use crate::answer::control::Control;
use crate::answer::error::ExtractError;
use crate::flows::{COUNTED_FLOWS, Manifests, PIECE_PARTS};
use crate::history::logbook_cache::Days;
use crate::memory::{ANSWERS_BYTES_MAX, Memory};
use crate::plan::query_filter::QueryFilter;
use crate::query::Query;
use crate::store::live_index::LiveIndexes;
use crate::store::scan_cache::ScanCache;
use crate::store::segment_cache::SegmentCache;
use crate::store::snapshot::Workers;

/// The most threads beside the caller's.
pub const HELPERS_MAX: usize = 16;

/// Settings of an extractor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read ahead, beside the caller's own; at most [`HELPERS_MAX`].
    pub helpers: usize,
    /// Segments whose maps are kept from the beginning of a query until it has read them, so that they may expire meanwhile;
    /// also the number of segments that stay opened between queries. Beyond it, maps are made when they are needed: a process
    /// can have some 65,000 of them (`vm.max_map_count`), and a segment takes two.
    pub segments_held_max: usize,
    /// Limits on compiling a filter.
    pub compile: CompileLimits,
    /// Bytes that may be read to count flows only because they have fragments. Beyond that, later fragments are filtered alone,
    /// and the answer says so.
    pub fragmented_bytes_max: u64,
    /// Memory in bytes that all answers together may take for their tables, beside the minimum of each.
    pub answers_bytes_max: u64,
    /// That memory, shared with other extractors; `None`: this one has its own.
    pub memory: Option<Memory>,
    /// Conversations of a segment that are gathered together, if it has more.
    pub piece_parts: usize,
    /// Flows of a segment whose packets are counted together, if it has more: the others when the packets are read again.
    pub counted_flows: usize,
    /// Reads the catalog, which answers for flows whose packets are no longer kept.
    pub catalog: Option<Arc<dyn Catalog>>,
}

/// Half a second's work, or several from a slow disk.
const FRAGMENTED_BYTES_MAX: u64 = 512 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            helpers: 1,
            segments_held_max: 8192,
            compile: CompileLimits::default(),
            fragmented_bytes_max: FRAGMENTED_BYTES_MAX,
            answers_bytes_max: ANSWERS_BYTES_MAX,
            memory: None,
            piece_parts: PIECE_PARTS,
            counted_flows: COUNTED_FLOWS,
            catalog: None,
        }
    }
}

/// Resources that all queries over one store share. Between queries its memory is bounded.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) segment_cache: SegmentCache,
    pub(crate) compiler: Compiler,
    pub(crate) scans: ScanCache,
    pub(crate) live_indexes: LiveIndexes,
    pub(crate) logbook_cache: Days,
    pub(crate) workers: Workers,
    pub(crate) fragmented_bytes_max: u64,
    pub(crate) memory: Memory,
    pub(crate) piece_parts: usize,
    pub(crate) counted_flows: usize,
    pub(crate) manifests: Manifests,
    catalog: Option<Arc<dyn Catalog>>,
}

impl Engine {
    /// Over a store. Nothing is read yet.
    pub(crate) fn new(store: Store, options: Options) -> Self {
        let helpers = options.helpers.min(HELPERS_MAX);
        let workers = Workers { helpers, held_max: options.segments_held_max };
        Self {
            segment_cache: SegmentCache::new(store, workers.held_max),
            compiler: Compiler::new(options.compile),
            scans: ScanCache::default(),
            live_indexes: LiveIndexes::default(),
            logbook_cache: Days::default(),
            workers,
            fragmented_bytes_max: options.fragmented_bytes_max,
            memory: options.memory.unwrap_or_else(|| Memory::new(options.answers_bytes_max)),
            piece_parts: options.piece_parts,
            counted_flows: options.counted_flows,
            manifests: Manifests::default(),
            catalog: options.catalog,
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        self.segment_cache.store()
    }

    /// Reader of the catalog, if there is one.
    pub(crate) fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_deref()
    }

    /// UDP ports that carry tunnels in the store.
    pub(crate) fn tunnel_ports(&self) -> Result<TunnelPorts, ExtractError> {
        TunnelPorts::written(&self.store().identity().tunnel_ports).map_err(ExtractError::TunnelPorts)
    }

    /// Compiles the query's filter for these link types.
    pub(crate) fn compile(
        &self,
        query: &Query,
        link_types: &[LinkType],
        control: &dyn Control,
    ) -> Result<QueryFilter, ExtractError> {
        let ports = self.tunnel_ports()?;
        Ok(QueryFilter::compile(&self.compiler, query, link_types, control)?.with_ports(&ports))
    }
}
