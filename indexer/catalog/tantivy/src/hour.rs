//! Reading an hour.

use std::panic::AssertUnwindSafe;

use netrewind_catalog::condition::Condition;
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, pages_lost_elsewhere};
use tantivy::query::EnableScoring;
use tantivy::schema::Value;
use tantivy::store::StoreReader;
use tantivy::{DocId, Index, SegmentReader, TantivyDocument, TantivyError};

use crate::CatalogError;
use crate::schema::{SchemaFields, TIME_UNIT_NS, schema};
use crate::search::{Range, search};

/// Blocks of documents that are cached: they are read in order.
const BLOCKS_CACHED: usize = 2;

/// An hour of the catalog.
pub struct HourReader {
    hour: Hour,
    index: Index,
    /// Absent where it has no records.
    part: Option<SegmentReader>,
    fields: SchemaFields,
}

impl HourReader {
    /// Opens the hour that `manifest` tells of.
    pub fn open(store: &Store, manifest: &Manifest) -> Result<Self, CatalogError> {
        unless_damaged(manifest.hour, || Self::open_unchecked(store, manifest))
    }

    fn open_unchecked(store: &Store, manifest: &Manifest) -> Result<Self, CatalogError> {
        let hour = manifest.hour;
        let failed = CatalogError::tantivy(hour);
        let index = Index::open_in_dir(CatalogFolder::of(store).hour_path(hour)).map_err(&failed)?;
        let (schema, fields) = schema();
        if index.schema() != schema {
            return Err(CatalogError::damaged(hour, "it has other columns"));
        }
        // Not by a reader of the index, which takes a lock in the folder: nothing of it will ever change.
        let mut parts = index.searchable_segments().map_err(&failed)?;
        let part = match (parts.pop(), parts.is_empty()) {
            (None, _) => None,
            (Some(part), true) => Some(SegmentReader::open(&part).map_err(&failed)?),
            (Some(_), false) => return Err(CatalogError::damaged(hour, "it was not merged")),
        };
        let found = part.as_ref().map_or(0, |part| u64::from(part.num_docs()));
        if found != manifest.records {
            let reason = format!("it has {found} records, but should have {}", manifest.records);
            return Err(CatalogError::damaged(hour, reason));
        }
        Ok(Self { hour, index, part, fields })
    }

    /// Gives the documents of all records that fulfil the condition and meet the range, and of those that are open, in the
    /// order in which they were added, until `visit` refuses one. If there is an error, some have been given already.
    pub fn visit(
        &self,
        condition: &Condition,
        range: Range,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), CatalogError> {
        unless_damaged(self.hour, || self.visit_unchecked(condition, range, visit))
    }

    fn visit_unchecked(
        &self,
        condition: &Condition,
        range: Range,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), CatalogError> {
        let failed = CatalogError::tantivy(self.hour);
        let Some(part) = &self.part else { return Ok(()) };
        let documents = part.get_store_reader(BLOCKS_CACHED).map_err(|error| failed(error.into()))?;
        let columns = RecordTimes::of(part).map_err(&failed)?;
        let search = search(condition, range, &self.fields);
        let weight = search.weight(EnableScoring::disabled_from_schema(part.schema())).map_err(&failed)?;
        let mut scorer = weight.scorer(part, 1.0).map_err(&failed)?;
        let mut at = scorer.doc();
        while at != tantivy::TERMINATED {
            if columns.meet(at, range) && !visit(&self.document(&documents, at)?) {
                return Ok(());
            }
            at = scorer.advance();
        }
        Ok(())
    }

    fn document(&self, documents: &StoreReader, at: DocId) -> Result<Vec<u8>, CatalogError> {
        let read = documents.get::<TantivyDocument>(at).map_err(CatalogError::tantivy(self.hour))?;
        let bytes =
            read.get_first(self.fields.document).and_then(|value| value.as_bytes().map(<[u8]>::to_vec));
        bytes.ok_or_else(|| CatalogError::damaged(self.hour, format!("record {at} has no document")))
    }

    /// Reads all of it and compares the checksums; an error names the files that are damaged.
    pub fn verify(&self) -> Result<(), CatalogError> {
        let failed = CatalogError::tantivy(self.hour);
        let damaged = unless_damaged(self.hour, || self.index.validate_checksum().map_err(failed))?;
        let mut names: Vec<String> = damaged.iter().map(|path| path.display().to_string()).collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => Ok(()),
            names => Err(CatalogError::damaged(self.hour, format!("damaged: {}", names.join(", ")))),
        }
    }
}

/// tantivy assumes that its files are unchanged, and panics if they are not.
fn unless_damaged<T>(hour: Hour, read: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
    let lost_before = pages_lost_elsewhere();
    // Its state is dropped with the panic, and is not used again.
    let read = std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(CatalogError::damaged(hour, "its files are damaged")));
    // tantivy maps its files itself. The pages may have been another hour's, read at the same time: that is then named, too.
    if pages_lost_elsewhere() != lost_before {
        return Err(CatalogError::damaged(hour, "part of its files cannot be read"));
    }
    read
}

/// The rounded times of records.
struct RecordTimes {
    first: tantivy::columnar::Column<u64>,
    duration: tantivy::columnar::Column<u64>,
    open: Option<tantivy::columnar::Column<u64>>,
}

impl RecordTimes {
    fn of(part: &SegmentReader) -> Result<Self, TantivyError> {
        let fast = part.fast_fields();
        Ok(Self {
            first: fast.u64("first")?,
            duration: fast.u64("duration")?,
            open: fast.column_opt("open")?,
        })
    }

    /// True if a record can have an instant in the range, or is open.
    fn meet(&self, at: DocId, range: Range) -> bool {
        let is_open = || self.open.as_ref().is_some_and(|open| open.first(at).is_some());
        let first = self.first.first(at).unwrap_or(0);
        let last = first.saturating_add(self.duration.first(at).unwrap_or(0));
        let meets = first <= range.last_ns / TIME_UNIT_NS && last >= range.from_ns / TIME_UNIT_NS;
        meets || is_open()
    }
}
