//! The work behind a recording, as the command starts and ends it.

use std::sync::{Arc, Mutex};

use netrewind_catalog::expiry::CatalogLimits;
use netrewind_store::clock::Clock;
use netrewind_store::room::Room;
use netrewind_store::sink::BlockSink;
use netrewind_store::turns::Threads;
use netrewind_store::{Event, Logbook, SegmentName, Store, locked};

use crate::catalog_writer::{CatalogThread, HourSource};
use crate::error::IndexerError;
use crate::index_writer::IndexThreads;

/// What the indexer works with.
#[derive(Clone)]
pub struct Workplace {
    /// The store.
    pub store: Store,
    /// Its logbook.
    pub logbook: Arc<Mutex<Logbook>>,
    /// Gives the time.
    pub clock: Arc<dyn Clock>,
    /// Starts the workers.
    pub threads: Arc<dyn Threads>,
}

impl Workplace {
    /// Logs an event of this moment.
    pub(crate) fn log(&self, event: Event) {
        // A logbook that cannot be written is the recorder's to report: it writes there every second.
        let _ = locked(&self.logbook).append(self.clock.now().wall, event);
    }
}

/// Writes the indexes of a recording or an import, and of a recording the catalog.
pub struct Indexer {
    place: Workplace,
    indexes: IndexThreads,
    catalog: Option<CatalogThread>,
}

impl Indexer {
    /// Starts with the segments that have no index.
    pub fn start(place: Workplace, without_index: Vec<SegmentName>) -> Result<Self, IndexerError> {
        let indexes = IndexThreads::start(&place, without_index)?;
        Ok(Self { place, indexes, catalog: None })
    }

    /// Also writes the hours that are over, made by `source`, within these limits.
    pub fn with_catalog(
        mut self,
        limits: CatalogLimits,
        source: Box<dyn HourSource>,
    ) -> Result<Self, IndexerError> {
        self.catalog = Some(CatalogThread::start(&self.place, limits, source)?);
        Ok(self)
    }

    /// The sink that builds the indexes of a lane; `room` makes room for what is written from now on.
    pub fn sink(&mut self, room: &Arc<dyn Room>) -> Box<dyn BlockSink> {
        self.catalog.iter().for_each(|catalog| catalog.set_room(room));
        self.indexes.of_lane(room)
    }

    /// Gives up the hour that is being written, and waits until every segment has its index. The lanes must have ended.
    pub fn finish(self) {
        self.catalog.into_iter().for_each(CatalogThread::finish);
        self.indexes.finish();
    }
}
