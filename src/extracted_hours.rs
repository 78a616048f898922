//! The catalog's hours, as the extractor makes them of segments and their indexes.

use std::error::Error;
use std::sync::atomic::AtomicBool;

use netrewind_catalog::build::Catalogued;
use netrewind_catalog::condition::CatalogRecord;
use netrewind_extractor::{Extractor, Options};
use netrewind_indexer::HourSource;
use netrewind_store::Store;
use netrewind_store::catalog::Hour;

/// An extractor that reads what a store keeps: one thread, and no catalog.
pub fn extractor(store: &Store) -> Extractor {
    Extractor::new(store.clone(), Options { helpers: 0, ..Options::default() })
}

/// Hours that such an extractor makes.
pub struct ExtractedHours(Extractor);

impl ExtractedHours {
    /// The hours of a store.
    pub fn of(store: &Store) -> Self {
        Self(extractor(store))
    }
}

impl HourSource for ExtractedHours {
    fn catalogue(
        &self,
        hour: Hour,
        stop: &AtomicBool,
        take: &mut dyn FnMut(&CatalogRecord) -> bool,
    ) -> Result<Catalogued, Box<dyn Error + Send + Sync>> {
        let mut control = stop;
        self.0.catalogue(hour, &mut control, take).map_err(Into::into)
    }
}
