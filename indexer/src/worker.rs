//! The work behind a recording, as the command starts and ends it.

use std::sync::Arc;
use std::time::Duration;

use netrewind_catalog::expiry::CatalogLimits;
use netrewind_store::SegmentName;
use netrewind_store::room::Room;
use netrewind_store::sink::BlockSink;

use crate::catalog_writer::{CatalogThread, HourSource};
use crate::compressor::CompressorThread;
use crate::error::IndexerError;
use crate::hour_export::HourExport;
use crate::index_writer::IndexThreads;
use crate::workplace::Workplace;

/// Writes the indexes of a recording or an import, and of a recording the catalog.
pub struct Indexer {
    place: Workplace,
    indexes: IndexThreads,
    catalog: Option<CatalogThread>,
    compressor: Option<CompressorThread>,
}

impl Indexer {
    /// Starts with the segments that have no index.
    pub fn start(place: Workplace, without_index: Vec<SegmentName>) -> Result<Self, IndexerError> {
        let indexes = IndexThreads::start(&place, without_index)?;
        Ok(Self { place, indexes, catalog: None, compressor: None })
    }

    /// Also writes the hours that are over, made by `source`, within these limits, and exports them.
    pub fn with_catalog(
        mut self,
        limits: CatalogLimits,
        source: Box<dyn HourSource>,
        export: Option<Box<dyn HourExport>>,
    ) -> Result<Self, IndexerError> {
        self.catalog = Some(CatalogThread::start(&self.place, limits, source, export)?);
        Ok(self)
    }

    /// Also compresses segments that were opened so long ago.
    pub fn with_compression(mut self, after: Duration) -> Result<Self, IndexerError> {
        self.compressor = Some(CompressorThread::start(&self.place, after)?);
        Ok(self)
    }

    /// The sink that builds the indexes of a lane; `room` makes room for what is written from now on.
    pub fn sink(&mut self, room: &Arc<dyn Room>) -> Box<dyn BlockSink> {
        self.catalog.iter().for_each(|catalog| catalog.set_room(room));
        self.compressor.iter().for_each(|compressor| compressor.set_room(room));
        self.indexes.of_lane(room)
    }

    /// Gives up the hour that is being written, and waits until every segment has its index. The lanes must have ended.
    pub fn finish(self) {
        self.compressor.into_iter().for_each(CompressorThread::finish);
        self.catalog.into_iter().for_each(CatalogThread::finish);
        self.indexes.finish();
    }
}
