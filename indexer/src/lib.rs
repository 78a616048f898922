//! Writes indexes beside segments, and hours of the catalog, behind a recording.
//!
//! ```text
//! recorder --written blocks--> sink: counts packets --> finish: lays out the index --> Store::write_index
//!                                                       catch-up: reads segments that were left without
//! indexes --> HourBuilder --> an hour that is over --> HourFiles::write
//!         \-> HourSource --> catalog: an hour that is over --> Store::finish_hour --> HourExport
//! segments of a certain age --> compressor: ColdFiles::compress
//! ```
//!
//! **Invariant:** recording does not wait for it. It knows neither the recorder, which fills a [sink](netrewind_store::sink) and
//! makes [room](netrewind_store::room), nor the extractor, which the command gives it as an [`HourSource`].

mod background;
pub mod catalog_writer;
pub mod compressor;
mod error;
pub mod hour_export;
pub mod hour_writer;
pub mod index_writer;
pub mod kept_hours;
mod worker;
pub mod workplace;

pub use catalog_writer::HourSource;
pub use error::IndexerError;
pub use worker::Indexer;
pub use workplace::Workplace;
