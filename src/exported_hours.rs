//! What leaves the store behind a recording: hours of the catalog as tables, flows to a collector.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use netrewind_catalog_tantivy::TantivyCatalog;
use netrewind_extractor::Extractor;
use netrewind_extractor::flows::Conversation;
use netrewind_indexer::hour_export::{HourAccount, HourExport};
use netrewind_indexer::workplace::IndexWatcher;
use netrewind_ipfix::{SegmentFlows, SegmentQueue, SegmentVisit};
use netrewind_store::catalog::Manifest;
use netrewind_store::{SegmentName, Store, locked};
use netrewind_tables::TablesPlace;

use crate::extracted_hours::extractor;

/// Hours as tables.
pub struct ExportedTables {
    place: TablesPlace,
    /// Reason why the last hour could not be exported.
    trouble: Arc<Mutex<Option<String>>>,
}

impl ExportedTables {
    /// Tables in this place; `trouble` tells why the last hour could not be exported, if so.
    pub fn new(place: TablesPlace, trouble: Arc<Mutex<Option<String>>>) -> Self {
        Self { place, trouble }
    }
}

impl HourExport for ExportedTables {
    fn is_current(&self, store: &Store, manifest: &Manifest) -> bool {
        netrewind_tables::is_current(&self.place, store, manifest)
    }

    fn export(
        &self,
        store: &Store,
        manifest: &Manifest,
        stop: &AtomicBool,
    ) -> Result<HourAccount, Box<dyn Error + Send + Sync>> {
        let is_to_stop = || stop.load(Ordering::Relaxed);
        let exported =
            netrewind_tables::export_hour(&self.place, store, &TantivyCatalog, manifest, &is_to_stop);
        let failed = exported.as_ref().err().filter(|_| !is_to_stop());
        *locked(&self.trouble) = failed.map(|error| format!("hour {}: {error}", manifest.hour));
        let exported = exported?;
        Ok(HourAccount { records: exported.rows, bytes: exported.bytes, lacks: exported.lacks })
    }
}

/// Flows of segments, as an extractor reads them from their indexes.
pub struct ExtractedSegments(Extractor);

impl ExtractedSegments {
    /// Those of a store.
    pub fn of(store: &Store) -> Self {
        Self(extractor(store))
    }
}

impl SegmentFlows for ExtractedSegments {
    fn visit(
        &self,
        segment: &SegmentName,
        skip: u64,
        stop: &AtomicBool,
        take: &mut dyn FnMut(&Conversation) -> bool,
    ) -> Result<SegmentVisit, Box<dyn Error + Send + Sync>> {
        let mut control = stop;
        let visited = self.0.segment_flows(segment, skip, &mut control, take);
        // It holds no segment that expires.
        self.0.evict_unused();
        match visited? {
            None => Ok(SegmentVisit::Gone),
            Some(unreadable) if unreadable.is_empty() => Ok(SegmentVisit::Read),
            Some(unreadable) => {
                let reasons: Vec<_> = unreadable.iter().map(|place| place.reason.as_str()).collect();
                Err(reasons.join("; ").into())
            }
        }
    }
}

/// Puts each segment into the queue once it has its index.
pub struct QueuedSegments(pub Arc<SegmentQueue>);

impl IndexWatcher for QueuedSegments {
    fn indexed(&self, segment: &SegmentName) {
        self.0.push(segment);
    }
}
