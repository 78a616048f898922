//! Writing an hour.

use netrewind_catalog::condition::CatalogRecord;
use netrewind_catalog::short::{Columns, shorten};
use netrewind_store::catalog::{Hour, Manifest};
use netrewind_store::store::CatalogFolder;
use netrewind_store::{Store, Timestamp};
use tantivy::index::{IndexBuilder, SegmentId};
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{Index, IndexSettings, IndexWriter, SegmentReader, TantivyDocument};

use crate::CatalogError;
use crate::schema::{NUMBER, SchemaFields, schema};

/// Bytes of memory for writing an hour, besides the files that tantivy maps. When it is full, its contents go to the disk, and
/// are merged at the end.
pub const WRITER_BYTES: usize = 48 << 20;
/// Documents are compressed together up to so many bytes: reading one takes reading these.
const DOCUMENTS_BLOCK_BYTES: usize = 32 << 10;

/// Writes the records of an hour into a folder, which becomes an hour only when [`Self::finish`] renames it.
pub struct HourWriter<'s> {
    store: &'s Store,
    hour: Hour,
    writer: IndexWriter,
    fields: SchemaFields,
    records: u64,
}

impl<'s> HourWriter<'s> {
    /// Begins; remains of the hour from a crash are removed.
    pub fn new(store: &'s Store, hour: Hour) -> Result<Self, CatalogError> {
        Self::with_memory(store, hour, WRITER_BYTES)
    }

    /// Likewise, with this many bytes of memory: at least 15 MB.
    pub fn with_memory(store: &'s Store, hour: Hour, bytes: usize) -> Result<Self, CatalogError> {
        let folder = CatalogFolder::of(store).begin_hour(hour)?;
        let failed = CatalogError::tantivy(hour);
        let (schema, fields) = schema();
        let settings = IndexSettings {
            docstore_compression: Compressor::Zstd(ZstdCompressor::default()),
            docstore_compress_dedicated_thread: false,
            docstore_blocksize: DOCUMENTS_BLOCK_BYTES,
            ..IndexSettings::default()
        };
        let index =
            IndexBuilder::new().schema(schema).settings(settings).create_in_dir(folder).map_err(&failed)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(bytes)
            .build();
        let writer: IndexWriter = index.writer_with_options(options).map_err(&failed)?;
        // One merge at the end costs less than many on the way.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(Self { store, hour, writer, fields, records: 0 })
    }

    /// Adds a record.
    pub fn add(&mut self, flow: &CatalogRecord) -> Result<(), CatalogError> {
        self.records += 1;
        let mut document = document(flow, &self.fields, self.hour.start());
        document.add_u64(self.fields.number, self.records);
        let added = self.writer.add_document(document);
        added.map(|_| ()).map_err(CatalogError::tantivy(self.hour))
    }

    /// Number of records added.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Number of parts written to disk, to be merged.
    pub fn parts(&self) -> usize {
        self.writer
            .index()
            .directory()
            .list_managed_files()
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "store"))
            .count()
    }

    /// Makes it durable and gives it its name, replacing the hour that had it. `manifest` describes it.
    pub fn finish(self, manifest: &Manifest) -> Result<(), CatalogError> {
        let Self { store, hour, mut writer, .. } = self;
        let failed = CatalogError::tantivy(hour);
        writer.commit().map_err(&failed)?;
        let parts = in_order(writer.index()).map_err(&failed)?;
        if parts.len() > 1 {
            writer.merge(&parts).wait().map_err(&failed)?;
        }
        writer.garbage_collect_files().wait().map_err(&failed)?;
        writer.wait_merging_threads().map_err(&failed)?;
        Ok(CatalogFolder::of(store).finish_hour(manifest)?)
    }
}

/// The parts of an index in the order in which they were written.
fn in_order(index: &Index) -> tantivy::Result<Vec<SegmentId>> {
    let mut parts = Vec::new();
    for segment in index.searchable_segments()? {
        let reader = SegmentReader::open(&segment)?;
        let number = reader.fast_fields().u64(NUMBER)?.first(0).unwrap_or(u64::MAX);
        parts.push((number, segment.id()));
    }
    parts.sort_unstable();
    Ok(parts.into_iter().map(|(_, id)| id).collect())
}

fn document(flow: &CatalogRecord, fields: &SchemaFields, base: Timestamp) -> TantivyDocument {
    let mut document = TantivyDocument::default();
    let columns = Columns::of(flow);
    document.add_u64(fields.first, columns.first_seconds);
    document.add_u64(fields.duration, columns.duration_seconds);
    if flow.is_open {
        document.add_u64(fields.open, 1);
    }
    for (field, address) in fields.addresses.iter().zip(columns.addresses) {
        address.into_iter().for_each(|address| document.add_ip_addr(*field, address));
    }
    for (field, port) in fields.ports.iter().zip(columns.ports) {
        port.into_iter().for_each(|port| document.add_u64(*field, port));
    }
    document.add_u64(fields.packets, columns.packets);
    document.add_u64(fields.bytes, columns.bytes);
    flow.vlans.iter().for_each(|&vlan| document.add_u64(fields.vlan, u64::from(vlan)));
    flow.tunnel_ids.iter().for_each(|&id| document.add_u64(fields.tunnel_id, u64::from(id)));
    flow.words.iter().for_each(|word| document.add_text(fields.words, word));
    document.add_bytes(fields.document, &shorten(flow, base.ns()));
    document
}
