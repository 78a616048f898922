//! Tables: the conversations of each hour of the catalog as Parquet files, for engines that read those.
//!
//! ```text
//! documents of an hour -> sorted by their first packets, a part at a time -> rows -> columns -> part-0.parquet, part-1.parquet...
//! ```
//!
//! `docs/tables.md` describes the files and their columns; tests hold it to [`columns::COLUMNS`].
//!
//! **Invariant:** a file is a pure function of its hour: exported again it has the same bytes. It has no time of its making, and no
//! order that chance decides.
//!
//! **Invariant:** a name that ends in `.parquet` leads to a whole file that survives a power cut.
//!
//! How records are found in an hour is not known here: it is read through the trait [`netrewind_catalog::Catalog`].

pub mod columns;
mod documents;
mod error;
mod export;
mod leaves;
mod part;
mod partial;
mod place;

pub use error::TablesError;
pub use export::{ExportedHour, export_hour, is_current};
pub use place::{TableObjects, TablesPlace};
