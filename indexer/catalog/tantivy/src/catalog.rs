//! The catalog of a store, read hour by hour.

use netrewind_catalog::Catalog;
use netrewind_catalog::condition::Condition;
use netrewind_store::catalog::Manifest;
use netrewind_store::{Store, Timestamp};

use crate::hour::HourReader;
use crate::search::Range;

/// Reads the hours that [`HourWriter`](crate::HourWriter) has written.
#[derive(Clone, Copy, Debug)]
pub struct TantivyCatalog;

impl Catalog for TantivyCatalog {
    fn visit(
        &self,
        store: &Store,
        manifest: &Manifest,
        condition: &Condition,
        from: Timestamp,
        last: Timestamp,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        let range = Range { from_ns: from.ns(), last_ns: last.ns() };
        let hour = HourReader::open(store, manifest);
        hour.and_then(|hour| hour.visit(condition, range, take)).map_err(|error| error.to_string())
    }

    fn visit_open(
        &self,
        store: &Store,
        manifest: &Manifest,
        is_wanted: &dyn Fn(u64, u64) -> bool,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), String> {
        let hour = HourReader::open(store, manifest);
        hour.and_then(|hour| hour.visit_open(is_wanted, take)).map_err(|error| error.to_string())
    }
}
