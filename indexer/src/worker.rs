//! The work behind a recording, as the command starts and ends it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use netrewind_catalog::expiry::CatalogLimits;
use netrewind_store::room::Room;
use netrewind_store::sink::BlockSink;
use netrewind_store::{SegmentName, locked};

use crate::background::BackgroundThread;
use crate::catalog_writer::{self, HourSource};
use crate::compressor;
use crate::error::IndexerError;
use crate::hour_export::HourExport;
use crate::index_writer::IndexThreads;
use crate::workplace::Workplace;

/// Writes the indexes of a recording or an import, and of a recording the catalog.
pub struct Indexer {
    place: Workplace,
    indexes: IndexThreads,
    /// The catalog and the compressor, if they were asked for.
    background: Vec<BackgroundThread>,
    catalog_limits: Arc<Mutex<CatalogLimits>>,
}

impl Indexer {
    /// Starts with the segments that have no index.
    pub fn start(place: Workplace, without_index: Vec<SegmentName>) -> Result<Self, IndexerError> {
        let indexes = IndexThreads::start(&place, without_index)?;
        Ok(Self { place, indexes, background: Vec::new(), catalog_limits: Arc::default() })
    }

    /// Also writes the hours that are over, made by `source`, within these limits, and exports them.
    pub fn with_catalog(
        mut self,
        limits: CatalogLimits,
        source: Box<dyn HourSource>,
        export: Option<Box<dyn HourExport>>,
    ) -> Result<Self, IndexerError> {
        self.set_catalog_limits(limits);
        let limits = Arc::clone(&self.catalog_limits);
        self.background.push(catalog_writer::start(&self.place, limits, source, export)?);
        Ok(self)
    }

    /// Keeps the catalog within other limits from now on.
    pub fn set_catalog_limits(&self, limits: CatalogLimits) {
        *locked(&self.catalog_limits) = limits;
    }

    /// Also compresses segments that were opened so long ago.
    pub fn with_compression(mut self, after: Duration) -> Result<Self, IndexerError> {
        self.background.push(compressor::start(&self.place, after)?);
        Ok(self)
    }

    /// The sink that builds the indexes of a lane; `room` makes room for what is written from now on.
    pub fn sink(&mut self, room: &Arc<dyn Room>) -> Box<dyn BlockSink> {
        self.background.iter().for_each(|thread| thread.set_room(room));
        self.indexes.of_lane(room)
    }

    /// Gives up the hour that is being written and the segment that is being compressed, and waits until every segment has its index. The lanes must have ended.
    pub fn finish(self) {
        self.background.into_iter().for_each(BackgroundThread::finish);
        self.indexes.finish();
    }
}
