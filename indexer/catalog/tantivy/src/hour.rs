//! Reading an hour.

use std::net::Ipv6Addr;
use std::panic::AssertUnwindSafe;

use netrewind_catalog::condition::Condition;
use netrewind_catalog::short::{Columns, restore};
use netrewind_store::catalog::{CATALOG_VERSION_SHORT, Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, pages_lost_elsewhere};
use tantivy::columnar::Column;
use tantivy::query::EnableScoring;
use tantivy::schema::Field;
use tantivy::schema::document::{DeserializeError, DocumentDeserialize, DocumentDeserializer};
use tantivy::store::StoreReader;
use tantivy::{DocId, Index, SegmentReader, TantivyError};

use crate::CatalogError;
use crate::schema::{ADDRESSES, PORTS, SchemaFields, TIME_UNIT_NS, schema};
use crate::search::{Range, search};

/// Blocks of documents that are cached: they are read in order.
const BLOCKS_CACHED: usize = 2;

/// An hour of the catalog.
pub struct HourReader {
    hour: Hour,
    /// The documents lack what the columns hold.
    are_short: bool,
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
        let are_short = manifest.version >= CATALOG_VERSION_SHORT;
        Ok(Self { hour, are_short, index, part, fields })
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
        let columns = RecordColumns::of(part).map_err(&failed)?;
        let search = search(condition, range, &self.fields);
        let weight = search.weight(EnableScoring::disabled_from_schema(part.schema())).map_err(&failed)?;
        let mut scorer = weight.scorer(part, 1.0).map_err(&failed)?;
        let (mut at, mut whole) = (scorer.doc(), Vec::new());
        while at != tantivy::TERMINATED {
            if columns.meet(at, range) && !visit(self.whole(&documents, &columns, at, &mut whole)?) {
                return Ok(());
            }
            at = scorer.advance();
        }
        Ok(())
    }

    /// Gives the documents of the open records whose times are wanted, in seconds since the epoch from the beginning of that of the first
    /// packet to the end of that of the last, until `visit` refuses one.
    pub fn visit_open(
        &self,
        is_wanted: &dyn Fn(u64, u64) -> bool,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), CatalogError> {
        unless_damaged(self.hour, || {
            let failed = CatalogError::tantivy(self.hour);
            let Some(part) = &self.part else { return Ok(()) };
            let documents = part.get_store_reader(BLOCKS_CACHED).map_err(|error| failed(error.into()))?;
            let columns = RecordColumns::of(part).map_err(&failed)?;
            let mut whole = Vec::new();
            for at in 0..part.max_doc() {
                let (first, last) = columns.times(at);
                let is_one = columns.is_open(at) && is_wanted(first, last);
                if is_one && !visit(self.whole(&documents, &columns, at, &mut whole)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The document of a record, which may be put together in `room`.
    fn whole<'w>(
        &self,
        documents: &StoreReader,
        columns: &RecordColumns,
        at: DocId,
        room: &'w mut Vec<u8>,
    ) -> Result<&'w [u8], CatalogError> {
        let document = self.document(documents, at)?;
        if self.are_short {
            return Ok(self.restored(&document, &columns.of_record(at), room));
        }
        *room = document;
        Ok(room)
    }

    /// The document with this short form; one that cannot be restored is no record.
    fn restored<'w>(&self, short: &[u8], columns: &Columns, whole: &'w mut Vec<u8>) -> &'w [u8] {
        match restore(short, columns, self.hour.start().ns(), whole) {
            Some(()) => whole,
            None => &[],
        }
    }

    fn document(&self, documents: &StoreReader, at: DocId) -> Result<Vec<u8>, CatalogError> {
        let StoredDocument(read) = documents.get(at).map_err(CatalogError::tantivy(self.hour))?;
        let bytes = read.filter(|(field, _)| *field == self.fields.document).map(|(_, bytes)| bytes);
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

/// The one stored field of a record, read without what tantivy's own type allocates for any number of fields.
struct StoredDocument(Option<(Field, Vec<u8>)>);

impl DocumentDeserialize for StoredDocument {
    fn deserialize<'de, D: DocumentDeserializer<'de>>(mut from: D) -> Result<Self, DeserializeError> {
        from.next_field().map(Self)
    }
}

/// Columns of the records.
struct RecordColumns {
    first: Column<u64>,
    duration: Column<u64>,
    open: Option<Column<u64>>,
    addresses: [Option<Column<Ipv6Addr>>; 2],
    ports: [Option<Column<u64>>; 2],
    packets: Column<u64>,
    bytes: Column<u64>,
}

impl RecordColumns {
    fn of(part: &SegmentReader) -> Result<Self, TantivyError> {
        let fast = part.fast_fields();
        let [client, server] = ADDRESSES;
        let [client_port, server_port] = PORTS;
        Ok(Self {
            first: fast.u64("first")?,
            duration: fast.u64("duration")?,
            open: fast.column_opt("open")?,
            addresses: [fast.column_opt(client)?, fast.column_opt(server)?],
            ports: [fast.column_opt(client_port)?, fast.column_opt(server_port)?],
            packets: fast.u64("packets")?,
            bytes: fast.u64("bytes")?,
        })
    }

    /// True if a record can have an instant in the range, or is open.
    fn meet(&self, at: DocId, range: Range) -> bool {
        let (first, last) = self.times(at);
        let meets = first <= range.last_ns / TIME_UNIT_NS && last >= range.from_ns / TIME_UNIT_NS;
        meets || self.is_open(at)
    }

    fn is_open(&self, at: DocId) -> bool {
        self.open.as_ref().is_some_and(|open| open.first(at).is_some())
    }

    /// Seconds since the epoch: of the first packet, rounded down, and of the last, rounded up.
    fn times(&self, at: DocId) -> (u64, u64) {
        let first = self.first.first(at).unwrap_or(0);
        (first, first.saturating_add(self.duration.first(at).unwrap_or(0)))
    }

    /// The columns of a record.
    fn of_record(&self, at: DocId) -> Columns {
        let number = |column: &Column<u64>| column.first(at).unwrap_or(0);
        Columns {
            first_seconds: number(&self.first),
            duration_seconds: number(&self.duration),
            addresses: self.addresses.each_ref().map(|column| column.as_ref()?.first(at)),
            ports: self.ports.each_ref().map(|column| column.as_ref()?.first(at)),
            packets: number(&self.packets),
            bytes: number(&self.bytes),
        }
    }
}
