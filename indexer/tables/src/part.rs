//! One file of an hour.

use netrewind_flows::conversation::RangeEnd;
use netrewind_flows::encapsulation::Encapsulations;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::columns::{BLOOM_FILTERED, TableRow};
use crate::documents::Documents;
use crate::leaves::{RowGroup, schema};
use crate::place::OpenPart;

/// Rows of a row group: what an engine reads, or skips, at once.
pub(crate) const ROW_GROUP_ROWS: usize = 128 << 10;
/// Level of compression.
const ZSTD_LEVEL: i32 = 3;
/// Share of absent values that a bloom filter takes for present.
const BLOOM_FALSE_SHARE: f64 = 0.01;
/// Name of the writer in its files. It changes only with their bytes, not with every version of netrewind.
const CREATED_BY: &str = "netrewind version 1";
/// Columns that hold times or are always different, for which a dictionary is no use.
const WITHOUT_DICTIONARY: [&str; 4] = ["first", "last", "first_ns", "id"];
/// Of these, numbers that grow by little.
const BY_DIFFERENCES: [&str; 2] = ["first", "last"];
/// Records after which tunnels and VLANs are numbered anew: fewer than there are numbers.
const ENCAPSULATIONS_RECORDS: u32 = 1 << 16;

/// Facts of an hour that its rows depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HourTimes {
    /// Beginning of the hour, which documents count from.
    pub(crate) base_ns: u64,
    /// End of its packets.
    pub(crate) ending: RangeEnd,
}

/// Reader of documents, one after the other.
#[derive(Debug, Default)]
pub(crate) struct DocumentDecoder {
    beside: Encapsulations,
    read: u32,
}

impl DocumentDecoder {
    /// Tunnels and VLANs of the next document.
    pub(crate) fn beside(&mut self) -> &Encapsulations {
        self.read += 1;
        if self.read >= ENCAPSULATIONS_RECORDS {
            *self = Self::default();
        }
        &self.beside
    }
}

/// Writes the rows of these documents into a file, with facts about it, and returns the file and the number of rows.
pub(crate) fn write_part(
    file: OpenPart,
    documents: &mut Documents,
    times: HourTimes,
    facts: Vec<KeyValue>,
) -> Result<(OpenPart, u64), ParquetError> {
    let mut writer = SerializedFileWriter::new(file, schema()?, properties(facts)?.into())?;
    let (mut group, mut decoder, mut rows) = (RowGroup::new(), DocumentDecoder::default(), 0);
    for document in documents.sorted() {
        let row = TableRow::read(document, times.base_ns, times.ending, decoder.beside());
        // It could be read when it was sorted.
        group.push(&row.ok_or_else(|| ParquetError::General("a record changed while it was sorted".into()))?);
        rows += 1;
        if group.rows() == ROW_GROUP_ROWS {
            group.write_to(&mut writer)?;
        }
    }
    if group.rows() > 0 {
        group.write_to(&mut writer)?;
    }
    Ok((writer.into_inner()?, rows))
}

fn properties(facts: Vec<KeyValue>) -> Result<WriterProperties, ParquetError> {
    let by = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![by(0), by(1)]))
        .set_key_value_metadata(Some(facts));
    for name in BLOOM_FILTERED {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), BLOOM_FALSE_SHARE)
            .set_column_bloom_filter_max_ndv(column, ROW_GROUP_ROWS as u64);
    }
    for name in WITHOUT_DICTIONARY {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for name in BY_DIFFERENCES {
        properties = properties.set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.build())
}
